"""Judgement budgets: designs with known chances, unbiased estimates, and variances checked by listing every draw."""

import itertools

import numpy as np
import pytest

from rebel_pref.pair_designs import (
    PairDesign,
    active_pairs,
    affordable_degree,
    circular_pairs,
    estimate_payoffs,
    regular_pairs,
)
from rebel_pref.payoffs import in_group_payoffs

REGULAR = [circular_pairs, regular_pairs]


def skew(size, seed):
    upper = np.triu(np.random.default_rng(seed).uniform(-1, 1, (size, size)), 1)
    return upper - upper.T


@pytest.mark.parametrize("design", REGULAR)
@pytest.mark.parametrize(("size", "degree"), [(2, 1), (4, 3), (5, 2), (5, 4), (6, 1), (8, 3), (9, 6), (16, 4)])
def test_regular_designs(design, size, degree):
    """Every response is compared with `degree` others, no pair twice, none with itself."""
    found = design(size, degree, np.random.default_rng(size))
    assert (found.asked == found.asked.T).all() and not found.asked.diagonal().any()
    assert (found.asked.sum(1) == degree).all()
    assert len(found.pairs) == size * degree // 2 and (found.pairs[:, 0] < found.pairs[:, 1]).all()
    # The expected number of pairs of a response is its degree.
    assert np.allclose(found.inclusion.sum(1), degree)


@pytest.mark.parametrize("design", REGULAR)
def test_every_pair_has_its_chance(design):
    """The share of the draws that ask for a pair agrees with the stated chance within five standard errors."""
    rng = np.random.default_rng(0)
    draws = [design(6, 2, rng) for _ in range(1500)]
    seen = np.mean([draw.asked for draw in draws], axis=0)
    chance = draws[0].inclusion
    assert (np.abs(seen - chance) <= 5 * np.sqrt(chance * (1 - chance) / len(draws)) + 1e-12).all()


