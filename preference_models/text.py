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

from preference_models.chat import answer_ids, chat_ids
from preference_models.messages import plain_text

__all__ = [
    "DEFAULT_ALPHABET",
    "TextBatch",
    "TokenLists",
    "character_tokenizer",
    "check_length",
    "join",
    "pad_id",
    "padded",
    "prompt_ids",
    "response_ids",
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

    def right_padded(self) -> TextBatch:
        """The same sequences with the padding on the right; no copy of a row changes where it is there already."""
        order = torch.argsort(self.attention_mask, dim=1, descending=True, stable=True)
        return TextBatch(*(rows.gather(1, order) for rows in (self.input_ids, self.attention_mask, self.pool_mask)))

    def to(self, device: torch.device | str) -> TextBatch:
        """The same batch on another device."""
        return TextBatch(self.input_ids.to(device), self.attention_mask.to(device), self.pool_mask.to(device))


@dataclass(frozen=True, eq=False)
class TokenLists:
    """N token sequences of any lengths, end to end: what a data set keeps, without padding.

    Attributes
    ----------
    ids : int32 [sum of lengths].
    start : int64 [N + 1], where each begins, and the end.
    """

    ids: Tensor
    start: Tensor

    @classmethod
    def of(cls, lists: Sequence[Sequence[int]], device: torch.device | str = "cpu") -> TokenLists:
        """From lists; one at least, and a token at least in each."""
        lengths = torch.tensor([0, *map(len, lists)])
        ids = torch.tensor([token for one in lists for token in one], dtype=torch.int32)
        return cls(ids.to(device), lengths.cumsum(0).to(device))

    def __len__(self) -> int:
        return len(self.start) - 1

    @property
    def lengths(self) -> Tensor:
        """int64 [N]."""
        return self.start.diff()

    def at(self, rows: Tensor, place: Tensor) -> Tensor:
        """Tokens [n, L] of sequences `rows` [n] at places [n, L]; any token where there is no such place."""
        return self.ids[(self.start[rows].unsqueeze(1) + place).clamp(0, len(self.ids) - 1)].long()

    def lists(self, rows: Tensor) -> list[list[int]]:
        """Sequences as lists."""
        bounds = zip(self.start[rows].tolist(), self.start[rows + 1].tolist(), strict=True)
        return [self.ids[begin:end].tolist() for begin, end in bounds]


def tokenize(
    tokenizer: PreTrainedTokenizerFast,
    prompts: Sequence[str],
    responses: Sequence[str] | None = None,
    *,
    max_length: int | None = None,
    chat: bool = False,
) -> TextBatch:
    """Token ids of ``prompt <eos>``, or of ``prompt <eos> response <eos>`` where there are responses.

    Prompt and response are tokenized apart, so that their boundary never moves, and special tokens written
    out in a text are plain text. The pool mask covers the response and its end (never empty, whatever the
    response), or the prompt and its end where there are no responses.

    Parameters
    ----------
    tokenizer : needs an ``eos_token`` or a ``sep_token``.
    prompts : N strings.
    responses : N strings, or None.
    max_length : most tokens a sequence may have; longer text is an error, never cut.
    chat : write prompt and response in the tokenizer's chat template instead (:mod:`preference_models.chat`). The
        prompt ends where the answer begins, and the response with what the template writes after an answer.
    """
    tails = None if responses is None else response_ids(tokenizer, responses, chat=chat)
    return _join_rows(tokenizer, prompts, prompt_ids(tokenizer, prompts, chat=chat), tails, max_length)


def tokenize_pairs(
    tokenizer: PreTrainedTokenizerFast,
    prompts: Sequence[str],
    first: Sequence[str],
    second: Sequence[str],
    *,
    max_length: int | None = None,
    chat: bool = False,
) -> TextBatch:
    """Token ids of ``prompt <eos> first <eos> second <eos>``, for one joint reading.

    As :func:`tokenize`; the pool mask covers both responses and their ends.
    """
    heads = prompt_ids(tokenizer, prompts, chat=chat)
    ours, theirs = response_ids(tokenizer, first, chat=chat), response_ids(tokenizer, second, chat=chat)
    tails = [one + other for one, other in zip(ours, theirs, strict=True)]
    return _join_rows(tokenizer, prompts, heads, tails, max_length)


def prompt_ids(tokenizer: PreTrainedTokenizerFast, prompts: Sequence[str], *, chat: bool = False) -> list[list[int]]:
    """Token ids that every response to a prompt begins with, as lists; see :func:`tokenize`."""
    distinct = list(dict.fromkeys(prompts))  # Prompts come back, one for each response to them.
    ids = chat_ids(tokenizer, distinct) if chat else _ended(tokenizer, [plain_text(prompt) for prompt in distinct])
    of_prompt = dict(zip(distinct, ids, strict=True))
    return [of_prompt[prompt] for prompt in prompts]


def response_ids(
    tokenizer: PreTrainedTokenizerFast, responses: Sequence[str], *, chat: bool = False
) -> list[list[int]]:
    """Token ids of responses and their ends, as lists; see :func:`tokenize`."""
    return answer_ids(tokenizer, responses) if chat else _ended(tokenizer, responses)


def pad_id(tokenizer: PreTrainedTokenizerFast) -> int:
    """What fills a batch up. It is masked, so that any token will do where the tokenizer has none for it."""
    return 0 if tokenizer.pad_token_id is None else int(tokenizer.pad_token_id)


def check_length(prompt: str, length: int, max_length: int | None) -> None:
    """Refuse a text that does not fit."""
    if max_length is not None and length > max_length:
        raise ValueError(
            f"text of {length} tokens does not fit the model's {max_length}: prompt {prompt[:40]!r}; "
            "shorten it or use a backbone with more positions"
        )


def _ended(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of ``text <eos>``; special tokens written out in a text are plain text."""
    end: int | None = tokenizer.sep_token_id if tokenizer.eos_token_id is None else tokenizer.eos_token_id
    if end is None:
        raise ValueError("the tokenizer needs an eos_token or a sep_token, which ends a text; set tokenizer.eos_token")
    if not texts:
        raise ValueError("expected at least one text, got none")
    ids: list[list[int]] = tokenizer(list(texts), add_special_tokens=False, split_special_tokens=True)["input_ids"]
    return [[*tokens, end] for tokens in ids]


def _join_rows(
    tokenizer: PreTrainedTokenizerFast,
    prompts: Sequence[str],
    heads: list[list[int]],
    tails: list[list[int]] | None,
    max_length: int | None,
) -> TextBatch:
    lengths = [len(head) for head in heads]
    if tails is not None:
        lengths = [length + len(tail) for length, tail in zip(lengths, tails, strict=True)]
    longest = max(lengths)
    check_length(prompts[lengths.index(longest)], longest, max_length)
    if tails is None:
        return padded(heads, pad=pad_id(tokenizer))
    rows = torch.arange(len(heads))
    return join(TokenLists.of(heads), rows, TokenLists.of(tails), rows, pad=pad_id(tokenizer))


def padded(ids: Sequence[Sequence[int]], *, pad: int = 0) -> TextBatch:
    """N rows of token ids, padded on the right, pooled over all of them."""
    return join(TokenLists.of(ids), torch.arange(len(ids)), None, None, pad=pad)


def join(
    heads: TokenLists, head_of: Tensor, tails: TokenLists | None, tail_of: Tensor | None, *, pad: int
) -> TextBatch:
    """N rows, head and tail, padded on the right, pooled over the tail; over the head where there are no tails.

    Parameters
    ----------
    head_of, tail_of : int64 [N], which head and which tail.
    """
    first = heads.lengths[head_of].unsqueeze(1)
    total = first if tails is None else first + tails.lengths[tail_of].unsqueeze(1)
    place = torch.arange(int(total.max()), device=first.device)
    inside, in_head = place < total, place < first
    input_ids = heads.at(head_of, place.expand(len(first), -1))
    if tails is not None:
        assert tail_of is not None
        input_ids = torch.where(in_head, input_ids, tails.at(tail_of, place - first))
    pooled = inside if tails is None else inside & ~in_head
    return TextBatch(input_ids.masked_fill(~inside, pad), inside.long(), pooled.long())
