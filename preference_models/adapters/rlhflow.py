"""Pair-preference models of RLHFlow: a causal language model that is asked for A or B in a template of its own.

Layout: any causal language model of transformers, with its tokenizer and chat template; there is no head. The question
is the one message of a user, ``[CONTEXT] context [RESPONSE A] a [RESPONSE B] b``, the context a chat written with
``<turn>`` marks, and the logit is that of A less that of B as the next token, averaged over both orders. Source: the
card of ``RLHFlow/pair-preference-model-LLaMA3-8B`` (Dong et al. 2024, 2405.07863).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import torch
from transformers import AutoModelForCausalLM

from preference_models.adapters.folder import load_chat_tokenizer, load_weights, open_folder, require_causal
from preference_models.judges.local import LocalJudge
from preference_models.messages import messages_of

__all__ = ["RLHFLOW_TEMPLATE", "load_rlhflow", "rlhflow_prompt"]

LAYOUT = "an RLHFlow pair-preference model (a causal language model: config.json, *.safetensors, tokenizer)"

RLHFLOW_TEMPLATE = "[CONTEXT] \n\n<turn> user\n {prompt}\n [RESPONSE A] {first} [RESPONSE B] {second} \n"
"""The question, around a prompt of one turn or of several as :func:`rlhflow_prompt` writes them."""


def load_rlhflow(
    directory: str | os.PathLike[str],
    *,
    template: str = RLHFLOW_TEMPLATE,
    batch_size: int = 16,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
) -> LocalJudge:
    """Read a pair-preference model as a judge.

    As published, the question stands in the tokenizer's chat template without a beginning-of-sequence token. Four
    things differ from the published script: a letter counts with its spelling after a space as well, special tokens
    written out in a response are not obeyed, the two orders are averaged on the logits, not on the probabilities, and
    the answer is opened even where the template opens none unasked (that of the published models does).

    Parameters
    ----------
    template : the question, with {prompt}, {first} and {second}.
    batch_size : most questions a forward pass.
    device : where the model goes.
    dtype : of the weights; None keeps that of the checkpoint.

    Returns
    -------
    a :class:`LocalJudge`: both orders averaged on the logits, too long a question missing (NaN).

    Raises
    ------
    ValueError
        If the folder has another layout, lacks weights or a chat template, or a letter is not one token.
    """
    folder = open_folder(directory, LAYOUT)
    require_causal(folder, LAYOUT)
    tokenizer = load_chat_tokenizer(folder)
    # The name in the template is given another value; a newline after a block is not written out.
    chat_template = f"{{% set bos_token = '' %}}\n{tokenizer.get_chat_template()}"
    tokenizer.chat_template = chat_template.replace(tokenizer.bos_token, "") if tokenizer.bos_token else chat_template
    model = load_weights(AutoModelForCausalLM, folder, LAYOUT, dtype)
    return LocalJudge(
        model.to(device),
        tokenizer,
        template=template,
        write_prompt=lambda prompt: rlhflow_prompt(messages_of(prompt)),
        batch_size=batch_size,
    )


def rlhflow_prompt(messages: Sequence[Mapping[str, str]]) -> str:
    """A chat of users' and assistants' turns, the user's first and last, as a prompt for :data:`RLHFLOW_TEMPLATE`."""
    if len(messages) % 2 == 0:
        raise ValueError(f"expected a user's message, and pairs of answer and message after it, got {len(messages)}")
    turns = [message["content"] for message in messages]
    for place, message in enumerate(messages):
        expected = ("user", "assistant")[place % 2]
        if message["role"] != expected:
            raise ValueError(f"messages[{place}]: expected the role {expected!r}, got {message['role']!r}")
    text = turns[0]
    for answer, question in zip(turns[1::2], turns[2::2], strict=True):
        text += f"\n<turn> assistant\n {answer}\n<turn> user\n {question}"
    return text
