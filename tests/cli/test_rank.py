"""`rebel-pref rank`: what it prints, its page and its figure, columns named by the user, and exit codes."""

import json
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import pytest
from calling import caller
from real_data import data_file

import rebel_pref as rp
from rebel_pref.cli import COMMANDS, main
from rebel_pref.cli.rank_page import write_page
from rebel_pref.games.files import Columns

COUNTS = "name,[red]rock,paper,<b>scissors\n[red]rock,0,30,72\npaper,70,0,28\n<b>scissors,28,72,0\n"


@pytest.fixture
def counts(tmp_path):
    path = tmp_path / "counts.csv"
    path.write_text(COUNTS)
    return path


call = caller("rank")


def test_tables(capsys, counts):
    """Labels as they are, every item, the sentence, the choices and what the brackets are."""
    code, out, err = call(capsys, counts, "--bootstrap", 59)
    assert (code, err) == (0, "") and "rank" in COMMANDS
    assert "These comparisons cycle" in out and "[red]rock" in out and "<b>scissors" in out
    for word in ("Leaderboard", "Condorcet winner", "Bradley-Terry (Elo)", "a best responder wins", "59 bootstrap"):
        assert word in out


@pytest.mark.parametrize("command", ["rank", "diagnose", "solve"])
def test_names_do_nothing_to_a_terminal(capsys, tmp_path, command):
    """An escape sequence in a name is shown, and clears no screen."""
    path = tmp_path / "a.jsonl"
    row = {"winner": "\x1b[31mred\x1b[2J", "loser": "[b]blue\x07", "count": 9}
    path.write_text(json.dumps(row) + "\n")
    code, out, _ = caller(command)(capsys, path, *([] if command == "solve" else ["--bootstrap", 0]))
    assert code == 0 and "\x1b" not in out and "\x07" not in out
    assert "red" in out


def test_a_named_game(capsys):
    code, out, _ = call(capsys, "rock-paper-scissors")
    assert code == 0 and "These payoffs cycle" in out and "bootstrap" not in out


def test_json_is_the_ranking(capsys, counts):
    code, out, _ = call(capsys, counts, "--bootstrap", 59, "--seed", 2, "--level", 0.95, "--json")
    assert code == 0
    told = json.loads(out)
    assert told == json.loads(json.dumps(rp.rank(rp.load_game(counts), bootstrap=59, seed=2).as_dict()))


