"""Reading a judge's answer: a letter, a JSON object, or the log-probabilities of the letters.

Every reader is strict: an answer that is not plainly one verdict is not read at all.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from preference_models.judges.templates import LETTERS, default_template

__all__ = ["AnswerReader", "JsonAnswer", "LetterAnswer", "LogprobAnswer", "UnreadableAnswer", "letter_logit"]

VERDICTS = {"A": 1.0, "B": 0.0, "C": 0.5}
"""P(first wins) of each letter."""

DECORATION = r"[\s*_`'\"()\[\]<>.:,#-]"
LETTER_LINE = re.compile(
    rf"{DECORATION}*(?:(?:(?i:my|the|final|better|best|answer|verdict|winner|choice|response|is)){DECORATION}+)*"
    rf"([A-Z]){DECORATION}*"
)
"""A line that is a letter, perhaps decorated or announced: ``**A**``, ``[[B]]``, ``Final verdict: A.``"""

FENCED = re.compile(r"```(?:json)?(.*)```", re.DOTALL)


class UnreadableAnswer(ValueError):
    """An answer that holds no verdict. Its comparison is missing, never a coin flip."""


class AnswerReader(Protocol):
    """How a judge is asked to answer and how the answer is read. Its repr names it in the key of the cache."""

    @property
    def gives_logits(self) -> bool:
        """Whether :meth:`read` gives a logit or a win probability."""
        ...

    def template(self) -> str:
        """The default question."""
        ...

    def request(self) -> Mapping[str, Any]:
        """Fields that the request needs."""
        ...

    def read(self, choice: Mapping[str, Any]) -> float:
        """The verdict of ``response["choices"][0]``; raises :class:`UnreadableAnswer` where there is none."""
        ...


@dataclass(frozen=True)
class LetterAnswer:
    """The answer is A or B, or C for a tie where `ties`.

    The verdict is the last line, which must be a letter and nothing else (decoration and words such as "Final
    verdict:" aside), so a judge may think aloud first if `max_tokens` leaves it the room. Two lines that name
    different letters, a letter that was not offered, and an answer cut off by `max_tokens` are unreadable.
    """

    ties: bool = True
    max_tokens: int = 16
    gives_logits = False

    def __post_init__(self) -> None:
        if self.max_tokens < 2:
            raise ValueError(
                f"max_tokens must be at least 2, got {self.max_tokens}: a letter that may be the start of a sentence "
                "cut short is no verdict; for one token use LogprobAnswer"
            )

    def template(self) -> str:
        """The default question."""
        return default_template(ties=self.ties)

    def request(self) -> Mapping[str, Any]:
        """Room for a letter."""
        return {"max_tokens": self.max_tokens}

    def read(self, choice: Mapping[str, Any]) -> float:
        """1 for A, 0 for B, 1/2 for C."""
        lines = [line for line in _content(choice).splitlines() if line.strip()]
        found = [match[1] for line in lines if (match := LETTER_LINE.fullmatch(line))]
        if not lines or not LETTER_LINE.fullmatch(lines[-1]) or len(set(found)) != 1:
            raise UnreadableAnswer(f"expected one letter, got {_content(choice)[:80]!r}")
        return _verdict(found[0], ties=self.ties)


@dataclass(frozen=True)
class JsonAnswer:
    """The answer is a JSON object whose `key` is "A" or "B", or "C" for a tie where `ties`; other keys are free.

    The object may stand in a fenced block; any other text around it makes the answer unreadable. `json_mode` asks
    the server for ``response_format: json_object``; turn it off for a server that refuses that.
    """

    key: str = "winner"
    ties: bool = True
    max_tokens: int = 256
    json_mode: bool = True
    gives_logits = False

    def template(self) -> str:
        """The default question."""
        return default_template(ties=self.ties, json=True).replace('"winner"', json.dumps(self.key))

    def request(self) -> Mapping[str, Any]:
        """Room for an object, and the mode in which servers write nothing else."""
        mode = {"response_format": {"type": "json_object"}} if self.json_mode else {}
        return {"max_tokens": self.max_tokens, **mode}

    def read(self, choice: Mapping[str, Any]) -> float:
        """1 for A, 0 for B, 1/2 for C."""
        content = _content(choice)
        fenced = FENCED.fullmatch(content)
        try:
            answer = json.loads(fenced[1] if fenced else content, object_pairs_hook=_distinct)
        except (ValueError, RecursionError) as error:
            raise UnreadableAnswer(f"expected a JSON object, got {content[:80]!r} ({error})") from None
        letter = answer.get(self.key) if isinstance(answer, dict) else None
        if not isinstance(letter, str):
            raise UnreadableAnswer(f"expected a JSON object with a letter at {self.key!r}, got {content[:80]!r}")
        return _verdict(letter.strip(), ties=self.ties)


@dataclass(frozen=True)
class LogprobAnswer:
    """The log-probabilities of the letters as the first token of the answer; gives a logit.

    Attributes
    ----------
    ties : whether C (a tie) is offered; half of its probability goes to either side.
    top : how many tokens to ask the server for (`top_logprobs`). A letter that is not among them counts with an upper
        bound on its own log-probability, the least listed, or what all listed leave (a millionth at least): the margin
        can only be understated.
    least_mass : least probability that the letters must have together, in [0, 1]; below it the model was about to
        say something else, and the answer is unreadable.
    """

    ties: bool = False
    top: int = 20
    least_mass: float = 0.5
    gives_logits = True

    def __post_init__(self) -> None:
        if self.top < 2 or not 0.0 <= self.least_mass <= 1.0:
            raise ValueError(f"expected top >= 2 and least_mass in [0, 1], got {self.top} and {self.least_mass}")

    def template(self) -> str:
        """The default question."""
        return default_template(ties=self.ties)

    def request(self) -> Mapping[str, Any]:
        """One token and its rivals."""
        return {"max_tokens": 1, "logprobs": True, "top_logprobs": self.top}

    def read(self, choice: Mapping[str, Any]) -> float:
        """``log (pA + pC/2) / (pB + pC/2)``."""
        try:
            listed = [
                (str(entry["token"]), float(entry["logprob"]))
                for entry in choice["logprobs"]["content"][0]["top_logprobs"]
            ]
        except (KeyError, IndexError, TypeError, ValueError, OverflowError):
            raise UnreadableAnswer(
                "the answer has no logprobs.content[0].top_logprobs; where a server gives none, use LetterAnswer"
            ) from None
        if not listed or not all(math.isfinite(value) and value < 1e-3 for _, value in listed):
            raise UnreadableAnswer(f"expected log-probabilities, got {listed[:5]}")
        offered = LETTERS[: 3 if self.ties else 2]
        found: dict[str, float] = {}
        for token, value in listed:
            letter = token.strip()
            if letter in offered:
                found[letter] = float(_log_add(found.get(letter, -math.inf), value))
        mass = sum(math.exp(value) for value in found.values())
        if not found or mass < self.least_mass:
            raise UnreadableAnswer(f"the letters have probability {mass:.3g}, expected {self.least_mass} or more")
        rest = 1.0 - sum(math.exp(value) for _, value in listed)
        least = min(*(value for _, value in listed), math.log(max(rest, 1e-6)))
        a, b = found.get("A", least), found.get("B", least)
        return letter_logit(a, b, found.get("C", least) if self.ties else None)


def letter_logit(a: float, b: float, tie: float | None = None) -> float:
    """Logit that the first response wins, from log-probabilities (or logits) of the letters: a tie counts half."""
    if tie is None:
        return a - b
    half = tie - math.log(2.0)
    return _log_add(a, half) - _log_add(b, half)


def _log_add(x: float, y: float) -> float:
    """``log(exp x + exp y)``; -inf is zero probability."""
    high, low = max(x, y), min(x, y)
    return high if high == -math.inf else high + math.log1p(math.exp(low - high))


def _content(choice: Mapping[str, Any]) -> str:
    """The text of a finished answer, without what a reasoning model thought before it."""
    if choice.get("finish_reason") in ("length", "content_filter"):
        raise UnreadableAnswer(f"the answer did not finish ({choice['finish_reason']}); raise max_tokens")
    message = choice.get("message")
    content = message.get("content") if isinstance(message, Mapping) else None
    if not isinstance(content, str) or not content.strip():
        raise UnreadableAnswer("the answer is empty")
    return content.rpartition("</think>")[2].strip()


def _verdict(letter: str, *, ties: bool) -> float:
    if letter not in LETTERS[: 3 if ties else 2]:
        raise UnreadableAnswer(f"expected {'A, B or C' if ties else 'A or B'}, got {letter!r}")
    return VERDICTS[letter]


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object whose keys come once: of two verdicts neither is taken."""
    if len({key for key, _ in pairs}) != len(pairs):
        raise ValueError("a key comes twice")
    return dict(pairs)
