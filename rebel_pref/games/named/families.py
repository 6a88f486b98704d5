"""Games of any size: random payoffs, qualities, cycles, and both together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from rebel_pref.games.factored import FactoredGame
from rebel_pref.games.game import Game, PreferenceGame
from rebel_pref.games.named.sizes import check_actions
from rebel_pref.preferences import FloatArray

__all__ = [
    "bradley_terry_game",
    "dense_game",
    "disc_game",
    "factored_disc_game",
    "hybrid_game",
    "mixed_game",
    "points_game",
    "random_game",
]


def random_game(
    actions: int = 100, distribution: Literal["uniform", "normal"] = "uniform", seed: int = 0
) -> PreferenceGame:
    """Payoffs above the diagonal drawn independently, uniform on [-1, 1] or standard normal; below, minus those.

    With probability 1 there is one minimax winner, and about half of the actions are in its support.
    """
    check_actions(actions)
    rng = np.random.default_rng(seed)
    if distribution == "uniform":
        drawn = rng.uniform(-1.0, 1.0, (actions, actions))
    elif distribution == "normal":
        drawn = rng.standard_normal((actions, actions))
    else:
        raise ValueError(f"expected distribution 'uniform' or 'normal', got {distribution!r}")
    upper = np.triu(drawn, 1)
    return PreferenceGame.from_payoffs(upper - upper.T)


def bradley_terry_game(
    scores: Sequence[float] = (3.0, 2.0, 1.0, 0.0), *, labels: Sequence[str] | None = None
) -> PreferenceGame:
    """One number an action: ``P(i beats j) = 1 / (1 + exp(s_j - s_i))``, so ``A = tanh((s_i - s_j) / 2)``.

    Transitive: the minimax winner plays the highest score, alone if it is higher than the rest. Source: Bradley and
    Terry 1952.
    """
    array = np.asarray(scores, dtype=np.float64)
    if array.ndim != 1 or len(array) == 0 or not np.isfinite(array).all():
        raise ValueError(f"expected one finite score an action, got {scores!r}")
    check_actions(len(array))
    return PreferenceGame.from_payoffs(np.tanh(0.5 * (array[:, None] - array[None, :])), labels=labels)


def hybrid_game(actions: int = 20, strength: float = 2.0, seed: int = 0) -> PreferenceGame:
    """Quality and cycle: the logit of P(i beats j) is ``s_i - s_j + strength (u_i v_j - v_i u_j)``.

    Scores s are standard normal, points (u, v) uniform on the unit disc. Strength 0 is Bradley-Terry. Source:
    multidimensional Elo, Balduzzi et al. 2018 (arXiv 1806.02643), with one disc.
    """
    check_actions(actions)
    rng = np.random.default_rng(seed)
    scores = rng.standard_normal(actions)
    u, v = _ball(rng, actions, 1)[:, 0].T
    logit = scores[:, None] - scores[None, :] + strength * (u[:, None] * v[None, :] - v[:, None] * u[None, :])
    return PreferenceGame.from_payoffs(np.tanh(0.5 * logit))


def points_game(
    points: ArrayLike, scores: ArrayLike | None = None, *, labels: Sequence[str] | None = None
) -> FactoredGame:
    """The disc game of given points: ``A = sum over discs of u_i v_j - v_i u_j``, plus ``r_i - r_j`` with scores.

    Never formed; :func:`dense_game` writes it out. A policy whose mean point is the origin wins: each disc is a
    continuous rock-paper-scissors. Source: Balduzzi et al. 2019 (arXiv 1901.08106).

    Parameters
    ----------
    points : [n, 2] in the plane, or [n, k, 2] for k discs; (u, v) last. In the unit ball of R^2k all payoffs
        (without scores) lie in [-1, 1].
    scores : r [n], or None for zeros.
    """
    array = np.asarray(points, dtype=np.float64)
    if array.ndim not in (2, 3) or array.shape[-1] != 2:
        raise ValueError(f"expected points of shape [n, 2], or [n, k, 2] for k discs, got {array.shape}")
    discs = array.reshape(len(array), -1, 2)
    return FactoredGame.from_factors(discs[..., 0], discs[..., 1], scores, labels=labels)


def factored_disc_game(actions: int = 100, discs: int = 1, seed: int = 0) -> FactoredGame:
    """A disc game by its factors (see :func:`points_game`), points uniform in the unit ball of R^(2 discs)."""
    _check_discs(actions, discs)
    return points_game(_ball(np.random.default_rng(seed), actions, discs))


def disc_game(actions: int = 100, discs: int = 1, seed: int = 0) -> PreferenceGame:
    """:func:`factored_disc_game` written out: payoffs in [-1, 1], and usually many winners."""
    check_actions(actions)
    return dense_game(factored_disc_game(actions, discs, seed))


def mixed_game(
    actions: int = 1000, discs: int = 2, offset: float = 0.5, quality: float = 0.2, seed: int = 0
) -> FactoredGame:
    """Discs off their centre and scores: cycles mixed with quality, so that few actions are in the winner.

    Points are uniform in a ball of R^(2 discs) whose centre lies `offset` radii from the origin, in a random
    direction (moved by c, a disc gains the scores that the points have against c); scores are uniform on an
    interval of length `quality`. Scaled so that all payoffs lie in [-1, 1]. Any number of actions: O(n discs) memory.

    Parameters
    ----------
    offset : distance of the centre from the origin in radii, not negative; 0 is centred.
    quality : the share of the payoff range that scores take, in [0, 1).
    """
    _check_discs(actions, discs)
    if not (np.isfinite(offset) and offset >= 0.0 and 0.0 <= quality < 1.0):
        raise ValueError(f"expected offset >= 0 and quality in [0, 1), got offset {offset} and quality {quality}")
    rng = np.random.default_rng(seed)
    direction = rng.standard_normal((discs, 2))
    points = _ball(rng, actions, discs) + offset * direction / np.linalg.norm(direction)
    scores = quality * rng.uniform(-0.5, 0.5, actions)
    # |x_i . J x_j| <= |x_i| |x_j| and no point is farther out than 1 + offset.
    return points_game(np.sqrt(1.0 - quality) / (1.0 + offset) * points, scores)


def dense_game(game: Game) -> PreferenceGame:
    """Every payoff of a game written out, O(n^2) memory: what is known by factors or by matvec becomes a matrix."""
    size = check_actions(len(game))
    return PreferenceGame.from_payoffs(game.columns(np.arange(size)), labels=game.labels)


def _check_discs(actions: int, discs: int) -> None:
    if actions < 1 or discs < 1:
        raise ValueError(f"expected at least one action and one disc, got {actions} actions and {discs} discs")


def _ball(rng: np.random.Generator, count: int, discs: int) -> FloatArray:
    """`count` points uniform in the unit ball of R^(2 discs), [count, discs, 2]."""
    points = rng.standard_normal((count, 2 * discs))
    points *= (rng.random(count) ** (0.5 / discs) / np.linalg.norm(points, axis=1))[:, None]
    return points.reshape(count, discs, 2)
