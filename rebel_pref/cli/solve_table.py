"""What `solve` prints for people: the winner, what every action gets against it, and how far to believe it."""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, Context, Decimal
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from rebel_pref.bootstrap import WinnerIntervals
from rebel_pref.certificates import Certificate
from rebel_pref.cli.console import PlainConsole
from rebel_pref.cli.games import ranked_actions
from rebel_pref.games import Game
from rebel_pref.preferences import FloatArray
from rebel_pref.solution import Solution

__all__ = ["print_solution"]

# Rows: the support, cut at the first number, and the next best up to the second.
_MOST_OF_SUPPORT = 100
_ROWS = 20
# A longer fraction says less than its decimals do.
_LONGEST_FRACTION = 15
# Characters that a line with intervals wants.
_WIDE = 110
_PAYOFF = "payoff against the winner"


def print_solution(game: Game, solution: Solution, intervals: WinnerIntervals | None = None, *, title: str) -> None:
    """Print a table of the best actions, the certificate, what ran and, if given, what the intervals are.

    Parameters
    ----------
    intervals : of the same actions in the same order.
    title : what the game is called.
    """
    console = PlainConsole()
    against = game.payoffs_against(solution.policy)
    ranked = ranked_actions(solution.policy, against)
    in_support = int((solution.policy > 1e-9).sum())
    shown = ranked[: max(_ROWS, min(in_support, _MOST_OF_SUPPORT))]
    table = Table(title=f"Minimax winner of {title}", title_justify="left")
    table.add_column("action", overflow="fold")
    names = [_one_line(game.labels[action]) for action in shown]
    columns = _columns(game, solution, against, shown, intervals)
    if intervals is not None and console.width < _WIDE:
        # Win rates say the same.
        columns = [column for column in columns if column[0] != _PAYOFF]
    for heading, cells in columns:
        # In a narrow terminal headings fold between words, numbers do not.
        table.add_column(heading, justify="right", min_width=max(map(len, [*cells, *heading.split()])))
    for row in zip(names, *(cells for _, cells in columns), strict=True):
        table.add_row(*row)
    console.print(table)
    if len(shown) < len(game):
        mass = float(solution.policy[ranked[len(shown) :]].sum())
        console.print(f"  and {len(game) - len(shown):,} more actions, probability {mass:.6f} together", soft_wrap=True)
    console.print(f"certificate: {solution.certificate}{_rounding(solution.certificate)}", soft_wrap=True)
    steps = "1 step" if solution.steps == 1 else f"{solution.steps} steps"
    console.print(f"method: {solution.method}, {steps}; status: {solution.status}", soft_wrap=True)
    if intervals is not None:
        left_out = f"; {intervals.unsolved} more were not solved" if intervals.unsolved else ""
        console.print(
            f"intervals: {100 * intervals.level:g} % of {intervals.replicates} bootstrap replicates{left_out}",
            soft_wrap=True,
        )
        if intervals.one_sided:
            pairs = "1 pair was" if intervals.one_sided == 1 else f"{intervals.one_sided} pairs were"
            console.print(f"caution: {pairs} won by one side every time: resampling cannot widen them", soft_wrap=True)


def _columns(
    game: Game,
    solution: Solution,
    against: FloatArray,
    shown: NDArray[np.int64],
    intervals: WinnerIntervals | None,
) -> list[tuple[str, list[str]]]:
    """Headings and cells, after the column of the actions' names."""
    columns = [("probability", [f"{share:.6f}" for share in solution.policy[shown]])]
    exact = solution.certificate.exact_policy
    if exact is not None:
        columns.append(("exact", [_fraction(exact.get(game.labels[i], Fraction(0))) for i in shown]))
    # Rounding must not print as -0.000000.
    payoffs = np.round(against[shown], 6) + 0.0
    columns.append((_PAYOFF, [f"{payoff:+.6f}" for payoff in payoffs]))
    if game.holds_win_rates:
        columns.append(("win rate", [f"{50 + 50 * payoff:.2f} %" for payoff in payoffs]))
    if intervals is not None:
        heading = f"{100 * intervals.level:g} % interval"
        shares = zip(intervals.lower[shown], intervals.upper[shown], strict=True)
        columns.insert(1, (heading, [f"{low:.3f}-{high:.3f}" for low, high in shares]))
        columns.insert(2, ("in support", [f"{100 * often:.1f} %" for often in intervals.probability_in_support[shown]]))
        bounds = 100.0 * np.stack([intervals.win_rate_lower[shown], intervals.win_rate_upper[shown]], axis=1)
        columns.append((heading, [f"{low:.1f}-{high:.1f} %" for low, high in bounds]))
    return columns


def _fraction(share: Fraction) -> str:
    """3/5, or nothing where the decimals are shorter to read."""
    text = str(share)
    return text if len(text) <= _LONGEST_FRACTION else ""


def _rounding(certificate: Certificate) -> str:
    """What rounding may have added to the exploitability that the certificate names."""
    if certificate.exact_policy is not None:
        return ""
    if math.isinf(certificate.rounding):
        return "; how far rounding is off is not known"
    # To one digit, and upwards: rounded to the nearest it might be no bound any more.
    digit = Context(prec=1, rounding=ROUND_CEILING).plus(Decimal(certificate.rounding))
    return f"; rounding is off by at most {float(digit):.1g}"


def _one_line(label: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in label).split())
