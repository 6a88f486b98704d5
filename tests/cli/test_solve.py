"""`rebel-pref solve`: games by file and by name, what it prints, and the figure it draws."""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from calling import caller
from hypothesis import given
from hypothesis import strategies as st

import rebel_pref as rp
from rebel_pref.bootstrap import bootstrap_winner
from rebel_pref.cli import main
from rebel_pref.cli import solve as command
from rebel_pref.cli.games import open_game, ranked_actions
from rebel_pref.cli.solve_figure import draw_solution, save_figure
from rebel_pref.cli.solve_table import _rounding as rounding_told
from rebel_pref.games import FactoredGame

COUNTS = "name,rock,paper,scissors\nrock,0,60,24\npaper,28,0,80\nscissors,50,36,0\n"
SETUP = (Path(__file__).parents[2] / "setup.py").read_text(encoding="utf-8")


@pytest.fixture
def counts(tmp_path):
    path = tmp_path / "counts.csv"
    path.write_text(COUNTS)
    return path


call = caller("solve")


def refused(capsys, *argv):
    code, out, err = call(capsys, *argv)
    assert (code, out) == (2, "")
    assert err.startswith("rebel-pref solve: ") and err.count("\n") == 1, err
    return err


def game_of(size, seed=0, *, scale=1.0, long_labels=False):
    rng = np.random.default_rng(seed)
    upper = scale * np.triu(rng.uniform(-1, 1, (size, size)), 1)
    labels = [f"{'a long name for model ' if long_labels else 'model '}{i}" for i in range(size)]
    return rp.PreferenceGame.from_payoffs(upper - upper.T, labels=labels)


def cells(out):
    """Rows of the printed table: label -> the other cells."""
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines() if line.startswith("│")]
    return {row[0]: row[1:] for row in rows}


# Which game is meant.


def test_open_game(tmp_path, monkeypatch):
    """A path that exists wins, colon or not; a name may carry parameters, with dots and slashes in their values."""
    monkeypatch.chdir(tmp_path)
    Path("blotto:soldiers=3").write_text(COUNTS)
    assert list(open_game("blotto:soldiers=3").labels) == ["rock", "paper", "scissors"]
    assert len(open_game("blotto:soldiers=4")) == 15
    weighted = open_game("rock-paper-scissors:paper_over_rock=0.5,rock_over_scissors=1/4")
    np.testing.assert_allclose([weighted.payoff[1, 0], weighted.payoff[0, 2]], [0.5, 0.25])


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("chess", ValueError, "no file and no game is called 'chess'; known games: .*blotto"),
        ("chess:pieces=0.5", ValueError, "no file and no game is called 'chess'"),
        ("blotto:armies=3", ValueError, "^'blotto' has no parameter 'armies'"),
        ("games/chess.csv", FileNotFoundError, "no such file: games/chess.csv"),
        ("chess.csv", FileNotFoundError, "no such file: chess.csv"),
        ("./blotto:soldiers=3", FileNotFoundError, "no such file: ./blotto:soldiers=3"),
    ],
)
def test_open_game_refuses(text, error, message):
    with pytest.raises(error, match=message):
        open_game(text)


@given(st.integers(1, 12), st.integers(0, 10**6))
def test_ranked_actions(size, seed):
    """A permutation: probabilities fall, and among those without one the payoffs do; rounding makes no order."""
    rng = np.random.default_rng(seed)
    policy = rng.dirichlet(np.full(size, 0.3)) * (rng.random(size) < 0.5)
    policy = policy + 1e-17 * rng.random(size)
    payoffs = -rng.random(size).round(1)
    order = ranked_actions(policy, payoffs)
    assert sorted(order) == list(range(size))
    seen = np.where(policy[order] > 1e-9, policy[order], 0.0)
    assert (np.diff(seen) <= 1e-12).all()
    assert (np.diff(payoffs[order][seen == 0.0]) <= 0).all()
    even = np.full(size, 1 / size) * (1 + 1e-15 * rng.standard_normal(size))
    np.testing.assert_array_equal(ranked_actions(even, np.zeros(size)), np.arange(size))


# The table.


