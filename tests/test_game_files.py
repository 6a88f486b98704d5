"""Games from files and into files: what each format means, round trips to the bit, malformed lines, real data."""

import gzip
import json
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from real_data import data_file, ukp_topics

import rebel_pref as rp
from rebel_pref.games import Comparisons, DuelOracle, FactoredGame
from rebel_pref.games.files import save_game

Game = rp.PreferenceGame
TRIANGLE = [[0, 3, 1], [0, 0, 4], [3, 1, 0]]  # win counts: a beat b in 3 of 3, c in 1 of 4; b beat c in 4 of 5
TRIANGLE_PAYOFF = [[0, 1, -0.5], [-1, 0, 0.6], [0.5, -0.6, 0]]


def write(tmp_path, name, text):
    path = tmp_path / name
    data = text if isinstance(text, bytes) else text.encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


# Matrices


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("game.csv", "0,3,1\n0,0,4\n3,1,0\n"),  # counts
        ("game.csv", ",a,b,c\na,,3,1\nb,0,-,4\nc,3,1,NA\n"),
        ("game.csv", "0.5,1,.25\n0,.5,.8\n.75,.2,.5\n"),  # win rates
        ("game.csv", ",1,.25\n0,,.8\n.75,.2,\n"),  # ... with the diagonal blank
        ("game.csv", "nan,1,.25\n0,nan,.8\n.75,.2,nan\n"),
        ("game.csv", "0,1,.25\n0,0,.8\n.75,.2,0\n"),  # ... or 0
        ("game.csv", "-,1,-.5\n-1,-,.6\n.5,-.6,-\n"),  # payoffs with the diagonal marked as empty
        ("game.tsv", "a\tb\tc\n0\t1\t-.5\n-1\t0\t.6\n.5\t-.6\t0\n"),
        ("game.csv", "x;a;b;c\na;0;1;-.5\nb;-1;0;.6\nc;.5;-.6;0\n"),
        ("game.txt", " 0.0e+00 1.0 -5.0e-01\n-1.0 0.0 6.0e-01\n5.0e-01 -6.0e-01 0.0\n"),  # as np.savetxt writes
        ("game.csv.gz", "a,0,1,-.5\nb,-1,0,.6\nc,.5,-.6,0\n"),
        ("game.csv", ",c,b,a\na,-.5,1,0\nb,.6,0,-1\nc,0,-.6,.5\n"),  # columns in another order
        ("game", "0,3,1\r0,0,4\r3,1,0\r"),
    ],
)
def test_a_matrix_says_what_it_holds(tmp_path, name, text):
    """3 of 3, 1 of 4 and 4 of 5 games won are payoffs 1, -1/2 and 3/5, however the matrix is written."""
    game = rp.load_game(write(tmp_path, name, text))
    np.testing.assert_allclose(game.payoff, TRIANGLE_PAYOFF, atol=1e-15)
    assert tuple(game.labels) in {("a", "b", "c"), ("0", "1", "2")}


