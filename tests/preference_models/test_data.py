"""Comparisons from files: every form of row, and what is said of a row that has none."""

import csv
import gzip
import json
import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import preference_models as pm
from preference_models.messages import conversation

pytestmark = pytest.mark.filterwarnings("error")

ASK = [{"role": "user", "content": "why?"}]
SYSTEM = {"role": "system", "content": "be brief"}


def said(text):
    return [{"role": "assistant", "content": text}]


def columns(data):
    return list(zip(data.prompts, data.first, data.second, data.outcome.tolist(), data.weight.tolist(), strict=True))


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"prompt": "p", "chosen": "a", "rejected": "b"}, [("p", "a", "b", 1.0, 1.0)]),
        ({"prompt": "", "chosen": "a", "rejected": "b", "outcome": 0.7}, [("", "a", "b", 0.7, 1.0)]),
        ({"prompt": ASK, "chosen": said("a"), "rejected": said("b")}, [("why?", "a", "b", 1.0, 1.0)]),
        ({"chosen": [*ASK, *said("a")], "rejected": [*ASK, *said("b")]}, [("why?", "a", "b", 1.0, 1.0)]),
        (
            {"prompt": [*ASK, *said("so"), *ASK], "chosen": said("a"), "rejected": said("b")},
            [(conversation([*ASK, *said("so"), *ASK]), "a", "b", 1.0, 1.0)],
        ),
        (
            {"prompt": "why?", "chosen": [*ASK, *said("a")], "rejected": [*ASK, *said("b")]},
            [("why?", "a", "b", 1.0, 1.0)],
        ),
        (
            {"prompt": [SYSTEM, *ASK], "chosen": [*ASK, *said("a")], "rejected": [*ASK, *said("b")]},
            [(conversation([SYSTEM, *ASK]), "a", "b", 1.0, 1.0)],
        ),
        (
            {
                "conversation_a": [*ASK, *said("a"), *ASK, *said("c")],
                "conversation_b": [*ASK, *said("b")],
                "winner": "tie",
            },
            [("why?", "a\n\nwhy?\n\nc", "b", 0.5, 1.0)],
        ),
        (
            {
                "chosen": "\n\nHuman: why?\n\nAssistant: so\n\nHuman: why?\n\nAssistant: a",
                "rejected": "\n\nHuman: why?\n\nAssistant: so\n\nHuman: why?\n\nAssistant: b\n\nb",
            },
            [(conversation([*ASK, *said("so"), *ASK]), "a", "b\n\nb", 1.0, 1.0)],
        ),
        ({"prompt": "p", "first": "a", "second": "b", "outcome": 0.25, "weight": 2}, [("p", "a", "b", 0.25, 2.0)]),
        ({"first": "a", "second": "b", "winner": "tie"}, [("", "a", "b", 0.5, 1.0)]),
        ({"prompt": "p", "response_a": "a", "response_b": "b", "winner": "model_b"}, [("p", "a", "b", 0.0, 1.0)]),
        ({"first": "a", "second": "b", "votes_first": 3, "votes_second": 1}, [("", "a", "b", 0.75, 4.0)]),
        (
            {"first": "a", "second": "b", "votes_first": 2, "votes_second": 1, "votes_tie": 1},
            [("", "a", "b", 0.625, 4)],
        ),
        (
            {"prompt": "p", "responses": ["a", "b", "c"], "pairs": [[0, 1, 0.5], [2, 0, 1, 3], [1, 2, 1, 0, 1]]},
            [("p", "a", "b", 0.5, 1), ("p", "c", "a", 0.25, 4), ("p", "b", "c", 0.75, 2)],
        ),
        (
            {"prompt": "p", "responses": ["a", "b"], "pairs": [{"first": 1, "second": 0, "winner": "first"}]},
            [("p", "b", "a", 1.0, 1.0)],
        ),
    ],
)
def test_forms_of_rows(tmp_path, row, expected):
    """From objects, JSON Lines and JSON alike; numbers by hand."""
    (tmp_path / "a.jsonl").write_text("\n" + json.dumps(row) + "\n")
    (tmp_path / "a.json").write_text(json.dumps([row]))
    with gzip.open(tmp_path / "a.jsonl.gz", "wt") as stream:
        stream.write(json.dumps(row))
    for source in ([row], *tmp_path.iterdir()):
        assert columns(pm.load_comparisons(source)) == expected


