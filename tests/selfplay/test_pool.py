"""The pool: distinct responses, multiplicities, and the probability of ever having been drawn."""

import numpy as np
import pytest

from rebel_pref.selfplay.pool import PromptPool

A, B, C = (3, 2), (4, 2), (3, 3, 2)


def filled():
    """A, B, A in the first round; C, B in the second."""
    pool = PromptPool()
    assert pool.add([A, B, A], ["a", "b", "a"]) == [0, 1]
    pool.log_reference[:] = np.log([0.5, 0.25])
    pool.payoffs[:] = [[0.0, 0.3], [-0.3, 0.0]]
    pool.record_visit(np.log([0.5, 0.25]), 3)
    return pool


def test_adding_counts_draws_and_returns_the_new_ones():
    """Duplicates are one entry drawn twice; the next round starts its counts anew and appends at the end."""
    pool = filled()
    assert pool.texts == ["a", "b"] and pool.tokens == [A, B]
    assert pool.draws.tolist() == [2, 1]
    assert pool.add([C, B, C], ["aa", "b", "aa"]) == [2]
    assert pool.draws.tolist() == [0, 1, 2]
    assert pool.add([A], ["a"]) == []
    assert pool.draws.tolist() == [1, 0, 0]


def test_new_entries_are_unjudged_except_against_themselves():
    pool = filled()
    pool.add([C], ["aa"])
    nan = np.nan
    np.testing.assert_array_equal(pool.payoffs, [[0, 0.3, nan], [-0.3, 0, nan], [nan, nan, 0]])
    np.testing.assert_array_equal(pool.log_reference, [np.log(0.5), np.log(0.25), nan])


def test_the_same_text_from_other_tokens_is_another_entry():
    """Log-probabilities are of token sequences, so two tokenisations must not share one."""
    pool = PromptPool()
    assert pool.add([A, (9, 2)], ["a", "a"]) == [0, 1]
    assert pool.draws.tolist() == [1, 1]


def test_seen_at_least_once():
    """3 draws at .5, then 2 at .25: 1 - .5^3 .75^2 = .9296875; at .25 twice: 1 - .75^5."""
    pool = filled()
    np.testing.assert_allclose(np.exp(pool.log_seen), [1 - 0.5**3, 1 - 0.75**3], rtol=1e-12)
    pool.add([B, B], ["b", "b"])
    pool.record_visit(np.log([0.25, 0.25]), 2)
    np.testing.assert_allclose(np.exp(pool.log_seen), [1 - 0.5**3 * 0.75**2, 1 - 0.75**5], rtol=1e-12)
    assert (pool.visits, pool.draws_total) == (2, 5)


def test_rounds_before_the_first_draw_are_filled_in():
    """C appears in round 3, after two visits of 3 and 2 draws that missed it.

    Its log-probability is taken to have gone from log .1 (reference) at the start half way, in logs, to
    log .4 now: two points .1 and sqrt(.1 * .4) = .2 with 5/2 draws each, then 4 draws at .4.
    """
    pool = filled()
    pool.add([B], ["b"])
    pool.record_visit(np.log([0.5, 0.25]), 2)
    pool.add([C], ["aa"])
    pool.log_reference[2] = np.log(0.1)
    pool.record_visit(np.log([0.3, 0.3, 0.4]), 4)
    assert np.exp(pool.log_seen[2]) == pytest.approx(1 - 0.9**2.5 * 0.8**2.5 * 0.6**4, rel=1e-12)
    # Responses seen all along are not touched by the filling in.
    assert np.exp(pool.log_seen[0]) == pytest.approx(1 - 0.5**5 * 0.7**4, rel=1e-12)


def test_a_response_of_the_first_round_has_no_past():
    pool = PromptPool()
    pool.add([A], ["a"])
    pool.log_reference[:] = np.log(0.01)
    pool.record_visit(np.log([0.2]), 8)
    assert np.exp(pool.log_seen[0]) == pytest.approx(1 - 0.8**8, rel=1e-12)


def test_keeping_some():
    """Every array is cut alike, in the order asked; a dropped response that returns is new again."""
    pool = filled()
    pool.add([C], ["aa"])
    pool.payoffs[:] = [[0, 1, 2], [-1, 0, 3], [-2, -3, 0]]
    pool.log_reference[:], pool.log_seen[:], pool.failures[:] = [1, 2, 3], [4, 5, 6], [7, 8, 9]
    pool.keep([2, 0])
    assert pool.texts == ["aa", "a"] and pool.tokens == [C, A]
    np.testing.assert_array_equal(pool.payoffs, [[0, -2], [2, 0]])
    assert (pool.log_reference.tolist(), pool.log_seen.tolist(), pool.failures.tolist()) == ([3, 1], [6, 4], [9, 7])
    assert pool.draws.tolist() == [1, 0]
    assert pool.add([B, C], ["b", "aa"]) == [2]
    assert pool.draws.tolist() == [1, 0, 1]
    pool.keep([])
    assert len(pool) == 0 and pool.payoffs.shape == (0, 0)


def test_state_round_trip_to_the_bit():
    """Through `state` and back: NaN, -inf and every digit; and the restored pool goes on like the first."""
    pool = filled()
    pool.add([C], ["aa"])
    pool.log_reference[2] = -1.0 / 3.0
    pool.record_visit(np.log([0.7, 0.1, 0.2]), 1)
    pool.add([(8, 2)], ["d"])
    twin = PromptPool.from_state(*pool.state())
    for new in ([4], []):
        assert (twin.tokens, twin.texts, twin.visits, twin.draws_total) == (
            pool.tokens,
            pool.texts,
            pool.visits,
            pool.draws_total,
        )
        for name in ("draws", "payoffs", "log_reference", "log_seen", "failures"):
            ours, theirs = getattr(twin, name), getattr(pool, name)
            assert ours.dtype == theirs.dtype and ours.tobytes() == theirs.tobytes(), name
        for each in (pool, twin):
            assert each.add([C, (7,)], ["aa", "e"]) == new