def test_counts_are_kept_as_comparisons(tmp_path):
    """Whole numbers are counts, so their uncertainty is known; the same matrix over 0.5 is exact."""
    counted = rp.load_game(write(tmp_path, "counts.csv", "0,1,1\n0,0,1\n0,0,0\n"))
    assert counted.comparisons.total == 3
    exact = rp.load_game(write(tmp_path, "exact.csv", "0.5,1,1\n0,0.5,1\n0,0,0.5\n"))
    assert exact.comparisons is None
    np.testing.assert_array_equal(exact.payoff, counted.payoff)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "m.csv",
            "0,0,.8\n1,-.8,0\n",
            r"m.csv, line 1: 2 rows of 3 numbers are no square matrix; .* first row with an",
        ),
        ("m.csv", ",a,b\na,0,\nb,-1,0\n", r"m.csv, line 2: column 3 is not a number: ''; give every pair a value, or"),
        ("m.csv", ",a,b\na,0,nan\nb,-1,0\n", r"m.csv: payoff .* at \[0, 1\], 'a' against 'b': fill it, or give win c"),
        ("m.csv", "0,3\n3,0\n", r"m.csv: payoff is not skew-symmetric"),  # symmetric: how often two met
        ("m.csv", ",.9\n.3,\n", r"m.csv: preference matrix is not complementary: P\[0, 1\] \+ P\[1, 0\] = 1.2"),
        ("m.csv", ",a,a\na,0,1\na,-1,0\n", r"m.csv, line 1: labels must be distinct, got 'a' twice"),
        (
            "m.csv",
            "who,what\nx,y\nx,y\nz,y\nx,z\n",
            r"line 1: 4 rows of 2 columns \(who, what\); expected .* winner,loser",
        ),
        ("m.jsonl", b"\xff", r"m.jsonl: not a JSONL text file: expected UTF-8"),
        ("m.json", '{"topic": 1}', r"m.json, line 1: expected the keys winner and loser, or .*; got topic"),
        ("m.jsonl", '{"winner": "a", "loser": "b"}\n\n{"winner"', r"m.jsonl, line 3: not JSON"),
        ("m.jsonl", '{"winner": "a", "loser": "b"}\n7\n', r"m.jsonl, line 2: expected a JSON object, got '7'"),
        (
            "m.json",
            '[{"winner": "a", "loser": "b\\ud800"}]',
            r"record 1: expected text, got half a character in the name",
        ),
        ("m.csv", "model_a,model_b,winner,winner\na,b,a,b\n", r"m.csv, line 1: two columns are called 'winner'"),
        ("m.json", '[{"winner": "a", "loser": "a"}]', r"record 1: expected the names of two different items, got 'a'"),
        (
            "m.csv",
            "winner,loser\na,b\na,\n",
            r"m.csv, line 3: expected the names of two different items, got 'a' and ''",
        ),
        ("m.csv", "winner,loser\na,b,c\n", r"m.csv, line 2: expected 2 cells \(winner, loser\), got 3"),
        ("m.csv", "winner,loser\n", r"m.csv, line 1: the header is all there is"),
        (
            "m.csv",
            "winner,loser,count\na,b,-1\n",
            r"line 2: column 'count' holds '-1', expected a number, not negative",
        ),
        ("m.csv", "winner,loser,tie\na,b,maybe\n", r"line 2: column 'tie' holds 'maybe', expected true or false"),
        (
            "m.csv",
            "model_a,model_b,winner\na,b,c\n",
            r"line 2: winner 'c' is not understood; expected 'a', 'b', model_a",
        ),
        (
            "m.csv",
            "winner,loser,voter\na,b,1\nb,a,\na,b,2\n",
            r"m.csv, line 3: column 'voter' is empty; pass cluster=N",
        ),
        ("m.soc", "# NUMBER ALTERNATIVES: 2\n1: 1,3\n", r"m.soc, line 2: no alternative 3; there are \[1, 2\]"),
        ("m.soc", "# NUMBER ALTERNATIVES: 2\n# ALTERNATIVE NAME 1: a\n", r"the header says 2 alternatives and names 1"),
        ("m.toi", "2\n1,a\n2,b\n3,3,2\n2,1,2\n1,{1,3}\n", r"m.toi, line 6: no alternative 3; there are \[1, 2\]"),
        ("m.soi", "2\n1,a\n2,b\n3,3,1\n3,1,1\n", r"m.soi, line 5: alternative 1 is ranked twice"),
        (
            "m.soi",
            "2\n1,a\n2,b\n3,3,1\n3;1,2\n",
            r"m.soi, line 5: expected a count and an order such as 12: 3,1,\{2,4\}",
        ),
        ("m.soi", "2\n1,a\n2,b\n3,3,1\n2,1,2\n", r"m.soi: the header says 3 voters, the ballots are 2; is the file w"),
        ("m.soi", "2\n1,a\n", r"m.soi: the file ends before the 2 alternatives of line 1 are named"),
        ("m.cat", "# FILE NAME: m.cat\n# DATA TYPE: cat\n", r"m.cat, line 2: expected orders \(soc, soi, toc, toi\)"),
        (
            "m.soi",
            "# NUMBER ALTERNATIVES: 9\n1000000: 1\n",
            r"1000000 ballots of 36 pairs are too many to keep ballot b",
        ),
        (
            "m.txt",
            "('a', 'b', 1)\n('a', 'b')\n",
            r"m.txt, line 2: expected \('first', 'second', return of first\), got",
        ),
        ("m.txt", "('a', 'b', 1)\n('a', 'b', 2)\n", r"m.txt, line 2: the pair 'a', 'b' is there twice"),
        ("m.txt", "('a', 'b', 1)\n('c', 'b', 2)\n", r"m.txt: no line has the pair 'a', 'c', in either order"),
        (
            "m.txt",
            "('a', 'b', 1)\n('b', 'a', 1)\n",
            r"'a' against 'b' and back, 1 and 1, do not cancel; expected a zer",
        ),
        ("m.txt", "('a', __import__('os'), 1)\n", r"m.txt, line 1: expected \('first'"),
    ],
)
def test_malformed_text_says_where(tmp_path, name, text, message):
    """File, line, what was expected and what came."""
    with pytest.raises(ValueError, match=message) as caught:
        rp.load_game(write(tmp_path, name, text))
    assert str(caught.value).startswith(str(tmp_path / name))


def test_a_damaged_archive(tmp_path):
    path = tmp_path / "m.csv.gz"
    for data in (b"no archive", gzip.compress(b"0,1\n-1,0\n")[:-12]):
        path.write_bytes(data)
        with pytest.raises(ValueError, match=r"m.csv.gz: damaged gzip file"):
            rp.load_game(path)


# Comparison rows

VERDICTS = [("a", "b", "first"), ("b", "a", "second"), ("a", "c", "tie"), ("c", "b", "second")]
TALLIED = {"labels": ("a", "b", "c"), "counts": [[0, 2, 0.5], [0, 0, 1], [0.5, 0, 0]]}


