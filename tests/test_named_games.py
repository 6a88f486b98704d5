"""Named games: winners and values derived by hand, laws of their definitions, and how a name is spelled."""

import json
from fractions import Fraction
from itertools import pairwise, permutations, product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

import rebel_pref as rp
from rebel_pref.games import (
    EFRON_DICE,
    GAMES,
    GRIME_DICE,
    MIWIN_DICE,
    blotto,
    both_seats_game,
    bradley_terry_game,
    colonel_lotto,
    cycle_game,
    dense_game,
    dice_game,
    disc_game,
    factored_disc_game,
    hybrid_game,
    kuhn_poker,
    kuhn_poker_seats,
    lizard_spock,
    majority_game,
    mcgarvey_game,
    mcgarvey_rankings,
    mixed_game,
    morra,
    named_game,
    penney,
    points_game,
    random_game,
    rock_paper_scissors,
)

CASES = Path(__file__).parent / "cases"
laws = settings(deadline=None, derandomize=True, max_examples=25)


def reordered(game, labels):
    order = [game.labels.index(label) for label in labels]
    return game.payoff[np.ix_(order, order)]


def has_one_winner(game, policy):
    """`policy` wins, whoever is out of it loses against it, and the payoffs within it fix it up to scale."""
    payoffs, inside = game.payoff @ policy, policy > 1e-9
    within = game.payoff[np.ix_(inside, inside)]
    gap = payoffs[~inside].max(initial=-1.0)
    return payoffs.max() < 1e-9 and gap < -1e-6 and np.linalg.matrix_rank(within, tol=1e-9) == inside.sum() - 1


def case(name):
    found = json.loads((CASES / f"{name}.json").read_text())
    payoff = np.array([[float(Fraction(x)) for x in row] for row in found["payoff"]])
    return found["labels"], payoff


@pytest.mark.parametrize("name", GAMES)
def test_every_name_is_a_game(name):
    """Without arguments, the same at every call; skew-symmetric, with distinct labels."""
    game, again = GAMES[name](), named_game(name)
    assert len(game) == len(again) > 1
    assert tuple(game.labels) == tuple(again.labels)
    assert len(set(game.labels)) == len(game)
    some = np.arange(min(len(game), 100))
    block = game.columns(some)
    np.testing.assert_array_equal(block, again.columns(some))
    np.testing.assert_allclose(block[some], -block[some].T, atol=1e-15)
    assert np.abs(block).max() > 0


@laws
@given(wins=st.tuples(*[st.floats(0.01, 10.0)] * 3))
def test_weighted_rock_paper_scissors(wins):
    """A 3-cycle's winner gives each action the win it has no part in: .1, .3, .6 make (.6, .3, .1)."""
    paper_over_rock, rock_over_scissors, scissors_over_paper = wins
    winner = np.array([scissors_over_paper, rock_over_scissors, paper_over_rock]) / sum(wins)
    game = rock_paper_scissors(*wins)
    assert has_one_winner(game, winner)
    np.testing.assert_allclose(rp.solve(game).policy, winner, atol=1e-6)
    default = rp.solve(named_game("weighted-rock-paper-scissors"))
    np.testing.assert_allclose(default.policy, [0.6, 0.3, 0.1], atol=1e-9)


def test_lizard_spock():
    """Two wins and two losses each: rows sum to 0, so uniform wins. It is the 5-cycle in the order below."""
    game = lizard_spock()
    np.testing.assert_array_equal((game.payoff == 1).sum(axis=1), np.full(5, 2))
    assert has_one_winner(game, np.full(5, 0.2))
    circle = ("rock", "paper", "scissors", "Spock", "lizard")
    np.testing.assert_array_equal(reordered(game, circle), cycle_game(5).payoff)
    labels, payoff = case("five_cycle")
    np.testing.assert_array_equal(reordered(game, [x.replace("spock", "Spock") for x in labels]), payoff)


@laws
@given(half=st.integers(1, 10))
def test_cycles_are_won_by_uniform_alone(half):
    """Every action of a regular tournament beats `half` others; with three it is rock, paper, scissors."""
    size = 2 * half + 1
    game = cycle_game(size)
    np.testing.assert_array_equal((game.payoff == 1).sum(axis=1), np.full(size, half))
    np.testing.assert_array_equal((game.payoff == 0).sum(axis=1), np.ones(size))
    assert has_one_winner(game, np.full(size, 1 / size))
    np.testing.assert_allclose(rp.solve(game).policy, 1 / size, atol=1e-9)
    np.testing.assert_array_equal(cycle_game(3).payoff, rock_paper_scissors().payoff)


