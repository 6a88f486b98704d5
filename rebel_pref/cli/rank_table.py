"""What ``rebel-pref rank`` prints for people: the leaderboard, what each rule would cost, and what limits it."""

from __future__ import annotations

import math

from rich.table import Table

from rebel_pref.cli.console import PlainConsole
from rebel_pref.diagnostics import ELO_PER_NAT, Interval
from rebel_pref.ranking import Ranking

__all__ = ["print_ranking", "ranged", "summary_rows"]


def print_ranking(ranking: Ranking, *, title: str) -> None:
    """The sentence, the notes and the tables, to standard output."""
    console = PlainConsole()
    console.print(f"{title}: {len(ranking.items)} items", style="bold", soft_wrap=True)
    console.print(ranking.sentence, soft_wrap=True)
    for note in ranking.notes:
        console.print(f"- {note}", soft_wrap=True)
    rates = ranking.unit == "win rate"
    factor, decimals = (100.0, 1) if rates else (1.0, 3)
    table = Table(title="Leaderboard", title_justify="left")
    unit = "win rate (%)" if rates else "payoff"
    table.add_column("")
    table.add_column("item", overflow="fold")
    for heading in ("winner plays it (%)", f"{unit} against it", f"Borda {unit}", "Copeland"):
        table.add_column(heading, justify="right")
    if rates:
        table.add_column("Bradley-Terry (Elo)", justify="right")
        table.add_column("its rank", justify="right")
    for place, item in enumerate(ranking.items, start=1):
        cells = [
            ranged(item.probability, 100.0, 1),
            ranged(item.against_winner, factor, decimals),
            ranged(item.borda, factor, decimals),
            ranged(item.copeland, 1.0, 0),
        ]
        if item.bradley_terry is not None and item.bradley_terry_rank is not None:
            cells += [ranged(item.bradley_terry, ELO_PER_NAT, 0), ranged(item.bradley_terry_rank, 1.0, 0)]
        table.add_row(str(place), item.label, *cells)
    console.print()
    console.print(table)
    facts = Table(title="What each rule would choose, and the rest", title_justify="left", show_header=False)
    facts.add_column(no_wrap=True)
    facts.add_column(overflow="fold")
    for name, text in summary_rows(ranking):
        facts.add_row(name, text)
    console.print()
    console.print(facts)
    intervals = ranking.winner_intervals
    if intervals is not None:
        clusters = ranking.diagnosis.counted.clusters if ranking.diagnosis.counted is not None else None
        drawn = "the comparisons of each pair" if clusters is None else f"{clusters} whole clusters"
        console.print(
            f"[low, high]: {100 * intervals.level:g} % of {intervals.replicates} bootstrap replicates, each of {drawn} "
            "drawn again.",
            soft_wrap=True,
        )


def summary_rows(ranking: Ranking) -> list[tuple[str, str]]:
    """Name and text of what is not about one item: each rule's choice and its price, sets of winners, triads."""
    rows = []
    for rule, interval in ranking.exploitability.items():
        top = ranking.top[rule]
        names = ", ".join(top[:4]) + (f" and {len(top) - 4} more" if len(top) > 4 else "")
        price = f"exploitability {ranged(interval, 1.0, 3)}"
        if ranking.unit == "win rate":
            price += f": a best responder wins {50 + 50 * interval.estimate:.1f} %"
        rows.append((rule, f"{names}; {price}"))
    smith = ranking.smith_set
    rows += [
        ("Condorcet winner", ranking.condorcet_winner or "none"),
        (
            "Smith set",
            f"{', '.join(smith[:8])}{f' and {len(smith) - 8} more' if len(smith) > 8 else ''} ({len(smith)})",
        ),
        ("cyclic triads", f"{ranking.triads.cyclic} of {ranking.triads.decided} decided"),
    ]
    grouped = ranking.diagnosis.grouped_triads
    if grouped is not None and grouped.decided:
        share = 100 * grouped.share
        text = f"{grouped.cyclic} of {grouped.decided} decided ({share:.1f} %), over {grouped.groups} clusters"
        rows.append(("inside one cluster", text))
    return rows


def ranged(interval: Interval, factor: float, decimals: int) -> str:
    """The estimate, and the bounds in brackets where there are any: in units of 1 / `factor`."""
    numbers = [f"{factor * value + 0.0:.{decimals}f}" for value in (interval.estimate, interval.low, interval.high)]
    # What rounds to zero has no sign.
    shown = [text.lstrip("-") if float(text) == 0.0 else text for text in numbers]
    return shown[0] if math.isnan(interval.low) else f"{shown[0]} [{shown[1]}, {shown[2]}]"