def labelled_circles(size, degree):
    """Every labelling of the circle, each as likely: the design's law, written down apart from it."""
    for order in itertools.permutations(range(size)):
        asked = np.zeros((size, size), dtype=bool)
        for place, item in enumerate(order):
            for offset in range(1, degree // 2 + 1):
                other = order[(place + offset) % size]
                asked[item, other] = asked[other, item] = True
        yield PairDesign(asked, degree / (size - 1) * (1 - np.eye(size)), degree)


@pytest.mark.parametrize("guess_seed", [None, 5])
def test_regular_estimates_by_enumeration(guess_seed):
    """Over all labellings: the mean is the in-group payoff, and the reported variance has the mean of the true one."""
    payoffs = skew(6, 1)
    guess = None if guess_seed is None else skew(6, guess_seed)
    found = [estimate_payoffs(np.where(d.asked, payoffs, np.nan), d, guess=guess) for d in labelled_circles(6, 2)]
    means = np.array([estimate.payoffs for estimate in found])
    assert np.allclose(means.mean(0), in_group_payoffs(payoffs), atol=1e-12)
    assert np.allclose(means.var(0), np.mean([estimate.variance for estimate in found], axis=0), atol=1e-12)
    # The formula of a simple random sample of 2 of 5 others, on the residuals.
    residual = payoffs - (0 if guess is None else guess)
    spread = np.array([np.delete(residual[i], i).var(ddof=1) for i in range(6)])
    assert np.allclose(means.var(0), (5 / 6) ** 2 * (1 - 2 / 5) * spread / 2, atol=1e-12)


def test_a_fixed_circle_is_biased():
    """Without shuffled labels a pair further apart is never asked: refused, and weights as if shuffled would lie."""
    circle = next(labelled_circles(6, 2))
    fixed = PairDesign(circle.asked, circle.asked.astype(float), None)
    with pytest.raises(ValueError, match="no chance to be asked"):
        estimate_payoffs(skew(6, 1), fixed)
    assert not np.allclose(estimate_payoffs(skew(6, 1), circle).payoffs, in_group_payoffs(skew(6, 1)))


@pytest.mark.parametrize("guess", [None, np.zeros((4, 4)), skew(4, 9)])
def test_active_estimates_by_enumeration(guess):
    """Over all 2^6 outcomes by their chance: unbiased, with the variance of the formula, reported unbiasedly."""
    payoffs = skew(4, 2)
    i, j = np.triu_indices(4, 1)
    preferences = 0.5 + 0.5 * skew(4, 3)
    inclusion = active_pairs(preferences, 2.5, np.random.default_rng(0)).inclusion
    mean, square, reported, mass = np.zeros(4), np.zeros(4), np.zeros(4), 0.0
    for outcome in itertools.product([False, True], repeat=6):
        asked = np.zeros((4, 4), dtype=bool)
        asked[i, j] = asked[j, i] = outcome
        chance = np.prod(np.where(outcome, inclusion[i, j], 1 - inclusion[i, j]))
        found = estimate_payoffs(payoffs, PairDesign(asked, inclusion, None), guess=guess)
        mean += chance * found.payoffs
        square += chance * found.payoffs**2
        reported += chance * found.variance
        mass += chance
    assert mass == pytest.approx(1.0)
    assert np.allclose(mean, in_group_payoffs(payoffs), atol=1e-12)
    residual = payoffs - (0 if guess is None else guess)
    odds = np.where(inclusion > 0, (1 - inclusion) / np.where(inclusion > 0, inclusion, 1), 0)
    assert np.allclose(square - mean**2, (odds * residual**2).sum(1) / 16, atol=1e-12)
    assert np.allclose(reported, square - mean**2, atol=1e-12)


def test_active_chances_follow_uncertainty():
    """Proportional to sqrt(P (1 - P)) above the floor, adding up to the budget, and never over 1."""
    preferences = np.full((4, 4), 0.5)
    preferences[0, 1], preferences[1, 0] = 0.9, 0.1
    preferences[0, 2], preferences[2, 0] = 1.0, 0.0
    found = active_pairs(preferences, 2.0, np.random.default_rng(0), floor=0.2).inclusion
    assert np.triu(found).sum() == pytest.approx(2.0)
    assert found[0, 1] / found[2, 3] == pytest.approx(0.3 / 0.5)
    assert found[0, 2] / found[2, 3] == pytest.approx(0.2)
    everything = active_pairs(preferences, 6, np.random.default_rng(0))
    assert len(everything.pairs) == 6 and (everything.inclusion[np.triu_indices(4, 1)] == 1).all()
    sure = active_pairs([[0.5, 1.0], [0.0, 0.5]], 0.5, np.random.default_rng(0))
    assert sure.inclusion[0, 1] == 0.5
    most = active_pairs(preferences, 5.5, np.random.default_rng(0), floor=0.2).inclusion
    assert most.max() <= 1.0 and np.triu(most).sum() == pytest.approx(5.5)


def test_asking_everything_is_exact():
    """With all pairs asked there is no choice left: the in-group payoff, of variance 0."""
    payoffs = skew(7, 4)
    found = estimate_payoffs(payoffs, regular_pairs(7, 6, np.random.default_rng(0)))
    assert np.allclose(found.payoffs, in_group_payoffs(payoffs)) and (found.variance == 0).all()


def test_one_comparison_has_no_variance_estimate():
    found = estimate_payoffs(skew(6, 4), regular_pairs(6, 1, np.random.default_rng(0)))
    assert np.isnan(found.variance).all() and np.isfinite(found.payoffs).all()


@pytest.mark.parametrize(("size", "pairs", "degree"), [(8, 12, 3), (8, 4, 1), (5, 7, 2), (5, 100, 4), (2, 1, 1)])
def test_affordable_degree(size, pairs, degree):
    assert affordable_degree(size, pairs) == degree


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: affordable_degree(8, 3), "too few"),
        (lambda: affordable_degree(5, 4), "at least 5"),
        (lambda: circular_pairs(5, 3, np.random.default_rng(0)), "an even number"),
        (lambda: regular_pairs(5, 5, np.random.default_rng(0)), "1 to 4"),
        (lambda: active_pairs(np.full((3, 3), np.nan), 1, np.random.default_rng(0)), "none missing"),
        (lambda: active_pairs(np.full((3, 3), 0.6), 1, np.random.default_rng(0)), "P \\+ P.T = 1"),
        (lambda: active_pairs(np.full((3, 3), 0.5), 4, np.random.default_rng(0)), "0 < pairs <= 3"),
        (lambda: active_pairs(np.full((3, 3), 0.5), 1, np.random.default_rng(0), floor=0), "floor"),
        (lambda: active_pairs([0.5], 1, np.random.default_rng(0)), r"\[K, K\]"),
        (lambda: estimate_payoffs(np.zeros((3, 3)), regular_pairs(4, 1, np.random.default_rng(0))), r"\(4, 4\)"),
        (lambda: estimate_payoffs(np.full((4, 4), np.nan), regular_pairs(4, 1, np.random.default_rng(0))), "asked"),
        (
            lambda: estimate_payoffs(
                np.zeros((4, 4)), regular_pairs(4, 1, np.random.default_rng(0)), guess=np.full((4, 4), np.inf)
            ),
            "not finite",
        ),
    ],
)
def test_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()
