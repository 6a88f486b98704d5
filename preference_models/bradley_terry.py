"""The transitive baseline: one score a response, ``s(y, y') = r(y) - r(y')``. It cannot express a cycle."""

from __future__ import annotations

from torch import Tensor, nn
from transformers import AutoConfig, AutoModel

from preference_models.base import EmbeddingModel, PairwiseConfig
from preference_models.heads import ResponseEmbeddings, float32_linear

__all__ = ["BradleyTerryConfig", "BradleyTerryModel"]


class BradleyTerryConfig(PairwiseConfig):
    """Settings of a :class:`BradleyTerryModel`: those of :class:`PairwiseConfig`."""

    model_type = "bradley_terry_preference"


class BradleyTerryModel(EmbeddingModel):
    """``P(y > y' | x) = sigmoid(r(x, y) - r(x, y'))``: a reward model, behind the interface of the hybrid.

    The score has no bias: differences would not see it. Source: Bradley and Terry 1952.
    """

    config_class = BradleyTerryConfig

    def add_heads(self, width: int) -> None:
        """See :class:`PairwiseModel`."""
        self.score = nn.Linear(width, 1, bias=False)

    def read(self, hidden: Tensor, asked: Tensor | None, prompt_of: Tensor | None) -> ResponseEmbeddings:
        """`scores` [N] and no discs. The prompt alone is not read."""
        del asked, prompt_of
        scores = float32_linear(self.score, hidden).squeeze(-1) / self.config.temperature
        nothing = scores.new_zeros(len(scores), 0)
        return ResponseEmbeddings(scores, nothing, nothing)


AutoConfig.register(BradleyTerryConfig.model_type, BradleyTerryConfig)
AutoModel.register(BradleyTerryConfig, BradleyTerryModel)
