"""Games: what is accepted, what is refused and in which words; Blotto, text games, matrices from files."""

from math import comb

import numpy as np
import pytest
from scipy.optimize import linprog

import rebel_pref as rp
from rebel_pref.games import (
    TextGame,
    blotto,
    blotto_allocations,
    blotto_text,
    named_game,
    rock_paper_scissors,
    rock_paper_scissors_text,
)
from rebel_pref.preferences import check_preferences, symmetrize_logits, symmetrize_preferences

Game = rp.PreferenceGame
SKEW_BROKEN = [[0, 1, 0.63], [-1, 0, 0], [0.5, 0, 0]]


def test_constructors_meet_on_one_scale():
    """A = 2 P - 1, and counts W give P = W / (W + W^T): .75 of four games is a payoff of .5."""
    counts = Game.from_counts([[0, 3, 0], [1, 0, 7], [0, 0, 0]], labels=["a", "b", "c"])
    np.testing.assert_array_equal(counts.payoff, [[0, 0.5, 0], [-0.5, 0, 1], [0, -1, 0]])  # a, c never met: a tie
    chances = Game.from_preferences([[0.5, 0.75, 0.5], [0.25, 0.5, 1], [0.5, 0, 0.5]])
    np.testing.assert_array_equal(chances.payoff, counts.payoff)
    np.testing.assert_array_equal(counts.preferences, chances.preferences)
    assert counts.labels == ("a", "b", "c")
    assert chances.labels == ("0", "1", "2")
    assert len(counts) == 3
    assert repr(counts) == "PreferenceGame(3 actions: a, b, c)"
    with pytest.raises(ValueError, match="read-only"):
        counts.payoff[0, 1] = 1.0


def test_rounding_is_made_exactly_skew():
    """Input skew to 1e-10 is accepted and stored exactly skew, so <pi, A pi> is 0 for every pi."""
    game = Game.from_payoffs([[0, 1 / 3 + 1e-10], [-1 / 3, 1e-11]])
    np.testing.assert_array_equal(game.payoff, -game.payoff.T)
    # The tolerance is relative to the largest payoff.
    Game.from_payoffs([[0, 1e6 + 1e-4], [-1e6, 0]])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Game.from_payoffs(SKEW_BROKEN), r"payoff is not skew-symmetric: A\[0, 2\] \+ A\[2, 0\] = 1.13, "
         r"expected 0 \(tolerance 1e-09\); pass preferences with from_preferences"),
        (lambda: Game.from_payoffs([[0, np.nan], [1, 0]]), r"payoff matrix has a value that is not finite at \[0, 1\]"),
        (lambda: Game.from_payoffs([[0, 1], [-np.inf, 0]]), r"not finite at \[1, 0\]"),
        (lambda: Game.from_payoffs([[0, 1, 2]]), r"payoff matrix must be square, got shape \(1, 3\)"),
        (lambda: Game.from_payoffs([1, 2]), r"payoff matrix must be square, got shape \(2,\)"),
        (lambda: Game.from_payoffs(np.zeros((2, 3, 3))), r"payoff matrix must have two axes, got shape \(2, 3, 3\)"),
        (lambda: Game.from_payoffs(np.zeros((0, 0))), "payoff matrix is empty; a game needs at least one action"),
        (lambda: Game.from_payoffs(np.zeros((2, 2)), labels=["a"]), "expected 2 labels, one for each row, got 1"),
        (lambda: Game.from_payoffs(np.zeros((2, 2)), labels=["a", "a"]), "labels must be distinct, got 'a' twice"),
        (lambda: Game.from_preferences([[0.5, 0.7], [0.4, 0.5]]),
         r"not complementary: P\[0, 1\] \+ P\[1, 0\] = 1.1, expected 1"),
        (lambda: Game.from_preferences([[0, 1], [-1, 0]]),
         r"P\[1, 0\] = -1, expected a value in \[0, 1\]; pass payoffs with from_payoffs"),
        (lambda: Game.from_preferences([[0.5, np.nan], [0.5, 0.5]]), r"preference matrix has a value that is not fin"),
        (lambda: Game.from_counts([[0, 2, 1]]), r"counts must be a square matrix \[n, n\], got shape \(1, 3\)"),
        (lambda: Game.from_counts([[0, 2], [-3, 0]]), r"finite and not negative, got wins\[1, 0\] = -3"),
        (lambda: Game.from_counts([[0, np.nan], [1, 0]]), r"finite and not negative, got wins\[0, 1\] = nan"),
        (lambda: blotto_allocations(-1, 3), "expected soldiers >= 0 and fields >= 1, got -1 soldiers on 3 fields"),
        (lambda: blotto(3, (1, -1)), "expected one positive value for each field"),
        (lambda: named_game("chess"), "no game is called 'chess'; known games: blotto, rock-paper-scissors, "),
        (lambda: blotto_text(3, ["1-2"]), "expected field values joined by colons such as '1:2:3', got '1-2'"),
        (lambda: TextGame((), ()), "expected one game a prompt, got 0 prompts, 0 games"),
        (lambda: TextGame(("a", "a"), (rock_paper_scissors(),) * 2), "prompts must be distinct"),
    ],
)  # fmt: skip
def test_what_is_no_game_is_refused(build, message):
    """The message names the entry, what it should be, and the constructor that may have been meant."""
    with pytest.raises(ValueError, match=message):
        build()


