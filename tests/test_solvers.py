"""Solvers: a bank of games with known winners, certificates, and the theorems about learning dynamics."""

import json
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rebel_pref as rp
from rebel_pref.proximal import regularized_equilibrium
from rebel_pref.solvers import linear_program, step
from rebel_pref.solvers.dynamics import DynamicsState, initial_state

CASES = sorted((Path(__file__).parent / "cases").glob("*.json"))
RPS = rp.games.rock_paper_scissors()
WEIGHTED = rp.games.rock_paper_scissors(1.0, 0.2, 0.5)


def random_game(seed, n):
    upper = np.triu(np.random.default_rng(seed).uniform(-1, 1, (n, n)), 1)
    return rp.PreferenceGame.from_payoffs(upper - upper.T)


def log_softmax(x):
    x = x - x.max()
    return x - np.log(np.exp(x).sum())


def kl(log_p, log_q):
    return float((np.exp(log_p) * (log_p - log_q)).sum())


def run(algorithm, game, state, rounds):
    states = [state]
    for _ in range(rounds):
        states.append(step(algorithm, game.payoff, states[-1]))
    return states


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_bank_of_known_winners(path):
    """Winners hold in exact rational arithmetic; `solve` finds one, and the proximal dynamics come to one too.

    Where a game has several, the file lists the ends of the segment of winners.
    """
    case = json.loads(path.read_text())
    table = [[Fraction(x) for x in row] for row in case["payoff"]]
    winners = [[Fraction(x) for x in winner] for winner in case["winners"]]
    for winner in winners:
        assert sum(winner) == 1
        assert min(winner) >= 0
        assert all(sum(a * p for a, p in zip(row, winner, strict=True)) <= 0 for row in table)
    game = rp.PreferenceGame.from_payoffs([[float(x) for x in row] for row in table], labels=case["labels"])
    solved = rp.solve(game)
    dynamics = rp.self_play(game, rp.proximal_rebel(20.0, 0.0), steps=200, seed=0)
    ends = np.array(winners, dtype=float)
    for solution in (solved, dynamics):
        assert solution.solved
        assert solution.certificate.exploitability <= 1e-9
        mix = np.linalg.lstsq(ends.T, solution.policy, rcond=None)[0]
        assert mix.min() >= -1e-7
        np.testing.assert_allclose(mix @ ends, solution.policy, atol=1e-8)


def test_certificates_by_hand():
    """Rock loses all to paper; (1/2, 1/2, 0) of weighted RPS: rock -1/2, paper 1/2, scissors (-.2 + .5) / 2 = .15."""
    found = rp.certify(RPS, [1, 0, 0])
    assert (found.exploitability, found.duality_gap, found.best_response) == (1.0, 2.0, "paper")
    assert found.best_response_win_rate == 1.0
    assert str(found) == "exploitability 1, duality gap 2; a best responder ('paper') wins 100.00 % against it"
    half = rp.certify(WEIGHTED, [0.5, 0.5, 0])
    assert half.exploitability == pytest.approx(0.5)
    assert half.best_response_win_rate == pytest.approx(0.75)
    assert rp.certify(WEIGHTED, [0, 0, 1]).exploitability == pytest.approx(0.2)
    assert rp.exploitability(RPS, np.full(3, 1 / 3)) == pytest.approx(0.0, abs=1e-16)


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ([0.5, 0.5], r"expected a policy of shape \(3,\), one probability an action, got \(2,\)"),
        ([0.5, 0.7, -0.2], r"a policy is a probability distribution, got -0.2 for 'scissors' \(action 2\)"),
        ([0.5, np.nan, 0.5], r"got nan for 'paper' \(action 1\)"),
        ([0.5, 0.5, 0.5], r"policy sums to 1.5, expected 1 \(tolerance 1e-6\); divide it by its sum"),
    ],
)
def test_certificates_of_no_policy(policy, message):
    """What is no distribution is refused rather than certified."""
    with pytest.raises(ValueError, match=message):
        rp.certify(RPS, policy)


