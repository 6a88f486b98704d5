"""The report of a training run: one HTML file that opens anywhere, offline, and prints.

Images travel inside as data URIs, styles are inline, and a content security policy forbids every request. Model
output is untrusted text: the template escapes all of it.
"""

from __future__ import annotations

import base64
import math
import os
from collections.abc import Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any, TypeGuard

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from rebel_pref.atomic import write_text
from rebel_pref.cli.figures import colour_of

__all__ = ["write_report"]

# What a reader calls the keys of ``summary["exploitability"]``, in the order of the story.
_POLICIES: Mapping[str, str] = {
    "start": "start",
    "bradley_terry": "Bradley-Terry",
    "last": "last iterate",
    "magnet": "magnet",
    "average": "average iterate",
}
_REQUIRED = ("exploitability", "completions", "queries", "seconds", "seed", "versions")
_KNOWN = (*_REQUIRED, "certified")
_MEDIA = {".png": "image/png", ".svg": "image/svg+xml"}
_NONE = "\N{EN DASH}"


def write_report(
    path: str | os.PathLike[str],
    *,
    title: str,
    summary: Mapping[str, Any],
    table: Sequence[tuple[str, float, float, str]],
    figures: Sequence[tuple[str | os.PathLike[str], str]],
    samples: Sequence[Mapping[str, Any]],
    settings: str,
) -> Path:
    """Write the self-contained page of a run, whole or not at all.

    Parameters
    ----------
    path : the HTML file; its folder is made if missing.
    title : heading of the page.
    summary : what ``summary.json`` holds: "exploitability" ({"start", "bradley_terry", "last", "magnet",
        "average"}, payoff scale, true judge; a key may be missing or None), "completions", "queries", "seconds",
        "seed" and "versions". Optional "certified" names the iterate that the run delivers, one of the keys of
        "exploitability"; other keys are listed as they are.
    table : rows (name, exploitability on the payoff scale, best responder's win rate in percent, note).
    figures : (path of a PNG or SVG, caption) in the order of the page.
    samples : {"prompt", "response", "opponent", "preference"}, the last one P(response > opponent) in [0, 1];
        None or NaN where the judgement is missing.
    settings : the run's configuration, YAML text.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    ValueError
        If the summary lacks a key, "certified" names a policy without a number, a table row has not four
        entries, a sample lacks a key, or a figure is neither PNG nor SVG.
    FileNotFoundError
        If a figure does not exist.
    """
    missing = [key for key in _REQUIRED if key not in summary]
    if missing:
        raise ValueError(f"summary lacks {', '.join(missing)}; expected {', '.join(_REQUIRED)}")
    exploitability = {key: value for key, value in summary["exploitability"].items() if _is_number(value)}
    certified = summary.get("certified")
    if certified is not None and certified not in exploitability:
        raise ValueError(f"summary certifies {certified!r}, which has no exploitability; known: {list(exploitability)}")
    for index, row in enumerate(table):
        if len(row) != 4:
            raise ValueError(f"table row {index}: expected (name, exploitability, win rate, note), got {row!r}")
    for index, sample in enumerate(samples):
        absent = [key for key in ("prompt", "response", "opponent", "preference") if key not in sample]
        if absent:
            raise ValueError(f"sample {index} lacks {', '.join(absent)}")

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "decimal": _decimal,
        "count": _count,
        "duration": _duration,
        "colour": colour_of,
        "share": _share,
    }
    order = [*(key for key in _POLICIES if key in exploitability), *(k for k in exploitability if k not in _POLICIES)]
    page = environment.get_template("report.html.j2").render(
        title=title,
        summary=summary,
        certified=certified,
        policies=[(key, _POLICIES.get(key, key), float(exploitability[key])) for key in order],
        names=_POLICIES,
        win_rates={key: 50 + 50 * float(value) for key, value in exploitability.items()},
        extras={key: value for key, value in summary.items() if key not in _KNOWN},
        table=table,
        figures=[(_data_uri(Path(image)), caption) for image, caption in figures],
        samples=samples,
        settings=settings,
    )
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_text(target, page)
    return target


def _data_uri(image: Path) -> str:
    if image.suffix.lower() not in _MEDIA:
        raise ValueError(f"a figure is a PNG or SVG file, got {image}")
    if not image.is_file():
        raise FileNotFoundError(f"figure not found: {image}; draw it first with rebel_pref.cli.figures")
    return f"data:{_MEDIA[image.suffix.lower()]};base64,{base64.b64encode(image.read_bytes()).decode('ascii')}"


def _is_number(value: object) -> TypeGuard[float]:
    """Whether `value` is a finite number, NumPy's scalars included."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _share(value: object) -> float | None:
    """A number, or None where the judgement is missing."""
    return float(value) if _is_number(value) else None


def _decimal(value: object, places: int) -> str:
    """A number with `places` decimals; a dash where there is none."""
    return f"{float(value):.{places}f}" if _is_number(value) else _NONE


def _count(value: object) -> str:
    """12345 as "12,345"."""
    return f"{value:,.0f}" if _is_number(value) else _NONE


def _duration(value: object) -> str:
    """Seconds in the two units that matter: "42 s", "3 min 12 s", "2 h 5 min"."""
    if not _is_number(value):
        return _NONE
    seconds = round(float(value))
    if seconds < 60:
        return f"{seconds} s"
    minutes, seconds = divmod(seconds, 60)
    return f"{minutes} min {seconds} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
