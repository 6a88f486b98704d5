"""Text to token ids: what a preference model reads, and a character tokenizer for small models."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
from tokenizers import Regex, Tokenizer, decoders
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from transformers import PreTrainedTokenizerFast

from preference_models.chat import answer_ids, chat_ids
from preference_models.markers import Markers, encode
from preference_models.messages import plain_text
from preference_models.token_lists import TextBatch, TokenLists, join

__all__ = [
    "DEFAULT_ALPHABET",
    "character_tokenizer",
    "check_length",
    "pad_id",
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
    return _join_rows(tokenizer, prompts, tails, max_length, chat=chat)


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
    ours, theirs = (response_ids(tokenizer, texts, chat=chat) for texts in (first, second))
    tails = TokenLists.of(ours[row] + theirs[row] for row in range(len(ours)))
    return _join_rows(tokenizer, prompts, tails, max_length, chat=chat)


def prompt_ids(tokenizer: PreTrainedTokenizerFast, prompts: Iterable[str], *, chat: bool = False) -> TokenLists:
    """Token ids that every response to a prompt begins with; see :func:`tokenize`."""
    return TokenLists.of(chat_ids(tokenizer, prompts) if chat else _ended(tokenizer, map(plain_text, prompts)))


def response_ids(tokenizer: PreTrainedTokenizerFast, responses: Iterable[str], *, chat: bool = False) -> TokenLists:
    """Token ids of responses and their ends; see :func:`tokenize`."""
    return TokenLists.of(answer_ids(tokenizer, responses) if chat else _ended(tokenizer, responses))


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


def _ended(tokenizer: PreTrainedTokenizerFast, texts: Iterable[str]) -> Iterator[list[int]]:
    """Token ids of ``text <eos>``; special tokens written out in a text are plain text."""
    end: int | None = tokenizer.sep_token_id if tokenizer.eos_token_id is None else tokenizer.eos_token_id
    if end is None:
        raise ValueError("the tokenizer needs an eos_token or a sep_token, which ends a text; set tokenizer.eos_token")
    cut = map(Markers(tokenizer).cut, texts)
    return ([*ids, end] for ids in encode(tokenizer, cut, plain=True))


def _join_rows(
    tokenizer: PreTrainedTokenizerFast,
    prompts: Sequence[str],
    tails: TokenLists | None,
    max_length: int | None,
    *,
    chat: bool,
) -> TextBatch:
    distinct = {prompt: row for row, prompt in enumerate(dict.fromkeys(prompts))}
    heads = prompt_ids(tokenizer, distinct, chat=chat)  # Prompts come back, one for each response to them.
    head_of = torch.tensor([distinct[prompt] for prompt in prompts])
    lengths = heads.lengths[head_of] + (0 if tails is None else tails.lengths)
    longest = int(lengths.argmax())
    check_length(prompts[longest], int(lengths[longest]), max_length)
    return join(heads, head_of, tails, torch.arange(len(prompts)), pad=pad_id(tokenizer))