def test_table(capsys):
    """The winner first, then who does best against it; the certificate says how far rounding is off."""
    code, out, err = call(capsys, "weighted-rock-paper-scissors")
    assert (code, err) == (0, "")
    assert cells(out) == {
        "rock": ["0.600000", "+0.000000", "50.00 %"],
        "paper": ["0.300000", "+0.000000", "50.00 %"],
        "scissors": ["0.100000", "+0.000000", "50.00 %"],
    }
    rounding = float(re.search(r"certificate: exploitability .*; rounding is off by at most (\S+)", out)[1])
    assert 0 < rounding < 1e-14
    assert re.search(r"^method: \w+, \d+ steps?; status: solved$", out, flags=re.MULTILINE)


def test_nothing_is_minus_zero(capsys, tmp_path, monkeypatch):
    """Payoffs of -1e-12 are printed as 0, and so is a duality gap of -0.0."""
    path = tmp_path / "game.csv"
    path.write_text("0,1,1\n-1,0,1\n-1,-1,0\n")
    monkeypatch.setattr(rp.PreferenceGame, "payoffs_against", lambda game, policy: np.array([-0.0, -1e-12, -1.0]))
    _, out, _ = call(capsys, path)
    assert not re.search(r"-0\.0*\b(?!\d)", out), out
    _, out, _ = call(capsys, path, "--json")
    assert "-0.0" not in out


def test_large_games_are_cut(capsys):
    """The support and the next best: 20 rows, the rest counted with its probability."""
    _, out, _ = call(capsys, "blotto", "--selection", "vertex")
    assert len(cells(out)) == 20
    assert "and 46 more actions, probability 0.000000 together" in out


def test_a_game_without_win_rates_has_no_such_column(capsys, tmp_path):
    path = tmp_path / "money.csv"
    path.write_text("a,b,c\n0,-300,20\n300,0,-1000\n-20,1000,0\n")
    _, out, _ = call(capsys, path)
    assert "win rate" not in out and "%" not in out
    assert all(len(row) == 2 for row in cells(out).values())


def test_labels_are_not_markup(capsys, tmp_path):
    """Brackets, emoji names, line breaks and control characters of a label stay text on one line."""
    path = tmp_path / "game.npz"
    np.savez(path, payoffs=[[0, -1, 1], [1, 0, -1], [-1, 1, 0]], labels=["[red]rock[/]", ":smile:", "two\nlines\x1b"])
    _, out, _ = call(capsys, path)
    assert set(cells(out)) == {"[red]rock[/]", ":smile:", "two lines"}


def test_factors(capsys, tmp_path):
    """A game given by factors is solved unformed; only the support and the best of the others are printed."""
    rng = np.random.default_rng(0)
    left, right = rng.standard_normal((2, 1500, 2))
    path = tmp_path / "game.npz"
    np.savez(path, left=left, right=right, scores=rng.standard_normal(1500))
    code, out, _ = call(capsys, path, "--figure", tmp_path / "game.png")
    assert code == 0 and len(cells(out)) <= 25 and "1,480 more actions" in out
    game = open_game(str(path))
    assert isinstance(game, FactoredGame)
    assert (tmp_path / "game.png").stat().st_size > 20_000
    _, out, _ = call(capsys, path, "--json")
    result = json.loads(out)
    assert len(result["policy"]) == 1500 and set(result["support"]) <= set(result["policy"])
    assert game.payoffs_against(np.array(list(result["policy"].values()))).max() <= 1e-6


# Options.


def test_selection(capsys, tmp_path):
    """Two clones: any winner mixes them somehow, the most mixed one evenly."""
    path = tmp_path / "clones.csv"
    path.write_text("a,b,c\n0,0,0.5\n0,0,0.5\n-0.5,-0.5,0\n")
    _, out, _ = call(capsys, path, "--selection", "max_entropy", "--json")
    result = json.loads(out)
    assert result["policy"] == pytest.approx({"a": 0.5, "b": 0.5, "c": 0.0}, abs=1e-6)
    assert result["selection"] == "max_entropy"
    assert "magic" in refused(capsys, path, "--selection", "magic")


def test_exact(capsys, tmp_path):
    """A proof over the rationals: 3/5, 3/10, 1/10, and nothing left for a best responder."""
    code, out, _ = call(capsys, "weighted-rock-paper-scissors", "--exact")
    assert code == 0
    assert {label: row[1] for label, row in cells(out).items()} == {"rock": "3/5", "paper": "3/10", "scissors": "1/10"}
    assert "exactly 0" in out and "rounding" not in out
    _, out, _ = call(capsys, "weighted-rock-paper-scissors", "--exact", "--json")
    result = json.loads(out)
    assert result["exact_policy"] == {"rock": "3/5", "paper": "3/10", "scissors": "1/10"}
    assert result["exploitability"] == 0


