"""Payoff estimators, by exact enumeration of every draw: which are right, which are wrong, and by how much."""

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rebel_pref.payoffs import (
    draw_weights,
    drop_unjudged,
    duel_payoffs,
    exact_pool_weights,
    fresh_payoffs,
    horvitz_thompson_weights,
    in_group_payoffs,
    log_seen_after,
    normalized_weights,
    opponent_payoffs,
    stratified_payoffs,
)
from rebel_pref.regression import weighted_pairwise_loss


def random_problem(seed, n):
    rng = np.random.default_rng(seed)
    upper = np.triu(rng.uniform(-1, 1, (n, n)), 1)
    return upper - upper.T, rng.dirichlet(np.ones(n))


def population_minimiser(groups, n):
    """The f [n], centred, that minimises E sum_{i, j} (f(y_i) - f(y_j) - (t_i - t_j))^2 over weighted groups.

    `groups` yields (probability, actions, targets). Normal equations of a quadratic in f, solved by
    pseudo-inverse because a constant drops out.
    """
    left, right = np.zeros((n, n)), np.zeros(n)
    for probability, actions, targets in groups:
        for i, j in product(range(len(actions)), repeat=2):
            difference = np.zeros(n)
            difference[actions[i]] += 1
            difference[actions[j]] -= 1
            left += probability * np.outer(difference, difference)
            right += probability * difference * (targets[i] - targets[j])
    solution = np.linalg.pinv(left) @ right
    return solution - solution.mean()


def centred(x):
    return x - x.mean()


@pytest.mark.parametrize("k", [2, 3, 4])
def test_in_group_payoffs_divide_by_k(k):
    """Regressing pairs inside a group of K i.i.d. draws, by enumeration of all n^K groups.

    Dividing by K gives exactly the payoff differences A pi; K - 1 inflates them by K / (K - 1), x2 at K = 2.
    """
    payoffs, policy = random_problem(k, 3)
    draws = [np.array(d) for d in product(range(3), repeat=k)]
    right = population_minimiser(((policy[d].prod(), d, in_group_payoffs(payoffs[np.ix_(d, d)])) for d in draws), 3)
    np.testing.assert_allclose(right, centred(payoffs @ policy), atol=1e-12)
    wrong = population_minimiser(
        ((policy[d].prod(), d, payoffs[np.ix_(d, d)].sum(-1) / (k - 1)) for d in draws), 3
    )  # fmt: skip
    np.testing.assert_allclose(wrong, k / (k - 1) * centred(payoffs @ policy), atol=1e-12)


def test_fresh_opponents_need_no_correction():
    """Opponents drawn apart: the minimiser is A pi for **any** base of the regressed pair, here uniform."""
    payoffs, policy = random_problem(11, 3)
    groups = [
        (policy[list(rivals)].prod() / 9, pair, fresh_payoffs(payoffs[np.ix_(pair, rivals)]))
        for pair in product(range(3), repeat=2)
        for rivals in product(range(3), repeat=2)
    ]
    assert sum(g[0] for g in groups) == pytest.approx(1.0)
    np.testing.assert_allclose(population_minimiser(groups, 3), centred(payoffs @ policy), atol=1e-12)


def duel_minimiser(payoffs, pairs):
    return population_minimiser(
        ((p, d, duel_payoffs(payoffs[np.ix_(d, d)], independent_current=True)) for p, d in pairs), len(payoffs)
    )


