"""Measures of intransitivity: against counting by hand and by brute force, and the laws they keep."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

import rebel_pref as rp
from rebel_pref.diagnostics import (
    choices,
    disc_spectrum,
    disc_strengths,
    effective_discs,
    essential_actions,
    hodge_decomposition,
    majority_signs,
    stochastic_transitivity,
    tournament_solutions,
    triads,
)
from rebel_pref.diagnostics.hodge import potentials
from rebel_pref.diagnostics.transitivity import violation_counts

LAWS = settings(deadline=None, derandomize=True, max_examples=40)
SEEDS = st.integers(0, 10**6)
WEIGHTED = rp.games.rock_paper_scissors(0.1, 0.3, 0.6)  # winner (.6, .3, .1)


def skew(seed, n, *, kinds=None):
    """Random payoffs; `kinds` draws them from a few values, so that there are ties."""
    rng = np.random.default_rng(seed)
    upper = np.triu(rng.uniform(-1, 1, (n, n)) if kinds is None else rng.choice(kinds, (n, n)), 1)
    return upper - upper.T


def names(n):
    return [f"y{i}" for i in range(n)]


def beaten(payoffs, i, j):
    return payoffs[i, j] > 0


# Triads.


@LAWS
@given(seed=SEEDS, n=st.integers(1, 7), ties=st.booleans())
def test_triads_are_what_counting_finds(seed, n, ties):
    payoffs = skew(seed, n, kinds=[-1, -0.5, 0, 0.5, 1] if ties else None)
    found = triads(payoffs, names(n), listed=100)
    triples = list(itertools.combinations(range(n), 3))
    decided = [t for t in triples if all(payoffs[i, j] != 0 for i, j in itertools.combinations(t, 2))]
    circles = {
        frozenset(t): min(payoffs[i, j], payoffs[j, k], payoffs[k, i])
        for t in decided
        for i, j, k in (t, t[::-1])
        if beaten(payoffs, i, j) and beaten(payoffs, j, k) and beaten(payoffs, k, i)
    }
    assert (found.cyclic, found.decided, found.total) == (len(circles), len(decided), len(triples))
    listed = {frozenset(int(a[1:]) for a in cycle.actions): cycle for cycle in found.strongest}
    assert {actions: cycle.weakest for actions, cycle in listed.items()} == circles
    weakest = [cycle.weakest for cycle in found.strongest]
    assert weakest == sorted(weakest, reverse=True)
    for cycle in found.strongest:
        a, b, c = (int(action[1:]) for action in cycle.actions)
        assert cycle.payoffs == (payoffs[a, b], payoffs[b, c], payoffs[c, a])
    assert triads(payoffs, names(n), listed=2).strongest == found.strongest[:2]


@pytest.mark.parametrize("n", [3, 4, 5, 6])
def test_consistency_is_1_for_orders_and_0_for_the_most_cycles(n):
    """Regular tournaments have the most: (n^3 - n) / 24 for odd n, (n^3 - 4 n) / 24 for even n (found by search)."""
    order = np.sign(np.arange(n)[None, :] - np.arange(n)[:, None])
    assert triads(order, names(n)).consistency == 1.0
    pairs = list(itertools.combinations(range(n), 2))
    worst = min(
        (signed(n, pairs, outcome) for outcome in itertools.product([-1, 1], repeat=len(pairs))),
        key=lambda payoffs: triads(payoffs, names(n), listed=0).consistency,
    ) if n < 6 else circulant(n)  # fmt: skip
    found = triads(worst, names(n))
    assert found.consistency == 0.0
    assert found.cyclic == (n**3 - (n if n % 2 else 4 * n)) // 24


def signed(n, pairs, outcome):
    payoffs = np.zeros((n, n))
    for (i, j), sign in zip(pairs, outcome, strict=True):
        payoffs[i, j], payoffs[j, i] = sign, -sign
    return payoffs


def circulant(n):
    """Each beats the next n // 2, the last of an even n only in the first half."""
    pairs = list(itertools.combinations(range(n), 2))
    return signed(n, pairs, [1 if 2 * (j - i) <= n else -1 for i, j in pairs])


def test_undecided_pairs_count_as_fair_coins_in_the_consistency():
    """Mean of zeta over the 2^t ways to decide t tied pairs."""
    payoffs = skew(3, 5, kinds=[-1, 0, 1])
    ties = [(i, j) for i, j in itertools.combinations(range(5), 2) if payoffs[i, j] == 0]
    assert 2 <= len(ties) <= 6
    decided = []
    for outcome in itertools.product([-1, 1], repeat=len(ties)):
        full = payoffs + signed(5, ties, outcome)
        decided.append(triads(full, names(5)).consistency)
    assert triads(payoffs, names(5)).consistency == pytest.approx(np.mean(decided), abs=1e-12)


