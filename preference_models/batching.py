"""Comparisons as tensors: every distinct text is tokenized once, and encoded once a batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from preference_models.comparisons import Comparisons
from preference_models.heads import pair_logits
from preference_models.packing import can_share_prompt, pack_ids
from preference_models.serving import PreferenceModel, evaluating, max_length, model_device, require_tokenizer
from preference_models.text import TokenLists, check_length, join, pad_id, prompt_ids, response_ids

__all__ = ["PairReader", "PreparedComparisons", "ReadComparisons", "TokenizedComparisons", "prepare", "prompt_batches"]


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

    def logits(self, model: Any, *, batch_size: int = 256) -> Tensor:
        """Logits [N] of all comparisons, without gradients and in evaluation mode."""
        ...

    def shares(self, parts: Sequence[Tensor]) -> list[Tensor] | None:
        """What the responses of each part of a batch count in a mean over those of the batch; None without any."""
        ...


class TokenizedComparisons:
    """N comparisons of T distinct responses to B distinct prompts, on the model's device.

    Attributes
    ----------
    heads, tails : token ids of the B prompts and the T responses.
    prompt_of : int64 [T], the prompt of each response.
    first, second : int64 [N], the responses of each comparison.
    outcome, weight : float32 [N].
    prompt : NumPy int64 [N], the prompt of each comparison.
    share_prompt : whether the responses to a prompt in a batch share one reading of it (:mod:`packing`).
    """

    def __init__(self, model: PreferenceModel, comparisons: Comparisons, *, share_prompt: bool | None = None) -> None:
        tokenizer, limit, device = require_tokenizer(model), max_length(model), model_device(model)
        chat = model.config.chat
        first = list(zip(comparisons.prompts, comparisons.first, strict=True))
        second = list(zip(comparisons.prompts, comparisons.second, strict=True))
        texts = {key: row for row, key in enumerate(dict.fromkeys(first + second))}
        prompts = {prompt: row for row, prompt in enumerate(dict.fromkeys(comparisons.prompts))}
        self.pad = pad_id(tokenizer)
        self.heads = TokenLists.of(prompt_ids(tokenizer, list(prompts), chat=chat), device)
        self.tails = TokenLists.of(response_ids(tokenizer, [text for _, text in texts], chat=chat), device)
        self.prompt_of = torch.tensor([prompts[prompt] for prompt, _ in texts], device=device)
        lengths = self.heads.lengths[self.prompt_of] + self.tails.lengths
        longest = int(lengths.argmax())
        check_length(next(islice(texts, longest, None))[0], int(lengths[longest]), limit)
        self.share_prompt = self._saves_tokens(model) if share_prompt is None else share_prompt
        self.first = torch.tensor([texts[key] for key in first], device=device)
        self.second = torch.tensor([texts[key] for key in second], device=device)
        self.outcome = torch.tensor(comparisons.outcome, dtype=torch.float32, device=device)
        self.weight = torch.tensor(comparisons.weight, dtype=torch.float32, device=device)
        self.prompt: NDArray[np.int64] = np.array([prompts[prompt] for prompt in comparisons.prompts])

    def _saves_tokens(self, model: Any) -> bool:
        """Whether reading each prompt once saves a fifth of the tokens, which a mask over longer sequences may cost."""
        backbone = getattr(model, "backbone", None)
        if backbone is None or not hasattr(model, "encode_packed") or not can_share_prompt(backbone):
            return False
        prompts, responses = len(self.heads.ids), len(self.tails.ids)
        repeated = int(self.heads.lengths[self.prompt_of].sum())
        alone = prompts if getattr(model, "reads_prompt_alone", False) else 0
        return prompts + responses < 0.8 * (alone + repeated + responses)

    def pair_logits(self, model: PreferenceModel, rows: Tensor) -> tuple[Any, Tensor]:
        """Embeddings of the distinct responses that comparisons `rows` [P] mention, and the logits [P]."""
        count = len(rows)
        needed, place = torch.unique(torch.cat([self.first[rows], self.second[rows]]), return_inverse=True)
        embeddings = self._encode(model, needed)
        return embeddings, pair_logits(embeddings, place[:count], place[count:])

    def logits(self, model: PreferenceModel, *, batch_size: int = 256) -> Tensor:
        """Logits [N] of all comparisons, without gradients and in evaluation mode."""
        with evaluating(model):
            rows = torch.arange(len(self.tails), device=self.prompt_of.device)
            first, *rest = [self._encode(model, chunk) for chunk in torch.split(rows, batch_size)]
            return pair_logits(first.concatenate(rest), self.first, self.second)

    def shares(self, parts: Sequence[Tensor]) -> list[Tensor]:
        """See :class:`PreparedComparisons`; a response that is read in several parts is shared between them."""
        needed = [torch.unique(torch.cat([self.first[part], self.second[part]])) for part in parts]
        readers = torch.zeros(len(self.tails), device=self.first.device)
        for rows in needed:
            readers[rows] += 1
        return [1 / (readers[rows] * (readers > 0).sum()) for rows in needed]

    def _encode(self, model: Any, rows: Tensor) -> Any:
        asked, prompt_of = torch.unique(self.prompt_of[rows], return_inverse=True)
        if not self.share_prompt:
            prompts = join(self.heads, asked, None, None, pad=self.pad)
            responses = join(self.heads, self.prompt_of[rows], self.tails, rows, pad=self.pad)
            return model.encode(responses, prompts, prompt_of)
        # A pack numbers responses prompt by prompt, which need not be the order of the rows.
        order = torch.argsort(prompt_of, stable=True)
        tails: list[list[list[int]]] = [[] for _ in asked]
        for tail, b in zip(self.tails.lists(rows[order]), prompt_of[order].tolist(), strict=True):
            tails[b].append(tail)
        packed = pack_ids(self.heads.lists(asked), tails, pad=self.pad)
        return model.encode_packed(packed.to(rows.device)).select(torch.argsort(order))


class ReadComparisons:
    """N comparisons for a model that reads both responses at once: nothing can be kept, each pair is read anew."""

    def __init__(self, model: PairReader, comparisons: Comparisons) -> None:
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

    def logits(self, model: PairReader, *, batch_size: int = 256) -> Tensor:
        """Logits [N] of all comparisons, without gradients and in evaluation mode."""
        with evaluating(model):  # type: ignore[arg-type]
            rows = torch.arange(len(self.comparisons))
            return torch.cat([self.pair_logits(model, part)[1] for part in torch.split(rows, batch_size)])

    def shares(self, parts: Sequence[Tensor]) -> None:
        """Nothing is embedded, so nothing is shared."""
        del parts


def prepare(model: Any, comparisons: Comparisons, *, share_prompt: bool | None = None) -> PreparedComparisons:
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