def test_duels_are_right_only_on_policy_and_unselected():
    """The one-comparison target: exact for i.i.d. pairs from pi; not for uniform pairs, nor best against worst."""
    payoffs, policy = random_problem(12, 4)
    truth = centred(payoffs @ policy)
    pairs = list(product(range(4), repeat=2))
    on_policy = duel_minimiser(payoffs, [(policy[i] * policy[j], (i, j)) for i, j in pairs])
    np.testing.assert_allclose(on_policy, truth, atol=1e-12)
    # Uniform pairs put the uniform policy in the opponent's place.
    uniform = duel_minimiser(payoffs, [(1 / 16, pair) for pair in pairs])
    np.testing.assert_allclose(uniform, centred(payoffs.mean(1)), atol=1e-12)
    assert np.abs(uniform - truth).max() > 0.05
    selected = []
    for draw in product(range(4), repeat=4):
        d = np.array(draw)
        score = in_group_payoffs(payoffs[np.ix_(d, d)])
        selected.append((policy[d].prod(), (d[score.argmax()], d[score.argmin()])))
    assert np.abs(duel_minimiser(payoffs, selected) - truth).max() > 0.05


def test_duels_elsewhere_are_refused():
    """The caller has to vouch for the pairs, and pairs they have to be."""
    with pytest.raises(ValueError, match="off-policy or selected"):
        duel_payoffs(np.zeros((2, 2)), independent_current=False)
    with pytest.raises(ValueError, match=r"expected payoffs \[..., 2, 2\], got \(3, 3\)"):
        duel_payoffs(np.zeros((3, 3)), independent_current=True)
    for shape in [(1, 1), (3, 2)]:
        with pytest.raises(ValueError, match="with K >= 2, got shape"):
            in_group_payoffs(np.zeros(shape))


def test_duplicates_count_as_draws():
    """Keeping duplicates (payoff 0 between them) = distinct responses weighted by multiplicity / K."""
    payoffs, _ = random_problem(13, 3)
    draws, counts = np.array([0, 0, 1, 2, 2, 2]), np.array([2, 1, 3])
    kept = in_group_payoffs(payoffs[np.ix_(draws, draws)])
    merged = opponent_payoffs(payoffs, counts / 6)
    np.testing.assert_allclose(kept, merged[draws], atol=1e-15)
    found = draw_weights(np.array([2.0, 1, 0, 3]), np.log([0.1, 0.2, 0.3, 0.4]))
    np.testing.assert_allclose(found.weights, [2 / 6, 1 / 6, 0, 3 / 6], rtol=1e-15)
    assert found.coverage == pytest.approx(0.7)
    assert found.effective_sample_size == pytest.approx(36 / 14)
    # The loss over draws and the weighted loss over distinct responses agree too.
    error = np.array([0.3, -1.0, 0.5])
    np.testing.assert_allclose(
        weighted_pairwise_loss(error[draws], np.full(6, 1 / 6)), weighted_pairwise_loss(error, counts / 6), atol=1e-15
    )


@settings(deadline=None, derandomize=True, max_examples=60)
@given(seed=st.integers(0, 10**6), size=st.integers(1, 6))
def test_renormalised_pool_is_biased_by_at_most_its_gap(seed, size):
    """|A w - A pi| <= 2 max|A| (1 - c) for w = pi renormalised on a pool of coverage c."""
    payoffs, policy = random_problem(seed, 7)
    pool = exact_pool_weights(np.log(policy[:size]))
    np.testing.assert_allclose(pool.coverage, policy[:size].sum(), atol=1e-14)
    bias = opponent_payoffs(payoffs[:, :size], pool.weights) - payoffs @ policy
    assert np.abs(bias).max() <= 2 * np.abs(payoffs).max() * (1 - pool.coverage) + 1e-14


def test_the_bound_on_the_pool_bias_is_attained():
    """A response that beats the pool (c = .7) and loses outside: 1 against .7 - .3 = .4, a bias of 2 x .3.

    It is the same for every number of judgements: more queries never mend it.
    """
    policy, row = np.array([0.4, 0.3, 0.2, 0.1]), np.array([[1.0, 1, -1, -1]])
    pool = exact_pool_weights(np.log(policy), np.array([True, True, False, False]))
    np.testing.assert_allclose(opponent_payoffs(row, pool.weights) - row @ policy, 0.6, atol=1e-15)
    assert pool.coverage == pytest.approx(0.7)