def test_what_rounding_leaves_is_a_tie():
    """.1 + .2 - .3 is 5.6e-17 in floats: no pair is decided by it, and no triad."""
    payoffs = np.array([[0, 0.1 + 0.2 - 0.3, -1], [0.3 - 0.1 - 0.2, 0, 1], [1, -1, 0]])
    assert payoffs[0, 1] > 0
    assert majority_signs(payoffs)[0, 1] == 0
    assert triads(payoffs, names(3)).decided == 0
    assert np.isnan(triads(payoffs, names(3)).share)


# Hodge decomposition.


@LAWS
@given(seed=SEEDS, n=st.integers(1, 9), density=st.floats(0.1, 1.0), log_spread=st.floats(0, 3))
def test_hodge_energies_add_up_on_any_graph(seed, n, density, log_spread):
    """To 1e-10 of the total, because the parts are orthogonal; weights over up to six orders of magnitude."""
    rng = np.random.default_rng(seed)
    weights = np.triu(np.exp(log_spread * rng.normal(size=(n, n))) * (rng.random((n, n)) < density), 1)
    weights += weights.T
    flow = np.where(weights > 0, skew(seed, n), 0.0)
    found = hodge_decomposition(flow, weights, name="test")
    assert found.gradient + found.curl + found.harmonic == pytest.approx(found.total, rel=1e-10, abs=1e-14)
    # What is left is divergence-free, on every node.
    np.testing.assert_allclose((weights * found.cyclic_flow).sum(1), 0, atol=1e-8 * max(weights.sum(), 1))
    order = rng.permutation(n)
    again = hodge_decomposition(flow[np.ix_(order, order)], weights[np.ix_(order, order)], name="test")
    np.testing.assert_allclose(
        [again.gradient, again.curl, again.harmonic],
        [found.gradient, found.curl, found.harmonic],
        rtol=1e-8,
        atol=1e-10 * max(found.total, 1e-300),
    )
    np.testing.assert_allclose(again.potential, found.potential[order], atol=1e-8)


def test_hodge_by_hand():
    """A triangle is curl, a square without diagonals is harmonic, a difference of scores is gradient.

    Triangle 1-2-3 with flows (3, 0, 0) and weight 1: the loop is the mean, 1 on each edge: curl 3, gradient 9 - 3.
    """
    triangle = np.array([[0.0, 3, 0], [-3, 0, 0], [0, 0, 0]])
    found = hodge_decomposition(triangle, np.ones((3, 3)), name="payoff")
    assert (found.total, found.gradient, found.curl, found.harmonic) == pytest.approx((9, 6, 3, 0), abs=1e-12)
    np.testing.assert_allclose(found.potential, [1, -1, 0], atol=1e-12)
    square = signed(4, [(0, 1), (1, 2), (2, 3), (0, 3)], [1, 1, 1, -1])
    found = hodge_decomposition(square, np.abs(square), name="payoff")
    assert (found.total, found.gradient, found.curl, found.harmonic) == pytest.approx((4, 0, 0, 4), abs=1e-12)
    # With one diagonal the loop is the sum of two triangles, and nothing is harmonic.
    weights = np.abs(square)
    weights[0, 2] = weights[2, 0] = 1.0
    found = hodge_decomposition(square, weights, name="payoff")
    assert (found.curl, found.harmonic) == pytest.approx((4, 0), abs=1e-12)
    assert found.share(found.curl) == pytest.approx(1.0)


