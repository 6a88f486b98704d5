"""From judged pools to targets: the trainer's arithmetic is the NumPy dynamics' when the pool holds every action."""

import numpy as np
import pytest
import torch

from rebel_pref.algorithms import ALGORITHMS, make_algorithm
from rebel_pref.regression import group_gradient_weights, weighted_pairwise_loss
from rebel_pref.selfplay.config import PoolConfig
from rebel_pref.selfplay.pool import PromptPool
from rebel_pref.selfplay.targets import batch_pools, choose_regressed, stage_target
from rebel_pref.solvers.dynamics import DynamicsState, fit_pointwise, step

EXACT = PoolConfig(weights="exact")


def row_of(name):
    regularization = {"rebel": 0.0, "optimistic_rebel": 0.0, "sppo": 0.0, "online_ipo": 0.8}.get(name, 0.3)
    return make_algorithm(name, step_size=0.0 if name == "online_ipo" else 0.7, regularization=regularization)


def pool_of(payoffs, log_reference=None, draws=None):
    size = len(payoffs)
    pool = PromptPool()
    pool.add([(i,) for i in range(size)], [str(i) for i in range(size)])
    pool.payoffs = np.array(payoffs, dtype=np.float64)
    pool.log_reference = np.log(np.full(size, 1 / size)) if log_reference is None else np.asarray(log_reference)
    pool.log_seen = np.zeros(size)
    if draws is not None:
        pool.draws = np.asarray(draws)
    return pool


def problem(seed, size):
    rng = np.random.default_rng(seed)
    upper = np.triu(rng.uniform(-1, 1, (size, size)), 1)
    names = ("current", "magnet", "previous")
    return upper - upper.T, {name: np.log(rng.dirichlet(np.ones(size))) for name in names}


def centred(x):
    return x - x.mean(-1, keepdims=True)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_targets_are_the_numpy_dynamics(name):
    """Two prompts, 4 and 6 actions in one padded batch: current + target is the next policy, up to a constant.

    egpo: the first stage's result is handed to the second as the lookahead. sppo: the same target, solved
    pointwise. At the NumPy solver's next policy the regression of the group has no gradient left.
    """
    algorithm = row_of(name)
    problems = [problem(1, 4), problem(2, 6)]
    pools = [pool_of(payoffs) for payoffs, _ in problems]
    log_probs = {policy: [logs[policy] for _, logs in problems] for policy in ("current", "magnet", "previous")}
    batch = batch_pools(pools, log_probs, EXACT)
    assert batch.entries == (tuple(range(4)), tuple(range(6))) and batch.left_out == 0
    np.testing.assert_allclose(batch.weights.coverage, 1.0, atol=1e-12)
    extra = {}
    for stage in algorithm.stages:
        target = stage_target(stage, batch, extra).log_ratio
        extra["lookahead"] = torch.log_softmax(
            torch.where(batch.opponents, batch.log_probs["current"] + target, -torch.inf), dim=-1
        ).where(batch.opponents, torch.zeros(()).double())
    for b, (payoffs, logs) in enumerate(problems):
        state = DynamicsState(logs["current"], logs["magnet"], logs["previous"], 1)
        expected = step(algorithm, payoffs, state).current
        ours = target[b, : len(payoffs)].numpy()
        if algorithm.residual == "pointwise":
            np.testing.assert_allclose(fit_pointwise(logs["current"], ours), expected, atol=1e-10)
            continue
        np.testing.assert_allclose(centred(logs["current"] + ours), centred(expected), atol=1e-9)
        assert np.abs(centred(expected - logs["current"])).max() > 0.05
        error, uniform = expected - logs["current"] - ours, np.full(len(payoffs), 1 / len(payoffs))
        assert np.abs(group_gradient_weights(error, uniform)).max() < 1e-9
        assert weighted_pairwise_loss(-ours, uniform) > 1e-4  # Standing still has loss left.


