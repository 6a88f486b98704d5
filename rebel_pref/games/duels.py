"""Games that can only be sampled: ask for a duel, get a noisy verdict."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rebel_pref.games.comparisons import whole_numbers
from rebel_pref.games.game import PreferenceGame
from rebel_pref.games.labels import checked_labels
from rebel_pref.preferences import FloatArray

__all__ = ["DuelOracle"]

DuelFunction = Callable[[NDArray[np.int64], NDArray[np.int64]], FloatArray]


@dataclass(eq=False)
class DuelOracle:
    """A game on n actions whose payoffs are seen one noisy duel at a time.

    Attributes
    ----------
    play : two int arrays [m] of actions -> outcomes float64 [m] in [-1, 1], the payoff of the first action: 1 won,
        -1 lost, 0 tied, or anything between. Independent given the pair, with mean A[first, second].
    size : n.
    labels : n names.
    duels : how many were played so far.
    """

    play: DuelFunction
    size: int
    labels: Sequence[str]
    duels: int = field(default=0)

    @classmethod
    def from_function(cls, play: DuelFunction, size: int, *, labels: Sequence[str] | None = None) -> DuelOracle:
        """From a vectorised function ``play(first [m], second [m]) -> outcomes [m]``."""
        if size < 1:
            raise ValueError(f"expected at least one action, got size {size}")
        return cls(play, size, checked_labels(labels, size))

    @classmethod
    def from_game(cls, game: PreferenceGame, *, seed: int) -> DuelOracle:
        """Simulated duels of a known game with payoffs in [-1, 1]: +1 with probability (1 + A) / 2, else -1."""
        if not isinstance(game, PreferenceGame):
            raise ValueError(
                f"expected a PreferenceGame, whose payoffs are at hand, got a {type(game).__name__}; take "
                "DuelOracle.from_function"
            )
        if not game.holds_win_rates:
            raise ValueError(f"duels need payoffs in [-1, 1], got max|A| = {game.scale:g}; divide the payoffs by it")
        rng = np.random.default_rng(seed)

        def play(first: NDArray[np.int64], second: NDArray[np.int64]) -> FloatArray:
            chance = 0.5 + 0.5 * game.payoff[first, second]
            return np.where(rng.random(len(first)) < chance, 1.0, -1.0)

        return cls(play, len(game), game.labels)

    def sample(self, first: NDArray[np.int64], second: NDArray[np.int64]) -> FloatArray:
        """Play m duels and count them.

        Raises
        ------
        ValueError
            For actions that are no whole numbers in 0..n-1, or not as many first as second ones; for outcomes of
            another shape, NaN, or outside [-1, 1].
        """
        first, second = whole_numbers("first", first), whole_numbers("second", second)
        if first.shape != second.shape:
            raise ValueError(f"a duel is between two actions, got {len(first)} first and {len(second)} second ones")
        for name, actions in (("first", first), ("second", second)):
            wrong = (actions < 0) | (actions >= self.size)
            if wrong.any():
                raise ValueError(f"expected actions 0 to {self.size - 1} in {name}, got {actions[wrong.argmax()]}")
        outcomes = np.asarray(self.play(first, second), dtype=np.float64)
        if outcomes.shape != first.shape or not (np.abs(outcomes) <= 1.0).all():
            raise ValueError(
                f"expected {len(first)} outcomes in [-1, 1], got shape {outcomes.shape}"
                + ("" if outcomes.size == 0 else f" with values in [{outcomes.min()}, {outcomes.max()}]")
            )
        self.duels += len(first)
        return outcomes

    def __len__(self) -> int:
        return self.size

    def __repr__(self) -> str:
        return f"DuelOracle({self.size} actions, {self.duels} duels played)"