def check_tallied(game):
    assert game.comparisons.labels == TALLIED["labels"]
    np.testing.assert_array_equal(game.comparisons.counts, TALLIED["counts"])
    np.testing.assert_array_equal(game.payoff, Game.from_counts(TALLIED["counts"]).payoff)


@pytest.mark.parametrize(
    ("pair", "words"),
    [
        (("model_a", "model_b"), {"first": "model_a", "second": "model_b", "tie": "tie (bothbad)"}),
        (("Left", "Right"), {"first": "left", "second": "right", "tie": "Tie"}),
        (("item_a", "item_b"), {"first": "A", "second": "B", "tie": "both_bad"} | {"names": True}),
        (("player1", "player2"), {"first": "player1", "second": "player2", "tie": "draw"}),
    ],
)
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".json", ".jsonl.gz"])
def test_verdicts_in_every_spelling(tmp_path, pair, words, suffix):
    """a beat b twice, tied with c, and b beat c; the verdict may be the winner's own name."""
    records = [{pair[0]: one, pair[1]: other, "winner": words[who], "note": None} for one, other, who in VERDICTS]
    if "names" in words:
        records[0]["winner"], records[1]["winner"], records[3]["winner"] = "a", "a", "b"
    if suffix in (".csv", ".tsv"):
        mark = "," if suffix == ".csv" else "\t"
        text = "\n".join(mark.join(str(cell) for cell in row) for row in [records[0], *(r.values() for r in records)])
    else:
        text = json.dumps(records) if suffix == ".json" else "\n".join(map(json.dumps, records)) + "\n\n"
    check_tallied(rp.load_game(write(tmp_path, f"rows{suffix}", text)))


@pytest.mark.parametrize(
    "text",
    [
        "winner,loser,tie,weight\na,b,0,2\na,c,1,1\nb,c,,1\n",
        "first,second,wins,losses,ties\na,b,2,0,0\na,c,0,0,1\nb,c,1,0,0\n",
        ",Model_A,Model_B,winner_model_a,winner_model_b,winner_tie\n0,a,b,1,0,0\n1,b,a,0,1,0\n2,a,c,0,0,1\n3,b,c,1,0,0\n",
    ],
)
def test_winners_and_tallies(tmp_path, text):
    """The same four games as winner and loser, with repeats counted, or as tallies of a pair."""
    check_tallied(rp.load_game(write(tmp_path, "rows.csv", text)))


def test_clusters(tmp_path):
    """Rows of one voter belong together; a column that never varies says nothing, and the user may choose."""
    text = "winner,loser,worker,prompt,judge\na,b,w1,p1,x\nb,c,w1,p2,y\nc,a,w1,p1,x\n"
    path = write(tmp_path, "rows.csv", text)
    assert rp.load_game(path).comparisons.cluster.tolist() == [0, 1, 0]  # by prompt: one worker only
    assert rp.load_game(path, cluster="worker").comparisons.cluster.tolist() == [0, 0, 0]
    assert rp.load_game(path, cluster="Judge").comparisons.cluster.tolist() == [0, 1, 0]
    assert rp.load_game(path, cluster=None).comparisons.cluster is None
    with pytest.raises(ValueError, match="no column is called 'rater'; columns: winner, loser, worker, prompt, judge"):
        rp.load_game(path, cluster="rater")
    with pytest.raises(ValueError, match=r"m.csv: cluster='voter' is for comparison rows; this file holds none"):
        rp.load_game(write(tmp_path, "m.csv", "0,1\n-1,0\n"), cluster="voter")


# Ballots

BALLOTS = ("3: 1,2,3\n2: 2\n1: {1,3},2\n", 6)


@pytest.mark.parametrize("old", [False, True])
def test_ballots_by_hand(tmp_path, old):
    """3 voters a > b > c, 2 voters b only, 1 voter a = c > b.

    a:b 4:2, b:c 5:1, and a:c 3:0 with one tie; the two who ranked neither a nor c say nothing of that pair.
    """
    if old:
        text = "3\n1,a\n2,b, the second\n3,c\n6,6,3\n" + BALLOTS[0].replace(": ", ",")
    else:
        text = "# TITLE: t\n# NUMBER ALTERNATIVES: 3\n# NUMBER VOTERS: 6\n" + "".join(
            f"# ALTERNATIVE NAME {i}: {name}\n" for i, name in enumerate(("a", "b, the second", "c"), start=1)
        )
        text += BALLOTS[0]
    game = rp.load_game(write(tmp_path, "votes.toi", text))
    assert game.labels == ("a", "b, the second", "c")
    np.testing.assert_array_equal(game.comparisons.counts, [[0, 4, 3.5], [2, 0, 5], [0.5, 1, 0]])
    np.testing.assert_allclose(game.payoff, [[0, 1 / 3, 3 / 4], [-1 / 3, 0, 2 / 3], [-3 / 4, -2 / 3, 0]])
    # Six ballots: three of three pairs, two of two, one of three.
    assert np.unique(game.comparisons.cluster, return_counts=True)[1].tolist() == [3, 3, 3, 2, 2, 3]