def test_stratified_estimator_is_exactly_unbiased():
    """All 5^2 outcomes of n = 2 fresh draws: the mean is A pi; renormalising on pool and fresh draws is not."""
    payoffs, policy = random_problem(14, 5)
    pool = [1, 3]
    stratified, renormalised = np.zeros(5), np.zeros(5)
    for draw in product(range(5), repeat=2):
        d = np.array(draw)
        p = policy[d].prod()
        outside = (~np.isin(d, pool)).astype(float)
        stratified += p * stratified_payoffs(payoffs[:, pool], policy[pool], payoffs[:, d], outside)
        union = sorted({*pool, *draw})
        weights = exact_pool_weights(np.log(policy[union])).weights
        renormalised += p * opponent_payoffs(payoffs[:, union], weights)
    np.testing.assert_allclose(stratified, payoffs @ policy, atol=1e-14)
    assert np.abs(renormalised - payoffs @ policy).max() > 0.01


def drawn(*rounds):
    """log P(seen) after rounds of (policy, number of draws, policy, number of draws, ...)."""
    seen = np.full(len(rounds[0]), -np.inf)
    for policy, count in zip(rounds[::2], rounds[1::2], strict=True):
        seen = log_seen_after(seen, np.log(policy), count)
    return seen


def test_horvitz_thompson_weights_by_hand():
    """h = pi / (1 - prod_s (1 - pi_s)^n_s), then normalised: rounds of 4 draws from q and 2 from pi."""
    pi, q = np.array([0.5, 0.1, 0.02]), np.array([0.2, 0.3, 0.05])
    missed = (1 - q) ** 4 * (1 - pi) ** 2
    h = pi / (1 - missed)
    found = horvitz_thompson_weights(np.log(pi), drawn(q, 4, pi, 2))
    np.testing.assert_allclose(found.weights, h / h.sum(), rtol=1e-13)
    assert found.coverage == pytest.approx(0.62)
    # One draw from pi alone: pi / pi, the plain sample mean.
    once = horvitz_thompson_weights(np.log(pi), drawn(pi, 1))
    np.testing.assert_allclose(once.weights, 1 / 3, rtol=1e-13)


def test_horvitz_thompson_becomes_the_exact_pool():
    """After many draws everything was seen, P(seen) = 1, and the weights are pi renormalised."""
    pi = np.array([0.5, 0.1, 0.02])
    found = horvitz_thompson_weights(np.log(pi), drawn(pi, 10_000))
    np.testing.assert_allclose(found.weights, exact_pool_weights(np.log(pi)).weights, rtol=1e-12)


@pytest.mark.parametrize("log_prob", [-20.0, -60.0, -200.0, -5000.0])
def test_horvitz_thompson_on_rare_responses(log_prob):
    """pi far below rounding of 1 - pi, even below the smallest float: n_s pi_s / pi decides, here 3 draws each.

    P(seen) ~ n q with q = 2 pi and q = pi / 2, so h is proportional to 1 / 2 and 2, weights .2 and .8.
    """
    log_pi = np.full(2, log_prob)
    seen = log_seen_after(np.full(2, -np.inf), log_pi + np.log([2, 0.5]), 3)
    np.testing.assert_allclose(horvitz_thompson_weights(log_pi, seen).weights, [0.2, 0.8], rtol=1e-7)


@pytest.mark.parametrize("convert", [np.asarray, torch.tensor])
def test_log_seen_accumulates(convert):
    """1 - (1 - .3)^2 (1 - .01)^3 in two steps, a certain response, and one of probability e^-900 (3 + 2 draws)."""
    q, p = np.array([0.3, 1.0, 0.0]), np.array([0.01, 0.5, 0.0])
    rare = np.array([0.0, 0.0, -900.0])
    with np.errstate(divide="ignore"):
        log_q, log_p = np.where(q > 0, np.log(q), rare), np.where(p > 0, np.log(p), rare)
    first = log_seen_after(convert(np.full(3, -np.inf)), convert(log_q), 2)
    seen = np.asarray(log_seen_after(first, convert(log_p), 3))
    np.testing.assert_allclose(seen, [np.log1p(-(0.7**2) * 0.99**3), 0.0, -900 + np.log(5)], rtol=1e-12, atol=1e-11)


