"""Strings that are tokens with a meaning, which no text may write; and texts to token ids, cut where they tried to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import islice

from transformers import PreTrainedTokenizerBase

__all__ = ["Markers", "beginning", "encode"]

CUT = "\ufdd0"
"""Where a text is cut: a code point that Unicode keeps for internal use."""

_SIGN = re.compile(r"[^\w\s]")

AT_ONCE = 4096
"""Texts that a tokenizer is given at once. It keeps places and masks of every token until they are all done."""


class Markers:
    """The special tokens of a tokenizer, and the added tokens that occur in `written`: a template's own.

    Other added tokens are left to texts: words, white space, and ``<think>`` and its like, which are part of what a
    language model writes.

    Parameters
    ----------
    written : text around messages.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, written: str = "") -> None:
        added = tokenizer.added_tokens_decoder.values()
        own = [token for token in added if token.special or (_SIGN.search(token.content) and token.content in written)]
        # A marker of one character cannot be cut.
        names = {name for name in (*(token.content for token in own), *tokenizer.all_special_tokens) if len(name) > 1}
        self._any = re.compile("|".join(map(re.escape, sorted(names))) or "(?!)")
        # Some tokens are looked for after a text is normalised: in lower case, or without wide letters.
        backend = getattr(tokenizer, "backend_tokenizer", None)
        self._normalizer = backend.normalizer if any(token.normalized for token in own) and backend else None

    def cut(self, text: str) -> str:
        """The text with a :data:`CUT` behind the first character of every marker in it; :func:`encode` reads it."""
        text = text.replace(CUT, "\N{REPLACEMENT CHARACTER}")
        if self._normalizer is not None and self._any.search(normal := self._normalizer.normalize_str(text)):
            text = normal
        pieces, begin = [], 0
        while found := self._any.search(text, begin):
            pieces.append(text[begin : found.start() + 1])
            begin = found.start() + 1
        return CUT.join([*pieces, text[begin:]])


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
    """
    skipped = _ids(tokenizer, [behind], plain)[0] if behind else []
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


def beginning(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """What the tokenizer puts before a text by itself: its ``bos_token``, or nothing."""
    token = tokenizer.bos_token_id
    return [token] if token is not None and tokenizer.encode("x")[:1] == [token] else []


def _ids(tokenizer: PreTrainedTokenizerBase, texts: list[str], plain: bool) -> list[list[int]]:
    if not texts:
        return []
    ids: list[list[int]] = tokenizer(
        texts,
        add_special_tokens=False,
        split_special_tokens=plain,
        return_attention_mask=False,
        return_token_type_ids=False,
    )["input_ids"]
    return ids