@settings(max_examples=25, deadline=None)
@given(orders=st.lists(st.tuples(st.integers(1, 3), st.permutations([1, 2, 3, 4]), st.integers(1, 4)), min_size=1))
def test_ballots_agree_with_counting(tmp_path_factory, orders):
    """Expanded ballots add up to what a loop over ballots and pairs counts, and every ballot is one cluster."""
    path = tmp_path_factory.mktemp("votes") / "votes.soi"
    lines = [f"{count}: {','.join(map(str, order[:length]))}" for count, order, length in orders]
    path.write_text("# NUMBER ALTERNATIVES: 4\n" + "\n".join(lines))
    comparisons = rp.load_game(path).comparisons
    wins = np.zeros((4, 4))
    for count, order, length in orders:
        for place, better in enumerate(order[:length]):
            for worse in order[place + 1 :]:
                wins[better - 1, worse - 1] += count
    np.testing.assert_array_equal(comparisons.counts, wins)
    assert len(np.unique(comparisons.cluster)) == sum(count for count, _, _ in orders)
    assert len({*zip(comparisons.cluster, comparisons.first, comparisons.second, strict=True)}) == len(comparisons)


def test_pair_tables(tmp_path):
    """Means of both orders are averaged, (10 + 9) / 2; one order alone is taken at its word; units are the file's."""
    text = "('a', 'b', 10)\n('b', 'a', -9.0)\n(\"b\", 'c', 1),\n('c', 'a', 2)\n('a', 'a', .7)\n"
    game = rp.load_game(write(tmp_path, "table.txt", text))
    np.testing.assert_array_equal(game.payoff, [[0, 9.5, -2], [-9.5, 0, 1], [2, -1, 0]])
    assert game.labels == ("a", "b", "c")


# Gambit

OUTCOMES = """NFG 1 R "rock \\"n\\" paper" { "Alice" "Bob" }
{
{ "rock" "paper" }
{ "paper" "rock" }
}
"a comment"
{
{ "win" 1/3, -1/3 }
{ "loss" -1/3 , 1/3 }
}
2 0 0 1
"""


def test_gambit_files(tmp_path):
    """Payoffs with the first player's strategy varying fastest; outcomes, fractions, columns named in another order."""
    by_payoffs = 'NFG 1 R "" { "1" "2" } { 2 2 }\n0 0 0.25 -0.25\n-0.25 2.5e-1 0 0\n'
    game = rp.load_game(write(tmp_path, "game.nfg", by_payoffs))
    np.testing.assert_array_equal(game.payoff, [[0, -0.25], [0.25, 0]])
    assert tuple(game.labels) == ("0", "1")
    game = rp.load_game(write(tmp_path, "game.nfg", OUTCOMES))
    np.testing.assert_array_equal(game.payoff, [[0, -1 / 3], [1 / 3, 0]])
    assert game.labels == ("rock", "paper")


HEAD = 'NFG 1 R "" { "1" "2" }\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("NFG 2 R", r"g.nfg, line 1: expected version 1, got 2"),
        ('NFG 1 R "t" { "1" "2" "3" }\n{ 1 1 1 }\n0 0 0', r"g.nfg: expected a game of two players, got 3"),
        (HEAD + "{ 2 3 }\n", r"g.nfg: no symmetric game: the players have 2 and 3 strategies"),
        (HEAD + "{ 2 2 }\n0 0 1 -1\n-1 1 0", r"g.nfg, line 4: expected a payoff, got the end of the file"),
        (HEAD + "{ 2 2 }\n0 0 1 -1\n-1 1 0 x", r"g.nfg, line 4: expected a payoff, got x"),
        (HEAD + "{ 2 2 }\n0 0 1 -1\n-1 1 0 1/0", r"g.nfg, line 4: expected a payoff, got 1/0"),
        (HEAD + "{ 2 2 }\n0 0 1 -1\n-1 1 0 0\n0", r"line 5: expected the end of the file after 2 x 2 profiles, got 0"),
        (
            HEAD + "{ 2 2 }\n0 0 3 0\n0 3 0 0",
            r"no zero-sum game: where the players choose '0' and '1' they get 0 and 3",
        ),
        (
            HEAD + '{ { "a" "b" } { "a" "b" } }\n1 -1 -1 1 -1 1 1 -1',
            r"no symmetric .* gets 1 with 'a' against 'a' and 1",
        ),
        (HEAD + '{ 1 1 } { { "x" 1 } } 1', r"g.nfg, line 2: expected a payoff, got }"),
        (HEAD + "{ 1 1 } { } 1", r"g.nfg, line 2: expected an outcome from 0 to 0, got 1"),
        (HEAD + "{ { a b } }", r"g.nfg, line 2: expected the name of a strategy in quotes, got a"),
        (HEAD + '{ { "a" "b', r"g.nfg, line 2: expected the name of a strategy in quotes, got \""),
        (HEAD + "{ 1 }", r"g.nfg, line 2: expected the strategies of two players, got {"),
    ],
)
def test_malformed_gambit_files(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        rp.load_game(write(tmp_path, "g.nfg", text))


# Round trips

ENTRIES = st.floats(-1e6, 1e6, allow_subnormal=True) | st.sampled_from([1e-300, 1 / 3, 0.1, 5e-324, 1e300])
LABELS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).map(str.strip).filter(bool)


