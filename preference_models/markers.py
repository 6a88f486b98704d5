"""Strings that are tokens with a meaning, which no text may write; and texts to token ids, cut where they tried to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import islice

from transformers import PreTrainedTokenizerBase

from rebel_pref.preferences import half_character

__all__ = ["WORD", "Markers", "beginning", "encode", "opening", "ordinary_marks"]

CUT = "\ufdd0"
"""Where a text is cut: a code point that Unicode keeps for internal use."""

AT_ONCE = 4096
"""Texts that a tokenizer is given at once. It keeps places and masks of every token until they are all done."""

WORD = "A"
"""Stands for a text that begins with some word."""

_SIGN = re.compile(r"[^\w\s]")


class Markers:
    """The special tokens of a tokenizer, and other strings that no text may write.

    A special token of one character cannot be cut.

    Parameters
    ----------
    own : beside the special tokens, see :func:`ordinary_marks`.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, own: Iterable[str] = ()) -> None:
        special = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
        names = {name for name in special.union(tokenizer.all_special_tokens, own) if len(name) > 1}
        self._any = _any_of(names)
        # A vocabulary may hold a marker as an ordinary piece, which is found after a text is normalised: narrow letters
        # out of wide ones, small ones out of large ones.
        backend = getattr(tokenizer, "backend_tokenizer", None)
        self._normalizer = None if backend is None else backend.normalizer
        if self._normalizer is not None:
            normal = {self._normalizer.normalize_str(name).strip("▁") for name in names}
            self._any_normal = _any_of(names | {name for name in normal if len(name) > 1})

    def cut(self, text: str) -> str:
        """The text with a :data:`CUT` behind the first character of every marker in it; :func:`encode` reads it."""
        text = _cut(self._any, text.replace(CUT, "\N{REPLACEMENT CHARACTER}"))
        if self._normalizer is not None:
            normal = self._normalizer.normalize_str(text)
            if self._any_normal.search(normal):
                return _cut(self._any_normal, normal)
        return text

    def count(self, text: str) -> int:
        """How many there are in a text."""
        return sum(1 for _ in self._any.finditer(text))


def ordinary_marks(tokenizer: PreTrainedTokenizerBase, source: str) -> list[str]:
    """Added tokens that are not special, and yet marks where a template writes them around messages.

    Not those which are left to texts: words, white space, and what the template looks for in messages, such as
    ``</think>`` (and so ``<think>``), which is part of what a language model writes.

    Parameters
    ----------
    source : the template.
    """

    def looked_for(token: str) -> bool:
        name = re.escape(token)
        return re.search(rf"""(['"]){name}\1\s+(not\s+)?in\b|\.\w+\(\s*(['"]){name}\3""", source) is not None

    added = [token.content for token in tokenizer.added_tokens_decoder.values() if not token.special]
    return [
        token
        for token in added
        if _SIGN.search(token) and not looked_for(token) and not looked_for(token.replace("<", "</", 1))
    ]


def encode(
    tokenizer: PreTrainedTokenizerBase, texts: Iterable[str], *, behind: str = "", plain: bool = False
) -> Iterator[list[int]]:
    """Token ids of texts, the pieces between :data:`CUT` apart.

    Parameters
    ----------
    behind : text that stands before each, and whose tokens are left out: a tokenizer that marks where a text begins
        (SentencePiece) writes the same characters in other tokens there. A text whose tokens would mingle with it
        stands alone.
    plain : whether special tokens that are written out are plain text.

    Raises
    ------
    ValueError
        For a string that is no text: half of a pair of surrogates.
    """
    skipped = opening(tokenizer, behind)[0] if behind else []
    rest = iter(texts)
    while part := list(islice(rest, AT_ONCE)):
        pieces = [text.split(CUT) for text in part]
        found = iter(_ids(tokenizer, [f"{behind}{first}" for first, *_ in pieces], plain))
        more = iter(_ids(tokenizer, [piece for _, *others in pieces for piece in others], plain))
        for first, *others in pieces:
            ids = next(found)
            if ids[: len(skipped)] != skipped:
                ids = [*skipped, *_ids(tokenizer, [first], plain)[0]]
            yield [*ids[len(skipped) :], *(token for _ in others for token in next(more))]


def opening(tokenizer: PreTrainedTokenizerBase, text: str) -> tuple[list[int], int]:
    """Token ids of a text as they are before a word, and how many tokens the :data:`WORD` is behind it.

    Some tokenizers write a text in other tokens where it ends: two line feeds are one token there, and two before a
    word.
    """
    if not tokenizer.is_fast:  # It keeps no places.
        alone, whole = _ids(tokenizer, [text, text + WORD], plain=False)
        return alone, len(whole) - len(alone)
    found = tokenizer(text + WORD, add_special_tokens=False, return_offsets_mapping=True)
    ids: list[int] = found["input_ids"]
    # What marks the beginning of a word has no place in the text, or the word's.
    own = sum(start < len(text) and end <= len(text) for start, end in found["offset_mapping"])
    return ids[:own], len(ids) - own


def beginning(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """What the tokenizer puts before a text by itself: its ``bos_token``, or nothing."""
    token = tokenizer.bos_token_id
    return [token] if token is not None and tokenizer.encode("x")[:1] == [token] else []


def _any_of(names: Iterable[str]) -> re.Pattern[str]:
    # By their first characters: a thousand alternatives at every "<" would be slow.
    groups: dict[str, list[str]] = {}
    for name in sorted(names):
        groups.setdefault(name[:2], []).append(re.escape(name[2:]))
    return re.compile("|".join(f"{re.escape(two)}(?:{'|'.join(rest)})" for two, rest in groups.items()) or "(?!)")


def _cut(markers: re.Pattern[str], text: str) -> str:
    pieces, begin = [], 0
    while found := markers.search(text, begin):
        pieces.append(text[begin : found.start() + 1])
        begin = found.start() + 1
    return CUT.join([*pieces, text[begin:]])


def _ids(tokenizer: PreTrainedTokenizerBase, texts: list[str], plain: bool) -> list[list[int]]:
    if not texts:
        return []
    try:
        ids: list[list[int]] = tokenizer(
            texts,
            add_special_tokens=False,
            split_special_tokens=plain,
            return_attention_mask=False,
            return_token_type_ids=False,
        )["input_ids"]
    except TypeError as error:
        for text in texts:
            if half_character(text) is not None:
                raise ValueError(f"expected text, got half a character in {text[-60:]!r}") from error
        raise
    return ids
