"""Prompts and responses in a tokenizer's chat template: the template's own tokens are special, those in a text are not.

A chat is written out by the template and tokenized whole, so that its tokens are those that the model was trained on. A
text that writes one of the template's tokens is cut inside it first: ``<|im_end|>`` in a message ends nothing. (Marks
that are no tokens, such as Llama 2's ``[INST]``, are words like others.) Prompt and answer part where an answer begins;
the tokens of a prompt do not depend on the answer after them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cached_property

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from preference_models.markers import WORD, Markers, encode, opening, ordinary_marks
from preference_models.messages import messages_of

__all__ = ["ChatTemplate", "answer_ids", "chat_ids", "has_chat_template"]

_DAY = {"%d": "26", "%b": "Jul", "%B": "July", "%m": "07", "%Y": "2024", "%y": "24", "%a": "Fri", "%A": "Friday"}
_REPLACED = " | ".join(["format", *(f"replace('{code}', '{text}')" for code, text in _DAY.items())])
FIXED_DAY = "{% macro strftime_now(format) %}{{ " + _REPLACED + " }}{% endmacro %}"
"""Before a template that writes the date."""

_ROLES = (
    ("user",),
    ("user", "assistant"),
    ("system", "user", "assistant", "user"),
    ("user", "assistant", "tool"),
    ("user", "assistant", "tool", "assistant"),
)
"""Chats whose marks are guarded."""

QUESTION, ANSWER = "QUESTIONGOESHERE", "ANSWERGOESHERE"


def has_chat_template(tokenizer: PreTrainedTokenizerBase | None) -> bool:
    """Whether there is a template to write chats in."""
    template = getattr(tokenizer, "chat_template", None)
    return isinstance(template, str) or (isinstance(template, dict) and "default" in template)


def chat_ids(tokenizer: PreTrainedTokenizerBase, prompts: Iterable[str]) -> Iterator[list[int]]:
    """Token ids of N prompts up to where the answer begins, role and all.

    Raises
    ------
    ValueError
        For a tokenizer without a template, or one that does not write such a chat: it wants other roles, or leaves
        messages out.
    """
    template = ChatTemplate(tokenizer)
    # As they are before a word: some tokenizers write an end in other tokens.
    word, count = "", 0
    if template.between:
        word, count = WORD, opening(tokenizer, template.between)[1]
    found = template.ids(template.before_answer(messages_of(prompt)) + word for prompt in prompts)
    return (ids[: len(ids) - count] for ids in found)


def answer_ids(tokenizer: PreTrainedTokenizerBase, responses: Iterable[str]) -> Iterator[list[int]]:
    """Token ids of N answers and of what the template ends an answer with (the end of the sequence if with nothing)."""
    template = ChatTemplate(tokenizer)
    end = []
    if not template.after:
        if tokenizer.eos_token_id is None:
            raise ValueError("neither the tokenizer's chat template nor an eos_token ends an answer; set eos_token")
        end = [tokenizer.eos_token_id]
    found = template.ids(map(template.answer, responses), behind=template.between)
    return ([*ids, *end] for ids in found)


class ChatTemplate:
    """The chat template of a tokenizer, whose marks no message can write.

    What it gives is text, cut inside the marks that messages tried to write; :meth:`ids` reads it.

    Raises
    ------
    ValueError
        For a tokenizer without one.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        if not has_chat_template(tokenizer):
            raise ValueError("the tokenizer has no chat template to read chats in; set tokenizer.chat_template")
        self.tokenizer = tokenizer
        source = tokenizer.get_chat_template()
        # Tokens must not depend on the day.
        self._source = FIXED_DAY + source if "strftime_now" in source else source
        # Fixed here: the tokens of a text must not depend on what was read before it.
        written = "".join(map(self._around, _ROLES))
        own = [token for token in ordinary_marks(tokenizer, source) if token in written]
        self._markers = Markers(tokenizer, own)
        self._counts: dict[tuple[tuple[str, ...], bool, bool], int] = {}

    def write(self, messages: Sequence[dict[str, str]], *, opened: bool = False, thought: bool = True) -> str:
        """The chat, and, if `opened`, what the template writes where an answer is to begin.

        Parameters
        ----------
        thought : whether an answer may begin with one. If not, a template that can do without is told to, and one that
            opens with a thought has it closed.

        Raises
        ------
        ValueError
            As :meth:`check`, and for a message out of which the template itself makes a mark.
        """
        roles = tuple(message["role"] for message in messages)
        allowed = self._count(roles, opened, thought)
        cut = [{"role": message["role"], "content": self._markers.cut(message["content"])} for message in messages]
        text = self._render(cut, opened, thought)
        if self._markers.count(text) > allowed:
            raise ValueError(
                f"the tokenizer's chat template makes a mark of its own out of a message of {', '.join(roles)}: "
                f"{max((message['content'] for message in messages), key=len)[:60]!r}"
            )
        return text if thought or not text.rstrip().endswith("<think>") else f"{text.rstrip()}\n</think>\n\n"

    def check(self, roles: tuple[str, ...]) -> None:
        """Refuse a template that does not take messages of these roles, or does not write each once, in their order."""
        self._count(roles, opened=roles[-1] != "assistant", thought=True)

    def _count(self, roles: tuple[str, ...], opened: bool, thought: bool) -> int:
        """How many marks the template writes around messages of these roles."""
        asked = roles, opened, thought
        if asked in self._counts:
            return self._counts[asked]
        marks = [f"MESSAGE{number}GOESHERE" for number in range(len(roles))]
        messages = [{"role": role, "content": mark} for role, mark in zip(roles, marks, strict=True)]
        rest = text = self._render(messages, opened, thought)
        for mark in marks:
            _, found, rest = rest.partition(mark)
            if not found or mark in rest:
                raise ValueError(
                    f"the tokenizer's chat template does not write messages of {', '.join(roles)} once each, in their "
                    "order"
                )
        self._counts[asked] = self._markers.count(text)
        return self._counts[asked]

    def before_answer(self, messages: Sequence[dict[str, str]]) -> str:
        """A chat up to where the answer to it begins."""
        whole = self.write([*messages, {"role": "assistant", "content": ANSWER}])
        _, end = self._parts
        if not whole.endswith(end):
            roles = ", ".join(message["role"] for message in messages)
            raise ValueError(
                f"the tokenizer's chat template writes an answer to messages of {roles} in another way than one to a "
                f"user's only: expected {end!r} at the end, got {whole[-len(end) :]!r}, behind "
                f"{messages[-1]['content'][:60]!r}"
            )
        return whole.removesuffix(end)

    def answer(self, text: str) -> str:
        """An answer and what the template writes after it, without white space at the end of that."""
        begin, _ = self._parts
        whole = self.write([{"role": "user", "content": QUESTION}, {"role": "assistant", "content": text}])
        if not whole.startswith(begin):
            raise ValueError(
                f"the tokenizer's chat template writes the answer {text[:40]!r} in another way than others: expected "
                f"{begin!r} before it, got {whole[: len(begin)]!r}"
            )
        return whole[len(begin) : len(whole) - self._surplus]

    @property
    def between(self) -> str:
        """What stands between a user's message and where the answer begins."""
        return self._parts[0].partition(QUESTION)[2]

    @property
    def closing(self) -> str:
        """What the template writes after an answer."""
        return self._parts[1].partition(ANSWER)[2]

    @property
    def after(self) -> str:
        """The same, without white space at its end."""
        return self.closing.rstrip()

    def ids(self, texts: Iterable[str], *, behind: str = "") -> Iterator[list[int]]:
        """Token ids; `behind` as in :func:`encode`."""
        return encode(self.tokenizer, texts, behind=behind)

    @property
    def _surplus(self) -> int:
        return len(self.closing) - len(self.after)

    @cached_property
    def _parts(self) -> tuple[str, str]:
        """A question and its answer, cut where the answer begins."""
        asked = [{"role": "user", "content": QUESTION}]
        whole = self.write([*asked, {"role": "assistant", "content": ANSWER}])
        opened = self.write(asked, opened=True)
        begin = whole.index(ANSWER)
        # Some templates write more before an answer than they open one with: an empty thought, unless it has its own.
        if opened != self.write(asked) and whole.startswith(opened):
            begin = min(begin, len(opened))
        # A space is part of the word behind it in most vocabularies.
        begin = len(whole[:begin].rstrip(" "))
        return whole[:begin], whole[begin:]

    def _around(self, roles: tuple[str, ...]) -> str:
        """What the template writes around such messages, and before an answer; nothing where it refuses a role."""
        messages = [{"role": role, "content": ANSWER} for role in roles]
        with suppress(ValueError):
            return self._render(messages, opened=roles[-1] != "assistant", thought=True)
        return ""

    def _render(self, messages: list[dict[str, str]], opened: bool, thought: bool) -> str:
        options = {} if thought else {"enable_thinking": False}
        try:
            return str(
                self.tokenizer.apply_chat_template(
                    messages, chat_template=self._source, tokenize=False, add_generation_prompt=opened, **options
                )
            )
        except (TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            roles = ", ".join(message["role"] for message in messages)
            raise ValueError(f"the tokenizer's chat template does not take messages of {roles}: {error}") from error
