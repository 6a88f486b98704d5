"""What the noise and the habits of a judge cost, and what mends them: control variates, both orders, ties."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from rebel_pref import PreferenceGame, certify, solve
from rebel_pref import payoffs as estimators
from rebel_pref.games import Comparisons
from rebel_pref.preferences import payoffs_from_preferences, symmetrize_logits, symmetrize_preferences
from rebel_pref.theory.checks import Check, Scale, at_least, at_most, near
from rebel_pref.theory.enumeration import groups, verdict_patterns
from rebel_pref.theory.games import random_game
from rebel_pref.theory.group_estimators import problems

__all__ = ["checks"]

_NOISE, _ORDER, _TIES = "variance reduction", "position bias", "ties"


def checks(scale: Scale) -> list[Check]:
    """Every statement on single judgements."""
    return [*_reductions(scale), *_orders(scale), *_ties()]


def _reductions(scale: Scale) -> list[Check]:
    """Opponents judged twice over: by the judge against a few, by a cheap model against all."""
    few = bias = factor = 0.0
    gain = np.inf
    rng = np.random.default_rng([scale.seed, 13])
    names: dict[str, None] = {}
    for name, payoffs, policy in problems(scale):
        names[name] = None
        model = payoffs + 0.15 * random_game(len(policy), int(rng.integers(1 << 31))).payoff
        truth, cheap = payoffs @ policy, model @ policy
        for own in range(len(policy)):
            for count in range(1, scale.pick(5, 4)):
                rivals, chance = groups(policy, count)
                moments = np.zeros(4)
                covariance = float(policy @ (payoffs[own] * model[own]) - truth[own] * cheap[own])
                spread = float(policy @ model[own] ** 2 - cheap[own] ** 2)
                best = covariance / spread
                for opponents, weight in zip(rivals, chance, strict=True):
                    verdicts, share = verdict_patterns(payoffs[own, opponents])
                    plain = np.asarray(estimators.fresh_payoffs(verdicts[:, None, :]))[:, 0]
                    less = verdicts - best * model[own, opponents]
                    controlled = np.asarray(estimators.fresh_payoffs(less[:, None, :]))[:, 0] + best * cheap[own]
                    found = np.array([share @ plain, share @ plain**2, share @ controlled, share @ controlled**2])
                    moments += weight * found
                noise = float(moments[1] - moments[0] ** 2)
                left = float(moments[3] - moments[2] ** 2)
                few = max(few, abs(noise * count / (1.0 - truth[own] ** 2) - 1.0))
                bias = max(bias, abs(moments[2] - truth[own]))
                squared = covariance**2 / (spread * (1.0 - truth[own] ** 2))
                factor = max(factor, abs(left / noise - (1.0 - squared)))
                gain = min(gain, left / noise)
    where = ", ".join(names)
    return [
        at_most(
            _NOISE,
            "M opponents of a larger group: relative error of the variance sigma^2/M",
            where,
            few,
            1e-12,
            kind="identity",
        ),
        at_most(_NOISE, "control variate E_pi l' + mean(l - l'): bias", where, bias, 1e-12, kind="identity"),
        at_most(
            _NOISE,
            "its variance factor against 1 - corr^2, at the best coefficient cov/var",
            where,
            factor,
            1e-12,
            kind="identity",
        ),
        at_most(_NOISE, "its least variance factor", where, gain, 0.9, kind="observation"),
    ]


def _orders(scale: Scale) -> list[Check]:
    """A judge that favours the response it reads first."""
    push = 0.2
    both = 0.0
    once = mixed = np.inf
    logits = 0.0
    names: dict[str, None] = {}
    for name, payoffs, _ in problems(scale):
        names[name] = None
        mild = 0.7 * payoffs  # Chances stay inside [0, 1].
        first = 0.5 * (1.0 + mild + push)
        for i, j in zip(*np.triu_indices(len(payoffs), 1), strict=True):
            # The verdict with i read first, and the one with j read first.
            verdicts, share = verdict_patterns(2.0 * np.array([first[i, j], first[j, i]]) - 1.0)
            read = np.full((len(share), 2, 2), 0.5)
            read[:, 0, 1], read[:, 1, 0] = 0.5 * (1.0 + verdicts).T
            even = payoffs_from_preferences(symmetrize_preferences(read))
            both = max(both, abs(float(share @ even[:, 0, 1]) - mild[i, j]))
            once = min(once, abs(float(share @ verdicts[:, 0]) - mild[i, j]))
        logit = np.log1p(mild) - np.log1p(-mild)
        biased = logit + 2.0 * push
        mended = 2.0 / (1.0 + np.exp(-symmetrize_logits(biased))) - 1.0
        logits = max(logits, float(np.abs(mended - mild).max()))
        chances = payoffs_from_preferences(symmetrize_preferences(1.0 / (1.0 + np.exp(-biased))))
        mixed = min(mixed, float(np.abs(chances - mild).max()))
    where = ", ".join(f"{name} x .7" for name in names)
    return [
        at_most(
            _ORDER,
            f"added to the payoff, {push:g}: error of the mean of both orders",
            where,
            both,
            1e-12,
            kind="identity",
        ),
        near(_ORDER, "one order only: least error", where, once, push, absolute=1e-12, negative=True),
        at_most(
            _ORDER,
            "added to the logit: error of averaging logits of both orders",
            where,
            logits,
            1e-12,
            kind="identity",
        ),
        at_least(
            _ORDER,
            "added to the logit: least error of averaging win rates of both orders",
            where,
            mixed,
            1e-3,
            kind="observation",
            negative=True,
        ),
    ]


def _ties() -> list[Check]:
    """A tie is a payoff of 0; a judge's ties left out make those pairs decisive that hardly ever are."""
    table: Mapping[str, tuple[int, int, int]] = {"01": (0, 20, 80), "12": (10, 90, 0), "20": (10, 70, 20)}
    first, second = (np.array([int(pair[side]) for pair in table]) for side in range(2))
    wins, losses, ties = (np.array([row[column] for row in table.values()]) for column in range(3))
    labels = ("a", "b", "c")
    kept = PreferenceGame.from_comparisons(Comparisons(labels, first, second, wins, losses, ties))
    dropped = PreferenceGame.from_comparisons(Comparisons(labels, first, second, wins, losses, 0 * ties))
    means = np.zeros((3, 3))
    means[first, second] = (wins - losses) / (wins + losses + ties)
    error = float(np.abs(kept.payoff - (means - means.T)).max())
    worst = certify(kept, solve(dropped).policy).exploitability
    where = "three responses, ties on 80, 0 and 20 %"
    return [
        at_most(_TIES, "counted as 0: error of the payoffs", where, error, 1e-15, kind="identity"),
        at_least(
            _TIES,
            "left out: exploitability of that game's winner (payoff units)",
            where,
            worst,
            0.05,
            kind="observation",
            negative=True,
        ),
    ]
