"""Sampled games: bounds that hold as often as they say, policies that win, and what breaks the bounds."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rebel_pref as rp
from rebel_pref.sampled_certificate import SampledCertificate
from rebel_pref.solvers.sampled import (
    DuelTally,
    Estimate,
    Race,
    allocate,
    certify_by_duels,
    play_duels,
    solve_by_duels,
)

RPS = rp.games.rock_paper_scissors(1.0, 0.2, 0.5)


def random_game(seed, n, width=1.0):
    upper = np.triu(np.random.default_rng(seed).uniform(-width, width, (n, n)), 1)
    return rp.PreferenceGame.from_payoffs(upper - upper.T)


def nothing_known(n):
    return DuelTally(n).estimate()


def uniform_share(n):
    return (1.0 - np.eye(n)) / (n * (n - 1) / 2)


@settings(deadline=None, derandomize=True, max_examples=25)
@given(seed=st.integers(0, 10**6), n=st.integers(2, 8), duels=st.integers(1, 400))
def test_a_batch_is_counted_by_pair(seed, n, duels):
    """Counts and squares are symmetric, sums skew; all duels are there, none of an action against itself."""
    rng = np.random.default_rng(seed)
    oracle = rp.DuelOracle.from_function(lambda first, second: rng.choice([-1.0, 0.0, 0.5, 1.0], len(first)), n)
    batch = play_duels(oracle, uniform_share(n), duels, rng)
    np.testing.assert_array_equal(batch.counts, batch.counts.T)
    np.testing.assert_array_equal(batch.squares, batch.squares.T)
    np.testing.assert_array_equal(batch.sums, -batch.sums.T)
    assert batch.counts.sum() == 2 * duels == 2 * oracle.duels
    assert np.trace(batch.counts) == 0
    assert (np.abs(batch.sums) <= batch.counts).all() and (batch.squares <= batch.counts).all()
    tally = DuelTally(n)
    tally.add(batch)
    estimate = tally.estimate()
    assert (np.abs(estimate.payoff) < 1).all()
    np.testing.assert_array_equal(estimate.payoff, -estimate.payoff.T)


def test_going_first_cancels():
    """A judge who always favours the first of the pair sees only ties."""
    oracle = rp.DuelOracle.from_function(lambda first, second: np.ones(len(first)), 4)
    batch = play_duels(oracle, uniform_share(4), 40_000, np.random.default_rng(0))
    assert np.abs(batch.sums / np.maximum(batch.counts, 1)).max() < 0.05


@pytest.mark.parametrize(("width", "low", "high"), [(0.05, 50, 20_000), (1.0, 1.0, 3.0)])
def test_shrinkage_is_learned_from_the_duels(width, low, high):
    """Uniform payoffs on [-w, w] have mean square w^2 / 3: worth 3 / w^2 - 1 duels, of which the error bar keeps some.

    So 2 for w = 1, and much for near-ties, which 20 duels a pair cannot tell one by one.
    """
    oracle = rp.DuelOracle.from_game(random_game(0, 40, width), seed=1)
    tally = DuelTally(40)
    tally.add(play_duels(oracle, uniform_share(40), 20 * 780, np.random.default_rng(0)))
    assert low <= tally.estimate().prior <= high


@settings(deadline=None, derandomize=True, max_examples=20)
@given(seed=st.integers(0, 10**6), n=st.integers(3, 12))
def test_allocation_meets_its_radii(seed, n):
    """Every row gets its variance within 20 %, and rows that need nothing cost nothing."""
    rng = np.random.default_rng(seed)
    variance = rng.uniform(0.5, 1.0, (n, n))
    variance = np.triu(variance, 1) + np.triu(variance, 1).T
    estimate = Estimate(np.zeros((n, n)), variance, np.zeros((n, n)), 1.0)
    policy = rng.dirichlet(np.ones(n))
    radius, log_terms = rng.uniform(0.05, 0.2, n), np.full(n, 3.0)
    duels, multipliers = allocate(policy, radius, log_terms, estimate, np.full(n, 1e3), rounds=100)
    np.testing.assert_array_equal(duels, duels.T)
    got = np.divide(policy**2 * variance, duels, out=np.zeros((n, n)), where=duels > 0).sum(axis=1)
    assert (got <= 1.2 * radius**2 / 6.0).all()
    # One row alone has a closed form: N_j in proportion to p_j sqrt(v_j), in all (sum p_j sqrt(v_j))^2 / variance.
    alone, _ = allocate(policy, radius, np.where(np.arange(n) == 0, 3.0, 0.0), estimate, multipliers, rounds=100)
    assert alone[1:, 1:].sum() == 0.0
    fewest = (policy * np.sqrt(variance[0])).sum() ** 2 * 6.0 / radius[0] ** 2
    assert alone[0].sum() == pytest.approx(max(fewest, policy[1:].sum() * 6.0 / radius[0] / 0.45), rel=0.1)


def test_two_players_share_duels():
    """Rock, paper, scissors at 1/3 each: a duel serves both its rows, so three rows cost three halves of one."""
    estimate = Estimate(np.zeros((3, 3)), 1.0 - np.eye(3), np.zeros((3, 3)), 1.0)
    args = (np.full(3, 1 / 3), np.full(3, 0.05))
    every, _ = allocate(*args, np.full(3, 3.0), estimate, np.full(3, 1e3), rounds=100)
    one, _ = allocate(*args, np.array([3.0, 0, 0]), estimate, np.full(3, 1e3), rounds=100)
    assert every.sum() == pytest.approx(1.5 * one.sum(), rel=1e-3)


def test_wealth_does_not_grow_under_the_truth():
    """E exp(lambda (m - Y) - V) <= 1 for one draw: summed exactly over pairs and outcomes, for any stake and guess."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        chance, ratio_share = rng.uniform(0.01, 0.99, 4), rng.dirichlet(np.ones(5))
        policy, guess = rng.dirichlet(np.ones(4)), rng.uniform(-0.95, 0.95, 4)
        payoff = 2.0 * chance - 1.0
        # Row 0 meets j = 1..4 with probability share[j], and sits out otherwise.
        ratio = policy / ratio_share[:4]
        stake = rng.uniform(0.05, 0.95) / (ratio * (1.0 - guess)).max()
        mean, expected = policy @ payoff, 0.0
        for j in range(4):
            for outcome, probability in ((1.0, chance[j]), (-1.0, 1.0 - chance[j])):
                estimate = policy @ guess + ratio[j] * (outcome - guess[j])
                kappa = stake * ratio[j] * (1.0 - guess[j])
                variation = (-np.log1p(-kappa) - kappa) * ((outcome - guess[j]) / (1.0 - guess[j])) ** 2
                expected += ratio_share[j] * probability * np.exp(stake * (mean - estimate) - variation)
        expected += ratio_share[4] * np.exp(stake * (mean - policy @ guess))
        assert expected <= 1.0 + 1e-12


