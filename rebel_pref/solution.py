"""The answer of every solver."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rebel_pref.certificates import Certificate, certify
from rebel_pref.games.batch import GameBatch
from rebel_pref.games.contextual import ContextualGame
from rebel_pref.games.game import Game
from rebel_pref.preferences import FloatArray

__all__ = ["SOLVED", "BatchSolution", "ContextualSolution", "Solution", "support_of"]

SOLVED = "solved"


@dataclass(frozen=True, eq=False)
class Solution:
    """A policy and the proof of how good it is.

    Attributes
    ----------
    policy : float64 [n] in the order of ``game.labels``.
    support : labels with a probability above 1e-9, likeliest first.
    certificate : of `policy`, from game and policy alone; a :class:`rebel_pref.SampledCertificate`, with the same names
        and an interval, where the game could only be sampled.
    method : what ran.
    steps : iterations or rounds taken.
    status : "solved", or what fell short and what to do about it.
    settings : what the method was run with, so that the result can be reprinted.
    average_policy, average_certificate : mean of the iterates pi_1..pi_T, for learning dynamics only;
        there `policy` is the last iterate.
    """

    policy: FloatArray
    support: tuple[str, ...]
    certificate: Certificate
    method: str
    steps: int
    status: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    average_policy: FloatArray | None = None
    average_certificate: Certificate | None = None

    @property
    def solved(self) -> bool:
        """Whether the method reached its tolerance."""
        return self.status == SOLVED


@dataclass(frozen=True, eq=False)
class BatchSolution:
    """The winners of a batch of games; ``solutions[b]`` is the full :class:`Solution` of game b.

    Attributes
    ----------
    batch : the games.
    policies : float64 [B, n].
    exploitability : float64 [B], recomputed from games and policies, payoff units.
    steps : int [B], pivots.
    failures : game -> what fell short; empty where all are solved.
    settings : what the method was run with.
    """

    batch: GameBatch
    policies: FloatArray
    exploitability: FloatArray
    steps: NDArray[np.int64]
    failures: Mapping[int, str]
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def solved(self) -> bool:
        """Whether every game reached its tolerance."""
        return not self.failures

    def __getitem__(self, index: int) -> Solution:
        if not -len(self) <= index < len(self):
            raise IndexError(f"no game {index} in a batch of {len(self)}")
        index %= len(self)
        game, policy = self.batch[index], self.policies[index]
        certificate = certify(game, policy)
        return Solution(
            policy=certificate.policy,
            support=support_of(game, certificate.policy),
            certificate=certificate,
            method="pivoting",
            steps=int(self.steps[index]),
            status=self.failures.get(index, SOLVED),
            settings=self.settings,
        )

    def __len__(self) -> int:
        return len(self.policies)


@dataclass(frozen=True, eq=False)
class ContextualSolution:
    """A policy for every context of a :class:`rebel_pref.ContextualGame`.

    Attributes
    ----------
    policies, average_policies : float64 [C, n], last iterates and means of the iterates.
    certificates, average_certificates : one a context.
    exploitability, average_exploitability : means over the distribution of contexts, payoff units.
    method, steps, status, settings : as of a :class:`Solution`.
    """

    policies: FloatArray
    certificates: tuple[Certificate, ...]
    exploitability: float
    average_policies: FloatArray
    average_certificates: tuple[Certificate, ...]
    average_exploitability: float
    method: str
    steps: int
    status: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        game: ContextualGame,
        policies: FloatArray,
        average_policies: FloatArray,
        method: str,
        steps: int,
        status: str,
        settings: Mapping[str, Any],
    ) -> ContextualSolution:
        """Certify the policies of every context."""

        def certificates(table: FloatArray) -> tuple[Certificate, ...]:
            return tuple(certify(game.games[c], table[c]) for c in range(len(game)))

        return cls(
            policies,
            certificates(policies),
            game.exploitability(policies),
            average_policies,
            certificates(average_policies),
            game.exploitability(average_policies),
            method,
            steps,
            status,
            settings,
        )

    @property
    def solved(self) -> bool:
        """Whether the mean exploitability of the last iterates reached the tolerance."""
        return self.status == SOLVED


def support_of(game: Game, policy: FloatArray) -> tuple[str, ...]:
    """Labels with a probability above 1e-9, likeliest first."""
    support = np.flatnonzero(policy > 1e-9)
    order = support[np.argsort(-policy[support], kind="stable")]
    return tuple(map(game.labels.__getitem__, order.tolist()))