def test_morra():
    """Two fingers: the table of the case file. Three: (5, 4, 3)/12 on the plays whose show and call make 4.

    Those three tie with each other (both right or both wrong). Against p = (5, 4, 3)/12 on "1 call 3", "2 call 2",
    "3 call 1", a play "show s call c" loses p[s] (s + 4 - s) and wins p[4 - c] (s + 4 - c) shown fingers, where p[s]
    is the weight of the play that calls s (p: calls 1, 2, 3 = 3, 4, 5) and shows 4 - s:
    win - loss in twelfths, s = 1: c = 1, 2, 3 -> 5*2, 4*3, 3*4 minus 3*4 -> -2, 0, 0; s = 2 and 3 go the same way.
    """
    labels, payoff = case("two_finger_morra")
    np.testing.assert_array_equal(reordered(morra(), labels), payoff)
    three = morra(3)
    share = {"show 1 call 3": 5 / 12, "show 2 call 2": 4 / 12, "show 3 call 1": 3 / 12}
    policy = np.array([share.get(label, 0.0) for label in three.labels])
    payoffs = dict(zip(three.labels, (12 * three.payoff @ policy).round(12), strict=True))
    assert (payoffs["show 1 call 1"], payoffs["show 1 call 2"], payoffs["show 1 call 3"]) == (-2, 0, 0)
    assert max(payoffs.values()) == 0


def chance_of_coming_first(first, second):
    """P(first before second) from the Markov chain on the tosses seen last, solved as linear equations."""
    longest = len(first)
    states = ["".join(tosses) for length in range(longest + 1) for tosses in product("HT", repeat=length)]
    place = {state: i for i, state in enumerate(states)}
    matrix, known = np.eye(len(states)), np.zeros(len(states))
    for state, i in place.items():
        if state in (first, second):
            known[i] = state == first
            continue
        for toss in "HT":
            matrix[i, place[(state + toss)[-longest:]]] -= 0.5
    return np.linalg.solve(matrix, known)[0]


@pytest.mark.parametrize("length", [1, 2, 3])
def test_conways_rule_agrees_with_the_markov_chain(length):
    """Leading numbers give what the chain of coin tosses gives."""
    game = penney(length)
    for i, j in permutations(range(len(game)), 2):
        assert game.preferences[i, j] == pytest.approx(chance_of_coming_first(game.labels[i], game.labels[j]))


def test_penney():
    """The textbook's odds, in a circle of four; THH and HTT by halves win.

    THH comes before HHT by 3 : 1 and after TTH by 1 : 2, HTT before TTH by 3 : 1 and after HHT by 1 : 2. Half THH, half
    HTT gets (1/2 - 1/3) / 2 = 1/12 from HHT and from TTH; HTH and THT are even with both; HHH loses 3/4 and 1/5.
    """
    game = penney()
    at = {label: i for i, label in enumerate(game.labels)}
    odds = {"THH>HHH": 7 / 8, "THH>HHT": 3 / 4, "HHT>HTH": 2 / 3, "HHT>HTT": 2 / 3, "HTT>TTH": 3 / 4, "TTH>THH": 2 / 3}
    for pair, chance in odds.items():
        one, two = pair.split(">")
        assert game.preferences[at[one], at[two]] == pytest.approx(chance)
    halves = np.zeros(8)
    halves[[at["THH"], at["HTT"]]] = 0.5
    payoffs = game.payoff @ halves
    assert payoffs.max() == 0
    np.testing.assert_allclose(payoffs[[at["HHT"], at["TTH"]]], -1 / 12)
    np.testing.assert_allclose(payoffs[[at["HHH"], at["TTT"]]], -(3 / 4 + 1 / 5) / 2)
    swapped = [label.translate(str.maketrans("HT", "TH")) for label in game.labels]
    np.testing.assert_array_equal(reordered(game, swapped), game.payoff)  # a fair coin


