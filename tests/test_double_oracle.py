"""The double oracle, and the restricted games it is built on."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rebel_pref.certificates import certify, exploitability
from rebel_pref.games.factored import FactoredGame, MatvecGame
from rebel_pref.games.game import PreferenceGame
from rebel_pref.solvers.double_oracle import double_oracle
from rebel_pref.solvers.linear_program import linear_program


def random_factored(seed, n, discs, offset=0.3, score=0.5):
    rng = np.random.default_rng(seed)
    left, right = rng.normal(size=(2, n, discs)) + offset * rng.normal(size=(2, 1, discs))
    return FactoredGame.from_factors(left, right, score * rng.normal(size=n))


def smooth_factored(seed, n, waves):
    """Actions are points of the unit square, discs are waves: best responses lie densely around a few peaks."""
    rng = np.random.default_rng(seed)
    phases = 2 * np.pi * rng.random((n, 2)) @ rng.integers(-3, 4, (2, waves))
    shifts = 0.05 * rng.normal(size=(2, 1, waves))
    return FactoredGame.from_factors(np.cos(phases) + shifts[0], np.sin(phases) + shifts[1])


def dense_of(game):
    return PreferenceGame.from_payoffs(game.among(np.arange(len(game))))


@settings(deadline=None, derandomize=True, max_examples=30)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 12), discs=st.integers(1, 3))
def test_restricted_games(seed, n, discs):
    """`among` is the rows of `columns`, in all forms, in any order, with repeats; a restricted game is exactly skew."""
    factored, rng = random_factored(seed, n, discs), np.random.default_rng(seed)
    whole = factored.columns(np.arange(n))
    dense = PreferenceGame.from_payoffs(whole)
    for game in (dense, factored, MatvecGame.from_matvec(lambda p: dense.payoff @ p, n)):
        for sizes in ((3, 5), (5, 3)):
            rows, columns = (rng.integers(0, n, size) for size in sizes)
            np.testing.assert_allclose(game.among(rows, columns), whole[np.ix_(rows, columns)], atol=1e-12)
            np.testing.assert_allclose(game.among(rows), whole[np.ix_(rows, rows)], atol=1e-12)
            np.testing.assert_array_equal(game.among(rows), -game.among(rows).T)


@settings(deadline=None, derandomize=True, max_examples=25)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 60), discs=st.integers(1, 4), offset=st.floats(0, 1))
def test_agrees_with_the_linear_program(seed, n, discs, offset):
    """Factored and dense, to rounding; the winner is the referee's, up to ties of exploitability."""
    factored = random_factored(seed, n, discs, offset)
    dense = dense_of(factored)
    referee = linear_program(dense).policy
    for game in (factored, dense):
        answer = double_oracle(game)
        assert answer.message == ""
        found = certify(game, answer.policy)
        assert found.exploitability <= 1e-12 * dense.scale + found.rounding
        np.testing.assert_allclose(answer.policy, referee, atol=1e-6)


def test_exact_where_actions_are_many():
    """100 000 actions, 6 discs off centre and scores: a few rounds, at most 13 actions, zero to rounding."""
    game = random_factored(0, 100_000, 6)
    answer = double_oracle(game)
    certificate = certify(game, answer.policy)
    assert answer.message == ""
    assert answer.steps <= 15
    assert np.count_nonzero(answer.policy) <= 2 * 6 + 1
    assert certificate.exploitability <= 1e-15 * game.scale
    assert certificate.verify(game)


@pytest.mark.parametrize("seed", [0, 2, 5])
def test_blocks_are_spread_where_actions_lie_densely(seed):
    """Neighbours of the best response would fill a block (then it takes 30 to 40 rounds); pivoting spreads it."""
    game, sizes = smooth_factored(seed, 20_000, 12), []

    def counted(payoffs):
        sizes.append(len(payoffs))
        return linear_program(PreferenceGame.from_payoffs(payoffs)).policy

    answer = double_oracle(game, solve_restricted=counted, tol=1e-8)
    assert answer.message == ""
    assert len(sizes) == answer.steps <= 20
    assert sizes == sorted(set(sizes))  # grows, and never drops an action
    assert max(np.diff(sizes)) <= 2 * 12 + 1
    assert exploitability(game, answer.policy) <= 1e-8 * game.scale