@st.composite
def labelled_games(draw):
    size = draw(st.integers(1, 5))
    upper = np.triu(draw(hnp.arrays(np.float64, (size, size), elements=ENTRIES)), 1)
    labels = draw(st.none() | st.lists(LABELS, min_size=size, max_size=size, unique=True))
    return Game.from_payoffs(upper - upper.T, labels=labels)


@pytest.mark.parametrize("suffix", [".nfg", ".csv", ".npz"])
@settings(max_examples=60, deadline=None)
@given(game=labelled_games())
def test_round_trips_to_the_bit(tmp_path_factory, suffix, game):
    """Any payoffs and any labels come back as they were."""
    path = tmp_path_factory.mktemp("games") / f"game{suffix}"
    if suffix == ".npz" and any(label.endswith("\0") for label in game.labels):
        with pytest.raises(ValueError, match="does not keep null characters"):
            save_game(game, path)
        return
    save_game(game, path)
    again = rp.load_game(path)
    np.testing.assert_array_equal(again.payoff, game.payoff)
    assert tuple(again.labels) == tuple(game.labels)
    assert [found.name for found in path.parent.iterdir()] == [path.name]


def test_saving_keeps_comparisons_and_factors(tmp_path):
    """An .npz file keeps who met whom in which cluster, and U, V, r; the payoffs follow."""
    ballots = rp.load_game(write(tmp_path, "votes.soi", "# NUMBER ALTERNATIVES: 4\n3: 2,1\n1: 1\n"))
    save_game(ballots, tmp_path / "votes.npz")
    again = rp.load_game(tmp_path / "votes.npz")
    for name in ("labels", "first", "second", "wins", "losses", "ties", "cluster"):
        assert list(getattr(again.comparisons, name)) == list(getattr(ballots.comparisons, name))
    np.testing.assert_array_equal(again.payoff, ballots.payoff)
    rng = np.random.default_rng(0)
    factored = FactoredGame.from_factors(*rng.normal(size=(2, 7, 2)), rng.normal(size=7))
    save_game(factored, tmp_path / "factored.npz")
    again = rp.load_game(tmp_path / "factored.npz")
    for name in ("left", "right", "scores"):
        np.testing.assert_array_equal(getattr(again, name), getattr(factored, name))
    assert again.labels == factored.labels


