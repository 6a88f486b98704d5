"""How large a step, how fast a magnet: numbers for rows with a magnet, from the payoffs alone, and the reasons."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from rebel_pref.algorithms import Algorithm, EMAMagnet, MagnetRule, ResetMagnet, egpo, magnetic_rebel, proximal_rebel
from rebel_pref.games.batch import GameBatch
from rebel_pref.games.contextual import ContextualGame
from rebel_pref.games.duels import DuelOracle
from rebel_pref.games.factored import FactoredGame, MatvecGame
from rebel_pref.games.game import PreferenceGame
from rebel_pref.preferences import FloatArray, PreferenceOracle
from rebel_pref.solvers.solve import solve

__all__ = ["StepSuggestion", "effective_scale", "rotation", "suggest_step"]

_WORK = 3e7
"""Sum of n^3 over games up to which L_eff is computed: one game of 310 actions, less than half a second."""
_SOLVED = 64
"""Up to this many contexts are solved for their winners."""
_PULL = 0.5
"""Largest ``eta tau``: above it a magnet at the rate ``eta tau / 2`` is not known to be stable."""

Steppable = PreferenceGame | ContextualGame | GameBatch | FactoredGame | MatvecGame | DuelOracle | PreferenceOracle


@dataclass(frozen=True)
class StepSuggestion:
    """Numbers for a row with a magnet; ``print`` it for the reasons.

    Attributes
    ----------
    step_size : eta of :func:`~rebel_pref.algorithms.magnetic_rebel`, nats per unit payoff.
    regularization : tau, payoff per nat, as it was given.
    magnet_rate : kappa of an :class:`~rebel_pref.algorithms.EMAMagnet`, a round.
    magnet_every : m of a :class:`~rebel_pref.algorithms.ResetMagnet`, rounds.
    scale : L, the largest payoff there can be.
    effective_scale : L_eff <= L, what is left of it for differences of policies; L where it is not known.
    rotation : mu, how fast play circles a winner; None where no winner was computed.
    reasons : sentences, with the formulas and the numbers.
    """

    step_size: float
    regularization: float
    magnet_rate: float
    magnet_every: int
    scale: float
    effective_scale: float
    rotation: float | None
    reasons: tuple[str, ...]

    def magnetic(self, magnet: MagnetRule | None = None) -> Algorithm:
        """`magnetic_rebel` at these numbers; its magnet moves at `magnet_rate`, unless another rule is given."""
        return magnetic_rebel(self.step_size, self.regularization, magnet=magnet or EMAMagnet(self.magnet_rate))

    def extragradient(self, magnet: MagnetRule | None = None) -> Algorithm:
        """`egpo` at ``eta = 1 / L`` (two payoff evaluations a round), with a magnet reset every ``2 / (eta tau)``.

        The row of :func:`~rebel_pref.algorithms.egpo` has the explicit form: this eta enters it as
        ``eta / (1 + eta tau)``.
        """
        eta = _PULL / self.regularization
        if self.scale > 0.0:
            eta = min(eta, 1.0 / self.scale)
        pull = eta * self.regularization
        return egpo(eta / (1.0 + pull), self.regularization, magnet=magnet or ResetMagnet(_rounds(pull)))

    def proximal(self) -> Algorithm:
        """`proximal_rebel` at step ``1 / tau`` without a magnet: the exact outer step of a magnet that is reset."""
        return proximal_rebel(1.0 / self.regularization, 0.0)

    def __str__(self) -> str:
        head = (
            f"step_size eta = {self.step_size:.6g} at regularization tau = {self.regularization:.6g}; magnet: rate "
            f"kappa = {self.magnet_rate:.4g} a round, or reset every m = {self.magnet_every} rounds"
        )
        return "\n".join([head, *(f"- {reason}" for reason in self.reasons)])


def suggest_step(game_or_oracle: Steppable, regularization: float) -> StepSuggestion:
    """Step size, magnet rate and reset period that theory allows at this regularisation.

    Parameters
    ----------
    game_or_oracle : a game of any kind; of several (a :class:`~rebel_pref.GameBatch`, the contexts of a
        :class:`~rebel_pref.ContextualGame`) the worst counts. Of a :class:`~rebel_pref.DuelOracle` or a preference
        oracle, nothing is asked: payoffs are win rates on [-1, 1], so L = 1.
    regularization : tau > 0, payoff per nat. It is the user's choice: a fixed magnet leaves up to
        ``tau log(1 / min magnet)`` of exploitability, a moving one takes it away at a speed that falls with eta tau.

    Raises
    ------
    ValueError
        For a `regularization` that is not positive and finite.
    TypeError
        For what is no game and no oracle.

    Notes
    -----
    With ``p`` the regularised equilibrium, ``KL(p || pi)`` falls by ``1 / (1 + eta tau)`` a round of `magnetic_rebel`
    if ``eta <= tau / L_eff^2`` (Sokota et al. 2022, arXiv:2206.05825, for L; differences of policies sum to 0, so
    ``L_eff = max |A_ik - A_il - A_jk + A_jl| / 4`` does), and of `egpo` in its implicit form if
    ``eta^2 L^2 <= 1 + eta tau``. Rates of a moving magnet are measured, not proved: ``rebel-pref theory``.

    >>> from rebel_pref import games
    >>> suggestion = suggest_step(games.rock_paper_scissors(1., 1., 1.), .1)
    >>> suggestion.effective_scale, round(suggestion.step_size, 4), suggestion.magnet_every
    (0.75, 0.1778, 113)
    """
    tau = _checked(regularization)
    reasons: list[str] = []
    largest, effective, mu = _scales(game_or_oracle, reasons)
    proved = tau / effective / effective if effective > 0.0 else math.inf
    eta = min(proved, _PULL / tau)
    pull = eta * tau
    if eta == proved:
        reasons.append(
            f"magnetic_rebel: eta = tau / L_eff^2 = {tau:.4g} / {effective:.4g}^2 = {eta:.4g} is the largest step at "
            f"which KL to the regularised equilibrium is proved to fall by 1 / (1 + eta tau) = {1 / (1 + pull):.6g} a "
            "round."
        )
    else:
        allowed = "any step, as nothing rotates," if math.isinf(proved) else f"tau / L_eff^2 = {proved:.4g}"
        reasons.append(
            f"magnetic_rebel: {allowed} would do; eta = {_PULL:g} / tau = {eta:.4g} keeps eta tau at {_PULL:g}, up to "
            f"which the magnet's rate is known to be stable. KL falls by 1 / (1 + eta tau) = {1 / (1 + pull):.4g} a "
            "round."
        )
    if mu is not None:
        reasons.append(_local(mu, tau))
    extragradient = f"1 / L = {1 / largest:.4g}" if largest > 0.0 else "any"
    reasons.append(
        f"egpo: eta = {extragradient}, as eta^2 L^2 <= 1 + eta tau promises the same factor (in its explicit row, "
        "eta / (1 + eta tau)). proximal_rebel: no limit."
    )
    rate, every = pull / 2.0, _rounds(pull)
    reasons.append(
        f"moving magnet: kappa = eta tau / 2 = {rate:.4g}, or a reset every m = ceil(2 / (eta tau)) = {every} rounds; "
        "a fixed one stops at the regularised equilibrium, a bias of up to tau log(1 / min magnet)."
    )
    return StepSuggestion(eta, tau, rate, every, largest, effective, mu, tuple(reasons))


def effective_scale(payoffs: FloatArray) -> float:
    """``max |A_ik - A_il - A_jk + A_jl| / 4`` of payoffs [..., n, n], the worst of several; O(n^3) a game.

    For i and j it is the range over k of ``A_ik - A_jk``, a quarter of it. ``|<A u, v>| <= L_eff |u|_1 |v|_1`` for all
    u, v that sum to 0. Scores alone (``A_ij = r_i - r_j``) have none.
    """
    worst = 0.0
    for row in range(payoffs.shape[-1] - 1):
        apart = payoffs[..., row : row + 1, :] - payoffs[..., row + 1 :, :]
        worst = max(worst, float(np.ptp(apart, axis=-1).max()))
    return worst / 4.0


def rotation(payoff: FloatArray, policy: FloatArray) -> float:
    """``mu = max |Im eig(Cov_p A)|`` with ``Cov_p = diag(p) - p p^T``: radians a unit of step around a rest."""
    turned = policy[:, None] * (payoff - policy @ payoff)
    return float(np.abs(np.linalg.eigvals(turned).imag).max())


def _scales(game: Any, reasons: list[str]) -> tuple[float, float, float | None]:
    """L, L_eff and mu, with a sentence on where they come from."""
    match game:
        case PreferenceGame():
            return _dense(game.payoff[None], "", reasons)
        case GameBatch():
            return _dense(game.payoffs, " of the worst game", reasons)
        case ContextualGame():
            return _dense(game.payoff, " of the worst context", reasons)
        case FactoredGame():
            # |u_i v_j - v_i u_j| <= |(u_i, v_i)| |(u_j, v_j)|: a bound above, where its `scale` is one below.
            norms = (game.left**2).sum(axis=1) + (game.right**2).sum(axis=1)
            largest = float(norms.max()) + float(np.ptp(game.scores))
            how = "from the norms of the factors; L_eff, which takes the whole matrix, is taken to be L"
        case MatvecGame():
            largest = game.scale
            how = "the largest payoff met in a few calls: if there are larger ones, the promise is theirs; L_eff is L"
        case DuelOracle():
            largest, how = 1.0, "verdicts lie in [-1, 1]; L_eff, which takes the whole matrix, is taken to be L"
        case _ if callable(getattr(game, "prefer", None)) and not isinstance(game, type):
            largest, how = 1.0, "payoffs 2 P - 1 lie in [-1, 1]; L_eff, which takes the whole matrix, is taken to be L"
        case _:
            raise TypeError(
                f"expected a game, a DuelOracle or a preference oracle (a `prefer` method), got {type(game).__name__}; "
                "rp.PreferenceGame.from_payoffs or .from_preferences makes a game of a matrix"
            )
    reasons.append(f"L = {largest:.4g}: {how}.")
    return largest, largest, None


def _dense(payoffs: FloatArray, whose: str, reasons: list[str]) -> tuple[float, float, float | None]:
    count, n = payoffs.shape[:2]
    largest = float(payoffs.max())  # Skew: the largest entry is the largest absolute entry.
    if count * float(n) ** 3 > _WORK:
        reasons.append(f"L = max|A|{whose} = {largest:.4g}; with {count * n} rows L_eff is taken to be L.")
        return largest, largest, None
    effective = effective_scale(payoffs)
    # What rounding leaves of scores alone is no rotation.
    effective = effective if effective > 1e-13 * largest else 0.0
    reasons.append(f"L = max|A|{whose} = {largest:.4g}, L_eff = max|A_ik - A_il - A_jk + A_jl| / 4 = {effective:.4g}.")
    return largest, effective, _rotation_at_winners(payoffs) if count <= _SOLVED else None


def _rotation_at_winners(payoffs: FloatArray) -> float | None:
    """The largest mu at the winners that `solve` finds; None if it falls short of one."""
    found = 0.0
    for payoff in payoffs:
        solution = solve(PreferenceGame.from_payoffs(payoff))
        if not solution.solved:
            return None
        found = max(found, rotation(payoff, solution.policy))
    return found


def _local(mu: float, tau: float) -> str:
    known = f"near a winner, with the magnet on it, play turns by mu = {mu:.4g} a unit of step"
    if mu <= tau:
        return f"{known}: mu <= tau, so that any step comes back to it."
    return (
        f"{known}: there tau / mu^2 = {tau / mu**2:.4g} contracts just as promised, and 2 tau / (mu^2 - tau^2) = "
        f"{2 * tau / (mu**2 - tau**2):.4g} is the step from which it diverges."
    )


def _rounds(pull: float) -> int:
    """``ceil(2 / (eta tau))``, where rounding adds no round."""
    return math.ceil(2.0 / pull * (1.0 - 1e-12))


def _checked(regularization: float) -> float:
    if isinstance(regularization, bool) or not isinstance(regularization, Real):
        raise TypeError(f"regularization must be a number, payoff per nat, got {regularization!r}")
    tau = float(regularization)
    if not 0.0 < tau < math.inf:
        raise ValueError(
            f"regularization must be positive and finite, got {regularization}: a magnet, moving or not, needs a "
            "positive one (0.2 on the scale of win rates); without any, take rp.proximal_rebel(step_size, 0.0), which "
            "has no limit on its step"
        )
    return tau
