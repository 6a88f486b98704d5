"""Comparisons from files (JSON Lines, JSON, CSV, Parquet), and from the Hugging Face `datasets` package.

A row is one of

- ``prompt``, ``chosen``, ``rejected``: strings, or lists of messages ``{"role": ..., "content": ...}``. Whole chats,
  and transcripts of ``Human:`` and ``Assistant:``, bring their own prompt: it is what the two have in common; what
  comes after it is one text a side, whoever says it. A chat becomes a prompt by
  :func:`preference_models.messages.conversation`; how it is written out is the model's affair. A string that is the
  JSON of a chat, as tables have it, is that chat.
- ``prompt``, ``first``, ``second`` (or ``response_a``, ``response_b``, or whole chats: ``conversation_a``,
  ``conversation_b``) and a verdict.
- ``prompt``, ``responses`` (K strings) and ``pairs``: lists ``[i, j, outcome]``, ``[i, j, votes_i, votes_j]`` or
  ``[i, j, votes_i, votes_j, ties]``, or objects ``{"first": i, "second": j}`` with a verdict.

A verdict is ``outcome``, the probability that the first wins (1/2 is a tie), or ``votes_first`` and ``votes_second``
(and ``votes_tie``, which count half for each), or ``winner``: first, second, tie (a, b, model_a, model_b as well).
``chosen`` has won unless the row says otherwise. Any row may have a ``weight`` (votes count for themselves) and a
``group`` or ``annotator``, for intervals.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from preference_models.comparisons import TextComparisons
from preference_models.messages import chat_of, common_prompt, conversation, messages_of, response_text, turns
from preference_models.row_files import read_rows, shown
from rebel_pref.preferences import half_character

__all__ = ["load_comparisons"]

logger = logging.getLogger(__name__)

_SIDES = (("first", "second"), ("response_a", "response_b"), ("conversation_a", "conversation_b"))
_WINNERS = {
    **dict.fromkeys(("first", "a", "model_a", "response_a"), 1.0),
    **dict.fromkeys(("second", "b", "model_b", "response_b"), 0.0),
    **dict.fromkeys(("tie", "tie (bothbad)"), 0.5),
}
_FORMS = (
    "chosen and rejected, first and second (or response_a and response_b, or conversation_a and conversation_b), or "
    "responses and pairs"
)


def load_comparisons(
    source: str | os.PathLike[str] | Iterable[Mapping[str, Any]], *, split: str | None = None
) -> TextComparisons:
    """Read comparisons; see the module for the rows.

    Two equal responses say nothing: such pairs are left out, and their number is logged.

    Parameters
    ----------
    source : a file (.jsonl, .json: a list of rows, .csv; each also as .gz; .parquet), a folder that ``save_to_disk`` of
        `datasets` wrote, or rows: a ``datasets.Dataset``, or any iterable of mappings. Parquet and folders need the
        package `datasets`; nothing is downloaded.
    split : of a folder with several.

    Raises
    ------
    ValueError
        For a malformed row, with its file and line, what was expected and what came.
    OSError
        For a file that cannot be read.
    """
    rows = _Rows()
    found: Iterator[tuple[str, Any]]
    if isinstance(source, str | os.PathLike):
        found = read_rows(Path(source), split)
    else:
        if isinstance(source, Mapping):
            raise ValueError(f"expected rows, got a mapping of {', '.join(map(str, source))[:80]}; pass one split")
        found = ((f"row {number}", row) for number, row in enumerate(source))
    for place, row in found:
        try:
            rows.add(row)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{place}: {error}") from error
    if rows.equal:
        logger.warning("%d comparisons are between equal responses and are left out", rows.equal)
    if rows.without_prompt:
        logger.warning("%d rows have no prompt, and are taken to answer the same empty one", rows.without_prompt)
    if rows.not_answers:
        logger.warning(
            "%d rows have chats that go on after the first answer, and what users say there is read as a part of the "
            "answers; split such rows turn by turn",
            rows.not_answers,
        )
    if not rows.prompts:
        raise ValueError(
            f"{source if isinstance(source, str | os.PathLike) else 'the data'}: expected at least one comparison of "
            "two different responses, got none"
        )
    return TextComparisons(
        tuple(rows.prompts),
        tuple(rows.first),
        tuple(rows.second),
        np.array(rows.outcome),
        np.array(rows.weight),
        rows.groups(),
    )


@dataclass
class _Rows:
    """Columns in the making."""

    prompts: list[str] = field(default_factory=list)
    first: list[str] = field(default_factory=list)
    second: list[str] = field(default_factory=list)
    outcome: list[float] = field(default_factory=list)
    weight: list[float] = field(default_factory=list)
    group: list[str | None] = field(default_factory=list)
    equal: int = 0
    without_prompt: int = 0
    not_answers: int = 0

    def add(self, row: Any) -> None:
        """One row of a file, which may be many comparisons."""
        if not isinstance(row, Mapping):
            raise ValueError(f"expected an object with columns, got {shown(row)}")
        # A missing cell of a table is None, or empty where all cells are strings.
        row = {key: value for key, value in row.items() if value is not None}
        if "chosen" in row and "rejected" in row:
            self._chosen(row)
        elif "responses" in row and "pairs" in row:
            self._pairs(row)
        else:
            for sides in _SIDES:
                if all(side in row for side in sides):
                    self._append(*self._compared(row, sides), _verdict(row, None), row)
                    return
            raise ValueError(f"expected {_FORMS}, got the columns {', '.join(map(str, row)) or '(none)'}")

    def groups(self) -> tuple[str, ...] | None:
        """The groups, where every row has one."""
        named = [name for name in self.group if name is not None]
        if named and len(named) < len(self.group):
            raise ValueError(
                f"{len(self.group) - len(named)} of {len(self.group)} rows have no group; give all or none"
            )
        return tuple(named) or None

    def _chosen(self, row: Mapping[str, Any]) -> None:
        prompt, ours, theirs = self._compared(row, ("chosen", "rejected"))
        if not prompt and "prompt" not in row:
            raise ValueError('expected a prompt beside chosen and rejected, got none (it may be the empty string "")')
        self._append(prompt, ours, theirs, _verdict(row, (1.0, 1.0)), row)

    def _compared(self, row: Mapping[str, Any], sides: tuple[str, str]) -> tuple[str, str, str]:
        """The prompt of a row and its two responses; whole chats bring their prompt."""
        one, other = (chat_of(row[side]) or row[side] for side in sides)
        if "prompt" not in row and isinstance(one, str) and isinstance(other, str):
            one, other = turns(one) or one, turns(other) or other
        if not (_is_chat(one) and _is_chat(other)):
            if sides[0] == "conversation_a":
                raise ValueError(f"expected whole chats, got {shown(row[sides[0]])} and {shown(row[sides[1]])}")
            return self._prompt(row), self._text(one, sides[0]), self._text(other, sides[1])
        asked, ours, theirs = common_prompt(one, other)
        # Files repeat the prompt beside whole chats, with more of it (a system message) or with less.
        given = messages_of(self._prompt(row)) if "prompt" in row else asked
        if _same(given[-len(asked) :], asked):
            asked = given
        elif not _same(asked[: len(given)], given) and not _same(asked[-len(given) :], given) and self._prompt(row):
            raise ValueError(
                f"expected chats that begin with their prompt, got {shown(row['prompt'])} beside {shown(asked)}"
            )
        self.not_answers += any(message["role"] != "assistant" for message in (*ours, *theirs))
        return conversation(asked), response_text(ours), response_text(theirs)

    def _pairs(self, row: Mapping[str, Any]) -> None:
        prompt = self._prompt(row)
        if not isinstance(row["responses"], list | tuple) or not isinstance(row["pairs"], list | tuple):
            raise ValueError("expected lists of responses and of pairs")
        texts = [self._text(text, f"responses[{i}]") for i, text in enumerate(row["responses"])]
        for number, pair in enumerate(row["pairs"]):
            try:
                i, j, verdict, own = _pair(pair)
                # A column of numbers makes floats of indices.
                i, j = (int(k) if isinstance(k, float) and k.is_integer() else k for k in (i, j))
                for index in (i, j):
                    if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < len(texts):
                        raise ValueError(f"expected indices of the {len(texts)} responses, from 0, got {shown(index)}")
                whose = {"group", "annotator"}
                outer = {key: value for key, value in row.items() if not (whose & own.keys() and key in whose)}
                self._append(prompt, texts[i], texts[j], verdict, {**outer, **own})
            except (ValueError, TypeError) as error:
                raise ValueError(f"pairs[{number}]: {error}") from error

    def _prompt(self, row: Mapping[str, Any]) -> str:
        self.without_prompt += "prompt" not in row
        prompt = row.get("prompt", "")
        messages = chat_of(prompt)
        if isinstance(prompt, str) and messages is None:
            return prompt
        return conversation(messages or prompt)

    def _text(self, value: Any, name: str) -> str:
        try:
            messages = chat_of(value) or value
            return messages if isinstance(messages, str) else response_text(messages)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error

    def _append(
        self, prompt: str, first: str, second: str, verdict: tuple[float, float], row: Mapping[str, Any]
    ) -> None:
        weight = _number(row.get("weight", 1.0), "weight") * verdict[1]
        if not 0.0 < weight < math.inf:
            raise ValueError(f"expected a positive weight, got {weight:g}")
        for name, text in (("prompt", prompt), ("first response", first), ("second response", second)):
            if (at := half_character(text)) is not None:
                raise ValueError(f"{name}: expected text, got half a character ({shown(text[at])}) at {at}")
        if first == second:
            self.equal += 1
            return
        group = row.get("group", row.get("annotator"))
        self.prompts.append(prompt)
        self.first.append(first)
        self.second.append(second)
        self.outcome.append(verdict[0])
        self.weight.append(weight)
        missing = group is None or (isinstance(group, float) and math.isnan(group))  # A data frame's.
        self.group.append(None if missing else str(group))


def _same(one: list[Any], other: list[Any]) -> bool:
    """Whether messages are the same but for white space around them."""

    def trimmed(messages: list[Any]) -> list[tuple[str, str]]:
        return [(message["role"], message["content"].strip()) for message in messages]

    return trimmed(one) == trimmed(other)


def _is_chat(value: Any) -> bool:
    """Whether a response is a chat from its beginning on, and not an answer alone."""
    if not isinstance(value, list | tuple) or not value or not isinstance(value[0], Mapping):
        return False
    return value[0].get("role") != "assistant"


def _verdict(row: Mapping[str, Any], default: tuple[float, float] | None) -> tuple[float, float]:
    """How often the first wins, and how many votes say so."""
    if "votes_first" in row and "votes_second" in row:
        names = ("votes_first", "votes_second", "votes_tie")
        return _votes(*(_number(row.get(name, 0), name) for name in names))
    if "outcome" in row:
        return _outcome(row["outcome"])
    if "winner" in row:
        name = str(row["winner"]).strip().lower()
        if name not in _WINNERS:
            raise ValueError(f"expected a winner among {', '.join(_WINNERS)}, got {shown(row['winner'])}")
        return _WINNERS[name], 1.0
    if default is None:
        raise ValueError(
            "expected a verdict: outcome (a probability), votes_first and votes_second, or winner; got the columns "
            + ", ".join(map(str, row))
        )
    return default


def _pair(pair: Any) -> tuple[Any, Any, tuple[float, float], Mapping[str, Any]]:
    """Its two indices, its verdict and its own columns."""
    if isinstance(pair, Mapping):
        pair = {key: value for key, value in pair.items() if value is not None}
    if isinstance(pair, Mapping) and "first" in pair and "second" in pair:
        return pair["first"], pair["second"], _verdict(pair, None), pair
    if not isinstance(pair, list | tuple) or not 3 <= len(pair) <= 5:
        raise ValueError(f"expected [i, j, outcome] or [i, j, votes_i, votes_j] (and ties), got {shown(pair)}")
    if len(pair) == 3:
        return pair[0], pair[1], _outcome(pair[2]), {}
    return pair[0], pair[1], _votes(*(_number(votes, "votes") for votes in pair[2:])), {}


def _outcome(value: Any) -> tuple[float, float]:
    outcome = _number(value, "outcome")
    if not 0.0 <= outcome <= 1.0:
        raise ValueError(f"expected an outcome in [0, 1], how often the first wins, got {shown(value)}")
    return outcome, 1.0


def _votes(first: float, second: float, ties: float = 0.0) -> tuple[float, float]:
    total = first + second + ties
    if min(first, second, ties) < 0 or not 0 < total < math.inf:
        raise ValueError(f"expected counts of votes, not negative and not all 0, got {first:g}, {second:g}, {ties:g}")
    return (first + 0.5 * ties) / total, total


def _number(value: Any, name: str) -> float:
    try:
        if isinstance(value, bool):
            raise TypeError
        return float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{name}: expected a number, got {shown(value)}") from None
