"""What ``rebel-pref fit`` prints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from preference_models.calibration import Calibration
from preference_models.evaluation import MEASURES, EvaluationReport
from preference_models.selection import Candidate
from rebel_pref.cli.console import Display

__all__ = ["print_candidates", "print_report"]


def print_candidates(candidates: Sequence[Candidate], chosen: int, display: Display) -> None:
    """Numbers of discs, what they reach on the validation part, and which was chosen."""
    rows = [
        [
            str(one.num_discs),
            f"{one.log_loss:.4f}",
            f"{one.excess:.4f}",
            f"{one.standard_error:.4f}",
            "chosen" if one.num_discs == chosen else "",
        ]
        for one in candidates
    ]
    display.line("")
    display.table("Discs, by the validation part", ("discs", "log-loss", "excess", "error", ""), rows)


def print_report(report: EvaluationReport, chosen: str, calibration: Calibration, out: Path, display: Display) -> None:
    """Four measures beside Bradley-Terry's, with intervals, and the verdict."""
    rows = []
    for name in MEASURES:
        one = getattr(report, name)
        interval = f"[{one.low:+.4f}, {one.high:+.4f}]"
        values = [f"{one.model:.4f}", f"{one.bradley_terry:.4f}", f"{one.difference:+.4f}"]
        rows.append([name.replace("_", "-"), *values, interval])
    display.line("")
    display.table(
        f"{report.comparisons:,} held-out comparisons",
        ("", chosen.replace("_", " "), "Bradley-Terry", "difference", f"{100 * report.level:g} % interval"),
        rows,
    )
    display.line(f"Intervals: {report.replicates} bootstrap replicates over {report.clusters:,} {report.cluster}s.")
    if chosen == "bradley_terry":
        display.line("The model is the Bradley-Terry model: the two columns are one.")
    limit = " (as far as it may go: the fit was cut short, or the votes are too few)" if calibration.at_limit else ""
    display.line(f"Temperature {calibration.temperature:.3g}{limit}; the model is in {out / 'model'}.")
    display.line(f"{report.verdict[0].upper()}{report.verdict[1:]}.")