def test_what_cannot_be_saved(tmp_path):
    """The message says what the format holds; nothing is left behind."""
    game, factored = Game.from_payoffs([[0]], labels=[" a"]), FactoredGame.from_factors([[1.0]], [[0.0]])
    for what, name, message in [
        (game, "g.txt", r"g.txt: no game is written as '.txt'; known suffixes: .npz, .csv, .nfg"),
        (game, "g.csv", r"a CSV file does not keep blanks around a label, got ' a'; save the game as .npz"),
        (factored, "g.csv", r"a CSV file holds a matrix, got FactoredGame\(1 actions, 1 discs\); save it as .npz"),
        (factored, "g.nfg", r"an .nfg file holds a matrix, got FactoredGame"),
        ("game", "g.npz", r"only a dense or a factored game can be written, got 'game'"),
    ]:
        with pytest.raises(ValueError, match=message):
            save_game(what, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


# NumPy files


def test_numpy_files(tmp_path):
    """A bare array is understood as a matrix in text is; named arrays say what they are."""
    np.save(tmp_path / "m.npy", np.array(TRIANGLE))
    np.testing.assert_allclose(rp.load_game(tmp_path / "m.npy").payoff, TRIANGLE_PAYOFF)
    rates = 0.5 + 0.5 * np.array(TRIANGLE_PAYOFF)
    for key, array in [("payoff", TRIANGLE_PAYOFF), ("preferences", rates), ("wins", TRIANGLE), ("counts", TRIANGLE)]:
        np.savez(tmp_path / "m.npz", labels=["x", "y", "z"], **{key: array})
        game = rp.load_game(tmp_path / "m.npz")
        np.testing.assert_allclose(game.payoff, TRIANGLE_PAYOFF)
        assert game.labels == ("x", "y", "z")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"table": np.zeros((2, 2))}, r"m.npz: expected one of the keys payoffs, .* besides labels; got table"),
        ({"payoff": np.zeros((2, 2)), "counts": np.zeros((2, 2))}, r"m.npz: expected one of .*; got counts, payoff"),
        ({"payoff": np.array([[None]])}, r"m.npz: not a file of NumPy arrays of numbers or text \(Object arrays"),
        ({"payoff": np.array([["a"]])}, r"m.npz: expected numbers in payoff, got an array of type <U1"),
        (
            {"payoff": np.zeros((1, 1)), "labels": np.array([1.5])},
            r"m.npz: labels must be one row of text, got float64",
        ),
        (
            {"payoff": np.array([[0, np.nan], [1, 0]])},
            r"m.npz: payoff matrix has a value that is not finite at \[0, 1\]",
        ),
        ({"left": np.zeros((2, 1)), "right": np.zeros((3, 1))}, r"m.npz: expected two factors of the same shape"),
    ],
)
def test_malformed_numpy_files(tmp_path, arrays, message):
    np.savez(tmp_path / "m.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        rp.load_game(tmp_path / "m.npz")


def test_arrays_under_the_wrong_name(tmp_path):
    np.save(tmp_path / "m.npy", np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"m.npy: expected a square matrix, got shape \(2, 3\)"):
        rp.load_game(tmp_path / "m.npy")
    (tmp_path / "m.npy").rename(tmp_path / "m.npz")
    with pytest.raises(ValueError, match=r"m.npz: expected named arrays; a file of one array is called .npy"):
        rp.load_game(tmp_path / "m.npz")
    (tmp_path / "m.npz").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(ValueError, match=r"m.npz: not a file of NumPy arrays"):
        rp.load_game(tmp_path / "m.npz")


# Frames


class StandIn:
    """As much of a DataFrame as is used."""

    def __init__(self, data, index=None):
        self.data, self.columns = data, list(data)
        self.index = range(len(next(iter(data.values())))) if index is None else index

    def to_numpy(self):
        return np.array(list(self.data.values()), dtype=object).T

    def __getitem__(self, column):
        return self.data[column]


@pytest.fixture(params=["stand-in", "pandas"])
def frame(request):
    if request.param == "stand-in":
        return StandIn
    return pytest.importorskip("pandas").DataFrame


def test_square_frames(frame):
    """Labels are those of the index; columns come in any order; a plain index takes the names of the columns."""
    table = np.array(TRIANGLE_PAYOFF)
    shuffled = frame({name: table[:, "abc".index(name)] for name in "cab"}, index=list("abc"))
    plain = frame({name: table[:, column] for column, name in enumerate("abc")})
    for given_frame in (shuffled, plain):
        game = Game.from_payoffs(given_frame)
        np.testing.assert_array_equal(game.payoff, TRIANGLE_PAYOFF)
        assert game.labels == ("a", "b", "c")
        np.testing.assert_array_equal(rp.load_game(given_frame).payoff, TRIANGLE_PAYOFF)
    assert Game.from_payoffs(plain, labels=["x", "y", "z"]).labels == ("x", "y", "z")
    counts = frame({name: np.array(TRIANGLE)[:, "abc".index(name)] for name in "bca"}, index=list("abc"))
    for game in (Game.from_counts(counts), rp.load_game(counts)):
        assert game.comparisons.counts.tolist() == TRIANGLE
        np.testing.assert_allclose(game.payoff, TRIANGLE_PAYOFF)
    rates = frame({1: [0.1, 0.5], 0: [0.5, 0.9]}, index=[1, 0])  # 1 against 0: .5 and .9 in its own row and column
    assert Game.from_preferences(frame({"a": [0.5, 0.1], "b": [0.9, 0.5]}, index=["a", "b"])).payoff[0, 1] == 0.8
    with pytest.raises(ValueError, match=r"P\[0, 0\]|not complementary"):
        Game.from_preferences(rates)


def test_frames_of_rows(frame):
    """Comparison rows as in a file; missing cells are errors that name the row, counted from 0."""
    rows = {"model_a": ["a", "b", "a", "c"], "model_b": ["b", "a", "c", "b"], "user": [7, 7, 8, 8]}
    game = rp.load_game(frame({**rows, "Winner": ["model_a", "model_b", "tie", "model_b"]}))
    check_tallied(game)
    assert game.comparisons.cluster.tolist() == [0, 0, 1, 1]
    with pytest.raises(ValueError, match="the frame, row 2: winner '' is not understood"):
        rp.load_game(frame({**rows, "winner": ["model_a", "model_b", None, "model_b"]}))


@pytest.mark.parametrize(
    ("data", "index", "message"),
    [
        ({"a": [0, 1], "b": [-1, 0]}, ["a", "c"], r"the column labels \['a', 'b'\] do not match the rows \['a', 'c'\]"),
        ({"a": [0, 1, 2], "b": [0, 1, 2]}, None, r"expected a square frame, got 3 rows and 2 columns \(a, b\)"),
        ({"a": [0, "x"], "b": [-1, 0]}, None, r"expected a frame of numbers \(.*'x'\)"),
        ({"a": [0, 1], "b": [-1, 0]}, ["a", "a"], r"labels must be distinct, got 'a' twice"),
    ],
)
def test_frames_that_are_no_game(frame, data, index, message):
    with pytest.raises(ValueError, match=message):
        rp.load_game(frame(data, index=index))


# Real data


def cyclic_share(comparisons, rows):
    """Cyclic and decided triads of the majorities among some rows."""
    size = len(comparisons.labels)
    net = np.zeros((size, size))
    np.add.at(net, (comparisons.first[rows], comparisons.second[rows]), (comparisons.wins - comparisons.losses)[rows])
    beats = (net - net.T > 0).astype(float)
    decided = beats + beats.T
    return np.array([np.trace(beats @ beats @ beats) / 3, np.trace(decided @ decided @ decided) / 6])


def test_govan_ward_has_a_top_cycle():
    """Glasgow 2007: three candidates beat each other in a circle and all others; 9,560 ballots."""
    game = rp.load_game(data_file("preflib/00008-00000009.soi"))
    beats = game.payoff > 0
    top = [i for i in range(11) if beats[i].sum() == 9]
    assert all(sum(beats[i][top]) == 1 for i in top) and len(top) == 3
    np.testing.assert_allclose(np.sort(rp.solve(game).policy)[-3:], [0.023, 0.094, 0.883], atol=5e-4)
    assert len(np.unique(game.comparisons.cluster)) == 9560


@pytest.mark.parametrize("name", ["00014-00000001.soc", *(f"00002-0000000{i}.soi" for i in (1, 2, 3, 4))])
def test_sushi_and_debian_have_condorcet_winners(name):
    """Controls: no cyclic triad, and a winner against everybody."""
    game = rp.load_game(data_file(f"preflib/{name}"))
    assert cyclic_share(game.comparisons, slice(None))[0] == 0
    assert max((game.payoff > 0).sum(axis=1)) == len(game) - 1
    assert rp.solve(game).policy.max() == pytest.approx(1)


def test_rock_paper_scissors_programs():
    """43 programs: no Condorcet winner, 956 of 12,220 decided triads cyclic, five programs in the equilibrium."""
    game = rp.load_game(data_file("rrps/rrps43_bot_table_file.txt"))
    assert (len(game), game.scale) == (43, 1000.0)
    signs = np.sign(game.payoff)
    triads = [signs[i, j] + signs[j, k] + signs[k, i] for i, j, k in combinations(range(43), 3)
              if signs[i, j] * signs[j, k] * signs[k, i]]  # fmt: skip
    assert (len(triads), sum(abs(total) == 3 for total in triads)) == (12220, 956)
    solution = rp.solve(game)
    assert len(solution.support) == 5
    assert solution.policy[game.labels.index("randbot")] == pytest.approx(0.892, abs=5e-4)


@pytest.mark.parametrize(
    ("judge", "rows", "share"), [("crowd", 8931, 0.047), ("gpt3-crowd", 2139, 0.19), ("gpt4-crowd", 2139, 0.012)]
)
def test_verdicts_on_language_models(judge, rows, share):
    """59 models by three kinds of judge; the share of cyclic triads within a prompt is known."""
    path = data_file(f"llmfao/{judge}-comparisons.csv")
    found = rp.load_game(path, cluster="prompt").comparisons
    assert (len(found.labels), found.total) == (59, rows)
    prompts = range(found.cluster.max() + 1)
    cyclic, decided = sum(cyclic_share(found, found.cluster == prompt) for prompt in prompts)
    assert cyclic / decided == pytest.approx(share, abs=0.005)
    clusters = rp.load_game(path).comparisons.cluster
    assert len(np.unique(clusters)) == (124 if judge == "crowd" else 13)  # workers where they are told, else prompts


def test_convincing_arguments():
    """32 topics with 5,415 cyclic triads of majorities, counted as in the file."""
    topics = ukp_topics()
    assert all(isinstance(topic, Comparisons) for topic in topics)
    assert (len(topics), sum(map(len, topics))) == (32, 16927)
    assert sum(cyclic_share(topic, slice(None))[0] for topic in topics) == 5415


# Numbers that do not fit, and what comparisons are made of


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("table.txt", f"('a', 'b', 1{'0' * 400})\n", r"table.txt, line 1: expected \('first', 'second', return"),
        ("rows.json", "[" * 100_000, r"rows.json: not JSON \("),
        ("rows.jsonl", f'{{"winner": "a", "loser": "b", "count": 1{"0" * 5000}}}', r"rows.jsonl, line 1: not JSON \("),
        ("votes.soc", f"# NUMBER ALTERNATIVES: 2\n1{'0' * 30}: 1,2\n", r"votes.soc, line 2: expected a count and an"),
    ],
)
def test_numbers_too_large_and_nesting_too_deep_are_malformed(tmp_path, name, text, message):
    with pytest.raises(ValueError, match=message):
        rp.load_game(write(tmp_path, name, text))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"second": [10**9]}, "expected items 0 to 32767 at most in first and second, got 1000000000"),
        ({"first": [0.7]}, r"whole numbers below 2\^63 in first, got first\[0\] = 0.7"),
        ({"first": [np.nan]}, r"got first\[0\] = nan"),
        ({"cluster": [0.5]}, r"got cluster\[0\] = 0.5"),
        ({"wins": [1, 2]}, "expected columns of the same length"),
    ],
)
def test_tallies_in_a_file_are_not_bent(tmp_path, change, message):
    path = tmp_path / "game.npz"
    np.savez(path, **({"first": [0], "second": [1], "wins": [1], "losses": [0], "ties": [0]} | change))
    with pytest.raises(ValueError, match=message):
        rp.load_game(path)