@settings(deadline=None, derandomize=True, max_examples=30)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 9), log_scale=st.floats(-40, 40))
def test_labels_and_units_do_not_matter(seed, n, log_scale):
    """Relabelling permutes the winner (unique for generic payoffs); a change of unit leaves it as it is."""
    game = random_game(seed, n)
    winner = rp.solve(game).policy
    order = np.random.default_rng(seed).permutation(n)
    relabelled = rp.PreferenceGame.from_payoffs(game.payoff[np.ix_(order, order)], labels=[f"y{i}" for i in order])
    np.testing.assert_allclose(rp.solve(relabelled).policy, winner[order], atol=1e-7)
    rescaled = rp.solve(rp.PreferenceGame.from_payoffs(np.exp(log_scale) * game.payoff))
    assert rescaled.solved
    np.testing.assert_allclose(rescaled.policy, winner, atol=1e-7)


@pytest.mark.parametrize("n", [1, 4])
def test_the_zero_game_is_solved(n):
    """Every policy wins: the answer is uniform, and says "solved" because the certificate is 0."""
    solution = rp.solve(rp.PreferenceGame.from_payoffs(np.zeros((n, n))))
    np.testing.assert_array_equal(solution.policy, np.full(n, 1 / n))
    assert solution.solved
    assert solution.certificate.exploitability == 0.0
    assert rp.self_play(rp.PreferenceGame.from_payoffs(np.zeros((n, n))), rp.rebel(1.0), steps=2).solved


def test_solutions_say_what_ran_and_how_it_ended(monkeypatch):
    """Fields in label order; a failing LP is a status, never a silent uniform answer."""
    solution = rp.solve(WEIGHTED)
    assert solution.policy.dtype == np.float64
    assert solution.method == "pivoting"
    assert solution.steps > 0
    assert solution.support == ("scissors", "rock", "paper")
    assert solution.status == "solved"
    asked = {"method": "auto", "tol": 1e-9, "selection": "any", "exact": False, "seed": 0}
    assert dict(solution.settings) == asked
    assert solution.average_policy is None
    no_luck = SimpleNamespace(x=None, success=False, nit=3, message="no luck")
    monkeypatch.setattr("scipy.optimize.linprog", lambda *_, **__: no_luck)
    failed = rp.solve(WEIGHTED, method="linear_program")
    assert not failed.solved
    assert failed.status.startswith("fell short: HiGHS failed (no luck) and the policy is only uniform")
    assert failed.certificate.exploitability > 0.01


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rp.solve(RPS, method="magic"), "no method is called 'magic'; known methods: auto, linear_program"),
        (lambda: rp.solve(RPS, tol=0.0), "tol must be positive and finite, got 0.0"),
        (lambda: rp.self_play(RPS, rp.rebel(0.1), steps=0), "steps must be at least 1, got 0"),
        (lambda: rp.self_play(RPS, rp.rebel(0.1), steps=1, start=[1, 0, 0]), "full support: every probability > 0"),
        (lambda: rp.self_play(RPS, rp.rebel(0.1), steps=1, start=[1, 1, 1]), "policy sums to 3, expected 1"),
        (lambda: rp.self_play(RPS, rp.inpo(0.1, 0.1), steps=1, magnet=[0, 0, 1]), "a start and a magnet with full su"),
    ],
)
def test_bad_calls_are_refused(call, message):
    """At the door, with what was expected."""
    with pytest.raises(ValueError, match=message):
        call()


