"""Every benchmark runs in small and saves what it says it saves."""

import csv
import json

import pytest


def test_self_play_smoke(tmp_path, capsys):
    """Two rounds of two rows: a table, CSV and JSON with provenance, exit code 0."""
    pytest.importorskip("torch")
    from benchmarks.self_play import main

    assert main(["--quick", "--out", str(tmp_path), "--only", "group only"]) == 0
    assert "magnetic_rebel, group only" in capsys.readouterr().out
    rows = list(csv.DictReader((tmp_path / "self_play.csv").read_text(encoding="utf-8").splitlines()))
    assert {row["row"] for row in rows} == {
        f"{name}, group only" for name in ("proximal_rebel", "magnetic_rebel", "rebel")
    }
    assert all(50 <= float(row["last"]) <= 100 and int(row["completions"]) == 2 * 64 for row in rows)
    record = json.loads((tmp_path / "self_play.json").read_text())
    assert record["provenance"]["torch"] and record["provenance"]["commit"] and record["seeds"] == [0]


def test_preference_models_smoke(tmp_path, capsys):
    """One split of Blotto and a few transitive votes: two discs pay, and none are chosen where there is no cycle."""
    pytest.importorskip("torch")
    from benchmarks.preference_models import main

    assert main(["--quick", "--out", str(tmp_path)]) == 0
    assert "transitive, 3 votes a pair: the discs do not earn their keep" in capsys.readouterr().out
    rows = json.loads((tmp_path / "preference_models.json").read_text())["rows"]
    models = {(row["task"], row["model"]): row for row in rows}
    assert models["Blotto", "Bradley-Terry"]["accuracy"] < 0.7 < 0.95 < models["Blotto", "2 discs"]["accuracy"]
    assert models["transitive", "chosen discs"]["discs"] == 0