def test_efron_dice():
    """Each die beats the next with probability 2/3: 4 > 3 in 4 of 6; 3 > 2 in 4 of 6; 1/3 + 2/3 1/2; 1/2 + 1/2 1/3.

    A against C: 4 > 2 in 4/6 4/6 = 4/9, so -1/9; B against D even. (x, y + x/3, x, y) with 2 x + x/3 + 2 y = 1 gets
    -y/3 - x/9 + y/3 + x/9 = 0 in every row, so the winners are the segment from x = 0 to y = 0, x = 3/7.
    """
    game = dice_game(EFRON_DICE)
    assert game.labels == ("A", "B", "C", "D")
    a, b = 1 / 3, 1 / 9
    np.testing.assert_array_equal(game.payoff, [[0, a, -b, -a], [-a, 0, a, 0], [b, -a, 0, a], [a, 0, -a, 0]])
    ends = np.array([[0, 1 / 2, 0, 1 / 2], [3 / 7, 1 / 7, 3 / 7, 0]])
    np.testing.assert_allclose(game.payoff @ ends.T, 0, atol=1e-16)
    assert np.linalg.matrix_rank(game.payoff, tol=1e-12) == 2
    found = rp.solve(game).policy
    mix = np.linalg.lstsq(ends.T, found, rcond=None)[0]
    assert mix.min() >= -1e-9
    np.testing.assert_allclose(mix @ ends, found, atol=1e-9)


def test_grime_and_miwin_dice():
    """Grime's circle by the length of the words turns round with two dice of a colour; Miwin's is 17 to 16 of 36."""
    by_length = ["red", "blue", "olive", "yellow", "magenta", "red"]
    by_alphabet = ["blue", "magenta", "olive", "red", "yellow", "blue"]
    one, two = dice_game(GRIME_DICE), dice_game(GRIME_DICE, rolls=2)
    place = one.labels.index
    for circle in (by_length, by_alphabet):
        assert all(one.payoff[place(x), place(y)] > 0 for x, y in pairwise(circle))
    assert all(two.payoff[place(x), place(y)] < 0 for x, y in pairwise(by_length))
    # Red's 4 beats blue's 2 (5/6 1/2) and its 9 beats everything (1/6).
    assert one.preferences[place("red"), place("blue")] == pytest.approx(5 / 12 + 1 / 6)
    np.testing.assert_allclose(dice_game(MIWIN_DICE).payoff * 36, rock_paper_scissors().payoff.T, atol=1e-14)
    wins = sum(x > y for x, y in product(MIWIN_DICE["III"], MIWIN_DICE["IV"]))
    losses = sum(x < y for x, y in product(MIWIN_DICE["III"], MIWIN_DICE["IV"]))
    assert (wins, losses) == (17, 16)


@laws
@given(
    dice=st.lists(st.lists(st.integers(0, 6), min_size=1, max_size=4), min_size=2, max_size=3), rolls=st.integers(1, 3)
)
def test_dice_agree_with_counting_all_rolls(dice, rolls):
    """Any faces, dice with different numbers of them, several rolls."""
    game = dice_game(dice, rolls=rolls)
    sums = [[sum(faces) for faces in product(die, repeat=rolls)] for die in dice]
    for i, j in product(range(len(dice)), repeat=2):
        mean = np.mean([np.sign(x - y) for x, y in product(sums[i], sums[j])])
        assert game.payoff[i, j] == pytest.approx(mean, abs=1e-15)


def test_weighted_blotto():
    """6 soldiers, fields worth 2, 3, 4: one winner on 15 of 28; a best responder wins 69.6 % against uniform play.

    (1 + 11/28) / 2 = 39/56: the best allocation wins 11 games more than it loses against the 28.
    """
    game = named_game("weighted-blotto")
    np.testing.assert_array_equal(game.payoff, blotto(6, (2, 3, 4), "win").payoff)
    winner = rp.solve(game)
    assert (len(game), len(winner.support)) == (28, 15)
    assert has_one_winner(game, winner.policy)
    uniform = rp.certify(game, np.full(28, 1 / 28))
    assert uniform.exploitability == pytest.approx(11 / 28)
    assert uniform.best_response_win_rate == pytest.approx(39 / 56)


def test_blotto_by_margin():
    """Allocation "3 0 3" wins 2 + 4 and loses 3 of 9 against "2 4 0"; against "0 3 3" it wins 2 and loses 3."""
    game = blotto(6, (2, 3, 4), "margin")
    a, b, c = (game.labels.index(label) for label in ("3 0 3", "2 4 0", "0 3 3"))
    assert game.payoff[a, b] == pytest.approx(3 / 9)
    assert game.payoff[a, c] == pytest.approx(-1 / 9)
    assert game.holds_win_rates
    np.testing.assert_array_equal(np.sign(game.payoff.round(9)), blotto(6, (2, 3, 4)).payoff)
    assert rp.solve(game).solved


