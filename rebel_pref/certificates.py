"""Certificates: how far a policy is from a minimax winner, computed from game and policy alone.

No solver marks its own work: nothing here imports a solver.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike

from rebel_pref.games.game import Game, PreferenceGame
from rebel_pref.preferences import FloatArray

__all__ = ["Certificate", "certify", "check_policy", "exploitability", "prove", "rational_payoffs"]

_LARGEST_DENOMINATOR = 10**6


@dataclass(frozen=True)
class Certificate:
    """What the best responder gets against a policy.

    Attributes
    ----------
    exploitability : ``max_y (A pi)(y)``, payoff units, >= 0 up to rounding; 0 at a minimax winner.
    duality_gap : twice the exploitability (NashConv of the symmetric game).
    best_response : label of the action that attains it.
    best_response_win_rate : ``1/2 + exploitability / 2``; None where a payoff lies outside [-1, 1], so that
        the game is not one of win probabilities.
    rounding : rigorous bound on the rounding error of `exploitability` (Higham 2002, section 3.1); infinite where
        the game cannot bound it, 0 for a proof over the rationals.
    policy : the policy that was measured, [n].
    exact_policy : label -> probability as a fraction, where `exploitability` was proved to be 0 exactly; else None.
    """

    exploitability: float
    duality_gap: float
    best_response: str
    best_response_win_rate: float | None
    rounding: float
    policy: FloatArray = field(repr=False, compare=False)
    exact_policy: Mapping[str, Fraction] | None = field(default=None, repr=False, hash=False)

    @property
    def upper_bound(self) -> float:
        """No best responder gets more than this, rounding included."""
        return self.exploitability + self.rounding

    def verify(self, game: Game) -> bool:
        """Measure again on `game`: does the policy's best responder get what the certificate says, to its rounding?

        A dense or factored game is summed in extended precision over the support; a game behind a function is asked
        again, and must agree to `rounding`, or to nine digits of the game's scale where that is infinite. A proof over
        the rationals is repeated. False also for what is no policy of this game.
        """
        try:
            policy = check_policy(game, self.policy)
        except ValueError:
            return False
        if self.exact_policy is not None:
            place = {label: i for i, label in enumerate(game.labels)}
            if not isinstance(game, PreferenceGame) or not set(self.exact_policy) <= set(place):
                return False
            shares = {place[label]: share for label, share in self.exact_policy.items()}
            claimed = _as_floats(shares, len(game))
            return self.exploitability == 0.0 and np.array_equal(claimed, self.policy) and _is_winner(game, shares)
        if self.duality_gap != 2.0 * self.exploitability:
            return False
        worst = game.precise_payoffs_against(policy).max()
        allowed = 2.0 * self.rounding if np.isfinite(self.rounding) else 1e-9 * game.scale
        return bool(abs(worst - np.longdouble(self.exploitability)) <= allowed)

    def __str__(self) -> str:
        if self.exact_policy is not None:
            text = "exploitability exactly 0, proved over the rationals (payoffs read as short fractions)"
        else:
            text = f"exploitability {self.exploitability:.3g}, duality gap {self.duality_gap:.3g}"
        if self.best_response_win_rate is None:
            return f"{text}; the best response is {self.best_response!r}"
        rate = f"{100 * self.best_response_win_rate:.2f} %"
        return f"{text}; a best responder ({self.best_response!r}) wins {rate} against it"


def certify(game: Game, policy: ArrayLike) -> Certificate:
    """Measure how far `policy` is from a minimax winner of `game`.

    Parameters
    ----------
    policy : [n] probabilities in the order of ``game.labels``; not negative, sum 1 within 1e-6.

    Raises
    ------
    ValueError
        If `policy` has another shape, a negative or non-finite entry, or another sum.

    >>> from rebel_pref.games import rock_paper_scissors
    >>> certify(rock_paper_scissors(), [1, 0, 0]).duality_gap
    2.0
    """
    if not hasattr(game, "payoffs_against"):
        raise ValueError(f"expected a game, got a {type(game).__name__}; see PreferenceGame.from_payoffs")
    checked = check_policy(game, policy)
    checked.flags.writeable = False
    payoffs = game.payoffs_against(checked)
    best = int(payoffs.argmax())
    worst = float(payoffs[best])
    win_rate = 0.5 + 0.5 * worst if game.holds_win_rates else None
    return Certificate(worst, 2.0 * worst, game.labels[best], win_rate, float(game.rounding_bound(checked)), checked)


def prove(game: PreferenceGame, exact_policy: Mapping[int, Fraction]) -> Certificate | None:
    """Certificate of exactly 0, or None where the claim is false.

    Checks over the rationals that the shares are positive, sum to 1, and that no action gains against them, with
    payoffs read by :func:`rational_payoffs`. O(n k) operations on fractions for k shares.

    Parameters
    ----------
    exact_policy : action -> share, for the support only.
    """
    for action, share in exact_policy.items():
        if not isinstance(share, Fraction | int) or not 0 <= action < len(game):
            raise ValueError(f"a proof needs fractions for actions 0 to {len(game) - 1}, got {share!r} for {action}")
    if not _is_winner(game, exact_policy):
        return None
    policy = _as_floats(exact_policy, len(game))
    best = max(exact_policy, key=lambda action: exact_policy[action])
    named = {game.labels[action]: share for action, share in sorted(exact_policy.items())}
    win_rate = 0.5 if game.holds_win_rates else None
    return Certificate(0.0, 0.0, game.labels[best], win_rate, 0.0, policy, named)


def rational_payoffs(payoffs: FloatArray) -> list[Fraction]:
    """Payoffs as fractions: .3 is 3/10, 2/3 from counts is 2/3, and a float that is no short fraction is itself.

    A payoff x becomes the simplest fraction with a denominator up to 10^6 if that lies within ``4e-16 |x|`` of it (two
    roundings), else the dyadic fraction that the float is. ``f(-x) = -f(x)``, so a skew matrix stays skew.
    """
    result = []
    cache: dict[float, Fraction] = {}
    for value in payoffs.tolist():
        found = cache.get(value)
        if found is None:
            itself = Fraction(value)
            simple = itself.limit_denominator(_LARGEST_DENOMINATOR)
            found = simple if abs(simple - itself) <= Fraction(4, 10**16) * abs(itself) else itself
            cache[value] = found
        result.append(found)
    return result


def exploitability(game: Game, policy: ArrayLike) -> float:
    """``max_y (A pi)(y)``, payoff units: half the duality gap."""
    return certify(game, policy).exploitability


def check_policy(game: Game, policy: ArrayLike) -> FloatArray:
    """Return `policy` as float64 probabilities of the game's actions, summing to 1 exactly to rounding."""
    array = np.asarray(policy, dtype=np.float64)
    if array.shape != (len(game),):
        raise ValueError(f"expected a policy of shape ({len(game)},), one probability an action, got {array.shape}")
    total = float(array.sum())
    lowest = float(array.min())
    if not np.isfinite(total) or lowest < -1e-9:
        worst = int(np.where(np.isfinite(array), array, -np.inf).argmin())
        raise ValueError(
            f"a policy is a probability distribution, got {array[worst]} for {game.labels[worst]!r} (action {worst})"
        )
    if abs(total - 1.0) > 1e-6:
        raise ValueError(f"policy sums to {total:.8g}, expected 1 (tolerance 1e-6); divide it by its sum")
    if lowest < 0.0:
        array = np.maximum(array, 0.0)
        total = float(array.sum())
    return np.asarray(array / total)


def _as_floats(exact_policy: Mapping[int, Fraction], size: int) -> FloatArray:
    policy = np.zeros(size)
    for action, share in exact_policy.items():
        policy[action] = float(share)
    policy /= policy.sum()
    policy.flags.writeable = False
    return policy


def _is_winner(game: PreferenceGame, exact_policy: Mapping[int, Fraction]) -> bool:
    support = np.array(list(exact_policy), dtype=np.int64)
    shares = list(exact_policy.values())
    if sum(shares) != 1 or min(shares) <= 0:
        return False
    for row in game.payoff[:, support]:
        payoffs = rational_payoffs(row)
        if sum(a * share for a, share in zip(payoffs, shares, strict=True)) > 0:
            return False
    return True
