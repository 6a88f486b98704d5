"""Softmax policies with parameters over listed responses, and four ways to do REBEL's regression on them.

The theory case between a table and a language model: small enough for exact expectations over all responses, and
with parameters that responses share, so that the regression may be misspecified. A row of
:mod:`rebel_pref.algorithms` says which log-probabilities the next policy should have, up to a constant a context,

    log_target = log pi_t + regression_target(...).log_ratio                        [..., n]

and every function here moves the parameters theta towards it by the loss of the library, in nats,

    L(theta) = mean over contexts of sum_ij mu_i mu_j (e_i - e_j)^2,   e = log pi_theta - log_target,

:func:`rebel_pref.regression.weighted_pairwise_loss` with the base distribution mu of the responses that are paired: the
current policy (on-policy), offline data, or a mixture of both. Everything is float64, and policies are values: a fit
returns a new one.

Sources: Gao et al. 2024, arXiv:2404.16767 (the regression; on-policy one Gauss-Newton step of it is a natural gradient
step); Kakade 2001, "A natural policy gradient".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Protocol, Self, TypeVar

import torch

from rebel_pref.regression import weighted_pairwise_loss

__all__ = [
    "LogLinearPolicy",
    "NetworkPolicy",
    "ParametricPolicy",
    "fit_adam",
    "fit_least_squares",
    "gauss_newton_step",
    "natural_gradient_step",
    "regression_loss",
]

_RCOND = 1e-10
"""Directions in which log-ratios move less than this share of the largest are directions of no effect."""


class ParametricPolicy(Protocol):
    """A policy over n listed responses, of one context or of C, that is a function of a flat vector."""

    @property
    def parameters(self) -> torch.Tensor:
        """Theta, float64 [p]."""
        ...

    def log_probs(self, parameters: torch.Tensor | None = None) -> torch.Tensor:
        """``log pi_theta(y)``, float64 [n] or [C, n], at other parameters if given; differentiable in them."""
        ...

    def with_parameters(self, parameters: torch.Tensor) -> Self:
        """The same policy at other parameters [p]."""
        ...


P = TypeVar("P", bound=ParametricPolicy)


class LogLinearPolicy:
    """``pi_theta(y) = softmax_y(phi(y) theta)``: log-ratios are linear in theta, so the regression is linear too.

    A table is the case ``phi = identity``.

    Parameters
    ----------
    features : phi, [n, d], or [C, n, d] for C contexts that share theta.
    parameters : theta [d]; 0, the uniform policy, unless given.
    """

    def __init__(self, features: Any, parameters: Any | None = None) -> None:
        self.features = _checked_features(features)
        self.parameters = _checked_parameters(parameters, self.features.shape[-1])

    def log_probs(self, parameters: torch.Tensor | None = None) -> torch.Tensor:
        """See :meth:`ParametricPolicy.log_probs`."""
        return torch.log_softmax(self.features @ (self.parameters if parameters is None else parameters), dim=-1)

    def with_parameters(self, parameters: torch.Tensor) -> LogLinearPolicy:
        """See :meth:`ParametricPolicy.with_parameters`."""
        return LogLinearPolicy(self.features, parameters)


class NetworkPolicy:
    """``pi_theta(y) = softmax_y(f_theta(phi(y)))``, f a tanh network; a bias of its last layer would cancel.

    Parameters
    ----------
    features : phi, [n, d] or [C, n, d], the inputs.
    hidden : widths of the hidden layers.
    seed : draws the weights, normal with variance 1 / fan-in; biases start at 0. Not used where `parameters` are given.
    parameters : theta [p]: of each layer the weights, row by row, then the biases.
    """

    def __init__(
        self, features: Any, hidden: Sequence[int] = (16,), seed: int = 0, *, parameters: Any | None = None
    ) -> None:
        self.features = _checked_features(features)
        self.hidden = tuple(hidden)
        if not self.hidden or min(self.hidden) < 1:
            raise ValueError(f"expected at least one hidden layer of at least 1 unit, got {self.hidden}")
        widths = (self.features.shape[-1], *self.hidden, 1)
        self._shapes = tuple(pairwise(widths))
        if parameters is None:
            generator = torch.Generator().manual_seed(seed)
            parts = []
            for last, (fan_in, fan_out) in enumerate(self._shapes, start=1 - len(self._shapes)):
                weights = torch.randn(fan_in * fan_out, generator=generator, dtype=torch.float64) / math.sqrt(fan_in)
                parts += [weights, torch.zeros(fan_out if last else 0, dtype=torch.float64)]
            parameters = torch.cat(parts)
        count = sum(fan_in * fan_out + fan_out for fan_in, fan_out in self._shapes) - 1
        self.parameters = _checked_parameters(parameters, count)

    def log_probs(self, parameters: torch.Tensor | None = None) -> torch.Tensor:
        """See :meth:`ParametricPolicy.log_probs`."""
        theta = self.parameters if parameters is None else parameters
        signal, place = self.features, 0
        for last, (fan_in, fan_out) in enumerate(self._shapes, start=1 - len(self._shapes)):
            weights = theta[place : place + fan_in * fan_out].reshape(fan_in, fan_out)
            place += fan_in * fan_out
            signal = signal @ weights
            if last:
                signal = torch.tanh(signal + theta[place : place + fan_out])
                place += fan_out
        return torch.log_softmax(signal[..., 0], dim=-1)

    def with_parameters(self, parameters: torch.Tensor) -> NetworkPolicy:
        """See :meth:`ParametricPolicy.with_parameters`."""
        return NetworkPolicy(self.features, self.hidden, parameters=parameters)


def regression_loss(policy: ParametricPolicy, log_target: torch.Tensor, base: torch.Tensor) -> torch.Tensor:
    """L of the module's first lines, a number in nats^2; the paper's residual is in payoffs, which makes it L / eta^2.

    Parameters
    ----------
    log_target : [n] or [C, n], log-probabilities of the next policy, up to a constant a context.
    base : mu, as `log_target`: probabilities of the responses that are paired.
    """
    _check(policy, log_target, base)
    loss: torch.Tensor = weighted_pairwise_loss(policy.log_probs() - log_target, base).mean()
    return loss


def fit_least_squares(policy: LogLinearPolicy, log_target: torch.Tensor, base: torch.Tensor) -> LogLinearPolicy:
    """The exact minimiser of :func:`regression_loss`; of several, the one next to `policy`.

    Differences of log-probabilities are ``(phi - phi') theta``, log Z cancels, so it is one linear least-squares
    problem: ``Cov_mu(phi) (theta - theta_t) = Cov_mu(phi, log_target - log pi_t)``.
    """
    _check(policy, log_target, base)
    error = policy.log_probs() - log_target
    return policy.with_parameters(policy.parameters + _least_squares(policy.features, error, base))


def gauss_newton_step(policy: P, log_target: torch.Tensor, base: torch.Tensor, *, damping: float = 0.0) -> P:
    """Minimise the loss with log-probabilities linearised at `policy`, plus ``damping |step|^2``.

    With g = grad log pi_theta and differences over pairs from mu x mu the normal equations are
    ``(E[(g - g')(g - g')^T] + damping I) step = -E[(g - g')(e - e')]``; without damping the shortest solution is taken.
    From ``pi_t`` with ``mu = pi_t`` this is :func:`natural_gradient_step` at half the damping (arXiv:2404.16767), since
    ``E[(g - g')(g - g')^T] = 2 F`` and ``-E[(g - g')(e - e')] = 2 grad``. Repeated, it finds a minimiser.
    """
    _check(policy, log_target, base, damping)
    error = policy.log_probs() - log_target
    return policy.with_parameters(policy.parameters + _least_squares(_scores(policy), error, base, damping))


def natural_gradient_step(policy: P, log_target: torch.Tensor, *, damping: float = 0.0) -> P:
    """``theta + (F + damping I)^+ grad E_{pi_theta}[log_target - log pi_t]`` at ``theta = theta_t``, no regression.

    F is the Fisher information ``E_{pi_t}[g g^T]``, a mean over contexts (Kakade 2001). For :func:`rebel_pref.rebel`
    the target less log pi_t is ``eta A pi_t``, and the step is eta times the natural gradient of the payoff against
    the frozen pi_t.
    """
    _check(policy, log_target, policy.log_probs().exp(), damping)
    theta = policy.parameters.clone().requires_grad_()
    log_probs = policy.log_probs(theta)
    gain = (log_target - log_probs).detach()
    (gradient,) = torch.autograd.grad((log_probs.exp() * gain).sum(-1).mean(), theta)
    scores, probabilities = _scores(policy).flatten(0, -2), log_probs.detach().exp()
    contexts = probabilities.numel() // probabilities.shape[-1]
    fisher = scores.T @ (probabilities.reshape(-1, 1) * scores) / contexts
    fisher = fisher + damping * torch.eye(len(gradient), dtype=torch.float64)
    # Singular values of the regression are square roots of these, hence the square of its tolerance, to rounding.
    inverse = torch.linalg.pinv(fisher, rtol=max(_RCOND**2, 1e-13), hermitian=True)
    return policy.with_parameters(policy.parameters + inverse @ gradient)


def fit_adam(policy: P, log_target: torch.Tensor, base: torch.Tensor, *, steps: int, learning_rate: float) -> P:
    """`steps` full-batch steps of Adam on :func:`regression_loss`, as a trainer takes them; the rate falls to 0."""
    _check(policy, log_target, base)
    if steps < 1 or not 0.0 < learning_rate < math.inf:
        raise ValueError(f"expected steps >= 1 and a learning rate > 0, got {steps} and {learning_rate}")
    theta = policy.parameters.clone().requires_grad_()
    optimizer = torch.optim.Adam([theta], lr=learning_rate)
    for number in range(steps):
        optimizer.param_groups[0]["lr"] = learning_rate * (1.0 - number / steps)
        loss = weighted_pairwise_loss(policy.log_probs(theta) - log_target, base).mean()
        (theta.grad,) = torch.autograd.grad(loss, theta)
        optimizer.step()
    return policy.with_parameters(theta.detach())


def _scores(policy: ParametricPolicy) -> torch.Tensor:
    """``grad log pi(y)`` of every response, [..., n, p], in one batched backward pass."""
    theta = policy.parameters.clone().requires_grad_()
    log_probs = policy.log_probs(theta)
    rows = torch.eye(log_probs.numel(), dtype=log_probs.dtype)
    (jacobian,) = torch.autograd.grad(log_probs.flatten(), theta, rows, is_grads_batched=True)
    scores: torch.Tensor = jacobian.reshape(*log_probs.shape, -1)
    return scores


def _least_squares(
    jacobian: torch.Tensor, error: torch.Tensor, base: torch.Tensor, damping: float = 0.0
) -> torch.Tensor:
    """Shortest d minimising ``mean 2 Var_mu(error + jacobian d) + damping |d|^2``; never forms the normal matrix."""
    root = (2.0 * base / (base.numel() // base.shape[-1])).sqrt()
    left = (jacobian - (base[..., None] * jacobian).sum(-2, keepdim=True)) * root[..., None]
    right = (error - (base * error).sum(-1, keepdim=True)) * root
    size = left.shape[-1]
    left, right = left.reshape(-1, size), right.reshape(-1, 1)
    if damping > 0.0:
        left = torch.cat([left, math.sqrt(damping) * torch.eye(size, dtype=left.dtype)])
        right = torch.cat([right, torch.zeros(size, 1, dtype=left.dtype)])
    solution: torch.Tensor = torch.linalg.lstsq(left, -right, rcond=_RCOND, driver="gelsd").solution[:, 0]
    return solution


def _copied(values: Any) -> torch.Tensor:
    # A policy is a value: it shares no memory with the array that it was made of.
    if isinstance(values, torch.Tensor):
        return values.detach().to(torch.float64, copy=True)
    return torch.tensor(values, dtype=torch.float64)


def _checked_features(features: Any) -> torch.Tensor:
    table = _copied(features)
    if table.ndim not in (2, 3) or not table.isfinite().all():
        raise ValueError(f"expected finite features [n, d] or [C, n, d], got shape {tuple(table.shape)}")
    return table


def _checked_parameters(parameters: Any | None, count: int) -> torch.Tensor:
    if parameters is None:
        return torch.zeros(count, dtype=torch.float64)
    theta = _copied(parameters)
    if theta.shape != (count,) or not theta.isfinite().all():
        raise ValueError(f"expected {count} finite parameters, got shape {tuple(theta.shape)}")
    return theta


def _check(policy: ParametricPolicy, log_target: torch.Tensor, base: torch.Tensor, damping: float = 0.0) -> None:
    if not 0.0 <= damping < math.inf:
        raise ValueError(f"damping must be finite and not negative, got {damping}")
    shape = policy.log_probs().shape
    if log_target.shape != shape or base.shape != shape:
        raise ValueError(
            f"expected a target and a base of shape {tuple(shape)}, got {tuple(log_target.shape)} and "
            f"{tuple(base.shape)}"
        )
    if not log_target.isfinite().all():
        raise ValueError("the log-target must be finite: mask responses by a base of 0, not by -inf")
    if bool((base < 0).any()) or not bool(((base.sum(-1) - 1.0).abs() < 1e-9).all()):
        raise ValueError("the base holds probabilities: not negative, sum 1 in every context")