@pytest.mark.parametrize(("weights", "size"), [([0.25] * 4, 4.0), ([1.0, 1e-300], 1.0), ([0.5, 0.25, 0.25], 8 / 3)])
def test_effective_sample_size(weights, size):
    """1 / sum w^2: equal weights count all, one heavy weight counts one, (1/2, 1/4, 1/4) -> 1 / (6/16) = 8/3."""
    assert exact_pool_weights(np.log(weights)).effective_sample_size == pytest.approx(size)


@pytest.mark.parametrize("convert", [np.asarray, torch.tensor])
def test_masked_weights(convert):
    """Padding gets weight 0 and changes nothing, even where its log-weight is -inf, NaN or the largest."""
    log_weights = np.array([[0.0, 1.0, 99.0], [-1000.0, -np.inf, np.nan]])
    mask = np.array([[True, True, False], [True, False, False]])
    weights = np.asarray(normalized_weights(convert(log_weights), convert(mask)))
    np.testing.assert_allclose(weights, [[1 / (1 + np.e), np.e / (1 + np.e), 0], [1, 0, 0]], rtol=1e-15)


def test_numpy_and_torch_agree():
    """Every estimator on both kinds of array, with a leading axis."""
    rng = np.random.default_rng(15)
    payoffs, logs = rng.normal(size=(2, 4, 4)), np.log(rng.dirichlet(np.ones(6), size=2)[:, :4])
    missed, outside, mask = -rng.random((2, 4)), np.array([[1.0, 0, 1, 1], [0, 0, 0, 1]]), np.arange(4) < [[4], [2]]
    t = torch.tensor
    for ours, theirs in [
        (in_group_payoffs(payoffs), in_group_payoffs(t(payoffs))),
        (fresh_payoffs(payoffs), fresh_payoffs(t(payoffs))),
        (stratified_payoffs(payoffs, np.exp(logs), payoffs, outside),
         stratified_payoffs(t(payoffs), t(np.exp(logs)), t(payoffs), t(outside))),
        *(
            (getattr(ours, name), getattr(theirs, name))
            for ours, theirs in [
                (exact_pool_weights(logs, mask), exact_pool_weights(t(logs), t(mask))),
                (horvitz_thompson_weights(logs, missed, mask), horvitz_thompson_weights(t(logs), t(missed), t(mask))),
            ]
            for name in ("weights", "coverage", "effective_sample_size")
        ),
    ]:  # fmt: skip
        np.testing.assert_allclose(theirs.numpy(), ours, rtol=1e-13)


def test_drop_unjudged_drops_the_culprit():
    """Response 1 lacks two judgements, its rivals one each: dropping it alone is enough."""
    payoffs = np.zeros((4, 4))
    payoffs[1, 2] = payoffs[2, 1] = payoffs[1, 3] = np.nan
    assert drop_unjudged(payoffs) == [0, 2, 3]
    assert drop_unjudged(np.zeros((3, 3))) == [0, 1, 2]
    assert len(drop_unjudged(np.where(np.eye(3) > 0, 0.0, np.nan))) == 1
    assert drop_unjudged(torch.tensor(payoffs)) == [0, 2, 3]


@settings(deadline=None, derandomize=True, max_examples=40)
@given(seed=st.integers(0, 10**6), share=st.floats(0, 1))
def test_drop_unjudged_leaves_no_gap(seed, share):
    """Whatever is missing, the kept responses are fully judged, and a response with no gap is never dropped."""
    missing = np.random.default_rng(seed).random((6, 6)) < share
    np.fill_diagonal(missing, False)
    kept = drop_unjudged(np.where(missing, np.nan, 0.0))
    assert kept
    assert not missing[np.ix_(kept, kept)].any()
    assert set(np.flatnonzero(~(missing | missing.T).any(1))) <= set(kept)