def test_self_play_returns_last_and_average():
    """pi_1 is the start, `policy` is pi_{T+1}, `average_policy` the mean of pi_1..pi_T, each with its certificate."""
    seen = []
    solution = rp.self_play(WEIGHTED, rp.rebel(0.3), steps=5, seed=3, record=lambda t, policy: seen.append((t, policy)))
    assert [t for t, _ in seen] == [1, 2, 3, 4, 5]
    np.testing.assert_array_equal(seen[-1][1], solution.policy)
    noise = np.random.default_rng(3).normal(size=3)
    start = np.exp(noise) / np.exp(noise).sum()
    np.testing.assert_allclose(solution.average_policy, np.mean([start, *(p for _, p in seen[:-1])], 0), atol=1e-15)
    assert solution.average_certificate == rp.certify(WEIGHTED, solution.average_policy)
    assert solution.certificate == rp.certify(WEIGHTED, solution.policy)
    assert not solution.solved
    assert "stopped after 5 rounds" in solution.status
    assert solution.settings["step_size"] == 0.3
    assert solution.settings["seed"] == 3
    assert solution.method == "rebel"


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("rounds", [50, 500])
def test_averages_keep_their_bounds(seed, rounds):
    """Hedge: sqrt(2 log n / T) at eta = sqrt(2 log n / T). Optimistic at eta = 1/2: (2 log n + 1/2) / T.  (T1, T3)"""
    n = 5 + 5 * seed
    game = random_game(seed, n)  # max|A| <= 1
    bound = np.sqrt(2 * np.log(n) / rounds)
    assert rp.self_play(game, rp.rebel(bound), steps=rounds).average_certificate.exploitability <= bound
    optimistic = rp.self_play(game, rp.optimistic_rebel(0.5), steps=rounds).average_certificate.exploitability
    assert optimistic <= (2 * np.log(n) + 0.5) / rounds


def test_last_iterate_of_hedge_spirals_out():
    """T2: KL(p*||pi_{t+1}) - KL(p*||pi_t) = log E_pi exp(eta A pi), exactly, in (0, eta^2 / 2]. The average is fine."""
    star, eta = np.full(3, -np.log(3)), 0.2
    states = run(rp.rebel(eta), RPS, initial_state([0.4, 0.3, 0.3]), 1000)
    for before, after in pairwise(states):
        policy = np.exp(before.current)
        grown = kl(star, after.current) - kl(star, before.current)
        assert grown == pytest.approx(np.log(policy @ np.exp(eta * RPS.payoff @ policy)), abs=1e-12)
        assert 0 < grown <= eta**2 / 2
    assert max(rp.exploitability(RPS, np.exp(s.current)) for s in states[-300:]) > 0.9
    assert rp.exploitability(RPS, np.mean([np.exp(s.current) for s in states[:-1]], 0)) < 0.05


def test_averaging_logits_of_hedge_is_not_the_average_policy():
    """After 3000 rounds the mean policy is nearly a winner, the normalised mean log-policy is not."""
    states = run(rp.rebel(0.1), WEIGHTED, initial_state([0.5, 0.3, 0.2]), 3000)
    logs = np.array([s.current for s in states])
    average, of_logits = np.exp(logs).mean(0), np.exp(log_softmax(logs.mean(0)))
    assert rp.exploitability(WEIGHTED, average) < 0.01
    assert rp.exploitability(WEIGHTED, of_logits) > 0.02


@pytest.mark.parametrize("tau", [0.1, 0.5])
def test_magnetic_rebel_contracts_below_its_step_limit(tau):
    """T4: KL(p||pi_{t+1}) <= KL(p||pi_t) / (1 + eta tau) every round, if eta <= tau / max|A|^2."""
    for seed in range(3):
        game = random_game(seed, 6)
        eta = tau / np.abs(game.payoff).max() ** 2
        magnet = log_softmax(np.linspace(0, 2, 6))
        star = np.log(regularized_equilibrium(magnet, game.payoff, tau).policy)
        start = initial_state(np.random.default_rng(seed).dirichlet(np.ones(6)), np.exp(magnet))
        gaps = np.array([kl(star, s.current) for s in run(rp.magnetic_rebel(eta, tau), game, start, 150)])
        watched = gaps[:-1] > 1e-8
        assert watched.sum() > 20
        assert (gaps[1:][watched] <= gaps[:-1][watched] / (1 + eta * tau) * (1 + 1e-9)).all()


