"""Discs alone, on the unit sphere: the general preference model."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel

from preference_models.base import EmbeddingModel, PairwiseConfig
from preference_models.heads import ResponseEmbeddings, float32_linear

__all__ = ["DiscPreferenceConfig", "DiscPreferenceModel"]


class DiscPreferenceConfig(PairwiseConfig):
    """Settings of a :class:`DiscPreferenceModel`, beside those of :class:`PairwiseConfig`.

    Attributes
    ----------
    num_discs : number D of discs, at least 1. Any skew-symmetric matrix of K responses fits into K / 2 of them.
    temperature : 0.1 unless set. Unit vectors and gates bound a logit by D / temperature, 1 / temperature where the
        gates are equal: at 1 the largest win probability would be 0.73.
    """

    model_type = "disc_preference"

    num_discs: int = 4
    temperature: float = 0.1

    def __post_init__(self, **kwargs: object) -> None:
        """Refuse what makes no sense."""
        super().__post_init__(**kwargs)
        if self.num_discs < 1:
            raise ValueError(
                f"num_discs must be at least 1 for a model of discs alone, got {self.num_discs}; use BradleyTerryModel"
            )


class DiscPreferenceModel(EmbeddingModel):
    """``s(y, y') = sum_l lambda_l(x) (a_l(y) b_l(y') - b_l(y) a_l(y')) / temperature``, ``|(a, b)| = 1``.

    The gate ``lambda`` is D times a softmax and reads the prompt alone. There is no scalar score: what is transitive
    has to be said by discs as well, which takes one of them or more; the hybrid has both.

    Source: Zhang et al. 2024 (2410.02197, section 3), whose vector v of a response is (a_1, b_1, a_2, b_2, ...)
    and whose operator is blockdiag(lambda_l R), R a quarter turn.
    """

    config_class = DiscPreferenceConfig

    def add_heads(self, width: int) -> None:
        """See :class:`PairwiseModel`."""
        self.discs = nn.Linear(width, 2 * self.config.num_discs, bias=False)
        self.gate = nn.Linear(width, self.config.num_discs, bias=False)

    @property
    def reads_prompt_alone(self) -> bool:
        """The gate does."""
        return True

    def read(self, hidden: Tensor, asked: Tensor | None, prompt_of: Tensor | None) -> ResponseEmbeddings:
        """D discs [N, D] from vectors of the responses [N, width] and the prompts [B, width]; all scores are 0."""
        assert asked is not None
        count = self.config.num_discs
        unit = nn.functional.normalize(float32_linear(self.discs, hidden), dim=-1)
        left, right = torch.split(unit, count, dim=-1)
        gate = count * torch.softmax(float32_linear(self.gate, asked), dim=-1)
        return ResponseEmbeddings(unit.new_zeros(len(unit)), gate[prompt_of] * left, right / self.config.temperature)


AutoConfig.register(DiscPreferenceConfig.model_type, DiscPreferenceConfig)
AutoModel.register(DiscPreferenceConfig, DiscPreferenceModel)