def test_a_folder_is_no_game(tmp_path):
    with pytest.raises(IsADirectoryError, match="is a folder; expected the file of one game"):
        rp.load_game(tmp_path)


def test_comparisons_take_any_numbers_that_say_the_same():
    """Lists, small integers and whole floats become int64 and float64."""
    plain = Comparisons("abc", [0, 1], [1, 2], [3, 1], [1, 0], [0, 0], [7, 7])
    for kind in (np.uint8, np.int32, np.float32):
        columns = [np.array(column, dtype=kind) for column in ([0, 1], [1, 2], [3, 1], [1, 0], [0, 0], [7, 7])]
        found = Comparisons(["a", "b", "c"], *columns)
        assert found.labels == plain.labels == ("a", "b", "c")
        for name in ("first", "second", "cluster", "wins", "losses", "ties"):
            column = getattr(found, name)
            assert column.dtype == (np.int64 if name in ("first", "second", "cluster") else np.float64)
            np.testing.assert_array_equal(column, getattr(plain, name))
    assert len(Comparisons("ab", [], [], [], [], [])) == 0


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (("ab", [0.5], [1], [1], [0], [0]), r"got first\[0\] = 0.5"),
        (("ab", [np.inf], [1], [1], [0], [0]), r"got first\[0\] = inf"),
        (("ab", [0], np.array([2**63], dtype=np.uint64), [1], [0], [0]), r"got second\[0\] = 9223372036854775808"),
        (("ab", ["0"], [1], [1], [0], [0]), "expected a column of whole numbers in first, got <U1"),
        (("ab", [[0]], [[1]], [1], [0], [0]), r"in first, got int64 of shape \(1, 1\)"),
        (("ab", [0], [1], [1], [0, 0], [0]), "expected columns of the same length"),
        (("ab", [0], [1], [1], [0], [0], [1, 2]), "expected columns of the same length"),
        (("ab", [0, 0], [1, 2], [1, 1], [0, 0], [0, 0]), "two different items out of 2 in every row, got 0 and 2 in r"),
        (("ab", [-1], [1], [1], [0], [0]), "got -1 and 1 in row 0"),
        (("ab", [1], [1], [1], [0], [0]), "got 1 and 1 in row 0"),
        (("aa", [0], [1], [1], [0], [0]), "labels must be distinct, got 'a' twice"),
        (("ab", [0], [1], [-1], [0], [0]), r"got wins\[0\] = -1"),
    ],
)
def test_comparisons_are_checked(columns, message):
    with pytest.raises(ValueError, match=message):
        Comparisons(*columns)


