"""Judging: only what is missing is asked, a missing answer stays missing, and nonsense is refused."""

import numpy as np
import pytest

from rebel_pref.selfplay.judging import RETRIES, judge_new
from rebel_pref.selfplay.pool import PromptPool


class Table:
    """An oracle on single letters that notes every pair it was asked for."""

    def __init__(self, seed=0):
        upper = np.triu(np.random.default_rng(seed).uniform(-1, 1, (26, 26)), 1)
        self.table = 0.5 + 0.5 * (upper - upper.T)
        self.asked = []

    def prefer(self, prompts, responses, opponents=None):
        assert list(prompts) == ["p"]
        rows, columns = ([ord(text) - ord("a") for text in texts[0]] for texts in (responses, opponents or responses))
        self.asked += [frozenset((i, j)) for i in rows for j in columns if i != j]
        return self.table[np.ix_(rows, columns)][None]


class Answers:
    """An oracle that says what it is told."""

    def __init__(self, preferences):
        self.preferences = np.asarray(preferences, dtype=np.float64)

    def prefer(self, prompts, responses, opponents=None):
        return self.preferences


def entered(pool, letters):
    return pool.add([(ord(letter),) for letter in letters], list(letters))


def test_only_missing_pairs_are_asked():
    """3 new ones: 3 pairs. 2 more: 2 x 3 against the old, 1 between them. Nothing new: nothing asked.

    The oracle never sees a pair of responses that were both judged before.
    """
    oracle, pool = Table(), PromptPool()
    assert judge_new(oracle, "p", pool, entered(pool, "aabca")) == (3, 0)
    first = set(oracle.asked)
    assert first == {frozenset(pair) for pair in ((0, 1), (0, 2), (1, 2))}
    oracle.asked.clear()
    assert judge_new(oracle, "p", pool, entered(pool, "dbe")) == (7, 0)
    assert len(set(oracle.asked)) == 7 and not first & set(oracle.asked)
    oracle.asked.clear()
    assert judge_new(oracle, "p", pool, entered(pool, "edcba")) == (0, 0)
    assert oracle.asked == []
    np.testing.assert_allclose(pool.payoffs, 2.0 * oracle.table[:5, :5] - 1.0, atol=1e-15)
    np.testing.assert_array_equal(pool.payoffs, -pool.payoffs.T)


def test_missing_judgements_stay_missing_and_are_counted():
    """a-b unanswered in both orders, a-c in one: two of the three pairs are missing, and neither becomes a tie."""
    oracle, pool = Table(), PromptPool()
    oracle.table[0, 1] = oracle.table[1, 0] = oracle.table[2, 0] = np.nan
    assert judge_new(oracle, "p", pool, entered(pool, "abc")) == (3, 2)
    assert np.isnan(pool.payoffs[[0, 1, 0, 2], [1, 0, 2, 0]]).all()
    assert pool.payoffs[1, 2] == -pool.payoffs[2, 1] == 2.0 * oracle.table[1, 2] - 1.0
    # The next time what is missing is asked again: all six pairs of a-d, and b-d does not come either.
    oracle.table[3, 1] = oracle.table[1, 3] = np.nan
    assert judge_new(oracle, "p", pool, entered(pool, "d")) == (6, 3)
    assert np.isnan(pool.payoffs[3, 1]) and pool.payoffs[3, 0] == 2.0 * oracle.table[3, 0] - 1.0


def test_missing_judgements_are_asked_for_again_but_not_for_ever():
    """A judge that is back answers at the next visit; one that never knows is asked 1 + RETRIES times."""
    oracle, pool = Table(), PromptPool()
    known = oracle.table[0, 1]
    oracle.table[0, 1] = oracle.table[1, 0] = np.nan
    for _ in range(1 + RETRIES):
        assert judge_new(oracle, "p", pool, entered(pool, "ab")) == (1, 1)
    assert judge_new(oracle, "p", pool, []) == (0, 0)
    pool.failures[:] = 1
    oracle.table[0, 1], oracle.table[1, 0] = known, 1.0 - known
    assert judge_new(oracle, "p", pool, []) == (1, 0)
    assert pool.payoffs[0, 1] == 2.0 * known - 1.0


def test_an_answer_about_a_response_and_itself_is_not_used():
    """The payoff of a response against itself is 0, whatever the oracle says."""
    pool = PromptPool()
    judge_new(Answers([[[0.9, 0.7], [0.3, np.nan]]]), "p", pool, entered(pool, "ab"))
    np.testing.assert_allclose(pool.payoffs, [[0.0, 0.4], [-0.4, 0.0]], atol=1e-15)


def test_contradictions():
    """P(a wins) = .8 and P(b wins) = .3 sum to 1.1."""
    pool = PromptPool()
    with pytest.raises(ValueError, match=r"prompt 'p': the oracle contradicts itself: .*'a'.*'b'.* = 1\.1,"):
        judge_new(Answers([[[0.5, 0.8], [0.3, 0.5]]]), "p", pool, entered(pool, "ab"))


@pytest.mark.parametrize("shape", [(2, 2), (1, 2, 1), (1, 3, 3), (2, 2, 2)])
def test_wrong_shapes(shape):
    pool = PromptPool()
    with pytest.raises(ValueError, match=r"prompt 'p': the oracle answered with shape .*, expected \(1, 2, 2\)"):
        judge_new(Answers(np.full(shape, 0.5)), "p", pool, entered(pool, "ab"))


@pytest.mark.parametrize("value", [-0.1, 1.1, np.inf, -np.inf])
def test_values_that_are_no_probability(value):
    """Payoffs in place of probabilities, most likely: -0.1 fits no win rate."""
    pool = PromptPool()
    with pytest.raises(ValueError, match=r"prompt 'p': the oracle answered .* expected probabilities \(not logits\)"):
        judge_new(Answers([[[0.5, value], [1.0 - value, 0.5]]]), "p", pool, entered(pool, "ab"))