@laws
@given(soldiers=st.integers(0, 6), fields=st.integers(1, 3))
def test_lotto_is_blotto_for_players_who_shuffle(soldiers, fields):
    """Payoff of two divisions = mean of Blotto's margin over every order of the one."""
    lotto, plain = colonel_lotto(soldiers, fields), blotto(soldiers, [1] * fields, "margin")
    for i, j in product(range(len(lotto)), repeat=2):
        orders = {plain.labels.index(" ".join(order)) for order in permutations(lotto.labels[i].split())}
        mean = np.mean([plain.payoff[order, plain.labels.index(lotto.labels[j])] for order in orders])
        assert lotto.payoff[i, j] == pytest.approx(mean, abs=1e-14)


def test_lotto_has_a_pure_winner():
    """A part y meets a random one of 0, 2, 4: smaller ones minus larger ones is y - 2 up to y = 5 and less beyond.

    Three parts that sum to 6 get (6 - 3 2) / 9 = 0 at most.
    """
    game = colonel_lotto(6, 3)
    best = game.labels.index("0 2 4")
    assert game.payoff[best].min() == 0
    assert rp.exploitability(game, np.eye(len(game))[best]) == 0


def optimal_seats(payoff):
    """Optimal plans of both seats and the value, from the two linear programs of a matrix game."""
    rows, columns = payoff.shape
    first = linprog(
        np.append(np.zeros(rows), -1.0),
        A_ub=np.hstack([-payoff.T, np.ones((columns, 1))]),
        b_ub=np.zeros(columns),
        A_eq=np.append(np.ones(rows), 0.0)[None],
        b_eq=[1.0],
        bounds=[(0, None)] * rows + [(None, None)],
    )
    second = linprog(
        np.append(np.zeros(columns), 1.0),
        A_ub=np.hstack([payoff, -np.ones((rows, 1))]),
        b_ub=np.zeros(rows),
        A_eq=np.append(np.ones(columns), 0.0)[None],
        b_eq=[1.0],
        bounds=[(0, None)] * columns + [(None, None)],
    )
    assert first.x[-1] == pytest.approx(second.x[-1], abs=1e-9)
    return first.x[:-1], second.x[:-1], first.x[-1]


def test_kuhn_poker():
    """27 by 64 plans in reduced normal form; the first seat loses 1/18 of a chip a hand; both seats played are even."""
    payoff, first, second = kuhn_poker_seats()
    assert payoff.shape == (27, 64) == (len(set(first)), len(set(second)))
    x, y, value = optimal_seats(payoff)
    assert value == pytest.approx(-1 / 18, abs=1e-12)
    game = kuhn_poker()
    assert len(game) == 1728
    assert rp.exploitability(game, np.outer(x, y).ravel()) < 1e-12

    def plans(seat, label):
        return (first, second)[seat].index(label)

    bluff = plans(0, "J bet, Q bet, K bet")
    timid = plans(0, "J check-fold, Q check-fold, K check-fold")
    # All bet and all call: two chips for the higher card, even. All fold: the first gets the ante, or pays it.
    assert payoff[bluff, plans(1, "J check-call, Q check-call, K check-call")] == 0
    assert payoff[bluff, plans(1, "J bet-fold, Q bet-fold, K bet-fold")] == 1
    assert payoff[timid, plans(1, "J bet-fold, Q bet-fold, K bet-fold")] == -1
    # Against a king that alone bets and calls, betting all: -2 if they hold it (2 of 6), +1 else (4 of 6) -> 0.
    assert payoff[bluff, plans(1, "J check-fold, Q check-fold, K bet-call")] == 0


def test_kuhns_own_solution():
    """Kuhn: J bets 1/3 and folds after a check, Q checks and calls 2/3 (a = 1/3 + 1/3), K always bets; the second
    bluffs J after a check 1/3, calls a bet with Q 1/3."""
    payoff, first, second = kuhn_poker_seats()

    def mixture(labels, choices):
        policy = np.zeros(len(labels))
        for picked in product(*(options.items() for options in choices)):
            words = ", ".join(f"{card} {act}" for card, (act, _) in zip("JQK", picked, strict=True))
            policy[labels.index(words)] += np.prod([share for _, share in picked])
        return policy

    x = mixture(first, [{"bet": 1 / 3, "check-fold": 2 / 3}, {"check-fold": 1 / 3, "check-call": 2 / 3}, {"bet": 1}])
    y = mixture(
        second,
        [{"bet-fold": 1 / 3, "check-fold": 2 / 3}, {"check-call": 1 / 3, "check-fold": 2 / 3}, {"bet-call": 1}],
    )
    assert (x @ payoff).min() == pytest.approx(-1 / 18, abs=1e-15)
    assert (payoff @ y).max() == pytest.approx(-1 / 18, abs=1e-15)


