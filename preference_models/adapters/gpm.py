"""General preference models (GPM): unit vectors on a causal language model, compared by a gated quarter turn.

Layout (``general-preference/GPM-*``): a causal language model of transformers with two more tensors,
``value_head.weight [2k, d]`` and ``prompt_head.weight [k, d]`` (which may be absent), tokenizer and chat template. With
v the value head of the last token, of norm 1, and lambda the gate,

    s(y, y') = sum_l lambda_l(x) (v_2l v'_2l+1 - v_2l+1 v'_2l) / tau,    P(y > y' | x) = sigmoid(s)

Source: Zhang et al. 2024 (2410.02197, section 3). That is :class:`DiscPreferenceModel` with a = (v_0, v_2, ...) and
b = (v_1, v_3, ...), and its weights become one. What differs is how text is read, which is why it has its own oracle.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor
from transformers import AutoModel, PreTrainedTokenizerBase

from preference_models import serving
from preference_models.adapters.folder import (
    load_chat_tokenizer,
    load_weights,
    open_folder,
    read_tensors,
    require_causal,
    require_tensors,
)
from preference_models.chat import ChatTemplate
from preference_models.disc import DiscPreferenceConfig, DiscPreferenceModel
from preference_models.heads import ResponseEmbeddings
from preference_models.markers import beginning
from preference_models.messages import messages_of
from preference_models.token_lists import TokenLists
from rebel_pref.preferences import FloatArray

__all__ = ["GeneralPreferenceOracle", "load_gpm"]

LAYOUT = "a general preference model (a causal language model with value_head.weight, in *.safetensors, and tokenizer)"


class GeneralPreferenceOracle:
    """A GPM that reads prompt and response as a chat: K encodes for a K x K matrix, skew to the last bit.

    The chat is written with the tokenizer's template, and its last token gives way to the end of the sequence, whose
    state is looked at; a template with nothing after the answer gets that end added. The gate looks at the last token
    of the prompt's own message. Text that does not fit is an error, never cut; special tokens written out in a text are
    not obeyed.

    Parameters
    ----------
    model : the weights. Its own ``prefer`` would read "prompt <eos> response <eos>", which it was not trained on.
    tokenizer : with a chat template and an ``eos_token``.
    batch_size : most responses a forward pass.
    """

    def __init__(self, model: DiscPreferenceModel, tokenizer: PreTrainedTokenizerBase, *, batch_size: int = 16) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        if tokenizer.eos_token_id is None:
            raise ValueError("the tokenizer has no eos_token, whose state the model is trained on; set it")
        self.model, self.tokenizer, self.batch_size = model, tokenizer, batch_size
        self._chat = ChatTemplate(tokenizer)
        # The published code tokenizes a chat like any text, which puts a beginning before the template's own.
        self._begin = beginning(tokenizer)
        self.token_ids(["prompt"], [("prompt", "response")])

    def embed(self, prompts: Sequence[str], responses: Sequence[Sequence[str]]) -> ResponseEmbeddings:
        """Embed B prompts with K responses each, [B, K]; equal texts once."""
        found = serving.embed_texts(self.model, prompts, responses, batch_size=self.batch_size, ids=self.token_ids)
        assert isinstance(found, ResponseEmbeddings)
        return found

    def prefer(
        self,
        prompts: Sequence[str],
        responses: Sequence[Sequence[str]],
        opponents: Sequence[Sequence[str]] | None = None,
    ) -> FloatArray:
        """Win probabilities, float64 [B, K, K or M]; ``P + P.T == 1`` to the last bit without `opponents`.

        See :meth:`rebel_pref.preferences.PreferenceOracle.prefer`.
        """
        theirs = None if opponents is None else self.embed(prompts, opponents)
        return serving.prefer_embedded(self.embed(prompts, responses), theirs)

    def token_ids(self, prompts: Sequence[str], texts: Sequence[tuple[str, str]]) -> tuple[TokenLists, TokenLists]:
        """Of prompts, their own messages; of texts, what is behind these: the answer's message, and the end."""
        alone = dict(zip(prompts, self._ids(map(messages_of, prompts)), strict=True))
        chats = ([*messages_of(prompt), {"role": "assistant", "content": response}] for prompt, response in texts)
        tails = []
        for (prompt, _), ids in zip(texts, self._ids(chats), strict=True):
            head = alone[prompt]
            if ids[: len(head)] != head:
                raise ValueError(
                    "the tokenizer's chat template writes a prompt alone in another way than before an answer: there "
                    "is no token in common for the gate to look at"
                )
            ids[len(ids) - bool(self._chat.closing) :] = [self.tokenizer.eos_token_id]
            tails.append(ids[len(head) :])
        return TokenLists.of(alone.values()), TokenLists.of(tails)

    def _ids(self, chats: Iterable[list[dict[str, str]]]) -> Iterator[list[int]]:
        return ([*self._begin, *ids] for ids in self._chat.ids(map(self._chat.write, chats)))


