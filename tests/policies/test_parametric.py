"""Log-linear and network policies: their gradients, the four fits against hand-made ones, and what is refused."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from rebel_pref import policies
from rebel_pref.policies import (
    LogLinearPolicy,
    NetworkPolicy,
    fit_adam,
    fit_least_squares,
    gauss_newton_step,
    natural_gradient_step,
    regression_loss,
)

UNIFORM = torch.full((4,), 0.25, dtype=torch.float64)


def drawn(shape, seed=0):
    return torch.tensor(np.random.default_rng(seed).normal(size=shape))


def weights(shape, seed=1):
    return torch.softmax(drawn(shape, seed), -1)


def slope(policy, target, base, width=1e-6):
    """Central differences of the loss."""
    moves = width * torch.eye(len(policy.parameters), dtype=torch.float64)

    def loss(move):
        return float(regression_loss(policy.with_parameters(policy.parameters + move), target, base))

    return np.array([(loss(move) - loss(-move)) / (2 * width) for move in moves])


def test_a_network_is_its_layers_written_out():
    """theta holds W1 (2 x 3), b1 (3), W2 (3 x 1); the last layer has no bias, softmax would cancel it."""
    features = drawn((5, 2))
    policy = NetworkPolicy(features, (3,), seed=4)
    theta = policy.parameters.numpy()
    assert theta.shape == (12,) and not theta[6:9].any()
    changed = theta + np.arange(12) / 10
    w1, b1, w2 = changed[:6].reshape(2, 3), changed[6:9], changed[9:]
    logits = np.tanh(features.numpy() @ w1 + b1) @ w2
    found = policy.with_parameters(torch.tensor(changed)).log_probs().numpy()
    np.testing.assert_allclose(found, logits - np.log(np.exp(logits).sum()), atol=1e-12)
    assert torch.equal(NetworkPolicy(features, (3,), seed=4).parameters, policy.parameters)
    assert not torch.equal(NetworkPolicy(features, (3,), seed=5).parameters, policy.parameters)


def test_policies_are_values():
    """What the caller does later with the arrays does not reach the policy, and read-only ones will do."""
    features, theta = np.eye(3), np.array([1.0, 0.0, -1.0])
    policy = LogLinearPolicy(features, theta)
    before = policy.log_probs()
    features[:], theta[:] = 5.0, 0.0
    assert torch.equal(policy.log_probs(), before)
    features.flags.writeable = False
    np.testing.assert_allclose(LogLinearPolicy(features).log_probs().exp(), np.full(3, 1 / 3))


def test_the_loss_is_the_sum_over_all_pairs():
    """By hand: sum_ij mu_i mu_j (e_i - e_j)^2, a mean over two contexts."""
    policy, target, base = LogLinearPolicy(drawn((2, 4, 3)), drawn(3, 2)), drawn((2, 4), 3), weights((2, 4))
    error = (policy.log_probs() - target).numpy()
    expected = 0.0
    for c in range(2):
        for i in range(4):
            for j in range(4):
                expected += float(base[c, i] * base[c, j]) * (error[c, i] - error[c, j]) ** 2 / 2
    assert float(regression_loss(policy, target, base)) == pytest.approx(expected, rel=1e-12)


def test_least_squares_has_no_slope_left_and_takes_the_shortest_way():
    """A constant feature moves nothing, so its parameter stays where it was."""
    features = drawn((2, 6, 3))
    features[..., 2] = 1.0
    policy, target, base = LogLinearPolicy(features, [0.1, -0.2, 5.0]), drawn((2, 6), 3), weights((2, 6))
    fitted = fit_least_squares(policy, target, base)
    assert np.abs(slope(fitted, target, base)).max() < 1e-8
    assert np.abs(slope(policy, target, base)).max() > 0.1
    assert float(fitted.parameters[2]) == pytest.approx(5.0, abs=1e-12)
    newton = gauss_newton_step(policy, target, base)
    np.testing.assert_allclose(newton.parameters, fitted.parameters, atol=1e-12)


def test_two_responses_by_hand():
    """phi = (1, 0): log pi_1/pi_2 = theta. Target log-odds 3, from 1: step 2 undamped.

    Pairs (1, 2) and (2, 1) at mu = 1/2 each weigh 1/4: loss (theta - 3)^2 / 2, plus damping d (theta - 1)^2, has its
    minimum at theta = 1 + 2 / (1 + 2 d): 2 for d = 1/2. On-policy F = p (1 - p), grad = 2 p (1 - p): the step is 2.
    """
    policy, target = LogLinearPolicy([[1.0], [0.0]], [1.0]), torch.tensor([3.0, 0.0]).double()
    base = torch.tensor([0.5, 0.5]).double()
    assert float(fit_least_squares(policy, target, base).parameters) == pytest.approx(3.0)
    assert float(gauss_newton_step(policy, target, base, damping=0.5).parameters) == pytest.approx(2.0)
    assert float(natural_gradient_step(policy, target).parameters) == pytest.approx(3.0)
    fisher = float(np.prod(policy.log_probs().exp().numpy()))
    damped = 1.0 + 2.0 * fisher / (fisher + 0.3)
    assert float(natural_gradient_step(policy, target, damping=0.3).parameters) == pytest.approx(damped)


@pytest.mark.parametrize("shape", [(12,), (3, 12)])
def test_the_natural_gradient_is_by_the_hessian_of_kl(shape):
    """F from another definition: the Hessian of KL(pi_theta || .) at theta, a mean over contexts."""
    policy, target = NetworkPolicy(drawn((*shape, 2)), (2,), seed=3), drawn(shape, 5)
    current = policy.log_probs()

    def divergence(theta):
        return -(current.exp() * policy.log_probs(theta)).sum(-1).mean()

    def gain(theta):
        return (policy.log_probs(theta).exp() * (target - current)).sum(-1).mean()

    fisher = torch.autograd.functional.hessian(divergence, policy.parameters)
    gradient = torch.autograd.functional.jacobian(gain, policy.parameters)
    step = natural_gradient_step(policy, target, damping=0.01).parameters - policy.parameters
    expected = torch.linalg.solve(fisher + 0.01 * torch.eye(len(fisher), dtype=torch.float64), gradient)
    np.testing.assert_allclose(step, expected, rtol=1e-8)
    # On-policy, Gauss-Newton at twice the damping.
    newton = gauss_newton_step(policy, target, current.exp(), damping=0.02).parameters - policy.parameters
    np.testing.assert_allclose(newton, step, rtol=1e-8)


def test_adam_and_repeated_newton_steps_find_the_same_policy():
    """A network with room: both end where the loss is 0."""
    policy, target = NetworkPolicy(drawn((4, 2)), (8,), seed=1), torch.tensor([1.0, -0.5, 0.2, 0.0]).double()
    newton = policy
    for _ in range(8):
        newton = gauss_newton_step(newton, target, UNIFORM)
    adam = fit_adam(policy, target, UNIFORM, steps=300, learning_rate=0.05)
    assert float(regression_loss(newton, target, UNIFORM)) < 1e-20
    np.testing.assert_allclose(adam.log_probs(), torch.log_softmax(target, -1), atol=1e-4)
    assert not policy.parameters.requires_grad and not adam.parameters.requires_grad


def test_responses_off_the_base_do_not_count():
    """The fourth response has base 0: whatever its target, the fit is the same."""
    base = torch.tensor([0.5, 0.25, 0.25, 0.0]).double()
    policy, target = LogLinearPolicy(drawn((4, 2))), drawn(4, 3)
    other = target.clone()
    other[3] = 100.0
    first, second = (fit_least_squares(policy, goal, base).parameters for goal in (target, other))
    np.testing.assert_allclose(first, second, atol=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p, t: LogLinearPolicy([1.0, 2.0]), r"features \[n, d\] or \[C, n, d\]"),
        (lambda p, t: LogLinearPolicy([[np.nan]]), "finite features"),
        (lambda p, t: LogLinearPolicy(np.eye(4), [1.0]), "expected 4 finite parameters"),
        (lambda p, t: NetworkPolicy(np.eye(4), ()), "at least one hidden layer"),
        (lambda p, t: fit_least_squares(p, t[:3], UNIFORM), "a target and a base of shape"),
        (lambda p, t: fit_least_squares(p, t, 2 * UNIFORM), "sum 1 in every context"),
        (lambda p, t: fit_least_squares(p, t - np.inf, UNIFORM), "a base of 0, not by -inf"),
        (lambda p, t: gauss_newton_step(p, t, UNIFORM, damping=-1), "damping must be finite"),
        (lambda p, t: natural_gradient_step(p, t, damping=np.nan), "damping must be finite"),
        (lambda p, t: fit_adam(p, t, UNIFORM, steps=0, learning_rate=0.1), "steps >= 1"),
    ],
)
def test_nonsense_is_refused(call, message):
    """Shapes, NaN and numbers out of range are named at the boundary."""
    with pytest.raises(ValueError, match=message):
        call(LogLinearPolicy(np.eye(4)), torch.zeros(4, dtype=torch.float64))


def test_parametric_policies_do_without_transformers():
    """The package imports language models on demand; each of its names is there, and no others."""
    code = "import sys, rebel_pref.policies as p; p.NetworkPolicy; assert 'transformers' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert all(getattr(policies, name) is not None for name in policies.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Transformer'"):
        _ = policies.Transformer