@laws
@given(seed=st.integers(0, 10**6), rows=st.integers(1, 4), columns=st.integers(1, 4))
def test_both_seats(seed, rows, columns):
    """Exploitability is half the gap of the two seats; the marginals of a winner are optimal in their seats."""
    rng = np.random.default_rng(seed)
    payoff = rng.normal(size=(rows, columns))
    game = both_seats_game(payoff)
    x, y = rng.dirichlet(np.ones(rows)), rng.dirichlet(np.ones(columns))
    gap = (payoff @ y).max() - (x @ payoff).min()
    assert rp.exploitability(game, np.outer(x, y).ravel()) == pytest.approx(gap / 2)
    solved = rp.solve(game).policy.reshape(rows, columns)
    value = optimal_seats(payoff)[2]
    assert (solved.sum(axis=1) @ payoff).min() == pytest.approx(value, abs=1e-8)
    assert (payoff @ solved.sum(axis=0)).max() == pytest.approx(value, abs=1e-8)


def test_condorcets_paradox():
    """Three transitive raters, a majority of two to one around the circle: P = 2/3, A = 1/3, uniform wins."""
    game = majority_game()
    third = 1 / 3
    np.testing.assert_array_equal(game.payoff, [[0, third, -third], [-third, 0, third], [third, -third, 0]])
    assert has_one_winner(game, np.full(3, third))
    # Of two raters one is indifferent: half of his vote each, P = 3/4.
    assert majority_game([[1, 1], [5, 2]]).preferences[0, 1] == 0.75


@laws
@given(seed=st.integers(0, 10**6), raters=st.integers(1, 5), items=st.integers(1, 5))
def test_majorities_are_shares_of_raters(seed, raters, items):
    """P(i > j) is counted rater by rater, ties half; one rater alone is never intransitive."""
    scores = np.random.default_rng(seed).integers(0, 4, (raters, items))
    game = majority_game(scores)
    for i, j in product(range(items), repeat=2):
        share = np.mean([1.0 if row[i] > row[j] else 0.5 if row[i] == row[j] else 0.0 for row in scores])
        assert game.preferences[i, j] == pytest.approx(share, abs=1e-15)
    alone = majority_game(scores[:1])
    assert rp.exploitability(alone, np.eye(items)[scores[0].argmax()]) == 0


@laws
@given(seed=st.integers(0, 10**6), size=st.integers(2, 6))
def test_mcgarvey_makes_any_tournament(seed, size):
    """Votes for minus votes against are 2 T, counted from the rankings; the game is T over the sum of its weights."""
    upper = np.triu(np.random.default_rng(seed).integers(-2, 3, (size, size)), 1)
    upper[0, 1] = upper[0, 1] or 1
    tournament = upper - upper.T
    rankings = mcgarvey_rankings(tournament)
    assert len(rankings) == np.abs(tournament).sum()
    votes = np.zeros((size, size))
    for ranking in rankings.tolist():
        assert sorted(ranking) == list(range(size))
        for better in range(size):
            for worse in range(better + 1, size):
                votes[ranking[better], ranking[worse]] += 1
    np.testing.assert_array_equal(votes - votes.T, 2 * tournament)
    game = mcgarvey_game(tournament)
    np.testing.assert_allclose(game.payoff, tournament / np.abs(upper).sum(), atol=1e-15)
    np.testing.assert_array_equal(game.comparisons.counts, votes)
    assert len(np.unique(game.comparisons.cluster)) == len(rankings)
    np.testing.assert_array_equal(mcgarvey_rankings(np.maximum(tournament, 0)), rankings)


def test_mcgarvey_of_a_ballot():
    """One edge of three items, 2 beats 0: ballots "2 0 1" and "1 2 0"; the other pairs are ties."""
    edge = [[0, 0, 0], [0, 0, 0], [1, 0, 0]]
    np.testing.assert_array_equal(mcgarvey_rankings(edge), [[2, 0, 1], [1, 2, 0]])
    game = mcgarvey_game(edge, labels=("a", "b", "c"))
    np.testing.assert_array_equal(game.payoff, [[0, 0, -1], [0, 0, 0], [1, 0, 0]])
    assert tuple(game.comparisons.labels) == game.labels == ("a", "b", "c")
    np.testing.assert_array_equal(game.comparisons.cluster, [0, 0, 0, 1, 1, 1])