def test_race_records_what_the_docstring_says():
    """One duel by hand: weight lambda, and upper = (lambda Y + psi xi^2 + log(1/(.95 delta))) / lambda."""
    race = Race(np.array([0.0, 1.0]), 0.05, 0.05)
    estimate, share = nothing_known(2), uniform_share(2)
    oracle = rp.DuelOracle.from_function(lambda first, second: np.where(first == 0, -1.0, 1.0), 2)
    batch = play_duels(oracle, share, 200, np.random.default_rng(0))
    stakes = np.array([0.5, 0.0])
    race.record(batch, share, stakes, estimate)
    psi = -np.log1p(-0.5) - 0.5
    log_term = np.log(1 / (0.95 * 0.05))
    assert race.upper[0] == pytest.approx((-0.5 * 200 + 200 * psi + log_term) / 100)
    assert race.upper[1] == 1.0  # nothing staked, nothing known
    assert list(race.open) == [False, True]
    race.aim(-0.9)
    assert race.open.all()


def misses(runs, duels, goal, delta, make):
    """How often the truth lies above the largest upper end; `make(seed)` gives game, policy, batch for the race."""
    missed = 0
    for seed in range(runs):
        game, policy, batch, share = make(seed, duels)
        race = Race(policy, goal, delta)
        estimate = nothing_known(len(game))
        race.record(batch, share, race.stakes(share, estimate), estimate)
        missed += rp.exploitability(game, policy) > race.upper.max()
    return missed / runs