def test_a_batch_gives_one_game_at_a_time():
    """Also for NumPy's integers and from the end; anything else would be no game."""
    batch = rp.GameBatch.from_payoffs([[[0, 1], [-1, 0]], [[0, -0.5], [0.5, 0]]], labels="ab")
    np.testing.assert_array_equal(batch[np.int64(-1)].payoff, [[0, -0.5], [0.5, 0]])
    for index in (slice(0, 2), np.array([0, 1]), 0.0):
        with pytest.raises(TypeError, match="expected the number of one game, got "):
            batch[index]
    for index in (2, -3):
        with pytest.raises(IndexError, match=f"no game {index} in a batch of 2"):
            batch[index]
    assert len(list(batch)) == 2
    for build in (rp.GameBatch.from_payoffs, rp.GameBatch.from_preferences):
        for shape in ((0, 3, 3), (2, 0, 0), (3, 3)):
            with pytest.raises(ValueError, match=r"a batch of games has shape \[B, n, n\], each at least 1, got \("):
                build(np.zeros(shape))


def test_duels_are_between_actions_that_there_are():
    oracle = DuelOracle.from_game(Game.from_payoffs([[0, 1], [-1, 0]]), seed=0)
    np.testing.assert_array_equal(oracle.sample([0, 1], [1, 0]), [1.0, -1.0])
    for first, second, message in [
        ([-1], [0], "expected actions 0 to 1 in first, got -1"),
        ([0], [2], "expected actions 0 to 1 in second, got 2"),
        ([0, 1], [1], "got 2 first and 1 second ones"),
        ([0.5], [1], r"got first\[0\] = 0.5"),
    ]:
        with pytest.raises(ValueError, match=message):
            oracle.sample(first, second)
    assert oracle.duels == 2
    with pytest.raises(ValueError, match=r"expected a PreferenceGame, .* got a FactoredGame"):
        DuelOracle.from_game(FactoredGame.from_factors([[1.0], [0.0]], [[0.0], [1.0]]), seed=0)
