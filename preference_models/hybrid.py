"""The default model: a scalar score plus cyclic discs gated by the prompt."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel

from preference_models.base import EmbeddingModel, PairwiseConfig
from preference_models.heads import ResponseEmbeddings, float32_linear

__all__ = ["HybridPreferenceConfig", "HybridPreferenceModel"]


class HybridPreferenceConfig(PairwiseConfig):
    """Settings of a :class:`HybridPreferenceModel`, beside those of :class:`PairwiseConfig`.

    Attributes
    ----------
    num_discs : number of discs; 0 is Bradley-Terry.
    """

    model_type = "hybrid_preference"

    num_discs: int = 4

    def __post_init__(self, **kwargs: object) -> None:
        """Refuse what makes no sense."""
        super().__post_init__(**kwargs)
        if self.num_discs < 0:
            raise ValueError(f"num_discs must be 0 (Bradley-Terry) or more, got {self.num_discs}")


class HybridPreferenceModel(EmbeddingModel):
    """``s(y, y') = r(y) - r(y') + sum_l lambda_l(x) (a_l(y) b_l(y') - b_l(y) a_l(y'))``, see :mod:`heads`.

    The backbone reads "prompt <eos> response <eos>" once for each response and the prompt alone once for
    each prompt; a response is the mean of its hidden states, or the last of them, as the configuration says.
    The gate ``lambda`` is D times a softmax, so it is non-negative and sums to D, and it sees the prompt alone:
    two responses share it to the last bit.

    It is a preference oracle: ``prefer`` takes text, with the tokenizer that is saved beside the weights.
    """

    config_class = HybridPreferenceConfig

    def add_heads(self, width: int) -> None:
        """See :class:`PairwiseModel`."""
        self.score = nn.Linear(width, 1, bias=False)
        if self.config.num_discs > 0:
            self.discs = nn.Linear(width, 2 * self.config.num_discs, bias=False)
            self.gate = nn.Linear(width, self.config.num_discs, bias=False)

    @property
    def reads_prompt_alone(self) -> bool:
        """Only the gate does."""
        return bool(self.config.num_discs > 0)

    def read(self, hidden: Tensor, asked: Tensor | None, prompt_of: Tensor | None) -> ResponseEmbeddings:
        """Scores [N] and D discs [N, D] from vectors of the responses [N, width] and the prompts [B, width]."""
        temperature = self.config.temperature
        scores = float32_linear(self.score, hidden).squeeze(-1) / temperature
        discs = self.config.num_discs
        if asked is None or discs == 0:
            nothing = scores.new_zeros(len(scores), 0)
            return ResponseEmbeddings(scores, nothing, nothing)
        left, right = torch.split(float32_linear(self.discs, hidden), discs, dim=-1)
        gate = discs * torch.softmax(float32_linear(self.gate, asked), dim=-1)
        return ResponseEmbeddings(scores, gate[prompt_of] * left, right / temperature)


AutoConfig.register(HybridPreferenceConfig.model_type, HybridPreferenceConfig)
AutoModel.register(HybridPreferenceConfig, HybridPreferenceModel)
