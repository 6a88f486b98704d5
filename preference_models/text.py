"""Text to token ids: what a preference model reads, and a character tokenizer for small models."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from tokenizers import Regex, Tokenizer, decoders
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from torch import Tensor
from transformers import PreTrainedTokenizerFast

__all__ = [
    "DEFAULT_ALPHABET",
    "TextBatch",
    "character_tokenizer",
    "check_length",
    "token_lists",
    "tokenize",
    "tokenize_pairs",
]

DEFAULT_ALPHABET = "".join(chr(code) for code in range(32, 127)) + "\n"
"""Printable ASCII and the line feed."""


def character_tokenizer(alphabet: Iterable[str] = DEFAULT_ALPHABET) -> PreTrainedTokenizerFast:
    """One token for each character of `alphabet`, after ``<pad>`` (0), ``<unk>`` (1) and ``<eos>`` (2).

    Any other character becomes ``<unk>``. Saves and loads like every Hugging Face tokenizer.

    Parameters
    ----------
    alphabet : characters, duplicates ignored; their order fixes the ids.
    """
    characters = list(dict.fromkeys(alphabet))
    if not characters:
        raise ValueError("expected at least one character in the alphabet, got none")
    wrong = [character for character in characters if len(character) != 1]
    if wrong:
        raise ValueError(f"expected single characters in the alphabet, got {wrong[0]!r}")
    specials = ("<pad>", "<unk>", "<eos>")
    vocabulary = {token: i for i, token in enumerate((*specials, *characters))}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    # [\s\S] rather than a dot, which would leave line feeds out.
    tokenizer.pre_tokenizer = Split(Regex(r"[\s\S]"), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        unk_token="<unk>",
        eos_token="<eos>",
        clean_up_tokenization_spaces=False,
    )


@dataclass(frozen=True, eq=False)
class TextBatch:
    """N token sequences, padded on the right (as :func:`tokenize` does) or on the left.

    Attributes
    ----------
    input_ids : int64 [N, L]
    attention_mask : int64 [N, L], 1 on tokens, 0 on padding.
    pool_mask : int64 [N, L], 1 on the tokens whose hidden states are looked at; at least one a row.
    """

    input_ids: Tensor
    attention_mask: Tensor
    pool_mask: Tensor

    def __len__(self) -> int:
        return len(self.input_ids)

    def select(self, rows: Tensor) -> TextBatch:
        """The given rows [n], cut to the longest of them."""
        attention_mask = self.attention_mask[rows]
        length = int(attention_mask.sum(1).max())
        return TextBatch(self.input_ids[rows, :length], attention_mask[:, :length], self.pool_mask[rows, :length])

    def right_padded(self) -> TextBatch:
        """The same sequences with the padding on the right; no copy of a row changes where it is there already."""
        order = torch.argsort(self.attention_mask, dim=1, descending=True, stable=True)
        return TextBatch(*(rows.gather(1, order) for rows in (self.input_ids, self.attention_mask, self.pool_mask)))

    def to(self, device: torch.device | str) -> TextBatch:
        """The same batch on another device."""
        return TextBatch(self.input_ids.to(device), self.attention_mask.to(device), self.pool_mask.to(device))


def tokenize(
    tokenizer: PreTrainedTokenizerFast,
    prompts: Sequence[str],
    responses: Sequence[str] | None = None,
    *,
    max_length: int | None = None,
) -> TextBatch:
    """Token ids of ``prompt <eos>``, or of ``prompt <eos> response <eos>`` where there are responses.

    Prompt and response are tokenized apart, so that their boundary never moves, and special tokens written
    out in a text are plain text. The pool mask covers the response and its end (never empty, whatever the
    response), or the prompt and its end where there are no responses.

    Parameters
    ----------
    tokenizer : needs an ``eos_token`` or a ``sep_token``, and a ``pad_token``.
    prompts : N strings.
    responses : N strings, or None.
    max_length : most tokens a sequence may have; longer text is an error, never cut.
    """
    heads = token_lists(tokenizer, prompts)
    tails: list[list[int]] = [[]] * len(heads) if responses is None else token_lists(tokenizer, responses)
    return _batch(prompts, heads, tails, pad=tokenizer.pad_token_id, max_length=max_length)


def tokenize_pairs(
    tokenizer: PreTrainedTokenizerFast,
    prompts: Sequence[str],
    first: Sequence[str],
    second: Sequence[str],
    *,
    max_length: int | None = None,
) -> TextBatch:
    """Token ids of ``prompt <eos> first <eos> second <eos>``, for one joint reading.

    As :func:`tokenize`; the pool mask covers both responses and their ends.
    """
    heads = token_lists(tokenizer, prompts)
    tails = [a + b for a, b in zip(token_lists(tokenizer, first), token_lists(tokenizer, second), strict=True)]
    return _batch(prompts, heads, tails, pad=tokenizer.pad_token_id, max_length=max_length)


def token_lists(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of ``text <eos>``, as lists; special tokens written out in a text are plain text."""
    end = _end(tokenizer)
    if not texts:
        raise ValueError("expected at least one text, got none")
    ids: list[list[int]] = tokenizer(list(texts), add_special_tokens=False, split_special_tokens=True)["input_ids"]
    return [[*tokens, end] for tokens in ids]


def check_length(prompt: str, length: int, max_length: int | None) -> None:
    """Refuse a text that does not fit."""
    if max_length is not None and length > max_length:
        raise ValueError(
            f"text of {length} tokens does not fit the model's {max_length}: prompt {prompt[:40]!r}; "
            "shorten it or use a backbone with more positions"
        )


def _end(tokenizer: PreTrainedTokenizerFast) -> int:
    end: int | None = tokenizer.sep_token_id if tokenizer.eos_token_id is None else tokenizer.eos_token_id
    if end is None or tokenizer.pad_token_id is None:
        raise ValueError("the tokenizer needs a pad_token, and an eos_token or a sep_token; set tokenizer.pad_token")
    return end


def _batch(
    prompts: Sequence[str], heads: list[list[int]], tails: list[list[int]], *, pad: int, max_length: int | None
) -> TextBatch:
    """Rows head + tail, padded on the right, pooled over the tail (or over the head where there is no tail)."""
    lengths = [len(head) + len(tail) for head, tail in zip(heads, tails, strict=True)]
    longest = max(lengths)
    check_length(prompts[lengths.index(longest)], longest, max_length)
    input_ids = torch.full((len(heads), longest), pad)
    attention_mask, pool_mask = torch.zeros_like(input_ids), torch.zeros_like(input_ids)
    for row, (head, tail) in enumerate(zip(heads, tails, strict=True)):
        input_ids[row, : lengths[row]] = torch.tensor(head + tail)
        attention_mask[row, : lengths[row]] = 1
        pool_mask[row, (len(head) if tail else 0) : lengths[row]] = 1
    return TextBatch(input_ids, attention_mask, pool_mask)
