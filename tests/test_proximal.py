"""The implicit step p = softmax(b + s A p): solved, certified, unique, and with the contraction it is sold for."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import rebel_pref as rp
from rebel_pref.proximal import proximal_step, regularized_equilibrium
from rebel_pref.solvers import step
from rebel_pref.solvers.dynamics import DynamicsState

RPS = np.array([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]])


def random_skew(rng, *shape):
    upper = np.triu(rng.uniform(-1, 1, shape), 1)
    return upper - np.swapaxes(upper, -1, -2)


def log_softmax(x):
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def kl(log_p, log_q):
    return float((np.exp(log_p) * (log_p - log_q)).sum())


def extragradient(base, payoffs, s, start, rounds):
    """The independent referee: mirror-prox on the same game regularised by 1/s, step 1 / max|A|.

    Contracts by 1 / (1 + h / s) in KL from any start, so about s log(1/error) rounds.
    """
    h = 1.0 / np.abs(payoffs).max()
    logits, pull = start, h / s
    for _ in range(rounds):
        half = (logits + pull * base + h * payoffs @ np.exp(log_softmax(logits))) / (1 + pull)
        logits = (logits + pull * base + h * payoffs @ np.exp(log_softmax(half))) / (1 + pull)
    return np.exp(log_softmax(logits))


@settings(deadline=None, derandomize=True, max_examples=60)
@given(seed=st.integers(0, 10**6), k=st.integers(2, 12), log_s=st.floats(-3, 4.6))
def test_solves_the_equation_and_certifies_it(seed, k, log_s):
    """The residual in nats and the reported KL are at rounding level for any game and s up to 100."""
    rng = np.random.default_rng(seed)
    base, payoffs, s = rng.normal(size=k), random_skew(rng, k, k), float(np.exp(log_s))
    solved = proximal_step(base, payoffs, s)
    wanted = log_softmax(base + s * payoffs @ solved.policy)
    assert solved.converged
    assert solved.kl_certificate <= 1e-20
    np.testing.assert_allclose(solved.policy, np.exp(wanted), rtol=0, atol=1e-9)
    assert solved.policy.sum() == pytest.approx(1.0, abs=1e-14)


@pytest.mark.parametrize("s", [0.1, 1.0, 10.0, 100.0])
def test_one_solution_by_two_methods_from_several_starts(s):
    """Newton and extragradient, the second from three random starts, agree for s in .1 .. 100."""
    rng = np.random.default_rng(7)
    base, payoffs = rng.normal(size=6), random_skew(rng, 6, 6)
    newton = proximal_step(base, payoffs, s).policy
    for _ in range(3):
        referee = extragradient(base, payoffs, s, rng.normal(scale=3, size=6), rounds=60 + int(40 * s))
        np.testing.assert_allclose(referee, newton, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("s", "most"), [(0.1, 3), (1.0, 5), (5.0, 9), (20.0, 15)])
def test_newton_is_quadratic(s, most):
    """A few iterations to 1e-10 in the logits, at 32 actions too; a wrong Jacobian converges, but linearly."""
    rng = np.random.default_rng(3)
    solved = proximal_step(rng.normal(size=(20, 32)), random_skew(rng, 20, 32, 32), s)
    assert solved.converged
    assert solved.iterations <= most


@pytest.mark.parametrize("s", [0.5, 5.0, 50.0])
def test_two_solutions_would_have_to_be_equal(s):
    """The reason: J = I - s (A diag p - (A p) p^T) is nowhere singular on centred logits, det J >= 1."""
    rng = np.random.default_rng(8)
    for _ in range(50):
        payoffs, p = random_skew(rng, 5, 5), rng.dirichlet(np.ones(5))
        jacobian = np.eye(5) - s * (payoffs * p - np.outer(payoffs @ p, p))
        assert np.linalg.det(jacobian) >= 1.0 - 1e-9


@pytest.mark.parametrize("eta", [0.1, 1.0, 10.0, 100.0])
def test_exact_contraction_identity(eta):
    """(1 + eta tau) KL(p*||p) = KL(p*||w) - KL(p||w) - eta tau KL(p||p*), without a bound on eta."""
    tau = 0.3
    for seed in range(10):
        rng = np.random.default_rng(seed)
        payoffs, magnet, current = random_skew(rng, 5, 5), log_softmax(rng.normal(size=5)), rng.normal(size=5)
        current = log_softmax(current)
        star = np.log(regularized_equilibrium(magnet, payoffs, tau).policy)
        after = step(rp.proximal_rebel(eta, tau), payoffs, DynamicsState(current, magnet, None, 0)).current
        left = (1 + eta * tau) * kl(star, after)
        right = kl(star, current) - kl(after, current) - eta * tau * kl(after, star)
        assert left == pytest.approx(right, abs=1e-10)
        assert kl(star, after) <= kl(star, current) / (1 + eta * tau) + 1e-12 < kl(star, current)


@pytest.mark.parametrize("s", [0.3, 3.0, 30.0])
def test_certificate_is_the_kl_and_bounds_the_distance(s):
    """Stopped early, the certificate is KL(p || softmax(b + s A p)) and is never below KL(p || p*)."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        base, payoffs = rng.normal(scale=2, size=6), random_skew(rng, 6, 6)
        star = np.log(proximal_step(base, payoffs, s).policy)
        for iterations in (0, 1, 2):
            early = proximal_step(base, payoffs, s, max_iterations=iterations)
            assert early.iterations <= iterations
            log_p = np.log(early.policy)
            by_hand = kl(log_p, log_softmax(base + s * payoffs @ early.policy))
            assert early.kl_certificate == pytest.approx(by_hand, abs=1e-12, rel=1e-9)
            assert kl(log_p, star) <= early.kl_certificate + 1e-13
            if iterations == 0:
                assert not early.converged
                assert early.kl_certificate > 1e-6


