"""Learning curves: they are the self-play and the solvers that they measure, for every learner and average."""

import numpy as np
import pytest

import rebel_pref as rp
from rebel_pref.games import random_game
from rebel_pref.solvers import learning_curve, self_play
from rebel_pref.solvers.double_oracle import double_oracle
from rebel_pref.solvers.fictitious_play import best_responses, fictitious_play, smooth_responses
from rebel_pref.solvers.linear_program import linear_program
from rebel_pref.solvers.regret_matching import regret_matching
from rebel_pref.theory.games import leaning_start, weighted_rps

GAME = random_game(7, seed=3)
START = leaning_start(7)
ROWS = [
    rp.rebel(0.3),
    rp.optimistic_rebel(0.5),
    rp.magnetic_rebel(0.2, 0.2, magnet=rp.EMAMagnet(0.05)),
    rp.proximal_rebel(2.0, 0.1),
    rp.egpo(0.5, 0.1),
    rp.annealed(rp.inpo, step_size=0.5, regularization=0.2, after=10.0),
]
PLAYERS = [
    rp.RegretMatching("plain"),
    rp.RegretMatching("plus"),
    rp.RegretMatching(),
    rp.FictitiousPlay(),
    rp.FictitiousPlay(0.2),
    rp.DoubleOracle(),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
@pytest.mark.parametrize("averaging", ["uniform", "linear", "last"])
def test_a_row_is_self_play(row, averaging):
    """Last and average policies after T rounds are those of `self_play`, and so are their exploitabilities."""
    curve = learning_curve(GAME, row, steps=40, at=[40], start=START, averaging=averaging)
    solution = self_play(GAME, row, steps=40, start=START, averaging=averaging)
    np.testing.assert_allclose(curve.last_policy, solution.policy, atol=1e-14)
    np.testing.assert_allclose(curve.average_policy, solution.average_policy, atol=1e-14)
    assert curve.last[-1] == pytest.approx(solution.certificate.exploitability, abs=1e-13)
    assert curve.average[-1] == pytest.approx(solution.average_certificate.exploitability, abs=1e-13)


def test_noise_and_random_starts_are_those_of_self_play():
    """A seed draws the same start and the same opponents; another seed others."""
    row, feedback = rp.magnetic_rebel(0.2, 0.2), rp.SampledOpponents(4)
    curve = learning_curve(GAME, row, steps=30, seed=5, feedback=feedback)
    solution = self_play(GAME, row, steps=30, seed=5, feedback=feedback)
    np.testing.assert_allclose(curve.last_policy, solution.policy, atol=1e-13)
    other = learning_curve(GAME, row, steps=30, seed=6, feedback=feedback)
    assert np.abs(other.last_policy - curve.last_policy).max() > 1e-3


@pytest.mark.parametrize("variant", ["plain", "plus", "predictive_plus"])
@pytest.mark.parametrize("averaging", ["uniform", "linear", "last"])
def test_regret_matching_is_the_solver(variant, averaging):
    """The same policies: the average after T rounds is the solver's answer after T steps."""
    curve = learning_curve(GAME, rp.RegretMatching(variant), steps=60, start=START, averaging=averaging)
    answer = regret_matching(GAME, variant=variant, averaging=averaging, tol=1e-15, max_steps=60, start=START)
    np.testing.assert_allclose(curve.average_policy, answer.policy, atol=1e-14)


def test_fictitious_play_is_the_solver():
    """Frequencies after T plays; the last iterate is one action."""
    curve = learning_curve(GAME, rp.FictitiousPlay(), steps=200, start=START)
    answer = fictitious_play(GAME, tol=1e-15, max_steps=200, start=START)
    np.testing.assert_allclose(curve.average_policy, answer.policy, atol=1e-14)
    assert sorted(curve.last_policy) == [0] * 6 + [1]


def test_overwritten_payoffs_are_what_is_responded_to():
    """The totals of `best_responses` are its state: whoever corrects their drift is heard a play later."""
    plays = best_responses(GAME, START)
    action, response, totals = next(plays)
    np.testing.assert_array_equal(totals, GAME.payoff[:, action])
    totals[:] = -100.0 * np.eye(7)[response]
    assert next(plays)[0] == response
    assert next(plays)[0] != response


def test_smooth_fictitious_play_by_its_definition():
    """pi_1 = softmax(A start / tau), then pi_t = softmax(A mean(pi_1..pi_(t-1)) / tau)."""
    tau, policies, mean = 0.3, [], START
    for _ in range(6):
        weights = np.exp(GAME.payoff @ mean / tau)
        policies.append(weights / weights.sum())
        mean = np.mean(policies, axis=0)
    curve = learning_curve(GAME, rp.FictitiousPlay(tau), steps=6, start=START)
    np.testing.assert_allclose(curve.last_policy, policies[-1], atol=1e-14)
    np.testing.assert_allclose(curve.average_policy, mean, atol=1e-14)
    with pytest.raises(ValueError, match="finite regularization > 0, got -1"):
        smooth_responses(GAME, START, -1.0)


def test_the_double_oracle_adds_one_action_a_round():
    """Supports lie in t actions after t rounds; it ends exact, where a linear program ends, within n rounds."""
    game = random_game(30, seed=1)
    curve = learning_curve(game, rp.DoubleOracle(), steps=1000, at=range(1, 31))
    assert curve.rounds.tolist() == list(range(1, len(curve.rounds) + 1))
    assert 3 <= curve.rounds[-1] <= 30
    assert curve.last[-1] <= 1e-14
    np.testing.assert_allclose(curve.last_policy, linear_program(game).policy, atol=1e-9)
    np.testing.assert_allclose(curve.last_policy, double_oracle(game, block=4).policy, atol=1e-9)
    assert (np.diff(curve.last) > 0).any()  # On the way it rises.
    for steps in range(1, 6):
        early = learning_curve(game, rp.DoubleOracle(), steps=steps)
        assert np.count_nonzero(early.last_policy) <= steps
        assert early.last[-1] == pytest.approx(curve.last[steps - 1], abs=1e-14)


def test_the_double_oracle_in_games_of_zeros_and_by_another_solver():
    """Nothing gains: one round. A solver of one's own is asked with exactly skew matrices that grow by one."""
    zero = rp.PreferenceGame.from_payoffs(np.zeros((3, 3)))
    curve = learning_curve(zero, rp.DoubleOracle(), steps=10)
    assert (curve.rounds.tolist(), curve.last[-1]) == ([1], 0.0)
    sizes = []

    def solved(payoffs):
        np.testing.assert_array_equal(payoffs, -payoffs.T)
        sizes.append(len(payoffs))
        return linear_program(rp.PreferenceGame.from_payoffs(payoffs)).policy

    learning_curve(GAME, rp.DoubleOracle(solved), steps=7, start=START)
    assert sizes == list(range(1, len(sizes) + 1))


@pytest.mark.parametrize("learner", [*ROWS, *PLAYERS], ids=lambda learner: learner.name)
def test_a_prefix_of_a_curve_is_the_curve(learner):
    """What is measured in round t does not depend on how far the run goes or on where else it is measured."""
    long = learning_curve(GAME, learner, steps=50, at=range(1, 51), start=START)
    short = learning_curve(GAME, learner, steps=min(20, int(long.rounds[-1])), start=START)
    at = short.rounds - 1
    np.testing.assert_array_equal(long.rounds[at], short.rounds)
    np.testing.assert_array_equal(long.evaluations[at], short.evaluations)
    np.testing.assert_allclose(long.last[at], short.last, atol=1e-15)
    np.testing.assert_allclose(long.average[at], short.average, atol=1e-15)
    assert long.last[-1] == rp.exploitability(GAME, long.last_policy)
    assert long.average[-1] == rp.exploitability(GAME, long.average_policy)
    assert str(long.settings["learner"])


@pytest.mark.parametrize("learner", [*ROWS, *PLAYERS], ids=lambda learner: learner.name)
def test_evaluations_are_payoffs_computed(learner):
    """One a round and two for extragradient: the policy of round t of fictitious play and of the double oracle takes
    the response to the start and t - 1 more.
    """
    curve = learning_curve(GAME, learner, steps=4, at=[1, 2, 3], start=START)
    np.testing.assert_array_equal(curve.evaluations, (2 if learner.name == "egpo" else 1) * curve.rounds)


def test_default_rounds():
    """About 60, evenly spaced in their logarithm, the first and the last among them."""
    rounds = learning_curve(weighted_rps(1, 0.5, 0.2), rp.RegretMatching(), steps=10_000, start=[0.2, 0.3, 0.5]).rounds
    assert (rounds[0], rounds[-1]) == (1, 10_000)
    assert 45 <= len(rounds) <= 60
    assert np.ptp(np.diff(np.log(rounds[rounds > 100]))) < 0.02
    assert learning_curve(GAME, rp.rebel(0.1), steps=1).rounds.tolist() == [1]
    assert learning_curve(GAME, rp.rebel(0.1), steps=9, at=[3]).rounds.tolist() == [3, 9]


def test_large_games_need_no_matrix():
    """Regret matching, fictitious play and the double oracle ask for products, columns and small tables only."""
    rng = np.random.default_rng(0)
    factored = rp.FactoredGame.from_factors(*rng.normal(size=(2, 400, 2)))
    dense = rp.PreferenceGame.from_payoffs(factored.columns(np.arange(400)))
    for learner in (rp.RegretMatching(), rp.FictitiousPlay(), rp.DoubleOracle()):
        curves = [learning_curve(game, learner, steps=8, seed=1) for game in (factored, dense)]
        np.testing.assert_allclose(curves[0].average_policy, curves[1].average_policy, atol=1e-9)
    with pytest.raises(ValueError, match="a row of weights needs a PreferenceGame, got a FactoredGame"):
        learning_curve(factored, rp.rebel(0.1), steps=5)


def test_a_learner_of_ones_own():
    """Anything with a name and a `play` is measured."""

    class Uniform:
        name = "uniform"

        def play(self, game, start):
            policy = np.full(len(game), 1 / len(game))
            for number in range(1, 4):
                yield policy, policy, number

    curve = learning_curve(GAME, Uniform(), steps=100)
    assert (curve.learner, curve.rounds[-1]) == ("uniform", 3)
    np.testing.assert_allclose(curve.last, rp.exploitability(GAME, np.full(7, 1 / 7)))


def test_bad_settings():
    """Refused with what was expected and what came."""
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        learning_curve(GAME, rp.rebel(0.1), steps=0)
    with pytest.raises(ValueError, match="known ways: uniform, linear, last"):
        learning_curve(GAME, rp.rebel(0.1), steps=5, averaging="quadratic")
    for at in ([0], [6], [1.5], [[1]]):
        with pytest.raises(ValueError, match="at must name rounds from 1 to steps = 5"):
            learning_curve(GAME, rp.rebel(0.1), steps=5, at=at)
    with pytest.raises(ValueError, match="regret_matching plays on exact payoffs"):
        learning_curve(GAME, rp.RegretMatching("plain"), steps=5, feedback=rp.SampledOpponents(2))
    with pytest.raises(ValueError, match="known variants: plain, plus, predictive_plus"):
        learning_curve(GAME, rp.RegretMatching("minus"), steps=5)
    with pytest.raises(ValueError, match="finite regularization > 0, got -1"):
        learning_curve(GAME, rp.FictitiousPlay(-1.0), steps=5)
    with pytest.raises(ValueError, match="full support"):
        learning_curve(GAME, rp.rebel(0.1), steps=5, start=np.eye(7)[0])
    with pytest.raises(ValueError, match="expected a game, got a ndarray"):
        learning_curve(GAME.payoff, rp.rebel(0.1), steps=5)
