"""Comparisons: what is drawn, what is held out, what is refused."""

import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import preference_models as pm
from rebel_pref.games.text import blotto_text
from rebel_pref.preferences import FunctionOracle

pytestmark = pytest.mark.filterwarnings("error")

ALPHABETICAL = FunctionOracle(lambda prompt, first, second: float(first < second))


def pairs(comparisons):
    """Unordered pairs with their prompt."""
    rows = zip(comparisons.prompts, comparisons.first, comparisons.second, strict=True)
    return [(prompt, *sorted(pair)) for prompt, *pair in rows]


def test_votes_without_noise_are_the_truth():
    drawn = pm.draw_comparisons(ALPHABETICAL, ["p", "q"], [["a", "b", "c"], ["x", "y"]], votes=200, seed=0)
    expected = [float(one < two) for one, two in zip(drawn.first, drawn.second, strict=True)]
    assert drawn.outcome.tolist() == expected and drawn.weight.tolist() == [1.0] * 200
    assert set(pairs(drawn)) == {("p", "a", "b"), ("p", "a", "c"), ("p", "b", "c"), ("q", "x", "y")}
    assert 0.4 < drawn.outcome.mean() < 0.6  # who is named first is a coin


def test_a_share_of_flip_of_the_votes_is_wrong():
    """20,000 votes: the standard error of the share is sqrt(.1 * .9 / 20000) = .0021."""
    drawn = pm.draw_comparisons(ALPHABETICAL, ["p"], [list("abcdef")], votes=20000, flip=0.1, seed=1)
    right = [float(one < two) for one, two in zip(drawn.first, drawn.second, strict=True)]
    assert np.mean(drawn.outcome != right) == pytest.approx(0.1, abs=0.01)
    ties = pm.draw_votes(np.full(20000, 0.5), flip=0.1, rng=np.random.default_rng(0))
    assert ties.mean() == pytest.approx(0.5, abs=0.02)


def test_opponents_are_met_on_either_side():
    game = blotto_text(3, ["1:2"])
    legal = game.games[0].labels
    drawn = pm.draw_comparisons(game, game.prompts, [legal], [["9 9", "x"]], votes=100, seed=0)
    first_is_legal = np.array([text in legal for text in drawn.first])
    assert all((one in legal) != (two in legal) for one, two in zip(drawn.first, drawn.second, strict=True))
    assert (drawn.outcome == first_is_legal).all() and 20 < first_is_legal.sum() < 80


def test_the_same_seed_draws_the_same_votes():
    options = {"votes": 50, "flip": 0.2}
    first, again, other = (
        pm.draw_comparisons(ALPHABETICAL, ["p"], [list("abcd")], **options, seed=seed) for seed in (0, 0, 1)
    )
    assert first.first == again.first and (first.outcome == again.outcome).all()
    assert first.first != other.first


def test_a_pair_without_judgement_is_left_out_and_counted(caplog):
    def compare(prompt, first, second):
        return np.nan if "c" in (first, second) else float(first < second)

    with caplog.at_level(logging.WARNING):
        drawn = pm.draw_comparisons(FunctionOracle(compare), ["p"], [["a", "b", "c"]], votes=100, seed=0)
    assert 0 < len(drawn) < 100 and "c" not in drawn.first + drawn.second
    assert f"{100 - len(drawn)} of 100 comparisons have no judgement" in caplog.text


@settings(max_examples=50, deadline=None)
@given(
    rows=st.lists(st.tuples(st.sampled_from("pq"), st.sampled_from("abcd"), st.sampled_from("efgh")), min_size=8),
    turn=st.integers(0, 2**16),
    fraction=st.floats(0.05, 0.95),
    seed=st.integers(0, 100),
)
def test_no_pair_is_on_both_sides_of_a_split(rows, turn, fraction, seed):
    rows = [*rows, ("p", "a", "e"), ("q", "a", "e")]
    swapped = [(p, b, a) if turn >> (i % 16) & 1 else (p, a, b) for i, (p, a, b) in enumerate(rows)]
    comparisons = pm.TextComparisons(*(tuple(c) for c in zip(*swapped, strict=True)), np.full(len(rows), 0.5))
    train, held_out = pm.split_held_out(comparisons, fraction, seed)
    assert not set(pairs(train)) & set(pairs(held_out))
    assert sorted(pairs(train) + pairs(held_out)) == sorted(pairs(comparisons))
    assert len(train) > 0 and len(held_out) > 0


def test_join_and_select():
    one = pm.TextComparisons(("p",), ("a",), ("b",), np.array([1.0]), np.array([3.0]))
    two = pm.TextComparisons(("q", "q"), ("c", "d"), ("d", "c"), np.array([0.5, 0.25]))
    both = pm.TextComparisons.join(one, two)
    assert both.prompts == ("p", "q", "q") and both.weight.tolist() == [3.0, 1.0, 1.0]
    assert both.select([2, 0]).first == ("d", "a") and both.select(both.outcome < 1).outcome.tolist() == [0.5, 0.25]
    assert not both.outcome.flags.writeable


def test_perturbed_texts_are_new_distinct_and_near():
    texts = ["3 4 3", "10 0 0"]
    near = pm.near_misses(texts, "0123456789 ", count=100, seed=0)
    assert len(near) == len(set(near)) == 100 and not set(near) & set(texts)
    assert near == pm.near_misses(texts, "0123456789 ", count=100, seed=0)
    assert max(len(text) for text in near) <= 8 and min(len(text) for text in near) >= 3


PAIR = (("p",), ("a",), ("b",))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pm.TextComparisons(("p",), ("a", "b"), ("c",), np.zeros(1)), "got 1 prompts, 2 first, 1 second"),
        (lambda: pm.TextComparisons(*PAIR, np.zeros(2)), r"outcome of shape \(1,\), one a comparison, got \(2,\)"),
        (lambda: pm.TextComparisons(*PAIR, np.array([1.5])), r"outcome must be in \[0, 1\], got 1.5 at row 0"),
        (lambda: pm.TextComparisons(*PAIR, np.array([np.nan])), r"outcome must be in \[0, 1\], got nan at row 0"),
        (lambda: pm.TextComparisons(*PAIR, np.ones(1), np.zeros(1)), "weight must be positive and finite, got 0.0"),
        (pm.TextComparisons.join, "at least one set"),
        (lambda: pm.draw_votes([0.5], flip=0.6, rng=np.random.default_rng(0)), r"in \[0, 0.5\], got 0.6"),
        (lambda: pm.draw_comparisons(ALPHABETICAL, ["p"], [["a"]], votes=1, seed=0), "'p' has no two different"),
        (lambda: pm.draw_comparisons(ALPHABETICAL, ["p"], [["a", "a"]], votes=1, seed=0), "'p' has no two different"),
        (lambda: pm.draw_comparisons(ALPHABETICAL, ["p"], [["a", "b"]], votes=0, seed=0), "one vote, got 0"),
        (lambda: pm.draw_comparisons(ALPHABETICAL, ["p"], [], votes=1, seed=0), "got 1 prompts, 0 lists"),
        (lambda: pm.split_held_out(pm.TextComparisons(*PAIR, np.ones(1)), 1.0, 0), "between 0 and 1, got 1.0"),
        (lambda: pm.split_held_out(pm.TextComparisons(*PAIR, np.ones(1)), 0.5, 0), "two distinct pairs"),
        (lambda: pm.near_misses([], "ab", count=1, seed=0), "expected texts, an alphabet"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