def load_gpm(
    directory: str | os.PathLike[str],
    *,
    value_head: str = "value_head.weight",
    prompt_head: str = "prompt_head.weight",
    gate: str = "softmax",
    temperature: float = 0.1,
    batch_size: int = 16,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
) -> GeneralPreferenceOracle:
    """Read a general preference model.

    Parameters
    ----------
    value_head, prompt_head : names of the two tensors. Without a prompt head every gate is 1.
    gate : "softmax", ``lambda = softmax(W h)``, as the published example computes it, or "scaled",
        ``lambda = k softmax(W h / sqrt(d))`` with d the hidden size, as in one version of the published training code.
        (That code does not divide by the norm of v, which the example does: the same signs, other probabilities.)
    temperature : tau. Published scores are not divided by it, the loss is: signs are the same, probabilities are not.
    batch_size : see :class:`GeneralPreferenceOracle`.
    device : where the model goes.
    dtype : of the language model's weights; None keeps that of the checkpoint. Heads compute in float32.

    Raises
    ------
    ValueError
        If the folder has another layout; the message names what is missing and what is there.
    """
    if gate not in ("softmax", "scaled"):
        raise ValueError(f'gate must be "softmax" or "scaled", got {gate!r}')
    folder = open_folder(directory, LAYOUT)
    require_causal(folder, LAYOUT)
    require_tensors(folder, [value_head], LAYOUT)
    names = [name for name in (value_head, prompt_head) if name in folder.files]
    heads = read_tensors(folder, names)
    values, gates = heads[value_head], heads.get(prompt_head)
    count, width = len(values) // 2, folder.config.get_text_config().hidden_size
    if values.shape != (2 * count, width) or count == 0:
        raise ValueError(
            f"{value_head} of {folder.path} has shape {list(values.shape)}, expected [2 k, {width}]: a single row is a "
            "Bradley-Terry reward model, not a general preference model"
        )
    if gates is not None and gates.shape != (count, width):
        raise ValueError(
            f"{prompt_head} of {folder.path} has shape {list(gates.shape)}, expected {[count, width]}, half the rows "
            f"of {value_head}"
        )
    tokenizer = load_chat_tokenizer(folder)
    backbone = load_weights(AutoModel, folder, LAYOUT, dtype)
    # Our gate is k softmax(...): a temperature k times as high takes the k away.
    plain = gate == "softmax" and gates is not None
    config = DiscPreferenceConfig(
        backbone_config=backbone.config,
        num_discs=count,
        temperature=count * temperature if plain else temperature,
        pooling="last",
    )
    model = DiscPreferenceModel(config, None, backbone)
    with torch.no_grad():
        model.discs.weight.copy_(torch.cat([values[0::2], values[1::2]]))
        model.gate.weight.copy_(_gate_weight(gates, model.gate.weight, plain))
    return GeneralPreferenceOracle(model.to(device).eval(), tokenizer, batch_size=batch_size)


def _gate_weight(gates: Tensor | None, like: Tensor, plain: bool) -> Tensor:
    if gates is None:
        return torch.zeros_like(like)
    return gates.float() if plain else gates.float() / float(like.shape[1]) ** 0.5
