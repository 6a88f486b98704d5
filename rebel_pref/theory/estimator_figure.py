"""Figure 7: K against K - 1 inside a group, the variance of its gradient, and the K that a budget wants."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rebel_pref.theory import style
from rebel_pref.theory.budgets import (
    best_size,
    budget,
    cost,
    disjoint_moments,
    enumerated,
    group_moments,
    prompts,
    variance,
)
from rebel_pref.theory.checks import Scale
from rebel_pref.theory.games import random_game
from rebel_pref.theory.group_estimators import inflation

__all__ = ["draw"]

_RIGHT, _WRONG, _THIRD = style.COLOURS["proximal_rebel"], style.COLOURS["rebel"], style.COLOURS["inpo"]


def draw(scale: Scale, out: Path) -> None:
    """Save ``theory_07_estimators``."""
    figure, (bias, noise, best) = style.panels(
        1, 3, title="Payoffs from groups of K responses: every draw and every verdict enumerated", width=3.9
    )
    payoffs, policy = random_game(3, 0).payoff, np.array([0.5, 0.3, 0.2])

    sizes = np.arange(2, scale.pick(8, 6))
    factors = {shift: [inflation(payoffs, policy, size, size - shift)[0] for size in sizes] for shift in (0, 1)}
    fine = np.linspace(1.75, sizes[-1] + 0.25, 200)
    bias.plot(fine, fine / (fine - 1.0), color=style.BOUND, linewidth=0.9)
    bias.annotate("factor K / (K - 1)", (2.3, 1.95), fontsize=style.SMALL, color=style.BOUND)
    bias.bar(sizes - 0.17, factors[1], 0.32, color=_WRONG, label="sums over K - 1")
    bias.bar(sizes + 0.17, factors[0], 0.32, color=_RIGHT, label="sums over K")
    bias.axhline(1.0, color=style.BOUND, linewidth=0.9)
    bias.set(xlabel="group size K", ylabel="factor on the step size", xticks=sizes, ylim=(0.0, 2.5))
    bias.set_title("pairs regressed inside their group", fontsize=style.TEXT, loc="left")

    scores = np.array([1.0, -0.5, -1.5])
    scores = scores - scores @ policy
    game, shared, shared_scores = prompts(1.0)
    first = type(game).from_payoffs(payoffs[None])
    parts = budget(first, policy, scores)
    many = np.arange(2.0, 17.0)
    dots = np.arange(2, scale.pick(6, 5))
    moments = [group_moments(payoffs, policy, scores, int(size)) for size in dots]
    found = np.array([square - mean**2 for mean, square in moments])
    noise.plot(many, many * variance(parts.one, parts.two, many), color=style.BOUND, linewidth=0.9, label="formulas")
    noise.plot(dots, dots * found, "o", color=_RIGHT, markersize=5, label="all pairs, enumerated")
    mean, square = disjoint_moments(payoffs, policy, scores)
    apart = [2.0 * found[0], 4.0 * (square - mean**2)]
    noise.plot(many, np.full(len(many), 2.0 * parts.two), color=style.BOUND, linewidth=0.9)
    noise.plot([2, 4], apart, "s", color=_WRONG, markersize=5, label="disjoint pairs, enumerated")
    noise.axhline(4.0 * parts.one, color=style.BOUND, linewidth=0.9, linestyle=":", label="limit, 4 zeta1")
    noise.set(xlabel="group size K", ylabel="K x variance of the gradient", ylim=(0.0, None))
    noise.set_title("what a generation is worth", fontsize=style.TEXT, loc="left")

    for strength, colour in zip((1.0, 0.6, 0.4), (_WRONG, _THIRD, _RIGHT), strict=True):
        game, shared, shared_scores = prompts(strength)
        parts = budget(game, shared, shared_scores)
        star = best_size(parts)
        span = np.linspace(2.0, 40.0, 400)
        label = f"payoffs x {strength:g}: K* = {star:.1f}"
        best.plot(span, cost(parts, span), color=colour, linewidth=1.5, label=label)
        best.plot(dots, [enumerated(game, shared, shared_scores, int(size)) for size in dots], "o", color=colour,
                  markersize=4)  # fmt: skip
        best.plot([star], cost(parts, star), "v", color=style.BOUND, markersize=6)
    best.set_xscale("log")
    best.set_xticks([2, 4, 8, 16, 32], ["2", "4", "8", "16", "32"])
    best.minorticks_off()
    best.set(xlabel="group size K", ylabel="variance x generations")
    best.set_title("variance at a fixed number of generations", fontsize=style.TEXT, loc="left")
    for axis in (bias, noise, best):
        axis.legend(fontsize=style.SMALL, frameon=False)
    style.save(figure, out, "theory_07_estimators")
