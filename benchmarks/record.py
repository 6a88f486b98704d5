"""What every benchmark writes beside its numbers: seed, commit, versions, machine."""

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


def provenance(packages: Sequence[str] = ("numpy", "scipy", "torch", "transformers")) -> dict[str, str]:
    """Commit, versions and machine, as far as they are known."""
    found = {"python": platform.python_version(), "machine": platform.machine(), "cores": str(os.cpu_count())}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent,
        check=False,
    )
    found["commit"] = commit.stdout.strip() or "unknown"
    return found


def save_table(folder: Path, name: str, rows: Sequence[Mapping[str, Any]], extra: Mapping[str, Any]) -> None:
    """Write ``NAME.csv`` with the rows and ``NAME.json`` with rows, provenance and `extra`."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    record = {"provenance": provenance(), **extra, "rows": list(rows)}
    (folder / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