def test_bootstrap(capsys, counts):
    """Intervals around the winner, in the table and in JSON, the ones that `bootstrap_winner` gives."""
    code, out, err = call(capsys, counts, "--bootstrap", "60", "--level", "0.9", "--seed", "5")
    assert (code, err) == (0, "")
    assert "intervals: 90 % of 60 bootstrap replicates\n" in out and out.count("90 % interval") == 2
    _, text, _ = call(capsys, counts, "--bootstrap", "60", "--level", "0.9", "--seed", "5", "--json")
    result = json.loads(text)
    expected = bootstrap_winner(rp.load_game(counts).comparisons, replicates=60, level=0.9, seed=5)
    intervals = result["intervals"]
    assert (intervals["level"], intervals["replicates"], intervals["unsolved"]) == (0.9, 60, 0)
    for i, label in enumerate(expected.labels):
        low, high = intervals["probability"][label]
        assert (low, high) == pytest.approx((expected.lower[i], expected.upper[i]), abs=1e-9)
        assert low < result["policy"][label] < high
        assert cells(out)[label][:2] == [f"{result['policy'][label]:.6f}", f"{low:.3f}-{high:.3f}"]
        assert intervals["in_support"][label] == expected.probability_in_support[i]
    assert result["selection"] == "max_entropy"


def test_bootstrap_wants_counts(capsys, counts):
    err = refused(capsys, "blotto", "--bootstrap", "10")
    assert "--bootstrap draws comparisons again, but blotto holds payoffs" in err and "counts of wins" in err
    assert "expected at least 1 replicate, got 0" in refused(capsys, counts, "--bootstrap", "0")
    assert "expected 0 < level < 1, got 95" in refused(capsys, counts, "--bootstrap", "9", "--level", "95")


def test_json_without_options_is_the_contract(capsys, counts):
    _, out, _ = call(capsys, counts, "--json")
    contract = {"policy", "support", "exploitability", "duality_gap", "method", "status"}
    assert set(json.loads(out)) == contract | {"rounding", "upper_bound", "best_response", "steps"}


def test_help_names_every_option(capsys):
    with pytest.raises(SystemExit):
        main(["solve", "--help"])
    words = " ".join(capsys.readouterr().out.split())
    for option in ("method", "tol", "selection", "exact", "bootstrap", "level", "seed", "max-steps", "figure", "json"):
        assert f"--{option} " in words
    assert "max_entropy" in words and ".svg" in words and "lizard-spock" in words