@pytest.mark.parametrize("name", ["optimistic_rebel"])
def test_the_first_round_has_no_previous_policy(name):
    """Its payoff counts as 0, in the dynamics and in the trainer alike: the target is 2 eta A pi."""
    payoffs, logs = problem(3, 5)
    batch = batch_pools([pool_of(payoffs)], {"current": [logs["current"]]}, EXACT)
    target = stage_target(row_of(name).stages[0], batch, {}).log_ratio[0].numpy()
    np.testing.assert_allclose(target, 1.4 * payoffs @ np.exp(logs["current"]), atol=1e-12)


def test_group_weights_are_multiplicities():
    """Draws 3, 0, 1 of three responses: weights 3/4, 0, 1/4, and a response not drawn is no opponent.

    Payoffs against them: (A w) = (A[0, 2]/4, ..., 3 A[2, 0]/4), the mean over the K = 4 draws, self included.
    """
    payoffs, logs = problem(4, 3)
    config = PoolConfig(weights="group")
    batch = batch_pools([pool_of(payoffs, draws=[3, 0, 1])], {"current": [logs["current"]]}, config)
    np.testing.assert_allclose(batch.weights.weights[0], [0.75, 0.0, 0.25], atol=1e-15)
    assert batch.opponents[0].tolist() == [True, False, True]
    found = stage_target(row_of("rebel").stages[0], batch, {}).payoffs["current"][0]
    np.testing.assert_allclose(found[[0, 2]], [payoffs[0, 2] / 4, 3 * payoffs[2, 0] / 4], atol=1e-15)
    columns, weights = choose_regressed(batch, 0, config, np.array([3, 0, 1]), np.zeros(3), np.random.default_rng(0))
    assert columns == [0, 2]
    np.testing.assert_allclose(weights, [0.75, 0.25])


def test_fresh_opponents_are_the_second_half():
    """Opponents 0 and 1 drawn once each in the second half; regressed are the first half's draws."""
    payoffs, logs = problem(5, 3)
    config = PoolConfig(weights="fresh")
    batch = batch_pools([pool_of(payoffs)], {"current": [logs["current"]]}, config, second_half=[np.array([1, 1, 0])])
    found = stage_target(row_of("rebel").stages[0], batch, {}).payoffs["current"][0]
    np.testing.assert_allclose(found, payoffs[:, :2].mean(1), atol=1e-15)
    columns, weights = choose_regressed(batch, 0, config, np.array([0, 1, 1]), np.zeros(3), np.random.default_rng(0))
    assert columns == [1, 2] and weights.tolist() == [0.5, 0.5]


def test_horvitz_thompson_weights():
    """pi / P(seen), normalised: (.5/1, .3/.5, .2/.25) = (.5, .6, .8) / 1.9."""
    pool = pool_of(problem(6, 3)[0])
    pool.log_seen = np.log([1.0, 0.5, 0.25])
    batch = batch_pools([pool], {"current": [np.log([0.5, 0.3, 0.2])]}, PoolConfig(weights="horvitz_thompson"))
    np.testing.assert_allclose(batch.weights.weights[0], np.array([0.5, 0.6, 0.8]) / 1.9, atol=1e-12)


def test_the_mixture_base():
    """Half current, half reference, each normalised on the regressed responses.

    current (.6, .3, .1), reference (.2, .2, .6), all three regressed: (.4, .25, .35).
    """
    current, reference = np.log([0.6, 0.3, 0.1]), np.log([0.2, 0.2, 0.6])
    pool = pool_of(problem(7, 3)[0], reference, draws=[1, 0, 0])
    batch = batch_pools([pool], {"current": [current]}, EXACT)
    config = PoolConfig(regressed=3)
    columns, weights = choose_regressed(batch, 0, config, pool.draws, reference, np.random.default_rng(0))
    assert columns == [0, 1, 2]
    np.testing.assert_allclose(weights, [0.4, 0.25, 0.35], atol=1e-12)
    # Two of them: current (.6, .3)/.9 or (.6, .1)/.7, reference (.2, .2)/.4 or (.2, .6)/.8.
    expected = {1: [(2 / 3 + 1 / 2) / 2, (1 / 3 + 1 / 2) / 2], 2: [(6 / 7 + 1 / 4) / 2, (1 / 7 + 3 / 4) / 2]}
    for seed in range(4):
        rng = np.random.default_rng(seed)
        columns, weights = choose_regressed(batch, 0, PoolConfig(regressed=2), pool.draws, reference, rng)
        assert columns[0] == 0 and len(columns) == 2
        np.testing.assert_allclose(weights, expected[columns[1]], atol=1e-12)


