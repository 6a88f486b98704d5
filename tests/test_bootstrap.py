"""Intervals of the minimax winner: what is drawn again, how far it spreads, and whether the truth is inside."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rebel_pref as rp
from rebel_pref.bootstrap import bootstrap_winner, most_mixed_winner
from rebel_pref.games import Comparisons

CYCLE = Comparisons.from_counts([[0, 60, 24], [28, 0, 80], [50, 36, 0]], labels=["rock", "paper", "scissors"])


def comparisons(rows, cluster=None, labels="abc"):
    first, second, wins, losses, ties = np.array(rows, dtype=float).T
    numbers = None if cluster is None else np.array(cluster)
    return Comparisons(tuple(labels), first.astype(int), second.astype(int), wins, losses, ties, numbers)


def drawn_payoffs(data, replicates, seed=0):
    """Payoff matrices of the replicates [R, n, n], without the one of the data themselves."""
    seen = []

    def solve(game):
        seen.append(game.payoff)
        return SimpleNamespace(policy=np.full(len(game), 1.0 / len(game)), solved=True, status="solved")

    bootstrap_winner(data, replicates=replicates, seed=seed, solve=solve)
    return np.array(seen[1:])


def winner_of_three(game):
    """Closed form: the action that beats both others, else each gets the payoff between the other two."""
    payoff = game.payoff
    unbeaten = (payoff >= 0).all(axis=1)
    if unbeaten.any():
        policy = np.eye(3)[unbeaten.argmax()]
    else:
        policy = np.abs([payoff[1, 2], payoff[2, 0], payoff[0, 1]])
        policy = policy / policy.sum()
    return SimpleNamespace(policy=policy, solved=True, status="solved")


# What is drawn.


def test_comparisons_of_a_pair_are_drawn_independently():
    """The payoff of N comparisons has the variance (share of wins and losses - payoff^2) / N of a multinomial mean."""
    data = comparisons([(0, 1, 30, 10, 20), (0, 2, 8, 2, 0), (2, 1, 5, 5, 30)])
    payoffs = drawn_payoffs(data, 4000)
    for (i, j), (wins, losses, ties) in {(0, 1): (30, 10, 20), (0, 2): (8, 2, 0), (2, 1): (5, 5, 30)}.items():
        total = wins + losses + ties
        mean = (wins - losses) / total
        deviation = np.sqrt(((wins + losses) / total - mean**2) / total)
        assert payoffs[:, i, j].mean() == pytest.approx(mean, abs=4 * deviation / np.sqrt(4000))
        assert payoffs[:, i, j].std() == pytest.approx(deviation, rel=0.05)
    assert abs(np.corrcoef(payoffs[:, 0, 1], payoffs[:, 0, 2])[0, 1]) < 0.06


def test_clusters_are_drawn_whole():
    """40 voters of 5 equal votes are 40 observations, not 200: the deviation is 2 sqrt(p (1 - p) / 40)."""
    rng = np.random.default_rng(1)
    votes = rng.permutation(np.arange(40) < 26)
    data = comparisons([(0, 1, 5 * vote, 5 * (not vote), 0) for vote in votes], cluster=100 + np.arange(40))
    payoffs = drawn_payoffs(data, 4000)[:, 0, 1]
    share = 26 / 40
    assert payoffs.mean() == pytest.approx(2 * share - 1, abs=0.015)
    assert payoffs.std() == pytest.approx(2 * np.sqrt(share * (1 - share) / 40), rel=0.05)


def test_one_cluster_is_always_the_data():
    """Nothing is left to chance, so the interval is the winner itself."""
    rows = list(zip(CYCLE.first, CYCLE.second, CYCLE.wins, CYCLE.losses, CYCLE.ties, strict=True))
    found = bootstrap_winner(comparisons(rows, cluster=[7, 7, 7]), replicates=5, solve=rp.solve)
    np.testing.assert_allclose(found.lower, found.policy, atol=1e-12)
    np.testing.assert_allclose(found.upper, found.policy, atol=1e-12)
    np.testing.assert_array_equal(found.probability_in_support, 1.0)


def test_a_pair_that_vanishes_is_a_tie():
    """Two voters, one of whom alone compared a with c: that payoff is 0 where the voter was not drawn, else 1."""
    data = comparisons([(0, 1, 1, 0, 0), (0, 1, 1, 0, 0), (0, 2, 1, 0, 0)], cluster=[0, 1, 1])
    payoffs = drawn_payoffs(data, 400)
    np.testing.assert_array_equal(payoffs[:, 0, 1], 1.0)
    assert set(np.unique(payoffs[:, 0, 2])) == {0.0, 1.0}
    assert (payoffs[:, 0, 2] == 0).mean() == pytest.approx(0.25, abs=0.07)
    np.testing.assert_array_equal(payoffs[:, 1, 2], 0.0)


def test_weights_that_are_no_whole_numbers():
    """Half a comparison is met as one; the shares are kept."""
    payoffs = drawn_payoffs(comparisons([(0, 1, 0.3, 0.2, 0.0), (0, 2, 6.6, 3.3, 0.0)]), 3000)
    assert set(np.unique(payoffs[:, 0, 1])) == {-1.0, 1.0}
    assert payoffs[:, 0, 1].mean() == pytest.approx(0.2, abs=0.08)
    assert payoffs[:, 0, 2].mean() == pytest.approx(1 / 3, abs=0.03)


@given(st.integers(0, 10**6))
@settings(max_examples=10, deadline=None)
def test_rows_may_be_written_in_any_way(seed):
    """Order of rows, direction of a row, and a row split in two change nothing without clusters."""
    rng = np.random.default_rng(seed)
    rows = [(i, j, *rng.integers(1, 9, 3)) for i in range(4) for j in range(i)]
    other = []
    for i, j, wins, losses, ties in rng.permutation(rows):
        part = rng.integers(0, wins + 1)
        other += [(i, j, part, losses, 0), (j, i, 0, wins - part, ties)]
    one, two = (
        bootstrap_winner(comparisons(data, labels="abcd"), replicates=20, seed=seed, solve=rp.solve)
        for data in (rows, other)
    )
    for name in ("policy", "lower", "upper", "win_rate", "win_rate_lower", "win_rate_upper", "probability_in_support"):
        np.testing.assert_allclose(getattr(one, name), getattr(two, name), atol=1e-9)


# What comes back.


def test_intervals_of_a_cycle():
    """Bounds enclose the winner of the data, grow with the level, and are the same for the same seed."""
    wide, narrow, again = (
        bootstrap_winner(CYCLE, replicates=300, level=level, seed=3, solve=rp.solve) for level in (0.95, 0.5, 0.5)
    )
    np.testing.assert_allclose(wide.policy, rp.solve(rp.PreferenceGame.from_comparisons(CYCLE)).policy)
    assert (wide.lower <= narrow.lower).all() and (narrow.lower < wide.policy).all()
    assert (wide.policy < narrow.upper).all() and (narrow.upper <= wide.upper).all()
    assert (wide.win_rate_upper <= 0.5 + 1e-9).all() and (wide.win_rate_lower <= wide.win_rate_upper).all()
    np.testing.assert_allclose(wide.win_rate, 0.5)
    assert (wide.replicates, wide.unsolved, wide.labels) == (300, 0, ("rock", "paper", "scissors"))
    np.testing.assert_array_equal(narrow.lower, again.lower)
    other = bootstrap_winner(CYCLE, replicates=300, level=0.5, seed=4, solve=rp.solve)
    assert (narrow.lower != other.lower).any()


def test_a_hundred_times_the_data_is_ten_times_as_sharp():
    widths = []
    for times in (1, 100):
        data = Comparisons.from_counts(times * CYCLE.counts)
        found = bootstrap_winner(data, replicates=400, level=0.8, solve=winner_of_three)
        widths.append((found.upper - found.lower).mean())
    assert widths[0] / widths[1] == pytest.approx(10.0, rel=0.25)


def test_intervals_hold_the_truth():
    """Of data drawn 150 times from a cycle, 90 % intervals hold each true probability about 90 times in 100."""
    truth = rp.PreferenceGame.from_preferences([[0.5, 0.7, 0.35], [0.3, 0.5, 0.75], [0.65, 0.25, 0.5]])
    winner = winner_of_three(truth).policy
    np.testing.assert_allclose(winner, rp.solve(truth).policy, atol=1e-9)
    rng = np.random.default_rng(0)
    inside = np.zeros(3)
    for trial in range(150):
        wins = np.triu(rng.binomial(200, truth.preferences), 1)
        data = Comparisons.from_counts(wins + np.tril(200 - wins.T, -1))
        found = bootstrap_winner(data, replicates=100, level=0.9, seed=trial, solve=winner_of_three)
        inside += (found.lower <= winner) & (winner <= found.upper)
    assert (inside / 150 > 0.82).all() and (inside / 150 < 0.97).all()


def test_support_is_counted():
    """Both beat c always, and a leads b by 5 to 4: some replicates turn that round."""
    data = comparisons([(0, 1, 5, 4, 0), (0, 2, 20, 0, 0), (1, 2, 20, 0, 0)])
    found = bootstrap_winner(data, replicates=500, solve=winner_of_three)
    assert found.probability_in_support[2] == 0.0
    assert 0.5 < found.probability_in_support[0] < 0.9  # P(wins of a >= 5 of 9) at 5/9 is .63
    assert found.probability_in_support.sum() == pytest.approx(1.0)
    np.testing.assert_array_equal(found.policy, [1, 0, 0])


def test_replicates_that_fail_are_left_out_and_counted():
    calls = iter(range(1000))

    def solve(game):
        found = winner_of_three(game)
        return SimpleNamespace(policy=found.policy, solved=next(calls) % 4 != 1, status="failed: tired")

    done = []
    found = bootstrap_winner(CYCLE, replicates=40, solve=solve, progress=done.append)
    assert (found.replicates, found.unsolved) == (30, 10)
    assert done == list(range(1, 41))

    def never(game):
        return SimpleNamespace(policy=np.full(3, 1 / 3), solved=False, status="failed: tired")

    with pytest.raises(FloatingPointError, match="none of the 3 replicates was solved; the last one failed: tired"):
        bootstrap_winner(CYCLE, replicates=3, solve=never)


def test_the_default_winner_is_the_most_mixed_one():
    """Two clones tie for the win; the rule that replicates share gives each a half, whatever their order."""
    clones = rp.PreferenceGame.from_payoffs([[0, 0, 0.5], [0, 0, 0.5], [-0.5, -0.5, 0]])
    np.testing.assert_allclose(most_mixed_winner(clones).policy, [0.5, 0.5, 0.0], atol=1e-6)
    data = comparisons([(0, 1, 0, 0, 9), (0, 2, 90, 30, 0), (1, 2, 90, 30, 0)])
    found = bootstrap_winner(data, replicates=10)
    np.testing.assert_allclose([found.lower, found.upper], [[0.5, 0.5, 0.0]] * 2, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"replicates": 0}, "expected at least 1 replicate, got 0"),
        ({"level": 1.0}, "expected 0 < level < 1, got 1.0"),
        ({"level": 95}, "expected 0 < level < 1, got 95"),
        ({"level": float("nan")}, "got nan"),
        ({"comparisons": Comparisons.from_counts(np.zeros((3, 3)))}, "there are no comparisons to draw from"),
    ],
)
def test_bad_input(change, message):
    arguments = {"comparisons": CYCLE, "replicates": 5, "solve": winner_of_three} | change
    with pytest.raises(ValueError, match=message):
        bootstrap_winner(arguments.pop("comparisons"), **arguments)


def test_small_integers_do_not_wrap():
    """20 items and indices of one byte: the pair (19, 18) has a number beyond 255."""
    first, second, wins = np.array([0, 1, 19]), np.array([1, 2, 18]), [3, 4, 5]
    labels = tuple(map(str, range(20)))
    wide, narrow = (
        Comparisons(labels, first.astype(kind), second.astype(kind), wins, [1, 1, 1], [0, 0, 0])
        for kind in (np.int64, np.uint8)
    )
    np.testing.assert_array_equal(drawn_payoffs(narrow, 5), drawn_payoffs(wide, 5))


def test_pairs_that_one_side_always_won_are_counted():
    """A share of 0 or 1 is drawn again as it is; ties, splits and pairs that never met are no such pairs."""
    found = bootstrap_winner(comparisons([(0, 1, 2, 0, 0), (1, 2, 0, 1, 0), (0, 2, 1, 1, 0)]), replicates=3)
    assert found.one_sided == 2
    found = bootstrap_winner(comparisons([(0, 1, 2, 0, 1), (1, 0, 0, 3, 0), (0, 2, 0, 0, 4)]), replicates=3)
    assert found.one_sided == 0
