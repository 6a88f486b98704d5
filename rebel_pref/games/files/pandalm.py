"""Records laid out as PandaLM's human test set: two models in one key, and one verdict for each annotator.

An object holds ``cmp_key`` = "first model_second model", the ``instruction`` (with an ``input``) that both answered,
and ``annotator1``, ``annotator2``, ...: 1 and 2 for the better response, 0 for a tie. Layout of the data set of Wang et
al. 2023 (PandaLM).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["expanded", "is_pandalm"]

_ANNOTATOR = re.compile(r"annotator\d+")
_OUTCOMES = {"0": "tie", "1": "model_a", "2": "model_b"}


def is_pandalm(record: Mapping[str, Any]) -> bool:
    """Whether the record is laid out so."""
    return "cmp_key" in record and any(_ANNOTATOR.fullmatch(str(key)) for key in record)


def expanded(where: str, records: Sequence[tuple[int, Any]]) -> list[tuple[int, Any]]:
    """One row a verdict, with model_a, model_b, winner and prompt; verdicts that are null are left out.

    All verdicts on answers to one prompt depend on each other: the annotators read the same texts.

    Parameters
    ----------
    where : the file and the unit of a record, for messages.
    records : number and content of each.

    Raises
    ------
    ValueError
        For a key that does not name two models, or a verdict that is none of 0, 1 and 2.
    """
    rows: list[tuple[int, Any]] = []
    for number, record in records:
        names = str(record.get("cmp_key", "")).split("_")
        if len(names) != 2 or not all(names):
            raise ValueError(
                f"{where} {number}: expected cmp_key to be two models joined by one underscore, got "
                f"{record.get('cmp_key')!r}; give the models keys of their own, model_a and model_b"
            )
        prompt = f"{record.get('instruction', '')}\n{record.get('input', '')}"
        for key, verdict in record.items():
            if not _ANNOTATOR.fullmatch(str(key)) or verdict is None:
                continue
            winner = _OUTCOMES.get(str(verdict))
            if winner is None:
                raise ValueError(f"{where} {number}: {key} is {verdict!r}, expected 0 (a tie), 1 or 2")
            row = {"model_a": names[0], "model_b": names[1], "winner": winner}
            # Without an instruction, who knows which records belong together? Then each is on its own.
            rows.append((number, row | {"prompt": prompt if prompt.strip() else f"record {number}"}))
    if not rows:
        raise ValueError(f"{where.rpartition(',')[0] or where}: no annotator gave a verdict")
    return rows
