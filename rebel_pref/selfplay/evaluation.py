"""Sixth arrow: how exploitable the policy is, and the average of the iterates, by enumeration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import torch

from rebel_pref.games.text import TextGame
from rebel_pref.policies.policy import Policy, Rollouts
from rebel_pref.preferences import FloatArray

__all__ = ["Evaluator", "TextGameEvaluator", "enumerate_policy"]


class Evaluator(Protocol):
    """Measures a policy between rounds; what it remembers is part of a checkpoint."""

    def evaluate(self, policy: Policy, round_number: int) -> Mapping[str, float]:
        """Numbers for the log; called with the start (round 0) and then after rounds."""
        ...

    def state(self) -> dict[str, FloatArray]:
        """Arrays to store."""
        ...

    def load_state(self, arrays: Mapping[str, FloatArray]) -> None:
        """Take back what :meth:`state` gave."""
        ...


@torch.no_grad()
def enumerate_policy(policy: Policy, game: TextGame, completions: Rollouts | None = None) -> list[FloatArray]:
    """Probability of every legal completion of every prompt, B arrays [n_b]; the rest is illegal text.

    `completions` are the legal ones as the policy encodes them, if they are at hand.
    """
    rollouts = completions or policy.encode(game.prompts, [one.labels for one in game.games])
    probabilities = policy.log_probs(rollouts).double().exp().cpu().numpy()
    sizes = np.cumsum([len(one) for one in game.games])[:-1]
    return [np.asarray(part) for part in np.split(probabilities, sizes)]


class TextGameEvaluator:
    """Exact exploitability on an enumerable text game, of the last and of the average iterate.

    The average is the mean of the evaluated policies, start and final among them: the mixture that draws an
    iterate first and then a completion from it. Payoff scale, against the game's true judge.

    Parameters
    ----------
    game : the game and its judge.
    snapshots : rounds whose policies are kept for a table of who beats whom.
    """

    def __init__(self, game: TextGame, *, snapshots: Sequence[int] = ()) -> None:
        self.game = game
        self.last: list[FloatArray] = []
        self.snapshots: dict[int, list[FloatArray]] = {}
        self._wanted = tuple(snapshots)
        self._total = [np.zeros(len(one)) for one in game.games]
        self._count = 0
        self._completions: Rollouts | None = None

    @property
    def average(self) -> list[FloatArray]:
        """Mean policy of each prompt, B arrays [n_b]."""
        if not self._count:
            raise ValueError("nothing was evaluated yet, so there is no average")
        return [total / self._count for total in self._total]

    def evaluate(self, policy: Policy, round_number: int) -> dict[str, float]:
        """See :meth:`Evaluator.evaluate`."""
        if self._completions is None:
            self._completions = policy.encode(self.game.prompts, [one.labels for one in self.game.games])
        self.last = enumerate_policy(policy, self.game, self._completions)
        self._total = [total + row for total, row in zip(self._total, self.last, strict=True)]
        self._count += 1
        if round_number in self._wanted:
            self.snapshots[round_number] = self.last
        return {
            "exploitability": self.game.exploitability(self.last),
            "exploitability_average": self.game.exploitability(self.average),
            "legal": float(np.mean([row.sum() for row in self.last])),
        }

    def state(self) -> dict[str, FloatArray]:
        """See :meth:`Evaluator.state`."""
        stored: dict[str, FloatArray] = {"count": np.array(float(self._count))}
        kept = {str(number): policies for number, policies in self.snapshots.items()}
        for name, policies in {"total": self._total, "last": self.last, **kept}.items():
            stored |= {f"{name}/{b}": row for b, row in enumerate(policies)}
        return stored

    def load_state(self, arrays: Mapping[str, FloatArray]) -> None:
        """See :meth:`Evaluator.load_state`."""
        groups: dict[str, dict[int, FloatArray]] = {}
        for key, row in arrays.items():
            name, _, b = key.partition("/")
            if b:
                groups.setdefault(name, {})[int(b)] = np.asarray(row)
        policies = {name: [rows[b] for b in sorted(rows)] for name, rows in groups.items()}
        self._count = int(arrays["count"])
        self._total = policies.pop("total")
        self.last = policies.pop("last", [])
        self.snapshots = {int(name): rows for name, rows in policies.items()}