def test_csv_cells_are_text(tmp_path):
    """Empty numbers are missing, line feeds and empty responses are responses; groups are kept."""
    path = tmp_path / "a.csv"
    path.write_text('prompt,first,second,outcome,winner,annotator\np,"a\nb",,,second,x\nq,c,d,.5,,y\n')
    data = pm.load_comparisons(path)
    assert columns(data) == [("p", "a\nb", "", 0.0, 1.0), ("q", "c", "d", 0.5, 1.0)] and data.group == ("x", "y")
    assert data.select([1]).group == ("y",) and pm.TextComparisons.join(data, data).group == ("x", "y", "x", "y")


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(*[st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), max_size=6)] * 3, st.floats(0, 1)),
        min_size=1,
    ).filter(lambda rows: any(a != b for _, a, b, _ in rows))
)
def test_what_is_written_is_read(tmp_path_factory, rows):
    """JSON Lines and CSV give the same comparisons, any text in them."""
    folder = tmp_path_factory.mktemp("rows")
    names = ("prompt", "first", "second", "outcome")
    with (folder / "a.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([names, *rows])
    lines = [json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False) for row in rows]
    (folder / "a.jsonl").write_text("\n".join(lines), encoding="utf-8")
    expected = [(*row, 1.0) for row in rows if row[1] != row[2]]
    for name in ("a.csv", "a.jsonl"):
        assert columns(pm.load_comparisons(folder / name)) == expected


def test_equal_responses_are_left_out_and_counted(caplog):
    rows = [{"first": "a", "second": text, "outcome": 1} for text in "aab"]
    with caplog.at_level(logging.WARNING):
        assert len(pm.load_comparisons(rows)) == 1
    assert "2 comparisons are between equal responses" in caplog.text


def test_datasets_folders_and_parquet(tmp_path):
    datasets = pytest.importorskip("datasets")
    rows = [
        {"prompt": "p", "chosen": "a", "rejected": "b", "group": None},
        {"prompt": "q", "chosen": "c", "rejected": "d", "group": None},
    ]
    table = datasets.Dataset.from_list(rows)
    expected = [("p", "a", "b", 1.0, 1.0), ("q", "c", "d", 1.0, 1.0)]
    assert columns(pm.load_comparisons(table)) == expected
    table.to_parquet(tmp_path / "a.parquet")
    table.save_to_disk(tmp_path / "one")
    datasets.DatasetDict({"train": table, "test": table.select([1])}).save_to_disk(tmp_path / "two")
    assert columns(pm.load_comparisons(tmp_path / "a.parquet")) == expected
    assert columns(pm.load_comparisons(tmp_path / "one")) == expected
    assert columns(pm.load_comparisons(tmp_path / "two", split="test")) == expected[1:]
    with pytest.raises(ValueError, match="one of the splits train, test, got None"):
        pm.load_comparisons(tmp_path / "two")
    (tmp_path / "none").mkdir()
    with pytest.raises(ValueError, match="a folder that save_to_disk"):
        pm.load_comparisons(tmp_path / "none")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"a\.jsonl:2: expected JSON"),
        ("[1]", r"a\.jsonl:2: expected an object with columns, got \[1\]"),
        ('{"prompt": "p"}', "a.jsonl:2: expected chosen and rejected, first and second .*, got the columns prompt"),
        ('{"chosen": "a", "rejected": "b"}', "expected a prompt beside chosen and rejected"),
        ('{"first": "a", "second": "b"}', "expected a verdict"),
        ('{"first": "a", "second": 3, "outcome": 1}', "second: expected a string or a list of messages, got 3"),
        ('{"first": "a", "second": "b", "outcome": 1.5}', r"outcome in \[0, 1\], how often the first wins, got 1.5"),
        ('{"first": "a", "second": "b", "outcome": NaN}', "got nan"),
        ('{"first": "a", "second": "b", "outcome": "x"}', "outcome: expected a number, got 'x'"),
        ('{"first": "a", "second": "b", "winner": "x"}', "expected a winner among first, a, .*, got 'x'"),
        ('{"first": "a", "second": "b", "votes_first": 0, "votes_second": 0}', "counts of votes, not negative and not"),
        ('{"first": "a", "second": "b", "outcome": 1, "weight": 0}', "expected a positive weight, got 0"),
        (
            '{"prompt": "p", "responses": ["a", "b"], "pairs": [[0, 2, 1]]}',
            r"pairs\[0\]: expected indices of the 2 resp",
        ),
        ('{"prompt": "p", "responses": ["a", "b"], "pairs": [[0]]}', r"pairs\[0\]: expected \[i, j, outcome\]"),
        ('{"prompt": [{"role": "user"}], "first": "a", "second": "b", "outcome": 1}', "expected messages"),
        (json.dumps({"chosen": said("a"), "rejected": said("b")}), "expected a prompt beside chosen and rejected"),
        (
            json.dumps({"chosen": [*ASK, *said("a")], "rejected": [SYSTEM, *said("b")]}),
            "begin with the same messages",
        ),
    ],
)
def test_malformed_rows_are_named_with_their_line(tmp_path, line, message):
    path = tmp_path / "a.jsonl"
    path.write_text('{"prompt": "p", "chosen": "a", "rejected": "b"}\n' + line + "\n")
    with pytest.raises(ValueError, match=message) as error:
        pm.load_comparisons(path)
    assert str(error.value).startswith(f"{path}:2: ")