@pytest.mark.parametrize(("share", "grows"), [(0.9, False), (1.1, True)])
def test_magnetic_rebel_diverges_above_its_local_limit(share, grows):
    """Rock-paper-scissors, mu^2 = 1/3: the factor of KL near p* is (1 + eta^2 mu^2) / (1 + eta tau)^2.

    That passes 1 at eta = 2 tau / (mu^2 - tau^2); the implicit step at the same eta contracts all the same.
    """
    tau, uniform = 0.1, np.full(3, -np.log(3))
    eta = share * 2 * tau / (1 / 3 - tau**2)
    start = DynamicsState(log_softmax(np.array([1e-4, 0, -1e-4])), uniform, None, 0)
    gaps = [np.square(s.current - uniform).sum() for s in run(rp.magnetic_rebel(eta, tau), RPS, start, 30)]
    factor = (1 + eta**2 / 3) / (1 + eta * tau) ** 2
    assert gaps[-1] / gaps[0] == pytest.approx(factor**30, rel=1e-3)
    assert (factor > 1) == grows
    implicit = run(rp.proximal_rebel(eta, tau), RPS, start, 30)[-1].current
    assert np.square(implicit - uniform).sum() < 0.1 * gaps[0]


@pytest.mark.parametrize("tau", [0.05, 0.3, 1.0])
def test_bias_that_a_fixed_magnet_leaves(tau):
    """T4b: exploitability of the regularised equilibrium = tau (max log p/m - KL(p||m)) <= tau log(1 / min m)."""
    for seed in range(5):
        game, magnet = random_game(seed, 7), log_softmax(np.random.default_rng(seed).normal(size=7))
        policy = regularized_equilibrium(magnet, game.payoff, tau).policy
        ratio = np.log(policy) - magnet
        bias = tau * (ratio.max() - policy @ ratio)
        assert rp.exploitability(game, policy) == pytest.approx(bias, abs=1e-9)  # solved to 1e-10 in the logits
        assert 0 < bias <= tau * -magnet.min()


@pytest.mark.parametrize(
    "algorithm",
    [
        rp.magnetic_rebel(0.3, 0.3, magnet=rp.EMAMagnet(0.05)),
        rp.magnetic_rebel(0.2, 0.2, magnet=rp.ResetMagnet(50)),
        rp.comal(rp.proximal_rebel(2.0, 0.3), every=10),
    ],
    ids=["ema", "reset", "comal"],
)
def test_a_moving_magnet_removes_the_bias(algorithm):
    """Last iterates of rows with an EMA or reset magnet reach the unregularised winner; a fixed magnet does not."""
    winner = rp.solve(WEIGHTED).policy
    moving = rp.self_play(WEIGHTED, algorithm, steps=1500, seed=1)
    assert moving.certificate.exploitability < 1e-4
    np.testing.assert_allclose(moving.policy, winner, atol=1e-4)
    fixed = rp.self_play(WEIGHTED, algorithm.with_magnet(rp.FixedMagnet()), steps=1500, seed=1)
    assert fixed.certificate.exploitability > 0.01


def test_magnet_rules_by_hand():
    """EMA: log m <- (1 - k) log m + k log pi, normalised; reset: m <- pi after every second round only."""
    start = initial_state([0.5, 0.3, 0.2], [0.2, 0.2, 0.6])
    ema = run(rp.inpo(0.3, 0.3, magnet=rp.EMAMagnet(0.25)), WEIGHTED, start, 1)[-1]
    np.testing.assert_allclose(ema.magnet, log_softmax(0.75 * start.magnet + 0.25 * ema.current), atol=1e-15)
    states = run(rp.inpo(0.3, 0.3, magnet=rp.ResetMagnet(2)), WEIGHTED, start, 4)
    np.testing.assert_array_equal(states[1].magnet, start.magnet)
    np.testing.assert_array_equal(states[2].magnet, states[2].current)
    np.testing.assert_array_equal(states[3].magnet, states[2].current)
    np.testing.assert_array_equal(states[4].magnet, states[4].current)


def test_linear_program_alone():
    """The referee returns policy, iterations and nothing to complain of."""
    answer = linear_program(RPS)
    np.testing.assert_allclose(answer.policy, np.full(3, 1 / 3), atol=1e-12)
    assert answer.steps > 0
    assert answer.message == ""
