"""A softmax policy over listed responses: the trainer's theory case, exact and fast."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from rebel_pref.policies.policy import Rollouts

__all__ = ["TabularPolicy"]


class _LogSoftmaxTable(torch.nn.Module):
    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__()
        self.logits = torch.nn.Parameter(logits)

    def forward(self, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        return torch.log_softmax(self.logits, dim=-1)[rows, columns]


class TabularPolicy:
    """One logit for each response of each prompt, uniform at the start unless `logits` are given.

    Parameters
    ----------
    prompts : B strings.
    responses : B lists of n strings each, the same n for every prompt.
    logits : float tensor [B, n].
    """

    def __init__(
        self, prompts: Sequence[str], responses: Sequence[Sequence[str]], *, logits: torch.Tensor | None = None
    ) -> None:
        sizes = {len(texts) for texts in responses}
        if len(prompts) != len(responses) or len(sizes) != 1:
            raise ValueError(
                f"expected {len(prompts)} lists of the same number of responses, got {len(responses)} lists of "
                f"{sorted(sizes)}"
            )
        self.prompts = tuple(prompts)
        self.responses = tuple(tuple(texts) for texts in responses)
        start = torch.zeros(len(prompts), sizes.pop(), dtype=torch.float64) if logits is None else logits.clone()
        self.module: torch.nn.Module = _LogSoftmaxTable(start)
        self._table = self.module
        self._row = {prompt: b for b, prompt in enumerate(self.prompts)}

    @property
    def logits(self) -> torch.Tensor:
        """The parameters [B, n]."""
        return self._table.logits  # type: ignore[return-value]

    def sample(self, prompts: Sequence[str], count: int, rngs: Sequence[np.random.Generator]) -> Rollouts:
        """See :meth:`Policy.sample`."""
        index, texts, tokens = [], [], []
        with torch.no_grad():
            probabilities = torch.softmax(self.logits.double(), dim=-1).cpu().numpy()
        for b, (prompt, rng) in enumerate(zip(prompts, rngs, strict=True)):
            row = self._row[prompt]
            for action in rng.choice(probabilities.shape[1], size=count, p=probabilities[row]):
                index.append(b)
                texts.append(self.responses[row][action])
                tokens.append((int(action),))
        return Rollouts(tuple(prompts), tuple(index), tuple(texts), tuple(tokens))

    def log_probs(self, rollouts: Rollouts) -> torch.Tensor:
        """See :meth:`Policy.log_probs`."""
        device = self.logits.device
        rows = torch.tensor([self._row[rollouts.prompts[b]] for b in rollouts.prompt_index], device=device)
        columns = torch.tensor([tokens[0] for tokens in rollouts.tokens], device=device)
        result: torch.Tensor = self.module(rows, columns)
        return result

    def encode(self, prompts: Sequence[str], texts: Sequence[Sequence[str]]) -> Rollouts:
        """See :meth:`Policy.encode`."""
        index = tuple(b for b, group in enumerate(texts) for _ in group)
        flat = tuple(text for group in texts for text in group)
        place = [{text: i for i, text in enumerate(self.responses[self._row[prompt]])} for prompt in prompts]
        tokens = tuple((place[b][text],) for b, text in zip(index, flat, strict=True))
        return Rollouts(tuple(prompts), index, flat, tokens)

    def frozen_copy(self) -> TabularPolicy:
        """See :meth:`Policy.frozen_copy`."""
        twin = TabularPolicy(self.prompts, self.responses, logits=self.logits.detach())
        twin.module.requires_grad_(False)
        return twin

    def save(self, folder: Path) -> None:
        """Write ``logits.safetensors``."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file({"logits": copy.deepcopy(self.logits.detach())}, folder / "logits.safetensors")

    def load(self, folder: Path) -> None:
        """Read what :meth:`save` wrote into the present parameters."""
        with torch.no_grad():
            self.logits.copy_(load_file(folder / "logits.safetensors")["logits"])