def test_selection_on_the_same_duels_breaks_any_bound():
    """A policy chosen from a batch looks good on that batch: 90 % bounds on its worst row fail. Fresh duels mend it.

    The bound of that one row is what the largest upper end rests on.
    """
    n, runs, share = 60, 30, uniform_share(60)
    failed = {"reused": 0, "fresh": 0}
    for seed in range(runs):
        game = random_game(seed, n)
        oracle, rng = rp.DuelOracle.from_game(game, seed=seed), np.random.default_rng(seed + 10**6)
        reused, fresh = (play_duels(oracle, share, 40 * 1770, rng) for _ in range(2))
        policy = rp.solve(rp.PreferenceGame.from_payoffs(reused.sums / np.maximum(reused.counts, 1))).policy
        worst = int((game.payoff @ policy).argmax())
        for name, batch in (("reused", reused), ("fresh", fresh)):
            counts = np.maximum(batch.counts, 1)
            means = batch.sums / counts
            error = np.sqrt((policy**2 * (1 - means**2) / counts)[worst].sum())
            failed[name] += rp.exploitability(game, policy) > means[worst] @ policy + 1.28 * error
    assert failed["reused"] > 0.4 * runs
    assert failed["fresh"] <= 0.2 * runs


def test_no_union_over_rows_is_needed():
    """Thirty rows tied for the worst, or one alone: the largest upper end fails at most as often as it says (.1)."""
    n = 30

    def make(payoff):
        game = rp.PreferenceGame.from_payoffs(payoff)

        def run(seed, duels):
            oracle, rng = rp.DuelOracle.from_game(game, seed=seed), np.random.default_rng(seed + 10**6)
            share = uniform_share(n)
            return game, np.eye(n)[0], play_duels(oracle, share, duels, rng), share

        return run

    tied, alone = np.zeros((n, n)), np.zeros((n, n))
    tied[1:, 0], tied[0, 1:] = 0.3, -0.3
    alone[1:, 0], alone[0, 1:] = -0.9, 0.9
    alone[1, 0], alone[0, 1] = 0.3, -0.3
    assert misses(150, 20_000, 0.3, 0.1, make(tied)) <= 0.1
    assert 0.0 < misses(400, 20_000, 0.3, 0.1, make(alone)) <= 0.1


@pytest.mark.parametrize("game", [RPS, random_game(1, 8), random_game(2, 12, 0.2)], ids=["rps", "random", "near-ties"])
def test_intervals_cover_and_solve(game):
    """Every run ends solved at .2, with the truth inside the interval at least as often as promised (.9)."""
    held = 0
    for seed in range(15):
        oracle = rp.DuelOracle.from_game(game, seed=seed)
        solution = solve_by_duels(oracle, tol=0.2, delta=0.1, seed=seed)
        certificate = solution.certificate
        assert solution.solved and certificate.upper <= 0.2
        assert 0.0 <= certificate.lower <= certificate.exploitability <= certificate.upper
        assert certificate.duels == oracle.duels
        held += certificate.verify(game)
    assert held >= 13


def test_fewer_duels_than_a_matrix_of_estimates_needs():
    """Bradley-Terry, 40 actions: 780 pairs known to .05 would take millions of duels; the race needs thousands."""
    strength = np.linspace(-2, 2, 40)
    game = rp.PreferenceGame.from_payoffs(np.tanh((strength[:, None] - strength) / 2))
    solution = solve_by_duels(rp.DuelOracle.from_game(game, seed=0), tol=0.1, seed=0)
    assert solution.solved
    assert rp.exploitability(game, solution.policy) <= 0.1
    assert solution.certificate.duels < 12_000


@pytest.mark.parametrize("allowed", [1, 30, 400, 3000])
def test_a_budget_is_kept_and_said(allowed):
    """max_duels is never passed; what is certified is honest, and the status says what it is."""
    oracle = rp.DuelOracle.from_game(RPS, seed=3)
    solution = solve_by_duels(oracle, tol=0.02, seed=1, max_duels=allowed)
    assert oracle.duels == solution.certificate.duels <= allowed
    assert not solution.solved
    assert f"{allowed} duels certify" in solution.status and "raise max_duels or tol" in solution.status
    assert solution.certificate.verify(RPS)
    assert (solution.certificate.upper < 0.3) == (allowed >= 400)


def test_same_seed_same_answer():
    """Duels and draws come from the two seeds alone."""
    first, second = (solve_by_duels(rp.DuelOracle.from_game(RPS, seed=5), tol=0.1, seed=7) for _ in range(2))
    np.testing.assert_array_equal(first.policy, second.policy)
    assert first.certificate == second.certificate
    assert first.settings["seed"] == 7


