"""The runner: exit codes, the table, what is saved, and what it says when the thing measured is broken."""

import csv
import json
import math

import pytest

import rebel_pref.algorithms as algorithms
from rebel_pref.cli import main as command
from rebel_pref.theory import SECTIONS, checks, main
from rebel_pref.theory.checks import Scale


def saved(folder):
    return list(csv.DictReader((folder / "theory.csv").read_text(encoding="utf-8").splitlines()))


def test_a_row_holds_inside_its_interval_only():
    """Bounds from above and below, predictions to a tolerance; what is not a number never holds, notes always do."""
    assert checks.at_most("t", "q", "g", 1.0, 1.0).holds and not checks.at_most("t", "q", "g", 1.1, 1.0).holds
    assert checks.at_least("t", "q", "g", 1.0, 1.0).holds and not checks.at_least("t", "q", "g", 0.9, 1.0).holds
    assert checks.near("t", "q", "g", 2.2, 2.0, relative=0.1).holds
    assert not checks.near("t", "q", "g", 2.21, 2.0, relative=0.1).holds
    assert not checks.near("t", "q", "g", 1.79, 2.0, relative=0.1).holds
    assert checks.within("t", "q", "g", 0.5, 0.4, 0.6).holds and not checks.within("t", "q", "g", 0.7, 0.4, 0.6).holds
    for wrong in (math.nan, math.inf, -math.inf):
        assert not checks.at_most("t", "q", "g", wrong, 1.0).holds
        assert not checks.noted("t", "q", "g", wrong).holds
    assert checks.at_most("t", "q", "g", 0.5, 2.0).ratio == 0.25
    assert math.isnan(checks.near("t", "q", "g", 0.0, 0.0, absolute=1.0).ratio)
    assert Scale(quick=True).pick(1, 2) == 2 and Scale().pick(1, 2) == 1


def test_every_section_is_a_module_of_its_own():
    """Each has `section`, and says in one line what it checks."""
    import importlib

    for name, words in SECTIONS.items():
        assert callable(importlib.import_module(f"rebel_pref.theory.{name}").section)
        assert 20 < len(words) < 120


def test_a_section_prints_a_table_and_saves_what_it_saw(tmp_path, capsys):
    """`rebel-pref theory --only last_iterate --quick`: exit 0, a row a statement, CSV, JSON, figure."""
    assert command(["theory", "--quick", "--only", "last_iterate", "--out", str(tmp_path), "--workers", "1"]) == 0
    printed = capsys.readouterr().out
    assert "RPS(1,.5,.2)" in printed and "R(10,0)" in printed and "VIOLATED" not in printed
    assert "statements hold" in printed
    rows = saved(tmp_path)
    assert {row["section"] for row in rows} == {"last_iterate"} and all(row["holds"] == "True" for row in rows)
    assert all(row["games"] for row in rows)
    record = json.loads((tmp_path / "theory.json").read_text())
    assert record["seed"] == 0 and record["quick"] is True and record["provenance"]["numpy"]
    assert (tmp_path / "theory_08_noise.png").stat().st_size > 10_000
    assert (tmp_path / "theory_08_noise.svg").read_text(encoding="utf-8").startswith("<?xml")


def test_a_broken_row_is_seen_and_the_exit_code_is_1(tmp_path, capsys, monkeypatch):
    """The implicit step taken too far, eta for eta / (1 + eta tau): identities of the magnet and the bridge break."""
    monkeypatch.setattr(algorithms, "_implicit_step", lambda step_size, regularization: step_size)
    assert main(["--quick", "--only", "magnets", "--out", str(tmp_path), "--workers", "1"]) == 1
    assert "VIOLATED" in capsys.readouterr().out
    rows = saved(tmp_path)
    assert any(row["holds"] == "False" for row in rows) and any(row["holds"] == "True" for row in rows)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "hedgehog"], "no section is called 'hedgehog'; sections: hedge, magnets"),
        (["--seed", "-1"], "--seed must not be negative"),
        (["--workers", "0"], "--workers at least 1"),
        (["--quik"], "unrecognized arguments: --quik"),
    ],
)
def test_bad_options_are_refused(arguments, message, capsys):
    """Exit code 2 and what was wrong, before anything is run."""
    assert command(["theory", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_help_lists_the_sections(capsys):
    """With what each checks."""
    assert command(["theory", "--help"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed and words in printed for name, words in SECTIONS.items())
