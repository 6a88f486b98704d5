"""The regression: O(K) identities, exact gradients of a group, and the row's next policy as its minimiser."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import rebel_pref as rp
from rebel_pref.regression import (
    group_gradient_weights,
    pairwise_loss,
    pairwise_residuals,
    pointwise_loss,
    weighted_pairwise_loss,
)
from rebel_pref.solvers.dynamics import fit_pointwise
from rebel_pref.targets import regression_target

SEEDS, SIZES = st.integers(0, 10**6), st.integers(2, 9)


@settings(deadline=None, derandomize=True, max_examples=40)
@given(seed=SEEDS, k=SIZES)
def test_mean_over_pairs_is_twice_the_sample_variance(seed, k):
    """K (K - 1) squared differences cost O(K): mean over i != j = 2 Var (ddof 1)."""
    error = np.random.default_rng(seed).normal(size=(3, k))
    squared = pairwise_residuals(error) ** 2
    off_diagonal = squared.sum((-1, -2)) / (k * (k - 1))
    np.testing.assert_allclose(pairwise_loss(error), off_diagonal, rtol=1e-12)
    np.testing.assert_allclose(pairwise_loss(error), 2 * error.var(-1, ddof=1), rtol=1e-12)


@settings(deadline=None, derandomize=True, max_examples=40)
@given(seed=SEEDS, k=SIZES)
def test_weighted_pairs(seed, k):
    """sum_ij v_i v_j (e_i - e_j)^2 from its definition; equal weights give (K - 1) / K of the plain mean."""
    rng = np.random.default_rng(seed)
    error, weights = rng.normal(size=k), rng.dirichlet(np.ones(k))
    by_pairs = weights @ pairwise_residuals(error) ** 2 @ weights
    np.testing.assert_allclose(weighted_pairwise_loss(error, weights), by_pairs, rtol=1e-10)
    np.testing.assert_allclose(
        weighted_pairwise_loss(error, np.full(k, 1 / k)), (k - 1) / k * pairwise_loss(error), rtol=1e-12
    )


def test_a_constant_costs_nothing_in_pairs_and_something_alone():
    """log Z cancels in differences; a pointwise residual keeps it: mean of (e + 3)^2 - e^2 = 9 + 6 mean e."""
    error = np.random.default_rng(0).normal(size=6)
    assert pairwise_loss(error + 3.0) == pytest.approx(pairwise_loss(error), rel=1e-12)
    assert pointwise_loss(error + 3.0) - pointwise_loss(error) == pytest.approx(9 + 6 * error.mean())
    assert pointwise_loss(np.array([1.0, 2.0]), np.array([0.25, 0.75])) == pytest.approx(0.25 + 3.0)


LOSSES = {
    "pairwise": (lambda e, v: pairwise_loss(e), False, "pairwise"),
    "pairwise weighted": (weighted_pairwise_loss, True, "pairwise"),
    "pointwise": (lambda e, v: pointwise_loss(e), False, "pointwise"),
    "pointwise weighted": (pointwise_loss, True, "pointwise"),
}


@pytest.mark.parametrize("name", LOSSES)
def test_gradient_weights_are_the_gradient(name):
    """c = d loss / d error, by autograd (1e-13) and by central differences, whose error is rounding."""
    loss, weighted, residual = LOSSES[name]
    rng = np.random.default_rng(1)
    error, weights = rng.normal(size=5), rng.dirichlet(np.ones(5))
    found = group_gradient_weights(error, weights if weighted else None, residual=residual)
    tensor = torch.tensor(error, requires_grad=True)
    (gradient,) = torch.autograd.grad(loss(tensor, torch.tensor(weights)), tensor)
    np.testing.assert_allclose(found, gradient.numpy(), atol=1e-13)
    h = 1e-4  # The loss is quadratic, so central differences have no truncation error.
    numeric = [(loss(error + h * e, weights) - loss(error - h * e, weights)) / (2 * h) for e in np.eye(5)]
    np.testing.assert_allclose(found, numeric, atol=1e-10)


@pytest.mark.parametrize("name", LOSSES)
def test_a_group_split_over_microbatches_keeps_its_gradient(name):
    """sum_i c_i grad log pi(y_i), accumulated over parts of the group, = grad of the loss of the whole group."""
    loss, weighted, residual = LOSSES[name]
    rng = np.random.default_rng(2)
    features, target = torch.tensor(rng.normal(size=(7, 4))), torch.tensor(rng.normal(size=7))
    weights = torch.tensor(rng.dirichlet(np.ones(7)))
    theta = torch.tensor(rng.normal(size=4), requires_grad=True)
    (whole,) = torch.autograd.grad(loss(torch.tanh(features @ theta) - target, weights), theta)
    with torch.no_grad():
        error = torch.tanh(features @ theta) - target
        c = group_gradient_weights(error, weights if weighted else None, residual=residual)
    split = torch.zeros(4, dtype=torch.float64)
    for part in (slice(0, 1), slice(1, 5), slice(5, 7)):
        split += torch.autograd.grad((c[part] * torch.tanh(features[part] @ theta)).sum(), theta)[0]
    np.testing.assert_allclose(split.numpy(), whole.numpy(), atol=1e-13)


ETA, TAU = 0.7, 0.3
ROWS = {
    "rebel": rp.rebel(ETA),
    "optimistic_rebel": rp.optimistic_rebel(ETA),
    "magnetic_rebel": rp.magnetic_rebel(ETA, TAU),
    "proximal_rebel": rp.proximal_rebel(ETA, TAU),
    "inpo": rp.inpo(ETA, TAU),
    "nash_md": rp.nash_md(ETA, TAU),
    "egpo": rp.egpo(ETA, TAU),
    "online_ipo": rp.online_ipo(TAU),
}


def table_problem(seed, n=6):
    rng = np.random.default_rng(seed)
    upper = np.triu(rng.uniform(-1, 1, (n, n)), 1)
    logs = {name: np.log(rng.dirichlet(np.ones(n))) for name in ("current", "previous", "magnet", "lookahead")}
    return upper - upper.T, logs, rng.dirichlet(np.ones(n))


def loss_gradient(log_next, log_current, target, loss):
    """Gradient of a loss at a softmax policy, through log_softmax."""
    theta = torch.tensor(log_next, requires_grad=True)
    ratio = torch.log_softmax(theta, -1) - torch.tensor(log_current)
    return torch.autograd.grad(loss(ratio - torch.tensor(target)), theta)[0].abs().max().item()


@pytest.mark.parametrize("name", ROWS)
def test_next_policy_minimises_the_regression(name):
    """REBEL's loss has gradient 0 at the solver's next policy, for every row, stage and weighting of pairs."""
    payoffs, logs, weights = table_problem(4)
    for stage in ROWS[name].stages:
        target = regression_target(stage, logs["current"], logs, payoffs).log_ratio
        log_next = logs["current"] + target
        for loss in (pairwise_loss, lambda e: weighted_pairwise_loss(e, torch.tensor(weights))):
            assert loss_gradient(log_next, logs["current"], target, loss) <= 1e-12
            # And only there: standing still has a slope.
            assert loss_gradient(logs["current"], logs["current"], target, loss) > 1e-3


@pytest.mark.parametrize("eta", [0.1, 1.0, 5.0])
def test_sppo_next_policy_minimises_the_pointwise_regression(eta):
    """E_pi (log-ratio - target)^2 over softmax policies: the closed form by Wright's omega is stationary."""
    payoffs, logs, _ = table_problem(5)
    policy = torch.tensor(np.exp(logs["current"]))
    target = regression_target(rp.sppo(eta).stages[0], logs["current"], logs, payoffs).log_ratio
    log_next = fit_pointwise(logs["current"], target)
    assert np.exp(log_next).sum() == pytest.approx(1.0, abs=1e-14)
    assert loss_gradient(log_next, logs["current"], target, lambda e: pointwise_loss(e, policy)) <= 1e-12
    rebel = logs["current"] + target
    assert loss_gradient(rebel, logs["current"], target, lambda e: pointwise_loss(e, policy)) > 1e-6


def test_the_two_loss_conventions_differ_by_the_square_of_the_step():
    """(log-ratio / eta - payoff)^2 of the paper, times eta^2, is ours in nats; the minimiser is the same."""
    rng = np.random.default_rng(6)
    log_ratio, payoff = rng.normal(size=5), rng.normal(size=5)
    theirs = pairwise_loss(log_ratio / ETA - payoff)
    assert pairwise_loss(log_ratio - ETA * payoff) == pytest.approx(ETA**2 * theirs, rel=1e-13)


def test_a_single_response_cannot_be_paired():
    """K = 1 has no pair; the message says what is needed."""
    with pytest.raises(ValueError, match="needs K >= 2 responses to a prompt, got 1"):
        pairwise_loss(np.zeros((3, 1)))