@laws
@given(seed=st.integers(0, 10**6), size=st.integers(1, 8))
def test_bradley_terry_has_a_condorcet_winner(seed, size):
    """Distinct scores: P = e^s_i / (e^s_i + e^s_j), the highest beats everybody and is the winner, alone."""
    scores = np.random.default_rng(seed).normal(size=size)
    game = bradley_terry_game(scores)
    strength = np.exp(scores)
    np.testing.assert_allclose(game.preferences, strength[:, None] / (strength[:, None] + strength), atol=1e-14)
    best = int(scores.argmax())
    assert (np.delete(game.payoff[best], best) > 0).all()
    assert rp.solve(game).support == (game.labels[best],)


def test_hybrid_adds_a_cycle_to_quality():
    """The logit is linear in the strength; its cyclic part has rank 2 and no scores; strength 0 is Bradley-Terry."""
    logits = [2 * np.arctanh(hybrid_game(12, strength, seed=4).payoff) for strength in (0.0, 1.0, 3.0)]
    np.testing.assert_allclose(logits[2] - logits[0], 3 * (logits[1] - logits[0]), atol=1e-12)
    scores = logits[0].mean(axis=1)
    np.testing.assert_allclose(bradley_terry_game(scores).payoff, hybrid_game(12, 0.0, seed=4).payoff, atol=1e-12)
    assert np.linalg.matrix_rank(logits[1] - logits[0], tol=1e-9) == 2
    assert len(rp.solve(hybrid_game(40, 20.0, seed=1)).support) > 1
    assert len(rp.solve(hybrid_game(40, 0.0, seed=1)).support) == 1


def test_disc_game_of_a_triangle():
    """Corners at 0, 120, 240 degrees: A = sin 120 = .866 round the circle, rock-paper-scissors; uniform wins."""
    angles = np.deg2rad([0, 120, 240])
    game = dense_game(points_game(np.stack([np.cos(angles), np.sin(angles)], axis=1), labels=("a", "b", "c")))
    np.testing.assert_allclose(game.payoff, np.sin(angles[1]) * rock_paper_scissors().payoff.T, atol=1e-15)
    assert has_one_winner(game, np.full(3, 1 / 3))
    assert game.labels == ("a", "b", "c")


@laws
@given(seed=st.integers(0, 10**6), size=st.integers(1, 30), discs=st.integers(1, 4))
def test_discs_dense_and_by_factors(seed, size, discs):
    """The same payoffs, at most 1; points in the unit ball; the entries are cross products summed over discs."""
    factored, dense = factored_disc_game(size, discs, seed), disc_game(size, discs, seed)
    policy = np.random.default_rng(seed).dirichlet(np.ones(size))
    np.testing.assert_allclose(factored.payoffs_against(policy), dense.payoffs_against(policy), atol=1e-13)
    assert (factored.left**2 + factored.right**2).sum(axis=1).max() <= 1 + 1e-12
    assert dense.holds_win_rates and factored.holds_win_rates
    u, v = factored.left, factored.right
    assert dense.payoff[0, -1] == pytest.approx((u[0] * v[-1] - v[0] * u[-1]).sum(), abs=1e-14)
    assert rp.exploitability(factored, rp.solve(dense).policy) < 1e-8


@pytest.mark.parametrize("discs", [1, 3])
def test_points_fill_the_ball_evenly(discs):
    """In d dimensions r^d is uniform: mean 1/2, standard error 1 / sqrt(12 n); the mean point is the origin."""
    game = factored_disc_game(4000, discs, seed=0)
    radius = np.sqrt((game.left**2 + game.right**2).sum(axis=1))
    assert np.mean(radius ** (2 * discs)) == pytest.approx(0.5, abs=4 / np.sqrt(12 * 4000))
    assert np.abs(np.hstack([game.left, game.right]).mean(axis=0)).max() < 4 * 0.5 / np.sqrt(4000)


def test_moving_a_disc_adds_scores():
    """(x + c) x (y + c) = x x y + r(x) - r(y) with r(x) = x x c."""
    points = np.random.default_rng(0).normal(size=(9, 2))
    u, v = points.T
    moved = dense_game(points_game(points + np.array([0.3, -0.7])))
    scored = dense_game(points_game(points, u * -0.7 - v * 0.3))
    np.testing.assert_allclose(moved.payoff, scored.payoff, atol=1e-14)


def test_mixed_game():
    """Payoffs in [-1, 1] by construction, a winner of few actions, none alone; factors only, so any size will do."""
    game = mixed_game(300, 3, seed=2)
    dense = dense_game(game)
    assert game.holds_win_rates and dense.scale <= 1
    assert np.ptp(game.scores) <= 0.2
    assert 1 < len(rp.solve(dense).support) < 20
    assert rp.exploitability(game, rp.solve(dense).policy) < 1e-9
    np.testing.assert_array_equal(mixed_game(300, 3, seed=2).left, game.left)
    assert (mixed_game(300, 3, seed=3).left != game.left).all()
    centred = mixed_game(50, 2, offset=0.0, quality=0.0, seed=1)
    assert not centred.scores.any()
    assert len(mixed_game(10**5)) == 10**5