def test_bad_preferences_in_a_batch_are_found():
    """With leading axes the number shown is the offending one, not that of the first matrix."""
    batch = np.full((2, 3, 3), 0.5)
    batch[1, 0, 2] = 0.9
    with pytest.raises(ValueError, match=r"P\[0, 2\] \+ P\[2, 0\] = 1.4"):
        check_preferences(batch)
    batch[1, 0, 2] = 1.9
    with pytest.raises(ValueError, match=r"P\[0, 2\] = 1.9"):
        check_preferences(batch)


def test_symmetrizing_cancels_a_position_bias():
    """A bias added to every logit cancels exactly; sampled verdicts of both orders average to a preference."""
    rng = np.random.default_rng(0)
    raw = rng.normal(size=(2, 4, 4))
    np.testing.assert_allclose(symmetrize_logits(raw + 3.0), symmetrize_logits(raw), atol=1e-14)
    skew = raw - np.swapaxes(raw, -1, -2)
    np.testing.assert_allclose(symmetrize_logits(skew + 3.0), skew, atol=1e-14)
    # i won both times: 1; each won when shown first: 1/2.
    both = symmetrize_preferences(np.array([[0.5, 1.0, 1.0], [0.0, 0.5, 0.5], [1.0, 0.5, 0.5]]))
    np.testing.assert_array_equal(both, [[0.5, 1, 0.5], [0, 0.5, 0.5], [0.5, 0.5, 0.5]])
    check_preferences(symmetrize_preferences(rng.random((3, 5, 5))), tolerance=1e-15)


def test_function_oracle_asks_once_a_pair():
    """K responses cost K (K - 1) / 2 calls and the rest is 1 - P; given opponents, every pair is asked."""
    asked = []
    oracle = rp.FunctionOracle(lambda prompt, a, b: asked.append((a, b)) or (0.9 if a < b else 0.2))
    table = oracle.prefer(["p"], [["a", "b", "c"]])
    assert asked == [("a", "b"), ("a", "c"), ("b", "c")]
    np.testing.assert_allclose(table[0], [[0.5, 0.9, 0.9], [0.1, 0.5, 0.9], [0.1, 0.1, 0.5]])
    assert oracle.prefer(["p"], [["a", "b"]], [["c", "b", "a"]]).tolist() == [[[0.9, 0.9, 0.2], [0.9, 0.2, 0.2]]]


@pytest.mark.parametrize(("soldiers", "fields", "count"), [(10, 3, 66), (6, 3, 28), (4, 1, 1), (0, 3, 1), (5, 4, 56)])
def test_blotto_counts(soldiers, fields, count):
    """Stars and bars: C(s + f - 1, f - 1) allocations, all different, all of the army."""
    found = blotto_allocations(soldiers, fields)
    assert len(found) == len(set(found)) == count == comb(soldiers + fields - 1, fields - 1)
    assert all(sum(row) == soldiers and len(row) == fields for row in found)
    assert list(found) == sorted(found)


