"""Chats, lists of messages ``{"role": ..., "content": ...}`` as files of comparisons have them, as prompts.

A prompt is a string everywhere in this project: it is compared, hashed, written to JSON. A prompt of one message of the
user is that message; any other chat is the JSON of its messages, which a model with a chat template writes out in it
(:mod:`preference_models.chat`) and every other reader as "role: content", one a paragraph (:func:`plain_text`). A text
that is such JSON to the letter is therefore that chat; :func:`conversation` keeps a message apart that looks like one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from preference_models.row_files import shown

__all__ = ["chat_of", "common_prompt", "conversation", "messages_of", "plain_text", "response_text", "turns"]

_BEGIN = '[{"role": '


def conversation(messages: Any) -> str:
    """The messages that stand before an answer, as a prompt; :func:`messages_of` gives them back.

    Raises
    ------
    ValueError
        For anything but a list of messages.
    """
    checked = _checked(messages)
    content = checked[0]["content"]
    if len(checked) == 1 and checked[0]["role"] == "user" and _parsed(content) is None:
        return content
    return json.dumps(checked, ensure_ascii=False)


def messages_of(prompt: str) -> list[dict[str, str]]:
    """The messages of a prompt; a plain text is one message of the user."""
    return _parsed(prompt) or [{"role": "user", "content": prompt}]


def plain_text(prompt: str) -> str:
    """A prompt for a reader without a chat template: a chat of several messages is "role: content", one a paragraph."""
    messages = _parsed(prompt)
    if messages is None:
        return prompt
    if len(messages) == 1:
        return messages[0]["content"]
    return "\n\n".join(f"{message['role']}: {message['content']}" for message in messages)


def chat_of(cell: Any) -> list[dict[str, str]] | None:
    """The messages of a cell of a table that holds the JSON of a chat, however it is written; None for any other."""
    if not isinstance(cell, str) or not cell.lstrip().startswith("["):
        return None
    try:
        return _checked(json.loads(cell))
    except (ValueError, TypeError, RecursionError):
        return None


def response_text(messages: Any) -> str:
    """The contents of an answer; the models end it themselves."""
    return "\n\n".join(message["content"] for message in _checked(messages))


def turns(text: str) -> list[dict[str, str]] | None:
    """The messages of a transcript with ``Human:`` and ``Assistant:`` at the beginning of paragraphs; None for others.

    The layout of the helpful-harmless comparisons (Bai et al. 2022, 2204.05862).
    """
    if not text.startswith("\n\nHuman:"):
        return None
    _, *parts = re.split(r"\n\n(Human|Assistant):", text)
    roles = {"Human": "user", "Assistant": "assistant"}
    return [{"role": roles[who], "content": said.strip()} for who, said in zip(parts[::2], parts[1::2], strict=True)]


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
    return one[:same], one[same:], other[same:]


def _parsed(prompt: str) -> list[dict[str, str]] | None:
    """The messages of a text that :func:`conversation` wrote as JSON; None for any other."""
    if not prompt.startswith(_BEGIN):
        return None
    try:
        found = json.loads(prompt)
        return _checked(found) if all(set(message) == {"role", "content"} for message in found) else None
    except (ValueError, TypeError, RecursionError):
        return None


def _checked(messages: Any) -> list[dict[str, str]]:
    if not isinstance(messages, list | tuple) or not messages:
        raise ValueError(f"expected a string or a list of messages, got {shown(messages)}")
    for message in messages:
        fine = isinstance(message, Mapping) and all(isinstance(message.get(key), str) for key in ("role", "content"))
        if not fine:
            raise ValueError(f'expected messages {{"role": string, "content": string}}, got {shown(message)}')
        if not re.fullmatch(r"[\w.-]+", message["role"]):  # A template writes it as it stands.
            raise ValueError(f"expected a role of one word, got {shown(message['role'])}")
    # Files have more in them: names, identifiers.
    return [{"role": message["role"], "content": message["content"]} for message in messages]
