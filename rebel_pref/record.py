"""What every measurement writes beside its numbers: seed, commit, versions, machine."""

from __future__ import annotations

import csv
import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

__all__ = ["provenance", "save_table"]

PACKAGES = ("numpy", "scipy", "torch", "transformers")


def provenance(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Commit, versions and machine, as far as they are known."""
    found = {"python": platform.python_version(), "machine": _processor(), "cores": str(os.cpu_count())}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    found["commit"] = _commit()
    return found


def save_table(
    folder: Path,
    name: str,
    rows: Sequence[Mapping[str, Any]],
    extra: Mapping[str, Any],
    packages: Sequence[str] = PACKAGES,
) -> None:
    """Write ``NAME.csv`` with the rows and ``NAME.json`` with rows, provenance (of `packages`) and `extra`."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    record = {"provenance": provenance(packages), **extra, "rows": list(rows)}
    (folder / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _commit() -> str:
    """Of the clone that this file lies in; an installed package may lie in somebody else's."""
    root = Path(__file__).parents[1]
    if not (root / ".git").exists():
        return "unknown"
    try:
        asked = ["git", "describe", "--always", "--dirty"]
        return subprocess.run(asked, capture_output=True, text=True, cwd=root, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        text = ""
    names = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    return f"{platform.machine()} {names[0]}" if names else platform.machine()
