"""What the trainer needs of a policy, and the responses that pass between them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

__all__ = ["Policy", "Rollouts"]


@dataclass(frozen=True)
class Rollouts:
    """N responses to B prompts, flat, so that any part of a group may go to any batch.

    Attributes
    ----------
    prompts : B strings.
    prompt_index : N integers in [0, B), which prompt each response answers.
    texts : N strings, what a judge reads.
    tokens : N tuples of token ids, the end-of-sequence token included where the response has ended; what
        the policy's log-probability is of.
    """

    prompts: tuple[str, ...]
    prompt_index: tuple[int, ...]
    texts: tuple[str, ...]
    tokens: tuple[tuple[int, ...], ...]

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, rows: Sequence[int]) -> Rollouts:
        """The responses at `rows`; prompts that none of them answers are dropped."""
        kept = sorted({self.prompt_index[i] for i in rows})
        place = {b: k for k, b in enumerate(kept)}
        return Rollouts(
            tuple(self.prompts[b] for b in kept),
            tuple(place[self.prompt_index[i]] for i in rows),
            tuple(self.texts[i] for i in rows),
            tuple(self.tokens[i] for i in rows),
        )

    def microbatches(self, max_tokens: int) -> Iterator[list[int]]:
        """Rows in order, cut so that no part exceeds `max_tokens` padded response tokens (at least one row)."""
        part: list[int] = []
        longest = 0
        for row, tokens in enumerate(self.tokens):
            grown = max(longest, len(tokens))
            if part and grown * (len(part) + 1) > max_tokens:
                yield part
                part, grown = [], len(tokens)
            part.append(row)
            longest = grown
        if part:
            yield part


class Policy(Protocol):
    """A distribution over responses to a prompt, with parameters.

    `module` is the :class:`torch.nn.Module` that computes log-probabilities and that accelerate wraps; after
    wrapping, the wrapped module is put back in its place.
    """

    module: torch.nn.Module

    def sample(self, prompts: Sequence[str], count: int, rngs: Sequence[np.random.Generator]) -> Rollouts:
        """Draw `count` i.i.d. responses to each prompt; the randomness of prompt b is ``rngs[b]`` alone."""
        ...

    def log_probs(self, rollouts: Rollouts) -> torch.Tensor:
        """log pi(y | x) of each response in nats, float32 or wider [N]; carries gradients unless disabled."""
        ...

    def encode(self, prompts: Sequence[str], texts: Sequence[Sequence[str]]) -> Rollouts:
        """Rollouts made of given texts, as if they had been sampled."""
        ...

    def frozen_copy(self) -> Policy:
        """A copy that shares nothing and takes no gradients: a reference, a magnet or a previous policy."""
        ...

    def save(self, folder: Path) -> None:
        """Write the policy in its own format (safetensors)."""
        ...
