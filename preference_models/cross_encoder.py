"""One joint reading of both responses: the most expressive model, and K (K - 1) readings for a K x K matrix."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel

from preference_models import serving
from preference_models.base import PairwiseConfig, PairwiseModel
from preference_models.heads import float32_linear
from preference_models.responses import max_length, require_tokenizer
from preference_models.text import tokenize_pairs
from preference_models.token_lists import TextBatch
from rebel_pref.preferences import FloatArray, check_texts, symmetrize_logits

__all__ = ["CrossEncoderPreferenceConfig", "CrossEncoderPreferenceModel"]

BATCH_SIZE = 64  # Pairs a forward pass when serving.


class CrossEncoderPreferenceConfig(PairwiseConfig):
    """Settings of a :class:`CrossEncoderPreferenceModel`: those of :class:`PairwiseConfig`."""

    model_type = "cross_encoder_preference"


class CrossEncoderPreferenceModel(PairwiseModel):
    """``s(y, y') = (f(x, y, y') - f(x, y', y)) / 2``, where f reads "prompt <eos> y <eos> y' <eos>" as one text.

    A joint reading depends on the order; both orders averaged on the logits are skew-symmetric to the last bit, and
    an additive preference for a position cancels. How large it was says :func:`preference_models.judges.position_bias`:
    the model is a judge that answers in the order shown, too.
    """

    config_class = CrossEncoderPreferenceConfig
    gives_logits = True

    def add_heads(self, width: int) -> None:
        """See :class:`PairwiseModel`. No bias: it would cancel."""
        self.raw = nn.Linear(width, 1, bias=False)

    def forward(self, pairs: TextBatch) -> Tensor:
        """Raw logits f, float32 [P], of joint texts (:func:`preference_models.text.tokenize_pairs`), in one order."""
        raw: Tensor = float32_linear(self.raw, self.pool(pairs)).squeeze(-1) / self.config.temperature
        return raw

    def compare(self, prompts: Sequence[str], first: Sequence[str], second: Sequence[str]) -> Tensor:
        """Logits s [P] that `first` beats `second`, row by row, from both orders, with gradients.

        Either way round it is the same reading: swapped, the logits flip to the last bit.
        """
        if not len(prompts) == len(first) == len(second) or not prompts:
            raise ValueError(
                f"expected as many first and second responses as prompts, at least one; got {len(prompts)} prompts, "
                f"{len(first)} first, {len(second)} second"
            )
        less, more = zip(*(sorted(both) for both in zip(first, second, strict=True)), strict=True)
        raw: Tensor = self(self._tokenize([*prompts, *prompts], [*less, *more], [*more, *less]))
        ours, theirs = raw.split(len(prompts))
        turned = torch.tensor([one > other for one, other in zip(first, second, strict=True)], device=raw.device)
        logits: Tensor = torch.where(turned, -1.0, 1.0) * (0.5 * ours - 0.5 * theirs)
        return logits

    def raw_logits(self, prompts: Sequence[str], responses: Sequence[Sequence[str]]) -> Tensor:
        """f(x, y_i, y_j), float32 [B, K, K], in evaluation mode; 0 between equal texts, which are not read."""
        check_texts(prompts, responses)
        return self._raw(prompts, responses, responses)

    def preference_logits(
        self,
        prompts: Sequence[str],
        responses: Sequence[Sequence[str]],
        opponents: Sequence[Sequence[str]] | None = None,
    ) -> Tensor:
        """See :class:`PairwiseModel`; K (K - 1) readings, or 2 K M."""
        check_texts(prompts, responses, opponents)
        if opponents is None:
            logits: Tensor = symmetrize_logits(self._raw(prompts, responses, responses))
            return logits
        return 0.5 * self._raw(prompts, responses, opponents) - 0.5 * self._raw(prompts, opponents, responses).mT

    def judge_as_shown(self, shown: Sequence[tuple[str, str, str]]) -> FloatArray:
        """Raw logits f, float64 [N], of (prompt, first, second) in that order; equal texts are read as well.

        See :class:`preference_models.judges.OrderedJudge`.
        """
        if not shown:
            return np.empty(0)
        flat, place = self._read(shown)
        rows = torch.tensor([place[view] for view in shown], device=flat.device)
        return np.asarray(flat[rows].double().cpu().numpy())

    def _raw(self, prompts: Sequence[str], first: Sequence[Sequence[str]], second: Sequence[Sequence[str]]) -> Tensor:
        keys = [(x, a, b) for x, ours, theirs in zip(prompts, first, second, strict=True) for a in ours for b in theirs]
        # A text against itself is even and needs no reading.
        flat, place = self._read([key for key in keys if key[1] != key[2]])
        flat = torch.cat([flat, flat.new_zeros(1)])
        rows = torch.tensor([place.get(key, len(place)) for key in keys], device=self.device)
        return flat[rows].reshape(len(prompts), len(first[0]), len(second[0]))

    def _read(self, shown: Sequence[tuple[str, str, str]]) -> tuple[Tensor, dict[tuple[str, str, str], int]]:
        """Raw logits, float32, in evaluation mode, and the place of each pair in them; batched by length."""
        distinct = sorted(set(shown), key=lambda view: (sum(map(len, view)), view))
        with serving.evaluating(self):
            parts = [
                self(self._tokenize(*zip(*distinct[at : at + BATCH_SIZE], strict=True)))
                for at in range(0, len(distinct), BATCH_SIZE)
            ]
            flat = torch.cat([torch.empty(0, device=self.device), *parts])
        return flat, {view: row for row, view in enumerate(distinct)}

    def _tokenize(self, prompts: Sequence[str], first: Sequence[str], second: Sequence[str]) -> TextBatch:
        tokenizer = require_tokenizer(self)
        limit, chat = max_length(self), self.config.chat
        return tokenize_pairs(tokenizer, prompts, first, second, max_length=limit, chat=chat).to(self.device)


AutoConfig.register(CrossEncoderPreferenceConfig.model_type, CrossEncoderPreferenceConfig)
AutoModel.register(CrossEncoderPreferenceConfig, CrossEncoderPreferenceModel)
