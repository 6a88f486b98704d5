"""Chats as text: lists of messages ``{"role": ..., "content": ...}``, as files of comparisons have them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from preference_models.row_files import shown

__all__ = ["common_prompt", "prompt_text", "response_text"]


def prompt_text(messages: Any, tokenizer: Any = None) -> str:
    """What stands before the answer: the tokenizer's chat template, if it has one, up to where the answer begins.

    Without a template a single message is its content, and more are "role: content", one a paragraph.
    """
    checked = _checked(messages)
    if getattr(tokenizer, "chat_template", None):
        return str(tokenizer.apply_chat_template(checked, tokenize=False, add_generation_prompt=True))
    if len(checked) == 1:
        return checked[0]["content"]
    return "\n\n".join(f"{message['role']}: {message['content']}" for message in checked)


def response_text(messages: Any) -> str:
    """The contents of an answer; the models end it themselves."""
    return "\n\n".join(message["content"] for message in _checked(messages))


def common_prompt(chosen: Any, rejected: Any) -> tuple[list[Any], list[Any], list[Any]]:
    """The messages that two chats begin with, and how each goes on."""
    one, other = _checked(chosen), _checked(rejected)
    same = 0
    while same < min(len(one), len(other)) and one[same] == other[same]:
        same += 1
    if same == len(one) == len(other):
        same -= 1  # Equal chats: their last message is the answer.
    if same == 0 or same == min(len(one), len(other)):
        raise ValueError(
            "expected chosen and rejected to begin with the same messages (the prompt) and then to go on, got "
            f"{same} in common of {len(one)} and {len(other)}; give a prompt"
        )
    return list(one[:same]), list(one[same:]), list(other[same:])


def _checked(messages: Any) -> Sequence[Mapping[str, str]]:
    if not isinstance(messages, list | tuple) or not messages:
        raise ValueError(f"expected a string or a list of messages, got {shown(messages)}")
    for message in messages:
        fine = isinstance(message, Mapping) and all(isinstance(message.get(key), str) for key in ("role", "content"))
        if not fine:
            raise ValueError(f'expected messages {{"role": string, "content": string}}, got {shown(message)}')
    return messages
