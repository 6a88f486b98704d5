"""Comparisons as tensors: every distinct text is tokenized once, and encoded once a batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from preference_models.comparisons import TextComparisons
from preference_models.heads import pair_logits
from preference_models.responses import PreferenceModel, TokenizedResponses, model_device
from preference_models.serving import evaluating

__all__ = ["PairReader", "PreparedComparisons", "ReadComparisons", "TokenizedComparisons", "prepare", "prompt_batches"]


PAIRS_AT_ONCE = 64
"""That a model reads without gradients."""


class PairReader(Protocol):
    """A model that reads both responses at once (a cross-encoder), and so embeds none."""

    def compare(self, prompts: Sequence[str], first: Sequence[str], second: Sequence[str]) -> Tensor:
        """Logits [P] that `first` beats `second`, row by row, with gradients."""
        ...


class PreparedComparisons(Protocol):
    """What fitting needs of N comparisons, whatever kind of model reads them.

    Attributes
    ----------
    outcome, weight : float32 [N], on the model's device.
    prompt : NumPy int64 [N], the prompt of each comparison.
    """

    outcome: Tensor
    weight: Tensor
    prompt: NDArray[np.int64]

    def pair_logits(self, model: Any, rows: Tensor) -> tuple[Any, Tensor]:
        """Embeddings of the distinct responses in comparisons `rows` [P] (None if there are none); logits [P]."""
        ...

    def logits(self, model: Any) -> Tensor:
        """Logits [N] of all comparisons, without gradients and in evaluation mode."""
        ...

    def shares(self, parts: Sequence[Tensor]) -> list[Tensor] | None:
        """What the responses of each part of a batch count in a mean over those of the batch; None without any."""
        ...


class TokenizedComparisons:
    """N comparisons of T distinct responses, on the model's device.

    Attributes
    ----------
    texts : the responses, with their prompts.
    first, second : int64 [N], the responses of each comparison.
    outcome, weight : float32 [N].
    prompt : NumPy int64 [N], the prompt of each comparison.
    """

    def __init__(
        self, model: PreferenceModel, comparisons: TextComparisons, *, share_prompt: bool | None = None
    ) -> None:
        device = model_device(model)
        first = list(zip(comparisons.prompts, comparisons.first, strict=True))
        second = list(zip(comparisons.prompts, comparisons.second, strict=True))
        place = {key: row for row, key in enumerate(dict.fromkeys(first + second))}
        self.texts = TokenizedResponses(model, list(place), share_prompt=share_prompt)
        self.first = torch.tensor([place[key] for key in first], device=device)
        self.second = torch.tensor([place[key] for key in second], device=device)
        self.outcome = torch.tensor(comparisons.outcome, dtype=torch.float32, device=device)
        self.weight = torch.tensor(comparisons.weight, dtype=torch.float32, device=device)
        self.prompt: NDArray[np.int64] = self.texts.prompt_of[self.first].cpu().numpy()

    def pair_logits(self, model: PreferenceModel, rows: Tensor) -> tuple[Any, Tensor]:
        """Embeddings of the distinct responses that comparisons `rows` [P] mention, and the logits [P]."""
        count = len(rows)
        needed, place = torch.unique(torch.cat([self.first[rows], self.second[rows]]), return_inverse=True)
        embeddings = self.texts.encode(model, needed)
        return embeddings, pair_logits(embeddings, place[:count], place[count:])

    def logits(self, model: PreferenceModel) -> Tensor:
        """Logits [N] of all comparisons, without gradients and in evaluation mode."""
        with evaluating(model):
            return pair_logits(self.texts.encode_all(model), self.first, self.second)

    def shares(self, parts: Sequence[Tensor]) -> list[Tensor]:
        """See :class:`PreparedComparisons`; a response that is read in several parts is shared between them."""
        needed = [torch.unique(torch.cat([self.first[part], self.second[part]])) for part in parts]
        readers = torch.zeros(len(self.texts), device=self.first.device)
        for rows in needed:
            readers[rows] += 1
        return [1 / (readers[rows] * (readers > 0).sum()) for rows in needed]


class ReadComparisons:
    """N comparisons for a model that reads both responses at once: nothing can be kept, each pair is read anew."""

    def __init__(self, model: PairReader, comparisons: TextComparisons) -> None:
        device = model_device(model)  # type: ignore[arg-type]
        self.comparisons = comparisons
        self.outcome = torch.tensor(comparisons.outcome, dtype=torch.float32, device=device)
        self.weight = torch.tensor(comparisons.weight, dtype=torch.float32, device=device)
        index = {prompt: row for row, prompt in enumerate(dict.fromkeys(comparisons.prompts))}
        self.prompt: NDArray[np.int64] = np.array([index[prompt] for prompt in comparisons.prompts])

    def pair_logits(self, model: PairReader, rows: Tensor) -> tuple[None, Tensor]:
        """No embeddings, and the logits [P]."""
        data, index = self.comparisons, rows.tolist()
        return None, model.compare(
            [data.prompts[i] for i in index], [data.first[i] for i in index], [data.second[i] for i in index]
        )

    def logits(self, model: PairReader) -> Tensor:
        """Logits [N] of all comparisons, without gradients and in evaluation mode."""
        with evaluating(model):
            rows = torch.arange(len(self.comparisons))
            return torch.cat([self.pair_logits(model, part)[1] for part in torch.split(rows, PAIRS_AT_ONCE)])

    def shares(self, parts: Sequence[Tensor]) -> None:
        """Nothing is embedded, so nothing is shared."""
        del parts


def prepare(model: Any, comparisons: TextComparisons, *, share_prompt: bool | None = None) -> PreparedComparisons:
    """Comparisons for a model that embeds responses, or for one that reads pairs.

    Parameters
    ----------
    share_prompt : whether the responses to a prompt share one reading of it; None where the backbone allows it and
        it saves a fifth of the tokens. A model that reads pairs shares nothing.
    """
    if hasattr(model, "encode"):
        return TokenizedComparisons(model, comparisons, share_prompt=share_prompt)
    if hasattr(model, "compare"):
        return ReadComparisons(model, comparisons)
    raise TypeError(f"expected a model with encode(...) or compare(...), got {type(model).__name__}")


def prompt_batches(
    prompt: NDArray[np.int64], *, batch_size: int, group_size: int, rng: np.random.Generator
) -> Iterator[NDArray[np.int64]]:
    """Endless batches of rows, in which rows of the same prompt travel together.

    Each pass over the data shuffles the rows of every prompt, cuts them into groups of at most `group_size`
    and packs the shuffled groups into batches of `batch_size` rows (the last of a pass may be smaller).

    Parameters
    ----------
    prompt : int64 [N], the prompt of each row.
    """
    # One stable sort rather than a scan a prompt: data of one pair a prompt has as many prompts as rows.
    _, counts = np.unique(prompt, return_counts=True)
    members = np.split(np.argsort(prompt, kind="stable"), np.cumsum(counts)[:-1])
    while True:
        groups = []
        for rows in members:
            shuffled = rng.permutation(rows)
            groups += [shuffled[start : start + group_size] for start in range(0, len(shuffled), group_size)]
        order = np.concatenate([groups[i] for i in rng.permutation(len(groups))])
        for start in range(0, len(order), batch_size):
            yield order[start : start + batch_size]
