"""Comparisons as tensors: every distinct text is tokenized once, and encoded once a batch."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from preference_models.comparisons import Comparisons
from preference_models.heads import ResponseEmbeddings, pair_logits
from preference_models.serving import PreferenceModel, evaluating, max_length, model_device, require_tokenizer
from preference_models.text import tokenize

__all__ = ["TokenizedComparisons", "prompt_batches"]


class TokenizedComparisons:
    """N comparisons of T distinct responses to B distinct prompts, on the model's device.

    Attributes
    ----------
    responses, prompts : token ids of the T responses (each with its prompt) and the B prompts.
    prompt_of : int64 [T], the prompt of each response.
    first, second : int64 [N], rows of `responses`.
    outcome, weight : float32 [N].
    prompt : NumPy int64 [N], the prompt of each comparison.
    """

    def __init__(self, model: PreferenceModel, comparisons: Comparisons) -> None:
        tokenizer, limit, device = require_tokenizer(model), max_length(model), model_device(model)
        first = list(zip(comparisons.prompts, comparisons.first, strict=True))
        second = list(zip(comparisons.prompts, comparisons.second, strict=True))
        texts = {key: row for row, key in enumerate(dict.fromkeys(first + second))}
        prompts = {prompt: row for row, prompt in enumerate(dict.fromkeys(comparisons.prompts))}
        self.responses = tokenize(
            tokenizer, [prompt for prompt, _ in texts], [text for _, text in texts], max_length=limit
        ).to(device)
        self.prompts = tokenize(tokenizer, list(prompts), max_length=limit).to(device)
        self.prompt_of = torch.tensor([prompts[prompt] for prompt, _ in texts], device=device)
        self.first = torch.tensor([texts[key] for key in first], device=device)
        self.second = torch.tensor([texts[key] for key in second], device=device)
        self.outcome = torch.tensor(comparisons.outcome, dtype=torch.float32, device=device)
        self.weight = torch.tensor(comparisons.weight, dtype=torch.float32, device=device)
        self.prompt: NDArray[np.int64] = np.array([prompts[prompt] for prompt in comparisons.prompts])

    def pair_logits(self, model: PreferenceModel, rows: Tensor) -> tuple[ResponseEmbeddings, Tensor]:
        """Embeddings of the distinct responses that comparisons `rows` [P] mention, and the logits [P]."""
        count = len(rows)
        needed, place = torch.unique(torch.cat([self.first[rows], self.second[rows]]), return_inverse=True)
        embeddings = self._encode(model, needed)
        return embeddings, pair_logits(embeddings, place[:count], place[count:])

    def logits(self, model: PreferenceModel, *, batch_size: int = 256) -> Tensor:
        """Logits [N] of all comparisons, without gradients and in evaluation mode."""
        with evaluating(model):
            rows = torch.arange(len(self.responses), device=self.prompt_of.device)
            parts = [self._encode(model, chunk) for chunk in torch.split(rows, batch_size)]
            embeddings = ResponseEmbeddings(
                torch.cat([part.scores for part in parts]),
                torch.cat([part.left for part in parts]),
                torch.cat([part.right for part in parts]),
            )
            return pair_logits(embeddings, self.first, self.second)

    def _encode(self, model: PreferenceModel, rows: Tensor) -> ResponseEmbeddings:
        asked, prompt_of = torch.unique(self.prompt_of[rows], return_inverse=True)
        return model.encode(self.responses.select(rows), self.prompts.select(asked), prompt_of)


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
    members = [np.flatnonzero(prompt == b) for b in np.unique(prompt)]
    while True:
        groups = []
        for rows in members:
            shuffled = rng.permutation(rows)
            groups += [shuffled[start : start + group_size] for start in range(0, len(shuffled), group_size)]
        order = np.concatenate([groups[i] for i in rng.permutation(len(groups))])
        for start in range(0, len(order), batch_size):
            yield order[start : start + batch_size]