class Page(HTMLParser):
    """Tags, addresses and text of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.addresses, self.words = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.addresses += [value for name, value in attributes if name in ("src", "href", "action")]

    def handle_data(self, data):
        self.words.append(data)


def test_page(capsys, counts, tmp_path):
    """Self-contained, no script, labels as text, a square a pair in a drawing that is well-formed."""
    target = tmp_path / "board.html"
    code, out, _ = call(capsys, counts, "--bootstrap", 59, "--html", target)
    assert code == 0 and f"page: {target}" in out
    text = target.read_text()
    page = Page(text)
    assert "script" not in page.tags and "b" in page.tags and set(page.addresses) == {"data:,"}
    assert "<b>scissors" in "".join(page.words) and "&lt;b&gt;scissors" in text
    assert "These comparisons cycle" in text and "59 bootstrap replicates" in text
    drawing = ET.fromstring(text[text.index('<svg class="matrix"') : text.rindex("</svg>") + 6])
    squares = [rect for rect in drawing.iter("rect") if rect.get("class") in ("win", "loss", "tie", "missing", "self")]
    assert len(squares) == 9
    assert [rect.get("class") for rect in squares].count("win") == 3


def test_page_of_a_large_sparse_game(tmp_path):
    """Missing pairs are hatched, payoffs in other units have no Elo, at most 60 items are drawn."""
    wins = [[0] * 70 for _ in range(70)]
    for i in range(69):
        wins[i][i + 1] = 2
    target = write_page(tmp_path / "a.html", rp.rank(wins, bootstrap=0), title="<chain>")
    text = target.read_text()
    assert "&lt;chain&gt;" in text and 'class="missing"' in text and "The first 60 of 70 items are drawn." in text
    other = rp.PreferenceGame.from_payoffs([[0, 5, -2], [-5, 0, 1], [2, -1, 0]])
    text = write_page(tmp_path / "b.html", rp.rank(other), title="payoffs").read_text()
    assert "(Elo)" not in text and "payoff against it" in text


def test_figure(capsys, counts, tmp_path):
    target = tmp_path / "board.svg"
    code, out, _ = call(capsys, counts, "--bootstrap", 0, "--figure", target)
    assert code == 0 and f"figure: {target}" in out and target.stat().st_size > 1000


ROWS = "question,one,other,verdict,model_a,model_b\n1,x,y,1,m,n\n1,y,z,1,m,n\n2,x,z,2,m,n\n2,z,y,0,m,n\n"


def test_columns_named_by_the_user(capsys, tmp_path):
    """Columns that would be taken otherwise are not looked at; 1, 2 and 0 are the sides and a tie."""
    path = tmp_path / "verdicts.csv"
    path.write_text(ROWS)
    options = ("--first", "One", "--second", "other", "--winner", "verdict", "--group", "question")
    code, out, _ = call(capsys, path, *options, "--bootstrap", 0, "--json")
    assert code == 0
    told = json.loads(out)
    assert {item["label"] for item in told["items"]} == {"x", "y", "z"}
    assert told["counted"]["ties"] == 1 and told["counted"]["clusters"] == 2
    code, out, _ = call(capsys, path, *options[:-1], "none", "--bootstrap", 0, "--json")
    assert json.loads(out)["counted"]["clusters"] is None


def test_the_same_rows_from_json_and_a_frame(tmp_path):
    """JSON records and a frame with named columns give what the table gives; a verdict may name the column."""
    pandas = pytest.importorskip("pandas")
    columns = Columns("one", "other", "verdict")
    path = tmp_path / "verdicts.csv"
    path.write_text(ROWS)
    frame = pandas.read_csv(path)
    other = tmp_path / "verdicts.json"
    other.write_text(frame.replace({"verdict": {1: "one", 2: "other", 0: "tie"}}).to_json(orient="records"))
    table = rp.load_game(path, columns=columns)
    for again in (rp.load_game(other, columns=columns), rp.load_game(frame, columns=columns)):
        assert again.labels == table.labels and (again.payoff == table.payoff).all()


def test_pandalm_layout(tmp_path):
    """A record is one row a verdict, grouped by instruction and input; null verdicts are left out."""
    records = [
        {"cmp_key": "a_b", "instruction": "i", "input": "", "annotator1": 1, "annotator2": "2", "annotator3": None},
        {"cmp_key": "a_b", "instruction": "i", "input": "more", "annotator1": 0, "annotator2": 1, "annotator3": 1},
    ]
    path = tmp_path / "judged.json"
    path.write_text(json.dumps(records))
    found = rp.load_game(path).comparisons
    assert (found.wins.sum(), found.losses.sum(), found.ties.sum()) == (3, 1, 1)
    assert len(set(found.cluster.tolist())) == 2
    for change, message in (({"cmp_key": "a_b_c"}, "one underscore"), ({"annotator1": 7}, "expected 0")):
        path.write_text(json.dumps([records[0] | change]))
        with pytest.raises(ValueError, match=message):
            rp.load_game(path)
    path.write_text(json.dumps([{"cmp_key": "a_b", "annotator1": None}]))
    with pytest.raises(ValueError, match="no annotator"):
        rp.load_game(path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--html", "x.pdf"], "ends in .html"),
        (["--html", "nowhere/x.html"], "no such folder"),
        (["--figure", "x.html"], "a figure's name"),
        (["--group", "prompt"], "is for comparison rows"),
        (["--first", "a"], "of both items or of neither"),
        (["--first", "a", "--second", "A"], "different columns"),
        (["--winner", "verdict"], "no column is called 'verdict'"),
        (["--bootstrap", "3"], "at least 59"),
        (["--bootstrap", "-1"], "--bootstrap: expected a whole number, not negative"),
    ],
)
def test_bad_input(capsys, counts, options, message):
    """Exit code 2 and one line that says what to do."""
    # A matrix of payoffs, not of counts, has no rows to group.
    if options[0] == "--group":
        counts.write_text("0,0.5\n-0.5,0\n")
    code, out, err = call(capsys, counts, *options)
    assert (code, out) == (2, "") and message in err and err.count("\n") == 1


def test_columns_of_a_named_game(capsys):
    code, _, err = call(capsys, "rock-paper-scissors", "--group", "prompt")
    assert code == 2 and "are for files" in err


def test_zeros_and_ones_are_not_guessed(tmp_path):
    """Without a 2, the numbers may be places or results: refused with the line."""
    path = tmp_path / "verdicts.csv"
    path.write_text("model_a,model_b,winner\nx,y,1\nx,y,0\n")
    with pytest.raises(ValueError, match="line 2: winner '1' is not understood"):
        rp.load_game(path)


def test_diagnose_counts_inside_prompts(capsys):
    """The crowd of LLMFAO, drawn again by prompt: 12 of 253 decided triads inside one prompt are cyclic."""
    path = data_file("llmfao/crowd-comparisons.csv")
    assert main(["diagnose", str(path), "--group", "prompt", "--bootstrap", "0"]) == 0
    assert "12 of 253 decided cyclic (4.74 %), added up over 12 of 13 clusters" in capsys.readouterr().out
