"""PairRM of LLM-Blender: a DeBERTa that reads a prompt and two candidates together.

Layout (``llm-blender/PairRM-hf``): ``config.json`` of type ``deberta-v2`` with ``source_prefix_id``,
``cand1_prefix_id``, ``cand2_prefix_id`` and ``n_tasks``; tensors ``pretrained_model.*`` (the DeBERTa) and
``head_layer.1.{weight [d, 2d], bias}``, ``head_layer.4.{weight [tasks, d], bias}``. It reads

    [CLS] <|source|> prompt [SEP] [CLS] <|candidate1|> first [SEP] [CLS] <|candidate2|> second [SEP]

(a prompt of several messages as "role: content", one a paragraph; the published conversations have another form) and
with h the hidden states of the three marks, ``f = mean over tasks of g(h_source, h_1) - g(h_source, h_2)``, g a
layer, tanh and a layer. f depends on the order, because all is read together. Source: Jiang et al. 2023 (2306.02561).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor, nn
from transformers import DebertaV2Config, DebertaV2Model, PreTrainedTokenizerBase

from preference_models.adapters.folder import (
    check_loading,
    load_tokenizer,
    open_folder,
    read_tensors,
    require_tensors,
)
from preference_models.heads import float32_linear
from preference_models.judges.orders import Shown, prefer_in_both_orders
from preference_models.judges.reading import read_by_length
from preference_models.markers import Markers, encode
from preference_models.messages import plain_text
from rebel_pref.preferences import FloatArray

__all__ = ["PairRM", "PairRMNames", "load_pairrm"]

LAYOUT = "PairRM (deberta-v2 config.json with *_prefix_id, *.safetensors, tokenizer)"
MAX_LENGTH = 2048
"""Tokens: 1224 for the prompt and 412 for each candidate, as published."""


@dataclass(frozen=True)
class PairRMNames:
    """Where the parts of the model are in the checkpoint: a prefix of tensors each.

    Attributes
    ----------
    backbone : the DeBERTa.
    hidden, output : the two layers of the head, each with a weight and a bias.
    """

    backbone: str = "pretrained_model"
    hidden: str = "head_layer.1"
    output: str = "head_layer.4"


class PairRM(nn.Module):
    """The model as an oracle: both orders of every pair, averaged on the logits.

    It is a judge in the sense of :class:`preference_models.judges.OrderedJudge`: :func:`position_bias` says how much
    the order matters. A triple that is longer than `max_length` is missing (NaN), counted in the log, and never cut
    (the published code cuts it).

    Parameters
    ----------
    backbone : reads token ids.
    tokenizer : with a ``cls_token`` and a ``sep_token``.
    tasks : outputs of the head, which are averaged.
    marks : token ids of ``<|source|>``, ``<|candidate1|>`` and ``<|candidate2|>``.
    max_length : most tokens of a triple.
    batch_size : most triples a forward pass.
    """

    gives_logits = True

    def __init__(
        self,
        backbone: DebertaV2Model,
        tokenizer: PreTrainedTokenizerBase,
        *,
        tasks: int,
        marks: tuple[int, int, int],
        max_length: int = MAX_LENGTH,
        batch_size: int = 16,
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        width = backbone.config.hidden_size
        self.backbone, self.tokenizer, self.marks = backbone, tokenizer, marks
        self.hidden, self.output = nn.Linear(2 * width, width), nn.Linear(width, tasks)
        self.max_length, self.batch_size = max_length, batch_size
        self._marks = [str(tokenizer.convert_ids_to_tokens(mark)) for mark in marks]
        self._markers = Markers(tokenizer, self._marks)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Logits f, float32 [N], of triples [N, L] of token ids, in one order."""
        states = self.backbone(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        rows = torch.arange(len(input_ids), device=input_ids.device)
        source, first, second = (states[rows, (input_ids == mark).int().argmax(1)].float() for mark in self.marks)
        difference: Tensor = self._score(source, first) - self._score(source, second)
        return difference.mean(-1)

    def prefer(
        self,
        prompts: Sequence[str],
        responses: Sequence[Sequence[str]],
        opponents: Sequence[Sequence[str]] | None = None,
    ) -> FloatArray:
        """Win probabilities, float64 [B, K, K or M], NaN where a triple did not fit.

        See :meth:`rebel_pref.preferences.PreferenceOracle.prefer`.
        """
        return prefer_in_both_orders(self, prompts, responses, opponents)

    def judge_as_shown(self, shown: Sequence[Shown]) -> FloatArray:
        """Logits f in the order shown, float64 [N]; see :class:`preference_models.judges.OrderedJudge`."""
        ids = self.token_ids(shown)
        return read_by_length(self, self._read, ids, name="triples", limit=self.max_length, batch_size=self.batch_size)

    def token_ids(self, shown: Sequence[Shown]) -> list[list[int]]:
        """Triples as they are read; special tokens and marks written out in a text are plain text."""
        start, end = self.tokenizer.cls_token_id, self.tokenizer.sep_token_id
        views = [(plain_text(view.prompt), view.first, view.second) for view in shown]
        texts = (mark + self._markers.cut(text) for view in views for mark, text in zip(self._marks, view, strict=True))
        parts = encode(self.tokenizer, texts)
        return [[token for part in islice(parts, 3) for token in (start, *part, end)] for _ in shown]

    def _read(self, tokens: Tensor, mask: Tensor) -> Tensor:
        device = self.output.weight.device
        logits: Tensor = self(tokens.to(device), mask.to(device))
        return logits

    def _score(self, source: Tensor, candidate: Tensor) -> Tensor:
        hidden = torch.tanh(float32_linear(self.hidden, torch.cat([source, candidate], -1)))
        return float32_linear(self.output, hidden)


def load_pairrm(
    directory: str | os.PathLike[str],
    *,
    names: PairRMNames | None = None,
    max_length: int = MAX_LENGTH,
    batch_size: int = 16,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
) -> PairRM:
    """Read PairRM from a folder.

    Parameters
    ----------
    names : where its parts are; None for the published names.
    max_length, batch_size : see :class:`PairRM`.
    device : where the model goes.
    dtype : of the DeBERTa's weights; None keeps that of the checkpoint. The head computes in float32.

    Raises
    ------
    ValueError
        If the folder has another layout; the message names what is missing and what is there.
    """
    names = PairRMNames() if names is None else names
    folder = open_folder(directory, LAYOUT)
    config = folder.config
    if not isinstance(config, DebertaV2Config):
        raise ValueError(f"{folder.path} holds a {config.model_type}; expected {LAYOUT}")
    keys = ("source_prefix_id", "cand1_prefix_id", "cand2_prefix_id")
    absent = [key for key in keys if not isinstance(getattr(config, key, None), int)]
    if absent:
        raise ValueError(f"{folder.path / 'config.json'} lacks {', '.join(absent)}; expected {LAYOUT}")
    head = [f"{layer}.{part}" for layer in (names.hidden, names.output) for part in ("weight", "bias")]
    require_tensors(folder, head, LAYOUT)
    prefix = f"{names.backbone}."
    body = read_tensors(folder, [name for name in folder.files if name.startswith(prefix)])
    layers = read_tensors(folder, head)

    first, second, third = (int(getattr(config, key)) for key in keys)
    tokenizer = load_tokenizer(folder)
    if max(first, second, third) >= len(tokenizer) or len({first, second, third}) < 3:
        raise ValueError(
            f"the marks of {folder.path / 'config.json'} are the tokens {first}, {second} and {third}, of which the "
            f"tokenizer's {len(tokenizer)} must hold three different ones; take the tokenizer of the same checkpoint"
        )
    ordinary = [mark for mark in (first, second, third) if mark not in tokenizer.added_tokens_decoder]
    if ordinary:
        raise ValueError(
            f"the mark {tokenizer.convert_ids_to_tokens(ordinary[0])!r} of {folder.path / 'config.json'} is an "
            "ordinary token, as any text has them; take the tokenizer of the same checkpoint"
        )
    if tokenizer.cls_token_id is None or tokenizer.sep_token_id is None:
        raise ValueError(f"the tokenizer of {folder.path} has no cls_token or no sep_token; expected {LAYOUT}")
    output = layers[head[2]]
    model = PairRM(
        DebertaV2Model(config),
        tokenizer,
        tasks=len(output),
        marks=(first, second, third),
        max_length=max_length,
        batch_size=batch_size,
    )
    state = {f"backbone.{name.removeprefix(prefix)}": tensor for name, tensor in body.items()}
    parts = ("hidden.weight", "hidden.bias", "output.weight", "output.bias")
    state |= {part: layers[name] for part, name in zip(parts, head, strict=True)}
    own = model.state_dict()
    missing = [
        f"{key.replace('backbone', names.backbone, 1)} {list(tensor.shape)}"
        for key, tensor in own.items()
        if key not in state or state[key].shape != tensor.shape
    ]
    check_loading(folder, missing, LAYOUT)
    kept = dtype or next((tensor.dtype for tensor in body.values() if tensor.is_floating_point()), torch.float32)
    model.backbone.to(kept)
    # Old checkpoints list buffers of positions, which the model makes itself.
    model.load_state_dict({key: state[key] for key in own})
    return model.to(device).eval()
