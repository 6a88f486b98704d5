"""First arrow: which prompts a round visits, and the draws for each.

Randomness is stateless: every stream is a function of (seed, purpose, round, prompt), so what is drawn depends
neither on the number of processes nor on what ran before, and a resumed run repeats the uninterrupted one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rebel_pref.policies.policy import Policy, Rollouts

__all__ = ["prompts_of_round", "sample_responses", "stream"]

_PURPOSES = {"sample": 0, "regressed": 1, "prompts": 2}


def stream(seed: int, purpose: str, round_index: int, prompt: int = 0) -> np.random.Generator:
    """The generator of one purpose, round and prompt."""
    return np.random.default_rng([seed, _PURPOSES[purpose], round_index, prompt])


def prompts_of_round(total: int, per_round: int, round_index: int, seed: int) -> list[int]:
    """Indices of the prompts that a round visits: epochs of random order, cut into rounds; all if few."""
    if per_round >= total:
        return list(range(total))
    chosen: list[int] = []
    position = round_index * per_round
    while len(chosen) < per_round:
        epoch, offset = divmod(position, total)
        order = stream(seed, "prompts", epoch).permutation(total)
        for index in order[offset : offset + per_round - len(chosen)]:
            position += 1
            if int(index) not in chosen:  # An epoch's end may meet the same prompt at the next one's start.
                chosen.append(int(index))
    return sorted(chosen)


def sample_responses(
    policy: Policy, prompts: Sequence[str], indices: Sequence[int], count: int, round_index: int, seed: int
) -> Rollouts:
    """Draw `count` responses to each prompt in `indices` from the policy as it is now."""
    rngs = [stream(seed, "sample", round_index, index) for index in indices]
    return policy.sample([prompts[index] for index in indices], count, rngs)