@settings(deadline=None, derandomize=True, max_examples=20)
@given(seed=st.integers(0, 10**6), n=st.integers(2, 30), block=st.integers(1, 40))
def test_a_condorcet_winner_is_found_at_once(seed, n, block):
    """Its score is far above all others: it is the best response to uniform, and one round shows that it wins."""
    rng = np.random.default_rng(seed)
    scores = np.append(rng.normal(size=n - 1), 10.0)
    game = FactoredGame.from_factors(rng.normal(size=(n, 1)), rng.normal(size=(n, 1)) / 10, scores)
    answer = double_oracle(game, block=block)
    assert answer.steps == 1
    np.testing.assert_array_equal(answer.policy, np.arange(n) == n - 1)


def test_games_where_every_policy_wins():
    """One action, payoffs all 0, equal scores: solved in one round."""
    for n in (1, 5):
        equal = FactoredGame.from_factors(np.zeros((n, 1)), np.zeros((n, 1)), np.full(n, 0.1))
        zero = MatvecGame.from_matvec(lambda p: 0 * p, n)
        for game in (PreferenceGame.from_payoffs(np.zeros((n, n))), equal, zero):
            answer = double_oracle(game)
            assert (answer.steps, answer.message, answer.policy.sum()) == (1, "", 1)


def test_clones():
    """Every action five times: the winner is the original's, with shares summed over clones."""
    game = random_factored(4, 30, 2)
    five = np.tile(np.arange(30), 5)
    cloned = FactoredGame.from_factors(game.left[five], game.right[five], game.scores[five])
    answer = double_oracle(cloned)
    assert answer.message == ""
    assert exploitability(cloned, answer.policy) <= 1e-12 * cloned.scale
    shares = answer.policy.reshape(5, 30).sum(axis=0)
    np.testing.assert_allclose(shares, linear_program(dense_of(game)).policy, atol=1e-7)


def test_a_start_saves_rounds():
    """From the winner it is one round; from the winner's support mixed evenly, too."""
    game = random_factored(5, 2000, 4)
    winner = double_oracle(game).policy
    assert double_oracle(game).steps > 1
    even = (winner > 0) / np.count_nonzero(winner)
    for start in (winner, even):
        again = double_oracle(game, start=start)
        assert again.steps == 1
        np.testing.assert_allclose(again.policy, winner, atol=1e-9)


def test_progress_never_rises():
    """One report a round, of the best policy yet, which is what comes back when the rounds run out."""
    game, seen = smooth_factored(1, 5000, 6), []
    answer = double_oracle(game, max_steps=3, progress=lambda step, reached: seen.append((step, reached)))
    assert [step for step, _ in seen] == [1, 2, 3]
    reached = [value for _, value in seen]
    assert reached == sorted(reached, reverse=True)
    assert exploitability(game, answer.policy) == pytest.approx(reached[-1])
    assert "stopped after 3 rounds" in answer.message
    assert "raise max_steps" in answer.message


def test_a_restricted_solver_that_fails_is_found_out():
    """It answers uniform whatever it is asked: the message says whose fault it is, and the policy is the best seen."""
    game = random_factored(6, 200, 2)
    answer = double_oracle(game, solve_restricted=lambda payoffs: np.full(len(payoffs), 1 / len(payoffs)))
    assert "the restricted game was not solved to this tolerance" in answer.message
    assert f"exploitability {exploitability(game, answer.policy):.3g} > " in answer.message


def test_bad_settings():
    """Refused with what was expected and what came."""
    game = random_factored(0, 5, 1)
    with pytest.raises(ValueError, match="block must hold at least 1 action, got 0"):
        double_oracle(game, block=0)
    with pytest.raises(ValueError, match="tol must be positive, got -1"):
        double_oracle(game, tol=-1)
    with pytest.raises(ValueError, match="max_steps must be at least 1, got 0"):
        double_oracle(game, max_steps=0)
    with pytest.raises(ValueError, match="policy sums to"):
        double_oracle(game, start=np.ones(5))