def test_blotto_payoffs_by_hand():
    """(2, 3, 4): "3 0 3" against "2 4 0" wins fields 1 and 3 (6 : 3); against "0 3 3" 2 : 3, field 3 is nobody's."""
    game = blotto(6, (2, 3, 4))
    a, b, c = (game.labels.index(label) for label in ("3 0 3", "2 4 0", "0 3 3"))
    assert game.payoff[a, b] == 1
    assert game.payoff[a, c] == -1
    # .1 + .2 against .3 is a tie though the floats do not sum to 0.
    tie = blotto(2, (0.1, 0.2, 0.3))
    assert tie.payoff[tie.labels.index("1 1 0"), tie.labels.index("0 0 2")] == 0


def test_weighted_blotto_has_one_winner():
    """28 allocations, support 15; every entry of p is pinned by A p <= 0, and uniform is 11/28 = .3929 exploitable."""
    game = named_game("weighted-blotto")
    winner = rp.solve(game)
    assert (len(game), len(winner.support)) == (28, 15)
    assert rp.exploitability(game, np.full(28, 1 / 28)) == pytest.approx(11 / 28)
    winners = {"A_ub": game.payoff, "b_ub": np.zeros(28), "A_eq": np.ones((1, 28)), "b_eq": [1]}
    for i in range(28):
        for sign in (1, -1):
            extreme = linprog(sign * np.eye(28)[i], **winners)
            assert extreme.x[i] == pytest.approx(winner.policy[i], abs=1e-6)


def test_weighted_rock_paper_scissors():
    """Each action gets the weight of the win it has no part in: rock the .6 of scissors over paper."""
    game = named_game("weighted-rock-paper-scissors")
    assert game.labels == ("rock", "paper", "scissors")
    assert game.payoff[1, 0] == 0.1
    assert game.payoff[0, 2] == 0.3
    assert game.payoff[2, 1] == 0.6
    np.testing.assert_allclose(game.payoff @ [0.6, 0.3, 0.1], 0, atol=1e-16)
    np.testing.assert_allclose(rp.solve(game).policy, [0.6, 0.3, 0.1], atol=1e-9)


def test_text_games_judge_illegal_text():
    """Illegal text loses to every legal completion and ties with other illegal text, in either seat."""
    text = rock_paper_scissors_text(1, 1, 1)
    table = text.prefer(["throw>"], [["rock", "lizard", "paper", "Rock"]])[0]
    np.testing.assert_array_equal(table, [[0.5, 1, 0, 1], [0, 0.5, 0, 0.5], [1, 1, 0.5, 1], [0, 0.5, 0, 0.5]])
    rivals = text.prefer(["throw>"], [["rock", ""]], [["scissors", "paper", "?"]])
    np.testing.assert_array_equal(rivals, [[[1, 0, 1], [0, 0, 0.5]]])
    assert isinstance(text, rp.PreferenceOracle)
    assert text.is_legal("throw>", "rock")
    assert not text.is_legal("throw>", "rock ")
    with pytest.raises(ValueError, match="unknown prompt 'throw'; this game has 'throw>'"):
        text.prefer(["throw"], [["rock"]])


def test_exploitability_counts_illegal_mass():
    """Missing mass m is illegal text: a legal reply earns m on it, so uniform play with m = .4 has .6 x 0 + .4."""
    text = TextGame(("a>", "b>"), (rock_paper_scissors(), rock_paper_scissors()))
    np.testing.assert_allclose(text.exploitability_per_prompt([np.full(3, 0.2), [0, 1, 0]]), [0.4, 1.0], atol=1e-15)
    assert text.exploitability([np.full(3, 0.2), [0, 1, 0]]) == pytest.approx(0.7)
    # All illegal: every legal reply wins.
    assert text.exploitability_per_prompt([np.zeros(3), np.full(3, 1 / 3)]).tolist() == [1.0, pytest.approx(0)]
    with pytest.raises(ValueError, match="expected 2 policies, one a prompt, got 1"):
        text.exploitability([np.zeros(3)])
    with pytest.raises(ValueError, match=r"expected a policy of shape \(3,\), got \(4,\)"):
        text.exploitability([np.zeros(4), np.zeros(3)])


