"""The question put to a judge: text with {prompt}, {first} and {second} in it."""

from __future__ import annotations

import re
from collections.abc import Callable

from preference_models.judges.orders import Shown
from preference_models.messages import plain_text

__all__ = ["LETTERS", "default_template", "fill_template", "instruction"]

LETTERS = ("A", "B", "C")
"""First response, second response, tie."""

FIELDS = re.compile(r"\{(prompt|first|second)\}")

QUESTION = """\
Two responses to the same prompt follow. Decide which one serves the prompt better. Go by what they say; their order \
and their length tell you nothing.

[Prompt]
{prompt}

[Response A]
{first}

[Response B]
{second}

[Question]
Which response is better? """


def instruction(*, ties: bool, json: bool = False) -> str:
    """How the judge is told to answer: a letter, or a JSON object with a letter."""
    letters = "A, B, or C if they are equally good" if ties else "A or B"
    if json:
        return f'Reply with one JSON object, {{"winner": "letter"}}, where the letter is {letters}.'
    return f"Reply with one letter and nothing else: {letters}.\n"


def default_template(*, ties: bool, json: bool = False) -> str:
    """The question that is asked unless you bring your own. It ends in a line feed: a letter starts the next line."""
    return QUESTION + instruction(ties=ties, json=json)


def fill_template(template: str, shown: Shown, write_prompt: Callable[[str], str] = plain_text) -> str:
    """Put a comparison into a template, in one pass: braces in the texts, and any other braces, stay as they are."""
    texts = {**shown._asdict(), "prompt": write_prompt(shown.prompt)}
    return FIELDS.sub(lambda found: str(texts[found[1]]), template)


def check_template(template: str) -> str:
    """Return `template` if all three fields are in it, or say which are not."""
    absent = [name for name in Shown._fields if f"{{{name}}}" not in template]
    if absent:
        raise ValueError(
            f"the template lacks {', '.join(f'{{{name}}}' for name in absent)}; it needs {{prompt}}, {{first}} and "
            "{second}, each of which the texts of a comparison replace"
        )
    return template