def test_one_door():
    """`rp.solve` takes an oracle; support and labels come out by name; progress is told duels and bound."""
    seen = []
    solution = rp.solve(
        rp.DuelOracle.from_game(RPS, seed=2), tol=0.2, seed=0, progress=lambda duels, upper: seen.append((duels, upper))
    )
    assert solution.solved
    assert set(solution.support) == {"rock", "paper", "scissors"}
    assert seen[-1][0] == solution.certificate.duels
    assert [duels for duels, _ in seen] == sorted(duels for duels, _ in seen)


def test_trivial_games():
    """One action needs no duel; certain outcomes need few."""
    single = solve_by_duels(rp.DuelOracle.from_function(lambda a, b: np.zeros(len(a)), 1), tol=0.1)
    assert single.solved and single.certificate.duels == 0
    sure = rp.DuelOracle.from_function(lambda a, b: np.sign(b - a).astype(float), 5)
    solution = solve_by_duels(sure, tol=0.05)
    assert solution.support == ("0",) and sure.duels < 1500
    ties = rp.DuelOracle.from_function(lambda a, b: np.zeros(len(a)), 5)
    assert solve_by_duels(ties, tol=0.05).solved


def test_certificate_of_a_given_policy():
    """Weighted RPS at (0, 0, 1): the best response gets .2. Bracketed with enough duels, trivial with one."""
    bad = certify_by_duels(rp.DuelOracle.from_game(RPS, seed=0), [0, 0, 1], tol=0.05, max_duels=4000)
    assert bad.duels == 4000
    assert 0.0 < bad.lower <= 0.2 <= bad.upper < 0.35
    assert bad.best_response == "rock"
    winner = rp.solve(RPS).policy
    good = certify_by_duels(rp.DuelOracle.from_game(RPS, seed=0), winner, tol=0.1, max_duels=10**5)
    assert good.upper_bound <= 0.1 and good.duels < 10**4 and good.verify(RPS)
    assert certify_by_duels(rp.DuelOracle.from_game(RPS, seed=0), winner, tol=0.1, max_duels=1).upper == 1.0


def test_certificate_says_what_it_knows():
    """Text, gap and win rate of a hand-made certificate; an interval that misses does not verify."""
    made = SampledCertificate(0.03, 0.0, 0.05, 0.05, 1234, "paper", np.array([0.2, 0.2, 0.6]))
    assert made.duality_gap == 0.06 and made.best_response_win_rate == 0.515 and made.upper_bound == 0.05
    assert str(made) == (
        "exploitability in [0, 0.05] at level 0.95, about 0.03, from 1234 duels; the best response is 'paper'"
    )
    assert not made.verify(RPS)  # the truth is .1
    assert not made.verify(random_game(0, 4))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"tol": 0.0}, "expected 0 < tol < 1, got 0.0"),
        ({"tol": 1e-9}, "would take some 1e\\+18 duels per action; raise it or give max_duels"),
        ({"tol": 0.1, "delta": 1.0}, "expected 0 < delta < 1, got 1.0"),
        ({"tol": 0.1, "max_duels": 0}, "max_duels must be at least 1, got 0"),
    ],
)
def test_bad_calls_are_refused(wrong, message):
    """Before the first duel."""
    oracle = rp.DuelOracle.from_game(RPS, seed=0)
    with pytest.raises(ValueError, match=message):
        solve_by_duels(oracle, **wrong)
    assert oracle.duels == 0


def test_benchmark_smoke(tmp_path, capsys, monkeypatch):
    """One easy game, few duels for Exp3: a table, CSV and JSON, and bars that are met."""
    from benchmarks import sampled_oracle

    monkeypatch.setattr(sampled_oracle, "MOST_EXP3", 2**18)
    assert sampled_oracle.main(["--quick", "--games", "Bradley", "--out", str(tmp_path)]) == 0
    assert "Bradley-Terry" in capsys.readouterr().out
    record = json.loads((tmp_path / "sampled_oracle.json").read_text())
    assert record["missed"] == [] and record["provenance"]["numpy"]
    assert {row["method"] for row in record["rows"]} == {"ours", "exp3", "uniform", "race"}


def test_hold_out_of_the_peers_by_hand():
    """Ties: half of the runs pass, for one action, where the bound of a fair coin's median is .525.

    Near enough ``(z_.95 / .05)^2`` duels, z = 1.645.
    """
    from benchmarks.sampled_oracle import hold_out

    tie = rp.PreferenceGame.from_payoffs([[0.0]])
    assert hold_out(tie, np.ones(1)) == pytest.approx((1.645 / 0.05) ** 2, rel=0.1)
    assert hold_out(RPS, np.array([0.0, 0.0, 1.0])) == np.inf