def test_batches_masks_and_torch_agree_with_one_game_at_a_time():
    """A batch with padding (nonsense in it) = its games alone = the same on torch, in policy and certificate."""
    rng = np.random.default_rng(9)
    base, payoffs = rng.normal(size=(2, 3, 7)), random_skew(rng, 2, 3, 7, 7)
    sizes = np.array([[7, 5, 2], [3, 7, 1]])
    mask = np.arange(7) < sizes[..., None]
    base = np.where(mask, base, 1e6)
    batch = proximal_step(base, payoffs, 20.0, mask=mask)
    twin = proximal_step(torch.tensor(base), torch.tensor(payoffs), 20.0, mask=torch.tensor(mask))
    assert batch.converged
    assert twin.converged
    assert batch.kl_certificate.shape == (2, 3)
    np.testing.assert_allclose(twin.policy.numpy(), batch.policy, rtol=0, atol=1e-12)
    assert not batch.policy[~mask].any()
    for index, size in np.ndenumerate(sizes):
        alone = proximal_step(base[index][:size], payoffs[index][:size, :size], 20.0).policy
        np.testing.assert_allclose(batch.policy[index][:size], alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("convert", [np.float32, lambda x: torch.tensor(x, dtype=torch.float32)])
def test_single_precision_in_single_precision_out(convert):
    """float32 log-weights are solved in float64 and come back as float32, right to its precision."""
    rng = np.random.default_rng(10)
    base, payoffs = rng.normal(size=6), random_skew(rng, 6, 6)
    exact = proximal_step(base, payoffs, 10.0).policy
    single = proximal_step(convert(base), convert(payoffs), 10.0)
    assert str(single.policy.dtype).endswith("float32")
    assert single.converged
    np.testing.assert_allclose(np.asarray(single.policy), exact, atol=1e-5)


@pytest.mark.parametrize("s", [0.0, 1e-12])
def test_no_step_no_movement(s):
    """At s = 0 the answer is the softmax of the base; the certificate says 0."""
    solved = proximal_step(np.log([0.5, 0.3, 0.2]), RPS, s)
    np.testing.assert_allclose(solved.policy, [0.5, 0.3, 0.2], atol=1e-11)
    assert solved.kl_certificate <= 1e-20


def test_two_actions_by_hand():
    """A = [[0, a], [-a, 0]]: payoffs differ by a whatever p is, so the log-odds are b + s a."""
    policy = proximal_step(np.array([0.4, 0.0]), np.array([[0, 0.7], [-0.7, 0]]), 3.0).policy
    assert np.log(policy[0] / policy[1]) == pytest.approx(0.4 + 3.0 * 0.7, abs=1e-12)


@pytest.mark.parametrize("seed", [0, 2])
def test_last_iterate_reaches_a_winner_off_the_interior(seed):
    """tau = 0, full support: the last iterate converges to the LP's winner, though that leaves actions out."""
    rng = np.random.default_rng(seed)
    game = rp.PreferenceGame.from_payoffs(random_skew(rng, 6, 6))
    winner = rp.solve(game)
    assert len(winner.support) < 6
    last = rp.self_play(game, rp.proximal_rebel(50.0, 0.0), steps=300, seed=seed, tol=1e-7)
    np.testing.assert_allclose(last.policy, winner.policy, atol=1e-6)
    assert last.solved
    assert last.average_certificate.exploitability > last.certificate.exploitability


def test_a_pure_policy_is_a_fixed_point_without_regularization():
    """So "it does not move" is no test of a winner: rock stays rock (1e-300 elsewhere) and loses every game."""
    rock = np.array([0.0, -690.0, -690.0])
    solved = proximal_step(rock, RPS, 5.0)
    assert solved.converged
    np.testing.assert_allclose(solved.policy, [1, 0, 0], atol=1e-200)
    assert rp.exploitability(rp.games.rock_paper_scissors(), solved.policy) == 1.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: proximal_step(np.zeros(3), RPS, -1.0), "the implicit step needs step >= 0, got -1.0"),
        (lambda: proximal_step(np.zeros(3), RPS, float("nan")), "the implicit step needs step >= 0, got nan"),
        (lambda: regularized_equilibrium(np.zeros(3), RPS, 0.0), "needs regularization > 0, got 0.0"),
    ],
)
def test_bad_steps_are_refused(call, message):
    """A step below zero would be another game; NaN would be returned as if solved."""
    with pytest.raises(ValueError, match=message):
        call()
