"""How many comparisons it takes: to sign every pair, and to reject Bradley-Terry if what was seen is real."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rebel_pref.diagnostics.bradley_terry import bias_reduced_bradley_terry
from rebel_pref.diagnostics.nulls import NullTest, bradley_terry_statistics
from rebel_pref.diagnostics.resampling import Tallies, batches
from rebel_pref.preferences import FloatArray

__all__ = ["SampleSize", "comparisons_per_pair", "resolved_margin", "sample_size"]

_MULTIPLES = (1, 2, 4, 8, 16, 32)
_POWER = 0.8


@dataclass(frozen=True)
class SampleSize:
    """Comparisons, seen and needed.

    Attributes
    ----------
    per_pair : median over the pairs that met.
    resolved_margin : the |P - 1/2| at which so many sign every pair (:func:`resolved_margin`).
    needed : margin |P - 1/2| -> comparisons of each pair that sign all of them.
    power : times as many comparisons -> chance to reject Bradley-Terry by its deviance, if what the data show
        beyond the expected noise is real; empty where nothing is left beyond it, or the null is rejected already.
    """

    per_pair: float
    resolved_margin: float
    needed: dict[float, int]
    power: dict[int, float]

    @property
    def multiple(self) -> int | None:
        """Times as many comparisons that reject Bradley-Terry with a chance of 80 %; None where none was found."""
        return next((times for times, power in self.power.items() if power >= _POWER), None)


def comparisons_per_pair(size: int, margin: float, delta: float = 0.05) -> int:
    """Comparisons of each pair that get the signs of all pairs right with probability 1 - delta.

    ``N >= ln(n (n - 1) / delta) / (2 eps^2)`` for win rates at least eps from 1/2: Hoeffding's inequality, both tails,
    and a union bound over n (n - 1) / 2 pairs.

    Raises
    ------
    ValueError
        For fewer than two items, a margin outside (0, 1/2], a delta outside (0, 1).

    >>> comparisons_per_pair(35, 0.1)
    504
    """
    if size < 2 or not 0.0 < margin <= 0.5 or not 0.0 < delta < 1.0:
        raise ValueError(
            f"expected at least two items, a margin in (0, 1/2], delta in (0, 1); got {size}, {margin}, {delta}"
        )
    return int(np.ceil(np.log(size * (size - 1) / delta) / (2.0 * margin**2)))


def resolved_margin(size: int, comparisons: float, delta: float = 0.05) -> float:
    """The margin at which so many comparisons of each pair suffice: :func:`comparisons_per_pair` turned round."""
    return float(np.sqrt(np.log(size * (size - 1) / delta) / (2.0 * comparisons)))


def sample_size(
    tallies: Tallies, deviance: NullTest | None, *, rejected: bool, level: float, rng: np.random.Generator
) -> SampleSize:
    """What the comparisons resolve, and how many more it would take to reject Bradley-Terry.

    The alternative has the log-odds of the fit plus the residuals, shrunk until their deviance is what exceeds that
    of the null model: noise looks like an effect, and must not be planned for. 100 draws of it and of
    the null for 1, 2, 4, ... times the comparisons, up to the first with 80 % power.

    Parameters
    ----------
    deviance : the Bradley-Terry test by deviance, or None where there was no test.
    rejected : whether Bradley-Terry is rejected already.
    """
    per_pair = float(np.median(tallies.total))
    power: dict[int, float] = {}
    if deviance is not None and not rejected and deviance.observed > deviance.null_mean:
        scores, null, alternative = _alternative(tallies, 1.0 - deviance.null_mean / deviance.observed)
        for factor in _MULTIPLES:
            more = tallies.times(factor)
            high = np.quantile(_deviances(more, null, scores, rng), level)
            power[factor] = float((_deviances(more, alternative, scores, rng) > high).mean())
            if power[factor] >= _POWER:
                break
    return SampleSize(
        per_pair,
        resolved_margin(tallies.size, per_pair, 1.0 - level),
        {margin: comparisons_per_pair(tallies.size, margin, 1.0 - level) for margin in (0.2, 0.1, 0.05)},
        power,
    )


def _alternative(tallies: Tallies, share: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Bradley-Terry scores [n], their chances [P], and those with `share` of the energy of the residuals added."""
    from scipy.special import expit

    scores = bias_reduced_bradley_terry(tallies.matrix(tallies.wins, tallies.losses))
    fitted = scores[tallies.first] - scores[tallies.second]
    # Half a win on either side, placed where the fit has it, keeps an unbeaten pair's log-odds finite.
    chance = expit(fitted)
    residual = np.log((tallies.wins + chance) / (tallies.losses + 1.0 - chance)) - fitted
    return scores, chance, np.asarray(expit(fitted + np.sqrt(share) * residual))


def _deviances(tallies: Tallies, chance: FloatArray, scores: FloatArray, rng: np.random.Generator) -> FloatArray:
    drawn = [
        bradley_terry_statistics(tallies.drawn_from(chance, rng, count), scores)["deviance"]
        for count in batches(100, tallies.size)
    ]
    return np.concatenate(drawn)