def test_files_that_are_none(tmp_path):
    with pytest.raises(OSError, match="no such file"):
        pm.load_comparisons(tmp_path / "absent.jsonl")
    for name, text, message in (
        ("a.txt", "x", "expected a file .jsonl, .json, .csv"),
        ("a.json", "{}", "expected a JSON list of rows"),
        ("b.jsonl", "", "at least one comparison"),
        ("c.csv", "first,second,outcome\na,b\n", "c.csv:2: expected 3 cells"),
        ("d.csv", "first,second,outcome\na,b,1,2\n", "d.csv:2: expected 3 cells"),
        ("f.csv", "first,second,outcome,outcome\na,b,1,0\n", "f.csv:1: two columns are called 'outcome'"),
        ("e.jsonl.gz", "not gzip", "e.jsonl.gz: expected UTF-8 text"),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(ValueError, match=message.replace(".", r"\.")):
            pm.load_comparisons(tmp_path / name)
    with pytest.raises(ValueError, match="1 of 2 rows have no group"):
        pm.load_comparisons(
            [{"first": "a", "second": "b", "outcome": 1}, {"first": "a", "second": "c", "outcome": 1, "group": 1}]
        )
    with pytest.raises(ValueError, match="got a mapping of train"):
        pm.load_comparisons({"train": []})


def test_what_tables_do_to_rows(tmp_path, caplog):
    """A mark before the header, floats for indices, empty cells in a pair, more in a message than is read."""
    (tmp_path / "a.csv").write_text("\ufeffprompt,first,second,winner\np,a,b,tie\n", encoding="utf-8")
    assert columns(pm.load_comparisons(tmp_path / "a.csv")) == [("p", "a", "b", 0.5, 1.0)]
    pairs = [[0.0, 1.0, 0.7]]
    assert columns(pm.load_comparisons([{"prompt": "p", "responses": ["a", "b"], "pairs": pairs}])) == [
        ("p", "a", "b", 0.7, 1.0)
    ]
    pairs = [{"first": 0, "second": 1, "winner": "first", "outcome": None, "weight": None}]
    assert len(pm.load_comparisons([{"prompt": "p", "responses": ["a", "b"], "pairs": pairs}])) == 1
    named = [{**ASK[0], "name": None, "id": 7}]
    row = {"prompt": [SYSTEM, *named], "chosen": [*ASK, *said("a")], "rejected": [{**ASK[0], "id": 8}, *said("b")]}
    assert pm.load_comparisons([row]).prompts == (conversation([SYSTEM, *ASK]),)
    nothing = float("nan")
    row = {"prompt": "p", "first": "a", "second": "b", "outcome": 1.0, "group": nothing}
    assert pm.load_comparisons([row]).group is None
    assert not caplog.records
    pm.load_comparisons([{"question": "p", "first": "a", "second": "b", "outcome": 1}])
    assert "1 rows have no prompt" in caplog.text


def test_a_cell_may_be_long(tmp_path):
    long, limit = "x" * 200_000, csv.field_size_limit()
    (tmp_path / "a.csv").write_text(f"prompt,first,second,winner\np,{long},b,first\n")
    assert pm.load_comparisons(tmp_path / "a.csv").first == (long,)
    assert csv.field_size_limit() == limit
    (tmp_path / "b.csv").write_text(f'"{long}",prompt,first,second,winner,,\n1,p,a,b,first,,\n')
    assert pm.load_comparisons(tmp_path / "b.csv").first == ("a",)  # two columns without a name are none
    (tmp_path / "c.csv").write_text('"prompt"x,first,second,winner\np,a,b,first\n')
    with pytest.raises(ValueError, match=r"c\.csv:1: ',' expected after"):
        pm.load_comparisons(tmp_path / "c.csv")


def test_half_characters_and_endless_nesting_are_named_with_their_line(tmp_path):
    """Neither comes to a tokenizer or a stack."""
    deep = '[{"role": ' + "[" * 100_000
    (tmp_path / "a.jsonl").write_text('{"prompt": "p", "first": "a\\ud800", "second": "b", "outcome": 1}\n')
    with pytest.raises(ValueError, match=r"a\.jsonl:1: first response: expected text, got half a character .* at 1"):
        pm.load_comparisons(tmp_path / "a.jsonl")
    (tmp_path / "b.jsonl").write_text(deep + "\n")
    with pytest.raises(ValueError, match=r"b\.jsonl:1: expected JSON"):
        pm.load_comparisons(tmp_path / "b.jsonl")
    assert pm.load_comparisons([{"prompt": deep, "first": "a", "second": "b", "outcome": 1}]).prompts == (deep,)


def test_chats_as_cells_of_a_table(tmp_path):
    """JSON in a string is the chat that it says; a conversation that is none is refused."""
    said_a, said_b = ([*ASK, *said(text)] for text in "ab")
    row = {"conversation_a": json.dumps(said_a), "conversation_b": json.dumps(said_b), "winner": "model_a"}
    assert columns(pm.load_comparisons([row])) == [("why?", "a", "b", 1.0, 1.0)]
    asked = [{"content": "why?", "role": "user", "id": 1}]  # In any order, with more in it, without spaces.
    row = {"prompt": json.dumps(asked, separators=(",", ":")), "responses": [json.dumps(said(t)) for t in "ab"]}
    assert columns(pm.load_comparisons([{**row, "pairs": [[0, 1, 1]]}])) == [("why?", "a", "b", 1.0, 1.0)]
    row = {"prompt": "why?", "chosen": json.dumps(said("a")), "rejected": json.dumps(said("b"))}
    assert columns(pm.load_comparisons([row])) == [("why?", "a", "b", 1.0, 1.0)]
    with pytest.raises(ValueError, match="row 0: expected whole chats, got 'a' and 'b'"):
        pm.load_comparisons([{"conversation_a": "a", "conversation_b": "b", "winner": "tie"}])


def test_what_users_say_after_the_first_answer_is_told_of(caplog):
    one, other = ([*ASK, *said(text), *ASK, *said("end")] for text in "ab")
    assert pm.load_comparisons([{"chosen": one, "rejected": other}]).first == ("a\n\nwhy?\n\nend",)
    assert "1 rows have chats that go on after the first answer" in caplog.text


def test_a_pair_s_own_annotator_counts():
    verdict = {"first": 0, "second": 1, "outcome": 1}
    pairs = [{**verdict, "annotator": "me"}, verdict]
    rows = [{"prompt": "p", "responses": ["a", "b"], "group": "g", "pairs": pairs}]
    assert pm.load_comparisons(rows).group == ("me", "g")


def test_a_prompt_that_its_chats_do_not_have(tmp_path):
    row = {"prompt": "answer", "chosen": [*ASK, *said("a")], "rejected": [*ASK, *said("b")]}
    with pytest.raises(ValueError, match="row 0: expected chats that begin with their prompt, got 'answer'"):
        pm.load_comparisons([row])
    assert pm.load_comparisons([{**row, "prompt": "why? "}]).prompts == ("why? ",)
    row = {"prompt": "why?", **{side: [SYSTEM, *ASK, *said(side)] for side in ("chosen", "rejected")}}
    assert pm.load_comparisons([row]).prompts == (conversation([SYSTEM, *ASK]),)


def test_a_damaged_archive_is_named(tmp_path):
    damaged = bytearray(gzip.compress(b'{"first": "a", "second": "b", "outcome": 1}\n' * 50))
    damaged[12] ^= 0xFF
    (tmp_path / "a.jsonl.gz").write_bytes(damaged)
    with pytest.raises(ValueError, match=r"a\.jsonl\.gz"):
        pm.load_comparisons(tmp_path / "a.jsonl.gz")
