"""The figures and the page of a run: files appear, say what they were given, and refuse what cannot be right."""

from __future__ import annotations

import re
import struct
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest

from rebel_pref.cli.figures import (
    COLOURS,
    colour_of,
    exploitability_curve,
    policy_against_winner,
    who_beats_whom,
)
from rebel_pref.cli.report import write_report

NAMES = ["start", "Bradley-Terry", "average", "minimax winner"]
RATES = np.array([[50, 40, 30, 28], [60, 50, 45, 41], [70, 55, 50, 49], [72, 59, 51, 50]])
LABELS = ["0 0 10", "3 4 3", "5 5 0", "4 $6 $0"]
SUMMARY: dict[str, Any] = {
    "exploitability": {
        "start": 0.302,
        "bradley_terry": 0.7,
        "last": 0.166,
        "magnet": None,
        "average": np.float32(0.093),
    },
    "completions": 25600,
    "queries": 135168,
    "seconds": 238.4,
    "seed": 7,
    "versions": {"numpy": "2.4.6"},
}
SAMPLE = {"prompt": "1:2:3>", "response": "3 4 3", "opponent": "5 5 0", "preference": 0.75}


def curves() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    x = np.arange(0, 2560, 256)
    return {
        "self-play, last iterate": (x, np.linspace(65, 58, len(x))),
        "self-play, average": (x, np.linspace(65, 54, len(x))),
        "Bradley-Terry, last iterate": (x, np.linspace(65, 85, len(x))),
    }


def check_image(png: Path, name: str) -> None:
    """A PNG with pixels 1200 wide (8 inches, 150 dpi), next to an SVG, and nothing left over."""
    assert png.name == f"{name}.png"
    content = png.read_bytes()
    assert content.startswith(b"\x89PNG")
    assert len(content) > 10_000
    assert struct.unpack(">I", content[16:20]) == (1200,)
    assert "</svg>" in png.with_suffix(".svg").read_text(encoding="utf-8")
    assert sorted(path.name for path in png.parent.iterdir()) == [f"{name}.png", f"{name}.svg"]


def test_exploitability_curve(tmp_path: Path) -> None:
    check_image(exploitability_curve(tmp_path / "new", curves(), start=65.0), "exploitability")


def test_policy_against_winner(tmp_path: Path) -> None:
    """Two prompts, one with less mass than 1 (illegal text) and a label that matplotlib would read as mathematics."""
    policies = [np.array([0.4, 0.3, 0.2, 0.05]), np.full(4, 0.25)]
    winners = [np.array([0.5, 0.5, 0, 0]), np.array([0, 0, 0, 1.0])]
    path = policy_against_winner(tmp_path, ["1:2:3>", "1:1:1>"], [LABELS, LABELS], policies, winners, top=3)
    check_image(path, "policy_against_winner")


def test_who_beats_whom(tmp_path: Path) -> None:
    check_image(who_beats_whom(tmp_path, NAMES, RATES), "who_beats_whom")


def test_many_checkpoints(tmp_path: Path) -> None:
    check_image(who_beats_whom(tmp_path, [f"round {i}" for i in range(12)], np.full((12, 12), 50)), "who_beats_whom")


def test_figures_leave_matplotlib_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # With None in sys.modules any import of pyplot fails, also the one that reading rcParams["backend"] would do;
    # a copy keeps that entry unresolved.
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    before = dict(matplotlib.rcParams.copy())
    exploitability_curve(tmp_path, curves(), start=65.0)
    assert dict(matplotlib.rcParams.copy()) == before


def test_same_thing_same_colour() -> None:
    assert colour_of("self-play, average") == colour_of("average iterate") == COLOURS["average"]
    assert colour_of("bradley_terry") == colour_of("Bradley-Terry, last iterate") == COLOURS["bradley_terry"]
    assert colour_of("minimax winner") == COLOURS["winner"] == "#000000"
    assert colour_of("somebody else") not in COLOURS.values()
    assert len(set(COLOURS.values())) == len(COLOURS)


