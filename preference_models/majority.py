"""The majority of several transitive voters, which need not be transitive."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel

from preference_models.base import EmbeddingModel, PairwiseConfig
from preference_models.heads import float32_linear
from rebel_pref.preferences import FloatArray, PreferenceOracle, check_texts, checked_answer, complementary

__all__ = [
    "MajorityOracle",
    "MajorityPreferenceConfig",
    "MajorityPreferenceModel",
    "VoterScores",
    "majority_of",
]

EVEN = 1e-6
"""Win probabilities so near to 1/2 are even: logits of single precision say no more."""


@dataclass(frozen=True, eq=False)
class VoterScores:
    """Embeddings of a :class:`MajorityPreferenceModel`: what each voter thinks of each response.

    Attributes
    ----------
    scores : float32 [..., K, m].
    hard : whether a voter says who wins, or how probably.
    temperature : what the logit of the averaged votes is divided by.
    """

    scores: Tensor
    hard: bool = False
    temperature: float = 1.0

    def select(self, rows: Tensor) -> VoterScores:
        """Rows of flat embeddings [N] in any shape of index: [n] or [B, K]."""
        return VoterScores(self.scores[rows], self.hard, self.temperature)

    def concatenate(self, others: Sequence[VoterScores]) -> VoterScores:
        """Flat embeddings [N], and then the others, in one."""
        scores = torch.cat([self.scores, *(other.scores for other in others)])
        return VoterScores(scores, self.hard, self.temperature)

    def all_pairs(self, theirs: VoterScores | None = None) -> Tensor:
        """Logits [..., K, K], or against others [..., K, M]."""
        rivals = self if theirs is None else theirs
        difference = self.scores.unsqueeze(-2) - rivals.scores.unsqueeze(-3)
        if theirs is not None:
            return (self._log_share(difference) - self._log_share(-difference)) / self.temperature
        # Everything is computed once and subtracted from its own transpose: skew whatever logsumexp rounds to.
        share = self._log_share(difference) / self.temperature
        return share - share.mT

    def in_pairs(self, theirs: VoterScores) -> Tensor:
        """Logits [...] of each response against the other of the same place; swapping flips the sign bitwise."""
        difference = self.scores - theirs.scores
        return (self._log_share(difference) - self._log_share(-difference)) / self.temperature

    def _log_share(self, difference: Tensor) -> Tensor:
        """log of the average vote [...] for differences of scores [..., m]; a hard tie is half a vote."""
        if self.hard:
            return (0.5 + 0.5 * difference.detach().sign()).mean(-1).log()
        # From logarithms, so that certain voters neither overflow nor lose their gradient.
        votes = nn.functional.logsigmoid(difference)
        return votes.logsumexp(-1) - math.log(difference.shape[-1])


class MajorityPreferenceConfig(PairwiseConfig):
    """Settings of a :class:`MajorityPreferenceModel`, beside those of :class:`PairwiseConfig`.

    Attributes
    ----------
    num_voters : number m of voters; one is Bradley-Terry, three are enough for a cycle.
    vote : "soft", the mean of the voters' win probabilities, or "hard", the share of voters who prefer the response.
        Hard votes have no gradient: fit soft ones, and set this afterwards. Where all agree, their logit is infinite.
    """

    model_type = "majority_preference"

    num_voters: int = 3
    vote: str = "soft"

    def __post_init__(self, **kwargs: object) -> None:
        """Refuse what makes no sense."""
        super().__post_init__(**kwargs)
        if self.num_voters < 1:
            raise ValueError(f"num_voters must be at least 1, got {self.num_voters}")
        if self.vote not in ("soft", "hard"):
            raise ValueError(f'vote must be "soft" or "hard", got {self.vote!r}')


class MajorityPreferenceModel(EmbeddingModel):
    """``P(y > y' | x) = mean_v sigmoid(r_v(y) - r_v(y'))``: m scores on one backbone, averaged as votes.

    Every voter is transitive; their majority can be any tournament, given enough of them (McGarvey 1953). Averaged
    before the sigmoid, the scores would be one score again. Costs K encodes and m K^2 differences.
    """

    config_class = MajorityPreferenceConfig

    def add_heads(self, width: int) -> None:
        """See :class:`PairwiseModel`."""
        self.voters = nn.Linear(width, self.config.num_voters, bias=False)

    def read(self, hidden: Tensor, asked: Tensor | None, prompt_of: Tensor | None) -> VoterScores:
        """Scores [N, m] of the voters. The prompt alone is not read."""
        del asked, prompt_of
        scores = float32_linear(self.voters, hidden)
        return VoterScores(scores, self.config.vote == "hard", self.config.temperature)


@dataclass(frozen=True)
class MajorityOracle:
    """What a panel of oracles prefers; made by :func:`majority_of`."""

    models: tuple[PreferenceOracle, ...]
    weights: tuple[float, ...]
    hard: bool

    def prefer(
        self,
        prompts: Sequence[str],
        responses: Sequence[Sequence[str]],
        opponents: Sequence[Sequence[str]] | None = None,
    ) -> FloatArray:
        """Win probabilities, float64 [B, K, K or M]; see :meth:`rebel_pref.preferences.PreferenceOracle.prefer`.

        Every member is asked about everything, in turn.

        Raises
        ------
        ValueError
            If a member answers with another shape, or with something that is no probability.
        """
        rivals = check_texts(prompts, responses, opponents)
        shape = (len(prompts), len(responses[0]), len(rivals[0]))
        total, share = np.zeros(shape), np.zeros(shape)
        for place, (model, weight) in enumerate(zip(self.models, self.weights, strict=True)):
            votes = checked_answer(
                model.prefer(prompts, responses, opponents), shape, f"member {place} of the majority"
            )
            if self.hard:
                margin = votes - 0.5
                votes = 0.5 + 0.5 * np.sign(np.where(np.abs(margin) < EVEN, 0.0, margin))
            judged = ~np.isnan(votes)
            total += weight * np.where(judged, votes, 0.0)
            share += weight * judged
        mean = np.divide(total, share, out=np.full(shape, np.nan), where=share > 0.0)
        # Rounding of the weighted mean may pass the ends by a bit.
        mean = np.clip(mean, 0.0, 1.0)
        return complementary(mean) if opponents is None else mean


def majority_of(
    models: Sequence[PreferenceOracle], weights: Sequence[float] | None = None, *, vote: str = "soft"
) -> MajorityOracle:
    """One oracle out of several, by their votes.

    The mean is taken after the non-linearity: of probabilities or votes, never of scores. Three raters, each of them
    transitive, can then prefer in a cycle (Condorcet), and enough of them can give any tournament (McGarvey 1953); a
    mean of scores would be one more Bradley-Terry model.

    A member that did not answer about a pair (NaN) is left out of that pair and the weights of the others are scaled
    up; where none did, the pair is missing.

    Parameters
    ----------
    models : preference models, judges or any other oracles, at least one.
    weights : one positive weight each, None for equal ones; only ratios matter.
    vote : "soft", the mean of the win probabilities, or "hard", the share of members who prefer the response
        (a member who calls a pair even, within 1e-6, gives half a vote).
    """
    if not models:
        raise ValueError("expected at least one model, got none")
    given = [1.0] * len(models) if weights is None else [float(weight) for weight in weights]
    if len(given) != len(models) or not all(0.0 < weight < math.inf for weight in given):
        raise ValueError(f"expected {len(models)} positive weights, one a model, got {given}")
    if vote not in ("soft", "hard"):
        raise ValueError(f'vote must be "soft" or "hard", got {vote!r}')
    largest = max(given)  # Of huge weights not even the sum overflows.
    return MajorityOracle(tuple(models), tuple(weight / largest for weight in given), vote == "hard")


AutoConfig.register(MajorityPreferenceConfig.model_type, MajorityPreferenceConfig)
AutoModel.register(MajorityPreferenceConfig, MajorityPreferenceModel)