def test_the_equilibrium_base():
    """A third each: current (.8, .1, .1), reference 1/3 each, and the equilibrium of the pool's game at tau.

    Response 2 beats both others by 1, so at tau = .1 the equilibrium is all but pure there: payoffs against it are
    (-1, -1, 0), and p is proportional to (e^-10, e^-10, 1).
    """
    payoffs = np.array([[0.0, 0.0, -1.0], [0.0, 0.0, -1.0], [1.0, 1.0, 0.0]])
    current, reference = np.log([0.8, 0.1, 0.1]), np.log(np.full(3, 1 / 3))
    pool = pool_of(payoffs, reference, draws=[1, 0, 0])
    batch = batch_pools([pool], {"current": [current]}, EXACT)
    config, rng = PoolConfig(regressed=3, base="equilibrium"), np.random.default_rng(0)
    columns, weights = choose_regressed(batch, 0, config, pool.draws, reference, rng, regularization=0.1)
    small = np.exp(-10) / (1 + 2 * np.exp(-10))
    expected = (np.array([0.8, 0.1, 0.1]) + 1 / 3 + np.array([small, small, 1 - 2 * small])) / 3
    assert columns == [0, 1, 2]
    np.testing.assert_allclose(weights, expected, atol=2e-3)
    mixed = choose_regressed(batch, 0, config, pool.draws, reference, rng)[1]
    np.testing.assert_allclose(mixed, (np.array([0.8, 0.1, 0.1]) + 1 / 3) / 2, atol=1e-12)


def test_fresh_responses_are_regressed_first():
    """Two of 20 drawn now, 5 regressed: both, and three others drawn evenly; uniform base: a fifth each."""
    payoffs, logs = problem(8, 20)
    draws = np.zeros(20, dtype=int)
    draws[[4, 17]] = 3, 1
    batch = batch_pools([pool_of(payoffs, draws=draws)], {"current": [logs["current"]]}, EXACT)
    seen = set()
    for seed in range(60):
        config = PoolConfig(regressed=5, base="uniform")
        columns, weights = choose_regressed(batch, 0, config, draws, np.zeros(20), np.random.default_rng(seed))
        assert {4, 17} < set(columns) and len(set(columns)) == 5 and columns == sorted(columns)
        assert weights.tolist() == [0.2] * 5
        seen |= set(columns)
    assert seen == set(range(20))


def test_responses_without_a_judgement_are_left_out():
    """Response 1 was never judged against 0: it goes (or 0 does), its weight is spread, and it is counted."""
    payoffs, logs = problem(9, 4)
    payoffs[0, 1] = payoffs[1, 0] = payoffs[1, 2] = payoffs[2, 1] = np.nan
    batch = batch_pools([pool_of(payoffs)], {"current": [logs["current"]]}, EXACT)
    assert batch.entries == ((0, 2, 3),) and batch.left_out == 1
    kept = np.exp(logs["current"])[[0, 2, 3]]
    np.testing.assert_allclose(batch.weights.weights[0], kept / kept.sum(), atol=1e-12)
    np.testing.assert_allclose(batch.weights.coverage[0], kept.sum(), atol=1e-12)
    target = stage_target(row_of("proximal_rebel").stages[0], batch, {"magnet": batch.log_probs["current"]})
    assert torch.isfinite(target.log_ratio).all()