def test_blotto_in_text():
    """The prompt's colons are the field values; prompts may differ in their number of fields."""
    text = blotto_text(soldiers=4, prompts=["1:2", "1:1:1:1"])
    assert text.prompts == ("1:2>", "1:1:1:1>")
    assert [len(game) for game in text.games] == [comb(5, 1), comb(7, 3)]
    np.testing.assert_array_equal(text.game("1:2>").payoff, blotto(4, (1, 2)).payoff)
    # "0 4" holds the field worth 2; "4 0" the one worth 1.
    assert text.prefer(["1:2>"], [["0 4"]], [["4 0"]]).item() == 1.0
    assert len(blotto_text().games) == 8
    assert len(blotto_text().games[0]) == 66


def write(tmp_path, text):
    path = tmp_path / "game.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("0,0.8\n-0.8,0\n", ("0", "1")),
        ("0.5,0.9\n0.1,0.5\n", ("0", "1")),
        (",a,b\na,0,0.8\nb,-0.8,0\n", ("a", "b")),
        ("name,a,b\na, 0.5, 0.9\nb, 0.1, 0.5\n", ("a", "b")),
        ("a,b\n0,0.8\n-0.8,0\n", ("a", "b")),
        ("a,0,0.8\nb,-0.8,0\n", ("a", "b")),
        (",0,1\n0,0.0,0.8\n1,-0.8,0.0\n", ("0", "1")),  # as pandas writes a frame without names
        ('\ufeff"x, y",b\r\n\r\n0.5,0.9\r\n0.1,0.5\r\n', ("x, y", "b")),  # spreadsheets: BOM, quotes, blank lines
    ],
)
def test_the_same_game_in_every_layout(tmp_path, text, labels):
    """A beats B by .8 (wins 90 %), with and without row and column labels, as payoffs and as win rates."""
    game = rp.load_game(write(tmp_path, text))
    np.testing.assert_allclose(game.payoff, [[0, 0.8], [-0.8, 0]], atol=1e-15)
    assert game.labels == labels


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0,1\n-1,x\n", r"game.csv, line 2: column 2 is not a number: 'x'"),
        (",a,b\na,0.5,0.7\n\nb,,0.5\n", r"game.csv, line 4: column 2 is not a number: ''"),
        ("0,1\n-1,0,3\n", r"game.csv, line 2: expected 2 numbers for the 2 rows of a square matrix, got 3"),
        ("a,0,1\nb,-1\n", r"game.csv, line 2: expected 2 numbers .* after the label, got 1"),
        ("\n,a,b\na,0,1\nc,-1,0\n", r"game.csv, line 2: the column labels \['a', 'b'\] do not match .* \['a', 'c'\]"),
        ("a,b\n", r"game.csv, line 1: the column labels \['a', 'b'\] do not match the rows 0"),
        ("", r"game.csv: the file is empty; expected a square matrix of numbers"),
        ("\n , \n", r"game.csv: the file is empty"),
        ("0,1\n1,0\n", r"game.csv: payoff is not skew-symmetric"),
        ("0.5,0.9\n0.3,0.5\n", r"game.csv: preference matrix is not complementary: P\[0, 1\] \+ P\[1, 0\] = 1.2"),
        ("0,nan\n-1,0\n", r"game.csv: payoff matrix has a value that is not finite at \[0, 1\]"),
        ("a,a\n0,1\n-1,0\n", r"game.csv: labels must be distinct, got 'a' twice"),
        (b"\xff\xfe0\x00", r"game.csv: not a CSV text file"),
    ],
)
def test_malformed_files_say_where(tmp_path, text, message):
    """The message opens with the file and, where one line is at fault, its number as an editor counts it."""
    with pytest.raises(ValueError, match=message):
        rp.load_game(write(tmp_path, text))


def test_missing_file(tmp_path):
    """A wrong path is told apart from a malformed file."""
    with pytest.raises(FileNotFoundError, match=r"no such file: .*nowhere.csv"):
        rp.load_game(tmp_path / "nowhere.csv")
