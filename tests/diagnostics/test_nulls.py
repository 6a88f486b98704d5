"""Null tests: fits with known answers, sizes that hold, power where there is something to see."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rebel_pref.diagnostics import (
    best_order,
    bias_reduced_bradley_terry,
    bradley_terry_tests,
    comparisons_per_pair,
    evidence,
    fit_bradley_terry,
    holm,
    resolved_margin,
    strongest_cycle,
    tally,
    transitive_tests,
)
from rebel_pref.diagnostics.orders import _moved_order
from rebel_pref.games import Comparisons

LAWS = settings(deadline=None, derandomize=True, max_examples=40)
SEEDS = st.integers(0, 10**6)


def bradley_terry(scores):
    return 1 / (1 + np.exp(np.subtract.outer(scores, scores).T))


def ordered(n, chance):
    """P_ij = chance(j - i) for i before j: transitive, Bradley-Terry or not."""
    preferences = np.full((n, n), 0.5)
    for i, j in itertools.combinations(range(n), 2):
        preferences[i, j] = chance(j - i)
        preferences[j, i] = 1 - preferences[i, j]
    return preferences


def circle(n, chance):
    """Each of an odd number beats the next (n - 1) / 2."""
    ahead = (np.subtract.outer(np.arange(n), np.arange(n)).T) % n
    return np.where(ahead == 0, 0.5, np.where(ahead <= n // 2, chance, 1 - chance))


def draw(preferences, number, rng):
    """Comparisons of every pair, `number` each."""
    upper = np.triu(rng.binomial(number, preferences), 1)
    return Comparisons.from_counts(upper + np.triu(number - upper, 1).T)


def p_values(comparisons, rng, replicates=99):
    """Smallest adjusted p-values: of Bradley-Terry, of any transitive model."""
    tallies = tally(comparisons)
    first = bradley_terry_tests(tallies, replicates=replicates, level=0.95, rng=rng, advance=lambda count: None)
    second, _ = transitive_tests(tallies, replicates=replicates, level=0.95, rng=rng)
    return [min(test.adjusted for test in tests) for tests in (first, second)]


# Fits.


@LAWS
@given(seed=SEEDS, n=st.integers(1, 8), number=st.integers(0, 20))
def test_fits_solve_the_score_equations_whatever_the_counts(seed, n, number):
    """Wins equal expected wins plus the pull: unbeaten items, parts that never met, no comparison at all."""
    rng = np.random.default_rng(seed)
    wins = rng.binomial(number, rng.random((3, n, n)) ** 3) * (rng.random((3, n, n)) < 0.6)
    wins = np.where(np.eye(n, dtype=bool), 0, wins).astype(float)
    scores = fit_bradley_terry(wins)
    met = wins + wins.swapaxes(1, 2)
    for k in range(3):
        expected = (met[k] * bradley_terry(scores[k])).sum(1)
        np.testing.assert_allclose(wins[k].sum(1) - expected, 1e-3 * scores[k], atol=1e-4 * max(number, 1))
        np.testing.assert_allclose(scores[k], fit_bradley_terry(wins[k]), atol=1e-5)
    assert np.abs(scores).max() < 50


def test_two_items_by_hand():
    """Without a pull the difference of scores is log(w / l); bias-reduced it is log((w + 1/2) / (l + 1/2)).

    (Firth's penalty for one binomial adds half a win to each side.) With wins only, the first does not exist.
    """
    wins = np.array([[0.0, 12], [4, 0]])
    assert np.ptp(fit_bradley_terry(wins)) == pytest.approx(np.log(3), abs=1e-3)
    assert np.ptp(fit_bradley_terry(wins, ridge=1e-9)) == pytest.approx(np.log(3), abs=1e-8)
    assert np.ptp(bias_reduced_bradley_terry(wins)) == pytest.approx(np.log(12.5 / 4.5), abs=1e-3)
    unbeaten = np.array([[0.0, 12], [0, 0]])
    assert np.ptp(bias_reduced_bradley_terry(unbeaten)) == pytest.approx(np.log(12.5 / 0.5), abs=2e-2)
    assert 5 < np.ptp(fit_bradley_terry(unbeaten)) < 20


def test_bias_reduced_scores_are_not_too_wide():
    """Five comparisons a pair of 8 items: maximum likelihood spreads scores by several percent, the other does not."""
    rng = np.random.default_rng(0)
    scores = np.linspace(-1.5, 1.5, 8)
    counts = [draw(bradley_terry(scores), 5, rng).counts for _ in range(150)]
    slope = [[(fit(wins) @ scores) / (scores @ scores) for wins in counts]
             for fit in (fit_bradley_terry, bias_reduced_bradley_terry)]  # fmt: skip
    widened, kept = np.mean(slope, axis=1)
    assert widened > 1.025
    assert kept == pytest.approx(1.0, abs=0.02)


# Orders and cycles.


@LAWS
@given(seed=SEEDS, n=st.integers(1, 6), sparse=st.booleans())
def test_best_orders_and_strongest_cycles_by_brute_force(seed, n, sparse):
    rng = np.random.default_rng(seed)
    signed = np.triu(rng.normal(size=(n, n)) * (rng.random((n, n)) < (0.5 if sparse else 1)), 1)
    cost = np.maximum(signed - signed.T, 0)
    order, price = best_order(cost)

    def pays(items):
        return sum(cost[items[b], items[a]] for a, b in itertools.combinations(range(n), 2))

    assert price == pytest.approx(pays(order))
    assert price == pytest.approx(min(map(pays, itertools.permutations(range(n)))))
    cycles = {
        items: min(cost[a, b] for a, b in zip(items, items[1:] + items[:1], strict=True))
        for size in range(3, n + 1)
        for items in itertools.permutations(range(n), size)
    }
    strength, cycle = strongest_cycle(cost)
    assert strength == max(cycles.values(), default=0.0)
    if strength > 0:
        assert cycles[cycle] == strength
        assert len(cycle) == min(len(items) for items, weakest in cycles.items() if weakest == strength)
    else:
        assert (cycle, price) == ((), 0.0)


def test_moving_items_finds_the_best_order_nearly_always():
    """Against the exact order of 9 noisy items; and an order that exists is found at any size."""
    rng = np.random.default_rng(0)
    ratios = []
    for _ in range(40):
        signed = np.triu(rng.normal(0.3, 1, size=(9, 9)), 1)
        cost = np.maximum(signed - signed.T, 0)
        order = _moved_order(cost)
        ratios.append(np.tril(cost[np.ix_(order, order)]).sum() / best_order(cost)[1])
    assert min(ratios) == pytest.approx(1.0)
    assert np.mean(np.array(ratios) < 1 + 1e-9) > 0.9
    assert max(ratios) < 1.05
    places = rng.permutation(40)
    cost = np.maximum(np.subtract.outer(places, places), 0).astype(float)
    order, price = best_order(cost)
    assert price == 0.0
    np.testing.assert_array_equal(places[order], np.arange(40)[::-1])


def test_evidence_by_hand():
    """12 of 16: 2 (12 log 1.5 + 4 log .5); nothing for the loser, for a tie, for no comparison."""
    found = evidence(np.array([12.0, 4, 8, 0]), np.array([4.0, 12, 8, 0]))
    np.testing.assert_allclose(found, [2 * (12 * np.log(1.5) + 4 * np.log(0.5)), 0, 0, 0])


def test_holm_by_hand():
    """.01 x 3, .02 x 2, .04 x 1, never falling, never above 1."""
    assert holm([0.02, 0.04, 0.01]) == pytest.approx([0.04, 0.04, 0.03])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])


# Sizes. The binomial bounds are 99.9 % points at a rate of .05.


def test_data_of_a_bradley_terry_model_are_rarely_rejected():
    """300 sets, 3 to 14 items, 3 to 20 comparisons a pair: at most 27 rejections of either null model."""
    rng = np.random.default_rng(1)
    rejected = []
    for _ in range(300):
        scores = rng.uniform(0.2, 1.5) * rng.normal(size=rng.integers(3, 15))
        found = p_values(draw(bradley_terry(scores), rng.integers(3, 21), rng), rng)
        rejected.append(min(found) <= 0.05)
    assert sum(rejected) <= 27


@pytest.mark.parametrize("margin", [0.05, 0.1, 0.15, 0.3])
def test_transitive_models_at_the_boundary_are_rarely_rejected(margin):
    """a > b > c with margins of 1, 2, 3 and 6 standard errors and a tied with c, half of which a cycle decides.

    Worst for the test, and sharp: where a > b > c is certain the rate is .05, not far below.
    """
    rng = np.random.default_rng(2)
    chances = ordered(3, lambda distance: 0.5 + margin * (distance == 1))
    rejected = 0
    for _ in range(600):
        tests, _ = transitive_tests(tally(draw(chances, 100, rng)), replicates=199, level=0.95, rng=rng)
        assert tests[0].observed == tests[1].observed  # Three items have one cycle, and one link of it is reversed.
        rejected += tests[1].p_value <= 0.05
    assert rejected <= 48
    assert rejected >= 15 or margin < 0.3


def test_many_ties_behind_decided_neighbours_are_no_cycle():
    """Ten items, neighbours decided at 4 standard errors, 36 pairs tied: full of cycles, and transitive."""
    rng = np.random.default_rng(3)
    chances = ordered(10, lambda distance: 0.7 if distance == 1 else 0.5)
    found = []
    for _ in range(200):
        tests, _ = transitive_tests(tally(draw(chances, 100, rng)), replicates=199, level=0.95, rng=rng)
        assert tests[0].observed > 0
        found.append(min(test.adjusted for test in tests) <= 0.05)
    assert sum(found) <= 20


# Power.


def test_a_clear_cycle_is_rejected_and_an_order_is_not():
    """Nine items in a circle at 70 %; nine in an order that is all but a step, transitive and not Bradley-Terry."""
    rng = np.random.default_rng(4)
    cycling = [p_values(draw(circle(9, 0.7), 40, rng), rng) for _ in range(15)]
    assert (np.array(cycling) <= 0.05).all()
    stepping = [
        p_values(draw(ordered(9, lambda distance: 0.55 if distance == 1 else 0.95), 60, rng), rng) for _ in range(15)
    ]
    of_bradley_terry, of_orders = np.array(stepping).T
    assert (of_bradley_terry <= 0.05).mean() > 0.9
    assert (of_orders > 0.05).all()


def test_one_strong_cycle_among_many_pairs_is_found_and_named():
    """Fifteen items at 80 % for the better, but 0 > 1 > 2 > 0: the likelihood ratio of all pairs hardly sees it."""
    rng = np.random.default_rng(5)
    chances = ordered(15, lambda distance: 0.8)
    chances[0, 2], chances[2, 0] = 0.2, 0.8
    tests, cycle = transitive_tests(tally(draw(chances, 100, rng)), replicates=199, level=0.95, rng=rng)
    assert sorted(cycle) == [0, 1, 2]
    assert cycle in ((0, 1, 2), (1, 2, 0), (2, 0, 1))
    assert {test.statistic: test.p_value <= 0.05 for test in tests}["strongest cycle"]


# Clusters and ties.


def copied(preferences, clusters, copies, rng):
    """Each cluster meets ten pairs and says the same of each `copies` times."""
    n = len(preferences)
    pairs = np.array(list(itertools.combinations(range(n), 2)))
    rows = np.concatenate([rng.permutation(len(pairs))[:10] for _ in range(clusters)])
    first, second = pairs[rows].T
    wins = copies * (rng.random(len(rows)) < preferences[first, second])
    return Comparisons(
        [str(i) for i in range(n)],
        first,
        second,
        wins.astype(float),
        (copies - wins).astype(float),
        np.zeros(len(rows)),
        np.repeat(np.arange(clusters), 10),
    )


def test_copies_are_no_evidence_where_clusters_are_known():
    """Four annotators who see one output agree: independent they would reject every model, together none."""
    rng = np.random.default_rng(6)
    chances = bradley_terry(np.random.default_rng(0).normal(size=8))
    together, apart = [], []
    for _ in range(25):
        known = copied(chances, 20, 4, rng)
        unknown = Comparisons(known.labels, known.first, known.second, known.wins, known.losses, known.ties)
        together.append(min(p_values(known, rng)))
        apart.append(min(p_values(unknown, rng)))
    assert (np.array(apart) <= 0.05).mean() > 0.9
    assert (np.array(together) <= 0.05).sum() <= 4
    cycling = copied(circle(7, 0.85), 60, 4, rng)
    assert max(p_values(cycling, rng)) <= 0.05


def test_clusters_of_one_comparison_are_no_clusters():
    rng = np.random.default_rng(7)
    alone = copied(circle(5, 0.6), 30, 1, rng)
    single = Comparisons(*(getattr(alone, name) for name in ("labels", "first", "second", "wins", "losses", "ties")),
                         np.arange(len(alone)))  # fmt: skip
    assert tally(single).members is None
    assert tally(alone).members.shape == (30, 30)
    np.testing.assert_allclose(tally(alone).independent_comparisons(), tally(single).decided)
    doubled = copied(circle(5, 0.6), 30, 2, rng)
    np.testing.assert_allclose(tally(doubled).independent_comparisons(), tally(doubled).decided / 2)


def test_tests_leave_ties_out():
    """Ten ties a pair more change no p-value: which of two wins, given that one does, is what is tested."""
    wins = draw(circle(5, 0.65), 30, np.random.default_rng(8))
    tied = Comparisons(wins.labels, wins.first, wins.second, wins.wins, wins.losses, np.full(len(wins), 10.0))
    seeds = [np.random.default_rng(9) for _ in range(2)]
    assert p_values(wins, seeds[0]) == p_values(tied, seeds[1])


@LAWS
@given(seed=SEEDS)
def test_tallies_do_not_depend_on_how_rows_are_written(seed):
    """Rows shuffled, split and turned round give the same counts; replicates keep what they must."""
    rng = np.random.default_rng(seed)
    n, rows = 5, 40
    first = rng.integers(0, n, rows)
    second = (first + rng.integers(1, n, rows)) % n
    columns = rng.integers(0, 4, (3, rows)).astype(float)
    cluster = rng.integers(0, 6, rows)
    labels = [str(i) for i in range(n)]
    one = Comparisons(labels, first, second, *columns, cluster)
    order = rng.permutation(rows)
    turned = Comparisons(labels, second[order], first[order], *columns[[1, 0, 2]][:, order], cluster[order])
    a, b = tally(one), tally(turned)
    for name in ("first", "second", "wins", "losses", "ties"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    np.testing.assert_array_equal(a.members.toarray(), b.members.toarray())
    np.testing.assert_array_equal(a.members.sum(axis=0), np.concatenate([a.wins, a.losses, a.ties]))
    np.testing.assert_allclose(a.matrix(a.wins + a.ties / 2, a.losses + a.ties / 2), one.counts)
    null = a.drawn_from(np.full(len(a.first), 0.5), rng, 7)
    np.testing.assert_allclose(null.wins + null.losses, np.broadcast_to(a.decided, null.wins.shape))
    without = tally(Comparisons(labels, first, second, *columns))
    np.testing.assert_allclose(without.drawn_again(rng, 7).total.sum(1), one.total)
    thrice = a.times(3)
    np.testing.assert_array_equal(thrice.decided, 3 * a.decided)
    assert thrice.members.shape[0] == 3 * a.members.shape[0]


def test_replicates_have_the_right_mean():
    """Drawn again: the counts themselves; drawn from a null model: chance times decided; 400 replicates, 5 errors."""
    comparisons = copied(circle(5, 0.7), 40, 3, np.random.default_rng(10))
    rng = np.random.default_rng(11)
    for tallies in (tally(comparisons), tally(Comparisons.from_counts(comparisons.counts))):
        chance = np.linspace(0.2, 0.8, len(tallies.first))
        again, null = tallies.drawn_again(rng, 400), tallies.drawn_from(chance, rng, 400)
        for drawn, mean in ((again.wins, tallies.wins), (null.wins, chance * tallies.decided)):
            error = drawn.std(0) / np.sqrt(400)
            assert (np.abs(drawn.mean(0) - mean) <= 5 * error + 1e-12).all()


# Sample size.


def test_sample_size_by_hand():
    """ln(35 x 34 / .05) / (2 x .1^2) = 503.9; the margin resolved by as many is the one asked for."""
    assert comparisons_per_pair(35, 0.1) == 504
    assert comparisons_per_pair(2, 0.5, 0.5) == 3  # ln 4 / .5 = 2.77
    assert resolved_margin(35, 503.87) == pytest.approx(0.1, abs=1e-5)
    for bad in ((1, 0.1, 0.05), (5, 0.0, 0.05), (5, 0.6, 0.05), (5, 0.1, 1.0)):
        with pytest.raises(ValueError, match=r"at least two items, a margin in \(0, 1/2\], delta in \(0, 1\)"):
            comparisons_per_pair(*bad)


def test_enough_comparisons_sign_every_pair():
    """So many comparisons as asked for, at a margin of exactly eps: a wrong sign in at most 5 % of 200 tables."""
    number = comparisons_per_pair(6, 0.1)
    rng = np.random.default_rng(12)
    wins = rng.binomial(number, 0.6, size=(200, 15))
    assert (2 * wins <= number).any(1).mean() <= 0.05