def test_progress_is_shown_to_a_terminal_only(capsys, counts, monkeypatch):
    """On standard error, gone when done; a pipe gets nothing (see the tests above)."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    code, out, err = call(capsys, counts, "--bootstrap", "20", "--json")
    assert code == 0 and json.loads(out)
    assert "bootstrap" in err and "/20" in err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--tol", "abc"], "--tol: expected a number, got 'abc'"),
        (["--seed", "-1"], "--seed: expected a whole number, not negative, got '-1'"),
        (["--seed", "1.5"], "--seed: expected a whole number, not negative, got '1.5'"),
        (["--bootstrap", "many"], "--bootstrap: expected a whole number, got 'many'"),
        (["--max-steps", "0"], "--max-steps: expected a whole number from 1 on, got '0'"),
    ],
)
def test_options_that_do_not_fit_are_named(argv, message, capsys):
    assert refused(capsys, "blotto", *argv) == f"rebel-pref solve: {message}\n"


def test_max_steps(capsys):
    """Fewer plays than it takes, then the default."""
    code, out, _ = call(
        capsys, "weighted-rock-paper-scissors", "--method", "regret_matching", "--max-steps", 5, "--json"
    )
    result = json.loads(out)
    assert code == 1 and result["steps"] <= 5 and "max_steps" in result["status"]
    assert call(capsys, "weighted-rock-paper-scissors", "--method", "regret_matching", "--tol", "1e-3")[0] == 0


@pytest.mark.parametrize("error", [OverflowError, MemoryError, RecursionError])
def test_what_no_reader_foresaw_is_bad_input(error, capsys, monkeypatch):
    monkeypatch.setattr(command, "open_game", lambda text: (_ for _ in ()).throw(error("too much")))
    assert refused(capsys, "blotto") == "rebel-pref solve: too much\n"


def test_a_folder_is_refused(capsys, tmp_path):
    assert f"{tmp_path} is a folder" in refused(capsys, tmp_path)


def test_json_certificate(capsys, counts):
    """The bound with rounding, who attains it, and null for a bound that is not known."""
    result = json.loads(call(capsys, counts, "--json")[1])
    assert result["upper_bound"] == result["exploitability"] + result["rounding"] > 0
    assert result["best_response"] in result["policy"] and isinstance(result["steps"], int)
    matrix = rp.load_game(counts).payoff
    game = rp.MatvecGame.from_matvec(lambda policy: matrix @ policy, 3)
    told = command.as_json(game, rp.solve(game))
    assert told["rounding"] is None and told["upper_bound"] is None


@given(st.floats(1e-300, 1e3))
def test_bounds_are_rounded_up(bound):
    """One digit, not below the bound, and less than the next digit above it."""
    certificate = replace(rp.certify(game_of(3), np.ones(3) / 3), rounding=bound)
    told = float(rounding_told(certificate).rsplit(" ", 1)[1])
    assert bound <= told * (1 + 1e-15) and told <= 2 * bound * (1 + 1e-15)


def test_votes_of_one_mind_are_pointed_out(capsys, tmp_path, counts):
    """Two votes for a over b, one for c over a: resampling has nothing to vary."""
    path = tmp_path / "few.csv"
    path.write_text("winner,loser\na,b\na,b\nb,c\nc,b\nc,a\n")
    _, out, _ = call(capsys, path, "--bootstrap", 5)
    assert "caution: 2 pairs were won by one side every time: resampling cannot widen them\n" in out
    assert json.loads(call(capsys, path, "--bootstrap", 5, "--json")[1])["intervals"]["one_sided"] == 2
    assert "caution" not in call(capsys, counts, "--bootstrap", 5)[1]


# The figure.


@pytest.mark.parametrize(("suffix", "opening"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("PDF", b"%PDF")])
def test_figure_is_written_whole(suffix, opening, capsys, counts, tmp_path):
    path = tmp_path / "folder" / f"figure.{suffix}"
    path.parent.mkdir()
    code, out, _ = call(capsys, counts, "--figure", path)
    assert code == 0 and f"figure: {path}\n" in out
    assert path.read_bytes().startswith(opening)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_figure_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "figure.png"
    path.write_bytes(b"old")
    game = game_of(3)
    figure = draw_solution(game, rp.solve(game), title="game")
    write = figure.savefig

    def fail(staging, **settings):
        write(staging, **settings)
        raise OSError("disk full")

    monkeypatch.setattr(figure, "savefig", fail)
    with pytest.raises(OSError, match="disk full"):
        save_figure(figure, path)
    assert path.read_bytes() == b"old" and [file.name for file in tmp_path.iterdir()] == ["figure.png"]


def test_figures_are_refused_before_solving(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "solve", lambda *_, **__: pytest.fail("solved"))
    err = refused(capsys, "blotto", "--figure", tmp_path / "figure.jpg")
    assert "a figure's name ends in .pdf, .png, .svg, got 'figure.jpg'" in err
    err = refused(capsys, "blotto", "--figure", tmp_path / "new" / "figure.png")
    assert f"no such folder: {tmp_path / 'new'}" in err and not (tmp_path / "new").exists()


def test_figures_need_matplotlib(capsys, tmp_path, monkeypatch):
    """The message names an extra that there is."""
    for name in ("rebel_pref.cli.solve_figure", "rebel_pref.cli.figures"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    err = refused(capsys, "blotto", "--figure", tmp_path / "figure.png")
    extra = re.search(r"--figure needs matplotlib: pip install 'rebel_pref\[(\w+)\]'", err)[1]
    assert re.search(rf'"{extra}": .*matplotlib', SETUP)


def overlaps(boxes):
    """Pairs of boxes that share more than half a pixel both ways."""
    return [
        (one, other)
        for k, (one, a) in enumerate(boxes)
        for other, b in boxes[k + 1 :]
        if min(a.x1, b.x1) - max(a.x0, b.x0) > 0.5 and min(a.y1, b.y1) - max(a.y0, b.y0) > 0.5
    ]


def texts_of(figure):
    """Every text that is drawn, with its box in pixels."""
    figure.draw_without_rendering()
    texts = list(figure.texts)
    for axes in figure.axes:
        ticks = []
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks += [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
        texts += [*axes.texts, axes.title, axes._left_title, axes.xaxis.label, axes.yaxis.label]
        texts += [text for tick in ticks for text in (tick.label1, tick.label2) if text.get_visible()]
    return [(text.get_text(), text.get_window_extent()) for text in texts if text.get_text()]


@pytest.mark.parametrize("size", [1, 2, 3, 11, 40, 60, 61, 300])
@pytest.mark.parametrize("long_labels", [False, True])
def test_no_text_of_the_figure_overlaps(size, long_labels):
    """Titles, labels, numbers and captions keep apart for small and large games, with short and long labels."""
    game = game_of(size, long_labels=long_labels)
    figure = draw_solution(game, rp.solve(game), title="a game")
    texts = texts_of(figure)
    assert len(texts) > 8
    assert not overlaps(texts)


def test_rows_of_the_figure_are_those_of_the_winner():
    """Squares, bars and dots share the order: the likeliest first, then by payoff against the winner."""
    game = game_of(11, seed=2)
    solution = rp.solve(game)
    order = ranked_actions(solution.policy, game.payoffs_against(solution.policy))
    square, bars, rates, _ = draw_solution(game, solution, title="a game").axes
    assert [text.get_text() for text in square.get_yticklabels()] == [game.labels[i] for i in order]
    drawn = np.ma.getdata(square.collections[0].get_array()).reshape(11, 11)
    np.testing.assert_allclose(drawn, 50 + 50 * game.payoff[np.ix_(order, order)])
    np.testing.assert_allclose([bar.get_width() for bar in bars.patches], 100 * solution.policy[order])
    dots = rates.collections[0].get_offsets()
    np.testing.assert_allclose(dots[:, 0], 50 + 50 * game.payoffs_against(solution.policy)[order])
    np.testing.assert_allclose(dots[:, 1], np.arange(11) + 0.5)
    assert square.get_ylim() == bars.get_ylim() == rates.get_ylim() == (11, 0)
    low, high = square.collections[0].get_clim()
    assert low + high == 100  # white is a draw


def test_a_large_game_shows_its_support_and_the_next_best():
    """300 actions on 40 rows; the caption counts the others and says how well the best of them does."""
    game = game_of(300, seed=4)
    solution = rp.solve(game)
    figure = draw_solution(game, solution, title="a game")
    shown = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    count = len(shown)
    assert 40 <= count <= 60
    assert count == 60 or set(solution.support) <= set(shown)
    against = game.payoffs_against(solution.policy)
    best = max(50 + 50 * against[i] for i, label in enumerate(game.labels) if label not in shown)
    caption = " ".join(figure.texts[-1].get_text().split())
    assert f"{count} of 300 actions are drawn" in caption and f"win rate of {best:.0f} %" in caption


def test_intervals_are_drawn(counts):
    """A line from bound to bound on every bar, and on every dot."""
    game = rp.load_game(counts)
    intervals = bootstrap_winner(game.comparisons, replicates=50, solve=rp.solve)
    solution = rp.solve(game)
    order = ranked_actions(solution.policy, game.payoffs_against(solution.policy))
    _, bars, _, _ = draw_solution(game, solution, title="a game", intervals=intervals).axes
    lines = np.array(bars.collections[0].get_segments())
    np.testing.assert_allclose(lines[:, :, 0], 100 * np.stack([intervals.lower, intervals.upper], axis=1)[order])


def test_payoffs_that_are_no_win_rates_and_strange_labels(tmp_path):
    """Ticks in the game's own unit; dollars are no mathematics and missing letters no warning."""
    game = rp.PreferenceGame.from_payoffs(
        [[0, -3e5, 2e4], [3e5, 0, -1e4], [-2e4, 1e4, 0]], labels=["$a$", "日本\nx", "c" * 90]
    )
    figure = draw_solution(game, rp.solve(game), title="$ money $")
    words = [text for text, _ in texts_of_quietly(figure)]
    assert {"$a$", "日本 x"} <= set(words) and "payoff against it" in words
    assert not any("win rate" in word or "-" in word for word in words)
    save_figure(figure, tmp_path / "figure.png")


def texts_of_quietly(figure):
    import warnings

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")
        return texts_of(figure)


def test_a_game_of_ties(tmp_path):
    """Nothing to scale colours by, and every action is a winner."""
    game = rp.PreferenceGame.from_payoffs(np.zeros((4, 4)))
    save_figure(draw_solution(game, rp.solve(game), title="ties"), tmp_path / "figure.svg")