@pytest.mark.parametrize(("distribution", "deviation"), [("uniform", 1 / np.sqrt(3)), ("normal", 1.0)])
def test_random_games(distribution, deviation):
    """Entries above the diagonal have mean 0 and the deviation of the law; a seed is a game."""
    game = random_game(80, distribution, seed=5)
    entries = game.payoff[np.triu_indices(80, 1)]
    assert entries.mean() == pytest.approx(0, abs=4 * deviation / np.sqrt(len(entries)))
    assert entries.std() == pytest.approx(deviation, rel=0.05)
    assert game.holds_win_rates == (distribution == "uniform")
    np.testing.assert_array_equal(random_game(80, distribution, seed=5).payoff, game.payoff)
    assert not np.array_equal(random_game(80, distribution, seed=6).payoff, game.payoff)


@pytest.mark.parametrize(
    ("text", "game"),
    [
        ("blotto:soldiers=6,values=2-3-4", blotto(6, (2, 3, 4))),
        ("blotto: payoff = margin , soldiers=4", blotto(4, payoff="margin")),
        ("blotto:soldiers=3,values=1/2-0.5", blotto(3, (0.5, 0.5))),
        ("weighted-blotto:soldiers=5", blotto(5, (2, 3, 4))),
        ("rock-paper-scissors:paper_over_rock=1/3,rock_over_scissors=-2", rock_paper_scissors(1 / 3, -2)),
        ("weighted-rock-paper-scissors:paper_over_rock=1e-1", rock_paper_scissors(0.1, 0.3, 0.6)),
        ("cycle:actions=7", cycle_game(7)),
        ("grime-dice:rolls=2", dice_game(GRIME_DICE, rolls=2)),
        ("bradley-terry:scores=2-0", bradley_terry_game([2, 0])),
        ("random:actions=5,distribution=normal,seed=3", random_game(5, "normal", seed=3)),
        ("disc:actions=5,discs=2", disc_game(5, 2)),
    ],
)
def test_names_with_parameters(text, game):
    """NAME:key=value,... with numbers, fractions, words and dashed lists; labels and payoffs of the call."""
    found = named_game(text)
    assert tuple(found.labels) == tuple(game.labels)
    np.testing.assert_array_equal(found.payoff, game.payoff)
    np.testing.assert_array_equal(named_game("mixed:actions=5,quality=0.5").left, mixed_game(5, quality=0.5).left)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: named_game("chess:depth=3"), "no game is called 'chess'; known games: .*kuhn-poker.*, mixed$"),
        (lambda: named_game(""), "no game is called ''"),
        (lambda: named_game("blotto:troops=3"), "'blotto' has no parameter 'troops'; parameters of 'blotto' and their "
         "defaults: soldiers=10, values=1-1-1, payoff=win$"),
        (lambda: named_game("weighted-blotto:x=1"), "defaults: soldiers=6, values=2-3-4, payoff=win$"),
        (lambda: named_game("lizard-spock:x=1"), "no parameter 'x'; 'lizard-spock' has no parameters"),
        (lambda: named_game("condorcet-paradox:scores=1-2"), "no parameter 'scores'; 'condorcet-paradox' has no param"),
        (lambda: named_game("efron-dice:dice=1-2"), "no parameter 'dice'; parameters .* rolls=1"),
        (lambda: named_game("blotto:"), "expected blotto:key=value,key=value, got '' in 'blotto:'; parameters of"),
        (lambda: named_game("blotto:soldiers"), "expected blotto:key=value,key=value, got 'soldiers' in"),
        (lambda: named_game("blotto:soldiers=3,"), "got '' in 'blotto:soldiers=3,'"),
        (lambda: named_game("blotto:soldiers=3,soldiers=4"), "'soldiers' is given twice in"),
        (lambda: named_game("blotto:soldiers=2.5"), "expected a whole number for soldiers of 'blotto', got '2.5'"),
        (lambda: named_game("blotto:values=2--3"), "expected numbers joined by dashes, none of them negative, such as "
         "2-3-4, for values of 'blotto', got '2--3'"),
        (lambda: named_game("hybrid:strength=much"), "expected a number such as 0.5 or 1/3 for strength of 'hybrid'"),
        (lambda: named_game("hybrid:strength=1/0"), "expected a number such as 0.5 or 1/3 .* got '1/0'"),
        (lambda: named_game("hybrid:strength=nan"), "expected a number .* got 'nan'"),
        (lambda: named_game("blotto:payoff=gain"), "expected payoff 'win' or 'margin', got 'gain'"),
        (lambda: named_game("random:distribution=cauchy"), "expected distribution 'uniform' or 'normal', got 'cauchy'"),
        (lambda: named_game("blotto:soldiers=100,values=1-1-1-1-1"), "a payoff matrix of 4598126 actions takes"),
        (lambda: named_game("penney:length=1000"), "games of more than 10.12 actions are not written out"),
        (lambda: named_game("penney:length=16"), "a payoff matrix of 65536 actions takes 32 GiB"),
        (lambda: named_game("colonel-lotto:soldiers=100000,fields=100000"), "games of more than 10.12 actions"),
        (lambda: named_game("rock-paper-scissors:paper_over_rock=1e999999999"), "expected a number .* got '1e9999"),
        (lambda: named_game("rock-paper-scissors:paper_over_rock=inf"), "expected a number .* got 'inf'"),
        (lambda: disc_game(10**6), "payoff matrix of 1000000 actions takes 7451 GiB, and games of more than 32768"),
        (lambda: dense_game(mixed_game(10**5)), "a payoff matrix of 100000 actions takes 75 GiB"),
        (lambda: random_game(0), "expected at least one action, got 0"),
        (lambda: cycle_game(4), "expected an odd number of actions, .* got 4"),
        (lambda: cycle_game(-3), "expected at least one action, got -3"),
        (lambda: morra(0), "expected at least one action"),
        (lambda: penney(0), "expected sequences of at least one toss, got length 0"),
        (lambda: dice_game({}), "expected at least one action, got 0"),
        (lambda: dice_game({"a": []}), r"expected finite numbers on the faces of die 'a', got \[\]"),
        (lambda: dice_game([[1], [np.nan]]), "faces of die '1'"),
        (lambda: dice_game(rolls=0), "expected at least one roll, got 0"),
        (lambda: colonel_lotto(-1, 3), "expected soldiers >= 0 and fields >= 1, got -1 soldiers on 3 fields"),
        (lambda: colonel_lotto(3, 0), "got 3 soldiers on 0 fields"),
        (lambda: both_seats_game([1, 2]), r"payoffs of shape \[first plans, second plans\], got \(2,\)"),
        (lambda: both_seats_game([[1, 2]], second_labels=["a"]), "expected 1 and 2 labels, got 1 and 1"),
        (lambda: majority_game([1, 2, 3]), r"expected scores of shape \[raters, items\], got \(3,\)"),
        (lambda: majority_game([[1, 2], [np.nan, 1]]), r"scores must be finite, got scores\[1, 0\] = nan"),
        (lambda: mcgarvey_game([[0, 1]]), r"square tournament matrix \[n, n\], got shape \(1, 2\)"),
        (lambda: mcgarvey_game([[0, 0.5], [-0.5, 0]]), r"whole numbers of votes, got tournament\[0, 1\] = 0.5"),
        (lambda: mcgarvey_game([[0, np.inf], [0, 0]]), r"whole numbers of votes, got tournament\[0, 1\] = inf"),
        (lambda: mcgarvey_game([[0, 2], [-1, 0]]), r"got tournament\[0, 1\] = 2 and tournament\[1, 0\] = -1"),
        (lambda: mcgarvey_game(np.zeros((3, 3))), "in which somebody beats somebody, got ties only"),
        (lambda: bradley_terry_game([]), r"expected one finite score an action, got \[\]"),
        (lambda: bradley_terry_game([1, np.inf]), "expected one finite score an action"),
        (lambda: points_game(np.zeros((4, 3))), r"expected points of shape \[n, 2\], .* got \(4, 3\)"),
        (lambda: factored_disc_game(0), "at least one action and one disc, got 0 actions and 1 discs"),
        (lambda: mixed_game(5, 0), "at least one action and one disc, got 5 actions and 0 discs"),
        (lambda: mixed_game(5, quality=1.0), r"quality in \[0, 1\), got offset 0.5 and quality 1.0"),
        (lambda: mixed_game(5, offset=-1.0), "expected offset >= 0"),
    ],
)  # fmt: skip
def test_bad_parameters_are_refused(build, message):
    """In words that say what was expected, what came, and which parameters there are."""
    with pytest.raises(ValueError, match=message):
        build()