@pytest.mark.parametrize(
    ("lines", "start", "message"),
    [
        ({}, 60.0, "at least one curve"),
        ({"last": ([0, 1], [60.0])}, 60.0, r"\(2,\) completions but \(1,\) win rates"),
        ({"last": ([0], [0.3])}, 60.0, "between 50 and 100 %, got 0.3"),
        ({"last": ([0], [float("nan")])}, 60.0, "got nan"),
        ({"last": ([0], [60.0])}, 0.2, "'start': a best responder wins"),
    ],
)
def test_bad_curves(tmp_path: Path, lines: Any, start: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        exploitability_curve(tmp_path, lines, start=start)


def test_bad_policies(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="2 prompts, 1 label lists"):
        policy_against_winner(tmp_path, ["a", "b"], [LABELS], [np.full(4, 0.25)], [np.full(4, 0.25)])
    with pytest.raises(ValueError, match=r"'a', winner: expected shape \(4,\), one a label, got \(3,\)"):
        policy_against_winner(tmp_path, ["a"], [LABELS], [np.full(4, 0.25)], [np.full(3, 0.25)])
    with pytest.raises(ValueError, match="sum 2"):
        policy_against_winner(tmp_path, ["a"], [LABELS], [np.full(4, 0.5)], [np.full(4, 0.25)])


def test_bad_win_rates(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected win rates of shape \(4, 4\)"):
        who_beats_whom(tmp_path, NAMES, RATES[:3])
    with pytest.raises(ValueError, match=r"expected 100 \(tolerance 1\); win rates are percentages"):
        who_beats_whom(tmp_path, NAMES, RATES / 100)
    with pytest.raises(ValueError, match="finite values"):
        who_beats_whom(tmp_path, NAMES, np.full((4, 4), np.nan))


def report(path: Path, **changes: Any) -> str:
    arguments: dict[str, Any] = {
        "title": "Blotto self-play",
        "summary": SUMMARY,
        "table": [("start", 0.302, 65.1, "supervised"), ("self-play, average", 0.093, 54.65, "10 iterates")],
        "figures": [(who_beats_whom(path.parent / "figures", NAMES, RATES), "Who beats whom.")],
        "samples": [SAMPLE],
        "settings": "seed: 7\nalgorithm: proximal_rebel\n",
    }
    written = write_report(path, **{**arguments, **changes})
    assert written == path
    return written.read_text(encoding="utf-8")


def test_report_holds_the_numbers(tmp_path: Path) -> None:
    page = report(tmp_path / "run" / "report.html")
    # 54.65 is 50 + 50 x .093 of the average, 85.0 of Bradley-Terry; 238.4 s are 3 min 58 s.
    for text in ("65.1&nbsp;%", "85.0&nbsp;%", "0.302", "0.093", "25,600", "135,168", "3 min 58 s", "75 %"):
        assert text in page, text
    for text in ("proximal_rebel", "numpy&nbsp;2.4.6", "Who beats whom.", "supervised", "10 iterates"):
        assert text in page, text
    assert "<details>" in page
    assert "minimax winner" in page
    assert not list(tmp_path.glob("run/.report*")), "the staging file is renamed"


def test_report_says_which_iterate_is_certified(tmp_path: Path) -> None:
    assert "here are both iterates" in report(tmp_path / "report.html")
    page = report(tmp_path / "report.html", summary={**SUMMARY, "certified": "last"})
    assert "here is the last iterate" in page
    assert "The best responder wins 58.3&nbsp;% against the\nlast iterate" in page
    with pytest.raises(ValueError, match="certifies 'magnet', which has no exploitability"):
        report(tmp_path / "report.html", summary={**SUMMARY, "certified": "magnet"})


def test_report_escapes_what_the_model_wrote(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    page = report(
        tmp_path / "report.html",
        title=evil,
        samples=[{**SAMPLE, "response": evil, "opponent": '"><img src=x>', "preference": float("nan")}],
        settings=evil,
        table=[(evil, 0.1, 55.0, evil)],
    )
    assert "<script" not in page
    assert "<img src=x" not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 5
    assert "missing" in page


def test_report_asks_the_network_for_nothing(tmp_path: Path) -> None:
    page = report(tmp_path / "report.html")
    sources: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            if tag != "a":
                sources.extend(value or "" for name, value in attrs if name in ("src", "href", "srcset", "data"))

    Reader().feed(page)
    assert len(sources) == 2
    assert all(source.startswith("data:") for source in sources)
    assert "://" not in re.sub(r'<a href="https://[^"]*">', "", page)
    assert "url(" not in page
    assert "@import" not in page


def test_bad_reports(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    with pytest.raises(FileNotFoundError, match=r"figure not found: .*gone\.png; draw it first"):
        report(path, figures=[(tmp_path / "gone.png", "gone")])
    with pytest.raises(ValueError, match="PNG or SVG"):
        report(path, figures=[(tmp_path / "report.txt", "text")])
    with pytest.raises(ValueError, match="summary lacks seed, versions"):
        report(path, summary={key: value for key, value in SUMMARY.items() if key not in ("seed", "versions")})
    with pytest.raises(ValueError, match="table row 0"):
        report(path, table=[("start", 0.3)])
    with pytest.raises(ValueError, match="sample 0 lacks opponent, preference"):
        report(path, samples=[{"prompt": "a", "response": "b"}])
    assert not path.exists()


def test_report_without_extras(tmp_path: Path) -> None:
    """A run cut short has no figure and no sample yet."""
    page = report(tmp_path / "report.html", figures=[], samples=[], table=[])
    assert "<img" not in page
    assert "Samples" not in page
