"""Prompts and responses in a tokenizer's chat template: the template's own tokens are special, those in a text are not.

The template is written out around marks and cut at them, so that a message which contains ``<|im_end|>`` ends nothing,
and the tokens of a prompt do not depend on the answer after them: they are what every response to it begins with.

Two limits. The pieces are tokenized apart, and a tokenizer that marks where a text begins (SentencePiece: Llama 2,
Mistral, Zephyr) does not write them as it would the whole. Tokens that were added to a tokenizer as ordinary ones
(``special=False``) stay whole in a text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from preference_models.messages import messages_of

__all__ = ["answer_ids", "chat_ids", "has_chat_template", "trims"]


FIXED_DAY = "{% macro strftime_now(format) %}26 Jul 2024{% endmacro %}"
"""Before a template that writes the date."""


def has_chat_template(tokenizer: PreTrainedTokenizerBase | None) -> bool:
    """Whether there is a template to write chats in."""
    template = getattr(tokenizer, "chat_template", None)
    return isinstance(template, str) or (isinstance(template, dict) and "default" in template)


def chat_ids(tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str]) -> list[list[int]]:
    """Token ids of N prompts up to where the answer begins, role and all.

    Raises
    ------
    ValueError
        For a tokenizer without a template, or one that does not write such a chat: it wants other roles, or leaves
        messages out.
    """
    chats = [messages_of(prompt) for prompt in prompts]
    contents = iter(_plain(tokenizer, [message["content"] for chat in chats for message in chat]))
    layouts: dict[tuple[str, ...], _Layout] = {}
    result = []
    for chat in chats:
        roles = tuple(message["role"] for message in chat)
        if roles not in layouts:
            layouts[roles] = _layout(tokenizer, roles)
        *before_each, before_answer = layouts[roles].before
        ids = [token for before in before_each for token in (*before, *next(contents))]
        result.append([*ids, *before_answer])
    return result


def answer_ids(tokenizer: PreTrainedTokenizerBase, responses: Sequence[str]) -> list[list[int]]:
    """Token ids of N answers and of what the template ends an answer with (the end of the sequence if with nothing)."""
    after = _layout(tokenizer, ("user",)).after
    return [[*ids, *after] for ids in _plain(tokenizer, responses)]


def trims(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the chat template cuts white space off the end of a message."""
    return "CONTENT \t" not in _written(tokenizer, [{"role": "user", "content": "CONTENT \t"}])


@dataclass(frozen=True)
class _Layout:
    """What a template writes around messages of certain roles: before each, and before and after the answer."""

    before: list[list[int]]
    after: list[int]


def _layout(tokenizer: PreTrainedTokenizerBase, roles: tuple[str, ...]) -> _Layout:
    marks = [f"MESSAGE{number}GOESHERE" for number in range(len(roles) + 1)]
    messages = [{"role": role, "content": mark} for role, mark in zip((*roles, "assistant"), marks, strict=True)]
    rest, pieces = _written(tokenizer, messages), []
    for mark in marks:
        before, found, rest = rest.partition(mark)
        if not found or mark in rest:
            raise ValueError(
                f"the tokenizer's chat template does not write messages of {', '.join(roles)} and then an answer once "
                "each, in their order"
            )
        pieces.append(tokenizer.encode(before, add_special_tokens=False))
    after = tokenizer.encode(rest.rstrip(), add_special_tokens=False)
    if not after:
        if tokenizer.eos_token_id is None:
            raise ValueError("neither the tokenizer's chat template nor an eos_token ends an answer; set eos_token")
        after = [tokenizer.eos_token_id]
    return _Layout(pieces, after)


def _written(tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]]) -> str:
    if not has_chat_template(tokenizer):
        raise ValueError("the tokenizer has no chat template to read chats in; set tokenizer.chat_template")
    try:
        template = tokenizer.get_chat_template()
        if "strftime_now" in template:  # Tokens must not depend on the day.
            template = FIXED_DAY + template
        return str(tokenizer.apply_chat_template(messages, chat_template=template, tokenize=False))
    except (TemplateError, TypeError, ValueError) as error:
        roles = ", ".join(message["role"] for message in messages)
        raise ValueError(f"the tokenizer's chat template does not take messages of {roles}: {error}") from error


def _plain(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of the contents of messages, as the template writes them: some cut off white space."""
    if not texts:
        raise ValueError("expected at least one text, got none")
    written = [text.strip() for text in texts] if trims(tokenizer) else list(texts)
    ids: list[list[int]] = tokenizer(written, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    return ids