@LAWS
@given(seed=SEEDS, n=st.integers(2, 8))
def test_scores_are_found_again(seed, n):
    """A flow of differences of scores is all gradient, on a path as on a complete graph, whatever the weights."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=n)
    path = np.abs(np.subtract.outer(np.arange(n), np.arange(n))) == 1
    for met in (path, ~np.eye(n, dtype=bool)):
        weights = np.where(met, np.exp(np.add.outer(scores, scores)), 0.0)
        flow = np.where(met, np.subtract.outer(scores, scores), 0.0)
        found = hodge_decomposition(flow, weights, name="test")
        np.testing.assert_allclose(found.potential, scores - scores.mean(), atol=1e-8)
        assert found.curl + found.harmonic <= 1e-12 * found.total


def test_potentials_of_a_batch_and_of_separate_parts():
    """Parts that never met get scores of mean 0 each; a batch gives what its members give; no pair gives zeros."""
    flow, weights = np.zeros((5, 5)), np.zeros((5, 5))
    flow[0, 1], flow[2, 3], weights[0, 1], weights[2, 3] = 2.0, 4.0, 1.0, 7.0
    flow, weights = flow - flow.T, weights + weights.T
    np.testing.assert_allclose(potentials(flow, weights), [1, -1, 2, -2, 0], atol=1e-8)
    stack = np.stack([flow, skew(1, 5)]), np.stack([weights, np.ones((5, 5))])
    both = potentials(*stack)
    for k in range(2):
        np.testing.assert_allclose(both[k], potentials(stack[0][k], stack[1][k]), atol=1e-12)
    np.testing.assert_array_equal(potentials(np.zeros((3, 3)), np.zeros((3, 3))), np.zeros(3))


# Discs.


def test_discs_of_a_known_sum():
    """Orthogonal discs of strength 3 and 1 in five dimensions; k equal discs count as k, and relabelling is a turn."""
    turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(5, 5)))
    blocks = np.zeros((5, 5))
    blocks[0, 1], blocks[2, 3] = 3.0, 1.0
    flow = turn @ (blocks - blocks.T) @ turn.T
    np.testing.assert_allclose(disc_strengths(flow), [3, 1], atol=1e-12)
    shares = np.array([0.9, 0.1])
    found = disc_spectrum(flow, flow)
    assert found.effective_discs == pytest.approx(np.exp(-(shares * np.log(shares)).sum()))
    assert effective_discs(np.array([2.0, 2.0, 2.0, 0.0])) == pytest.approx(3.0)
    assert effective_discs(np.zeros(2)) == 0.0
    np.testing.assert_allclose(disc_strengths(WEIGHTED.payoff), [np.sqrt(0.01 + 0.09 + 0.36)])


def test_scores_alone_are_one_disc():
    """r 1^T - 1 r^T has rank 2; without its gradient nothing is left, not even rounding."""
    scores = np.random.default_rng(1).normal(size=7)
    flow = np.subtract.outer(scores, scores)
    found = disc_spectrum(flow, hodge_decomposition(flow, np.ones((7, 7)), name="payoff").cyclic_flow)
    assert found.effective_discs == pytest.approx(1.0)
    assert (found.effective_cyclic_discs, found.cyclic_strengths.max()) == (0.0, 0.0)


# Sets of winners.


def solved(payoffs):
    return rp.solve(rp.PreferenceGame.from_payoffs(payoffs)).policy


def sets(payoffs):
    return tournament_solutions(payoffs, names(len(payoffs)), solved(payoffs))


def most_mass(payoffs, action):
    """The largest probability of an action in a minimax winner, by a linear program."""
    n = len(payoffs)
    found = linprog(-np.eye(n)[action], A_ub=payoffs, b_ub=np.zeros(n), A_eq=np.ones((1, n)), b_eq=[1.0])
    return -found.fun


@LAWS
@given(seed=SEEDS, n=st.integers(1, 7), ties=st.booleans())
def test_sets_are_nested_and_what_their_definitions_say(seed, n, ties):
    """Smith contains uncovered contains bipartisan; with ties, and relabelled, too."""
    payoffs = skew(seed, n, kinds=[-1, 0, 0.5, 1] if ties else None)
    signs = majority_signs(payoffs)
    found = sets(payoffs)
    everyone = names(n)
    smith, uncovered, bipartisan = map(set, (found.smith_set, found.uncovered_set, found.bipartisan_set))
    assert set(everyone) >= smith >= uncovered >= bipartisan > set()
    # Smith: the smallest set that beats everyone outside.
    closed = [
        subset
        for size in range(1, n + 1)
        for subset in itertools.combinations(range(n), size)
        if all(signs[i, j] > 0 for i in subset for j in set(range(n)) - set(subset))
    ]
    assert smith == {everyone[i] for i in min(closed, key=len)}
    # Uncovered, McKelvey: nobody beats it and does as well against all.
    assert uncovered == {
        everyone[y]
        for y in range(n)
        if not any(signs[x, y] > 0 and (signs[x] >= signs[y]).all() for x in range(n))
    }  # fmt: skip
    assert found.condorcet_winner in (None, *everyone)
    if found.condorcet_winner:
        assert smith == bipartisan == set(found.essential_set) == {found.condorcet_winner}
    for matrix, played in ((signs, bipartisan), (payoffs, set(found.essential_set))):
        assert played == {everyone[i] for i in range(n) if most_mass(matrix, i) > 1e-7}
    if not (signs + np.eye(n) == 0).any():
        assert found.bipartisan_unique
        assert len(bipartisan) % 2 == 1
    order = np.random.default_rng(seed).permutation(n)
    moved = payoffs[np.ix_(order, order)]
    again = tournament_solutions(moved, [everyone[i] for i in order], solved(moved))
    for field in ("smith_set", "uncovered_set", "bipartisan_set", "essential_set"):
        assert set(getattr(again, field)) == set(getattr(found, field))
    assert again.condorcet_winner == found.condorcet_winner
    assert again.condorcet_loser == found.condorcet_loser


def test_sets_by_hand():
    """A cycle a > b > c > a whose members beat d; d is the loser, and covered."""
    payoffs = signed(4, [(0, 1), (1, 2), (0, 2), (0, 3), (1, 3), (2, 3)], [0.2, 0.4, -0.6, 1, 1, 1])
    found = tournament_solutions(payoffs, "abcd", solved(payoffs))
    assert (found.condorcet_winner, found.condorcet_loser) == (None, "d")
    for members in (found.smith_set, found.uncovered_set, found.bipartisan_set, found.essential_set):
        assert members == ("a", "b", "c")
    assert found.bipartisan_unique
    assert found.essential_unique


def test_several_winners_are_said_and_the_essential_set_is_their_union():
    """Two pairs of clones a = b, c = d tie with each other: every policy wins, and none alone plays all by chance.

    In Colonel Blotto many allocations are played by some winner; a vertex plays three of them.
    """
    found = sets(np.zeros((4, 4)))
    assert (found.essential_set, found.essential_unique) == (("y0", "y1", "y2", "y3"), False)
    game = rp.games.blotto(5, (1, 1, 1))
    played, unique = essential_actions(game.payoff, rp.solve(game).policy)
    assert not unique
    np.testing.assert_array_equal(played, [most_mass(game.payoff, i) > 1e-7 for i in range(len(game))])
    # Strictly between: a, b clones that beat c.
    clones = signed(3, [(0, 2), (1, 2)], [1, 1])
    played, unique = essential_actions(clones, np.array([1.0, 0.0, 0.0]))
    assert (played.tolist(), unique) == ([True, True, False], False)
    assert essential_actions(np.zeros((1, 1)), np.ones(1))[1]


# Stochastic transitivity.


@LAWS
@given(seed=SEEDS, n=st.integers(1, 6), ties=st.booleans(), density=st.floats(0.4, 1.0))
def test_violations_are_what_counting_finds(seed, n, ties, density):
    rng = np.random.default_rng(seed)
    met = np.triu(rng.random((n, n)) < density, 1)
    met = met | met.T
    payoffs = np.where(met, skew(seed, n, kinds=[-1, -0.5, 0, 0.5, 1] if ties else None), 0.0)
    found = stochastic_transitivity(payoffs, met, names(n))
    chains = [
        (payoffs[a, c], payoffs[a, b], payoffs[b, c], (a, b, c))
        for a, b, c in itertools.permutations(range(n), 3)
        if payoffs[a, b] > 0 and payoffs[b, c] > 0 and met[a, c]
    ]
    assert found.chains == len(chains)
    totals, batch = violation_counts(np.stack([payoffs, -payoffs]), np.stack([met, met]))
    assert totals.tolist() == [len(chains)] * 2
    rules = {"weak": lambda x, y: 0.0, "moderate": min, "strong": max}
    for kind, required in rules.items():
        short = [required(first, second) - straight for straight, first, second, _ in chains]
        broken = [shortfall for shortfall in short if shortfall > 1e-12]
        seen = getattr(found, kind)
        assert seen.count == len(broken) == batch[kind][0]
        assert seen.share == (len(broken) / len(chains) if chains else 0.0)
        assert seen.shortfall == pytest.approx(max(broken, default=0.0))
        if broken:
            a, b, c = (int(name[1:]) for name in seen.worst)
            assert required(payoffs[a, b], payoffs[b, c]) - payoffs[a, c] == pytest.approx(seen.shortfall)
        else:
            assert seen.worst is None


# Transitive games have none of it.


@LAWS
@given(seed=SEEDS, n=st.integers(2, 9), spread=st.floats(0.01, 2.0))
def test_bradley_terry_games_are_free_of_cycles_curl_and_violations(seed, n, spread):
    """Zero curl in log-odds, no cyclic triad, no chain broken, one action in every set; and the scores are found."""
    scores = spread * np.random.default_rng(seed).normal(size=n)
    chances = 1 / (1 + np.exp(np.subtract.outer(scores, scores).T))
    found = rp.diagnose(rp.PreferenceGame.from_preferences(chances))
    assert found.hodge.flow == "log-odds"
    assert found.hodge.curl + found.hodge.harmonic <= 1e-12 * found.hodge.total
    np.testing.assert_allclose(found.hodge.potential, scores - scores.mean(), atol=1e-6)
    np.testing.assert_allclose(found.bradley_terry, found.hodge.potential, rtol=1e-3, atol=1e-4)
    assert (found.triads.cyclic, found.triads.consistency) == (0, 1.0)
    assert found.spectrum.effective_cyclic_discs == 0.0 or found.hodge.total < 1e-8
    broken = found.transitivity
    assert (broken.weak.count, broken.moderate.count, broken.strong.count) == (0, 0, 0)
    assert found.solutions.condorcet_winner == found.labels[int(scores.argmax())]
    assert all(choice.exploitability <= 1e-9 for choice in found.choices if choice.rule != "uniform")
    assert "beats all others" in found.sentence


@LAWS
@given(seed=SEEDS, n=st.integers(2, 8))
def test_gradient_games_are_transitive(seed, n):
    """A = r 1^T - 1 r^T, payoffs beyond 1: decomposed as they are; moderate and strong transitivity hold too."""
    scores = 5 * np.random.default_rng(seed).normal(size=n)
    found = rp.diagnose(rp.PreferenceGame.from_payoffs(np.subtract.outer(scores, scores)), flow="payoff")
    assert found.hodge.curl + found.hodge.harmonic <= 1e-12 * found.hodge.total
    assert found.triads.cyclic == found.transitivity.strong.count == 0
    assert found.transitivity.chains == n * (n - 1) * (n - 2) // 6


# Choices.


def test_choices_by_hand():
    """Weighted rock-paper-scissors: A = [[0, -.1, .3], [.1, 0, -.6], [-.3, .6, 0]].

    Mean payoffs (.2, -.5, .3) / 3: Borda takes scissors, which rock beats by .3. Copeland ties all three, so its choice
    is uniform: payoffs (.2, -.5, .3) / 3, best .1. The minimax winner is (.6, .3, .1).
    """
    winner = np.array([0.6, 0.3, 0.1])
    found = {choice.rule: choice for choice in choices(WEIGHTED.payoff, WEIGHTED.labels, scores=None, winner=winner)}
    assert list(found) == ["Borda", "Copeland", "uniform", "minimax winner"]
    assert found["Borda"].actions == ("scissors",)
    assert found["Borda"].exploitability == pytest.approx(0.3)
    assert found["Copeland"].actions == ("rock", "paper", "scissors")
    assert found["Copeland"].exploitability == found["uniform"].exploitability == pytest.approx(0.1)
    assert found["minimax winner"].actions == ("rock", "paper", "scissors")
    assert found["minimax winner"].exploitability == pytest.approx(0, abs=1e-15)
    rated = choices(WEIGHTED.payoff, WEIGHTED.labels, scores=np.array([0.5, 0.5 - 1e-9, -1]), winner=winner)
    assert [choice.actions for choice in rated if choice.rule == "Bradley-Terry"] == [("rock", "paper")]


def test_every_kind_of_game_is_diagnosed_alike():
    """Dense, by factors, and by a matvec: one game, one diagnosis."""
    factored = rp.games.FactoredGame.from_factors([[1.0], [-0.5], [-0.5]], [[0.0], [0.75], [-0.75]])
    payoff = factored.columns(np.arange(3))
    dense = rp.PreferenceGame.from_payoffs(payoff)
    matvec = rp.games.MatvecGame.from_matvec(lambda p: payoff @ p, 3)
    told = [str(rp.diagnose(game)) for game in (dense, factored, matvec)]
    assert told[0] == told[1] == told[2]
    assert "1 of 1 decided triads is cyclic" in told[0]


def test_too_many_actions_are_refused_before_any_work():
    factored = rp.games.FactoredGame.from_factors(np.zeros((4001, 1)), np.zeros((4001, 1)))
    with pytest.raises(ValueError, match=r"at most 4000 actions \(triads take n\^3 operations\), got 4001"):
        rp.diagnose(factored)
