"""A diagnosis in words: the verdict, a report of plain text, and a dict for JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rebel_pref.diagnostics.bradley_terry import ELO_PER_NAT
from rebel_pref.diagnostics.nulls import BRADLEY_TERRY, TRANSITIVE, NullTest
from rebel_pref.diagnostics.tournaments import TournamentSolutions
from rebel_pref.diagnostics.triads import Triads

if TYPE_CHECKING:
    from rebel_pref.diagnostics.diagnosis import Diagnosis

__all__ = ["as_dict", "as_text", "sections", "verdict"]

_NAMED = 8


def verdict(
    triads: Triads,
    solutions: TournamentSolutions,
    tests: Sequence[NullTest],
    cycle: Sequence[str],
    *,
    counted: bool,
    untested: str,
    level: float,
) -> str:
    """The sentence for people.

    It says that preferences cycle where every transitive model is rejected, each null model at `level` after Holm's
    correction over its statistics; rejecting Bradley-Terry alone is said, and is no cycle. For data of a
    Bradley-Terry model either rejection is an error of probability at most `level`.

    Parameters
    ----------
    cycle : the cycle with the most evidence for its weakest link.
    counted : whether there are comparisons to test.
    untested : why they were not tested.
    """
    seen = f"{triads.cyclic} of {triads.decided} decided triads {'is' if triads.cyclic == 1 else 'are'} cyclic"
    if not counted:
        best = solutions.condorcet_winner
        winner = "no action beats all others" if best is None else f"{best} beats all others"
        return f"These payoffs are exact, so there is nothing to test: {seen}, and {winner}."
    if not tests:
        return f"These comparisons were not tested ({untested}): {seen}, which alone is no evidence of a cycle."
    p = {null: min(test.adjusted for test in tests if test.null == null) for null in (BRADLEY_TERRY, TRANSITIVE)}
    order = f"p = {p[TRANSITIVE]:.2g}"
    if p[TRANSITIVE] <= level:
        link = next(test for test in tests if test.statistic == "strongest cycle")
        if link.adjusted <= level:
            return f"These comparisons reject every transitive model ({order}): {' > '.join([*cycle, cycle[0]])}."
        return (
            f"These comparisons reject every transitive model ({order}): preferences cycle, though no single cycle "
            "is certain."
        )
    if p[BRADLEY_TERRY] <= level:
        return (
            f"These comparisons do not reject a transitive model ({order}), but they reject Bradley-Terry "
            f"(p = {p[BRADLEY_TERRY]:.2g}): one score an item is too simple, and a cycle is not shown."
        )
    chance = next(test for test in tests if test.statistic == "cyclic triads")
    return (
        f"These comparisons do not reject a transitive model ({order}), nor Bradley-Terry "
        f"(p = {p[BRADLEY_TERRY]:.2g}): {seen}, where chance alone makes {chance.null_mean:.0f}."
    )


def sections(diagnosis: Diagnosis) -> list[tuple[str, list[tuple[str, str]]]]:
    """Headings, each with rows of a name and what was found; intervals in brackets."""
    found = [
        ("Comparisons", _counted_rows(diagnosis)),
        ("Triads", _triad_rows(diagnosis)),
        ("Hodge decomposition and discs", _hodge_rows(diagnosis)),
        ("Sets of winners", _set_rows(diagnosis)),
        ("Stochastic transitivity", _transitivity_rows(diagnosis)),
        ("Exploitability of a choice", _choice_rows(diagnosis)),
        ("Null tests", _test_rows(diagnosis)),
        ("Sample size", _size_rows(diagnosis)),
    ]
    return [(heading, rows) for heading, rows in found if rows]


def as_text(diagnosis: Diagnosis) -> str:
    """The verdict and every section, one fact a line."""
    lines = [diagnosis.sentence]
    for heading, rows in sections(diagnosis):
        width = max(len(name) for name, _ in rows)
        lines += ["", heading, *(f"  {name:<{width}}  {value}" for name, value in rows)]
    return "\n".join(lines)


def as_dict(diagnosis: Diagnosis) -> dict[str, Any]:
    """Plain values only; a number that is not finite becomes None."""
    hodge, spectrum = diagnosis.hodge, diagnosis.spectrum
    scores = diagnosis.bradley_terry
    size = diagnosis.sample_size
    parts: dict[str, Any] = {
        "sentence": diagnosis.sentence,
        "actions": len(diagnosis.labels),
        "counted": None if diagnosis.counted is None else vars(diagnosis.counted),
        "triads": {
            "cyclic": diagnosis.triads.cyclic,
            "decided": diagnosis.triads.decided,
            "total": diagnosis.triads.total,
            "share": diagnosis.triads.share,
            "consistency": diagnosis.triads.consistency,
            "strongest": [vars(cycle) for cycle in diagnosis.triads.strongest],
        },
        "grouped_triads": None if diagnosis.grouped_triads is None else vars(diagnosis.grouped_triads),
        "hodge": {
            "flow": hodge.flow,
            "total": hodge.total,
            "gradient": hodge.gradient,
            "curl": hodge.curl,
            "harmonic": hodge.harmonic,
            "potential": dict(zip(diagnosis.labels, hodge.potential.tolist(), strict=True)),
        },
        "spectrum": {
            "strengths": spectrum.strengths.tolist(),
            "effective_discs": spectrum.effective_discs,
            "cyclic_strengths": spectrum.cyclic_strengths.tolist(),
            "effective_cyclic_discs": spectrum.effective_cyclic_discs,
        },
        "solutions": vars(diagnosis.solutions),
        "transitivity": {
            "chains": diagnosis.transitivity.chains,
            "weak": vars(diagnosis.transitivity.weak),
            "moderate": vars(diagnosis.transitivity.moderate),
            "strong": vars(diagnosis.transitivity.strong),
        },
        "choices": {
            choice.rule: {"actions": choice.actions, "exploitability": choice.exploitability}
            for choice in diagnosis.choices
        },
        "bradley_terry": None if scores is None else dict(zip(diagnosis.labels, scores.tolist(), strict=True)),
        "tests": [vars(test) for test in diagnosis.tests],
        "tested_cycle": diagnosis.tested_cycle,
        "intervals": {name: vars(interval) for name, interval in diagnosis.intervals.items()},
        "sample_size": None
        if size is None
        else {
            "per_pair": size.per_pair,
            "resolved_margin": size.resolved_margin,
            "needed": {str(margin): number for margin, number in size.needed.items()},
            "power": {str(times): power for times, power in size.power.items()},
        },
        "status": diagnosis.status,
        "settings": dict(diagnosis.settings),
    }
    plain: dict[str, Any] = _plain(parts)
    return plain


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _counted_rows(diagnosis: Diagnosis) -> list[tuple[str, str]]:
    counted = diagnosis.counted
    if counted is None:
        return []
    clusters = "every comparison independent" if counted.clusters is None else f"{counted.clusters} clusters"
    return [
        ("comparisons", f"{counted.comparisons:g}, {counted.ties:g} of them ties; {clusters}"),
        ("pairs that met", f"{counted.pairs} of {counted.possible_pairs}"),
        ("comparisons of a pair", f"median {counted.median:g}, fewest {counted.fewest:g}"),
    ]


def _triad_rows(diagnosis: Diagnosis) -> list[tuple[str, str]]:
    found = diagnosis.triads
    rows = [
        (
            "cyclic",
            f"{found.cyclic} of {found.decided} decided ({found.total} in all){_range(diagnosis, 'cyclic triads')}",
        ),
    ]
    if found.decided:
        interval = _range(diagnosis, "share of decided triads", percent=True)
        rows.append(("share", f"{100 * found.share:.2f} %{interval}; fair coins make 25 %"))
    rows.append(("consistency (zeta)", f"{found.consistency:.4f}{_range(diagnosis, 'consistency')}"))
    grouped = diagnosis.grouped_triads
    if grouped is not None and grouped.decided:
        rows.append(
            (
                "inside one cluster",
                f"{grouped.cyclic} of {grouped.decided} decided cyclic ({100 * grouped.share:.2f} %), added up over "
                f"{grouped.with_triads} of {grouped.groups} clusters",
            )
        )
    for test in diagnosis.tests:
        if test.statistic == "cyclic triads":
            rows.append(("beyond chance", f"{test.observed - test.null_mean:+.1f}, of Bradley-Terry's own noise"))
    for number, cycle in enumerate(found.strongest, start=1):
        worth = ", ".join(f"{payoff:.3g}" for payoff in cycle.payoffs)
        rows.append((f"cycle {number}", f"{' > '.join([*cycle.actions, cycle.actions[0]])}  (payoffs {worth})"))
    return rows


def _hodge_rows(diagnosis: Diagnosis) -> list[tuple[str, str]]:
    hodge, spectrum = diagnosis.hodge, diagnosis.spectrum
    cyclic = _range(diagnosis, "cyclic share of energy", percent=True)
    return [
        ("flow", f"{hodge.flow}, energy {hodge.total:.4g}"),
        ("gradient (scores)", f"{100 * hodge.share(hodge.gradient):.2f} %"),
        ("curl (triangles)", f"{100 * hodge.share(hodge.curl):.2f} %"),
        ("harmonic (longer loops)", f"{100 * hodge.share(hodge.harmonic):.2f} %"),
        ("curl and harmonic", f"{100 * hodge.share(hodge.curl + hodge.harmonic):.2f} %{cyclic}"),
        ("effective discs", f"{spectrum.effective_discs:.2f}{_range(diagnosis, 'effective discs')}"),
        (
            "without the scores",
            f"{spectrum.effective_cyclic_discs:.2f}{_range(diagnosis, 'effective cyclic discs')}; "
            f"strengths {', '.join(f'{mu:.3g}' for mu in spectrum.cyclic_strengths[:4])}",
        ),
    ]


def _set_rows(diagnosis: Diagnosis) -> list[tuple[str, str]]:
    sets = diagnosis.solutions
    several = "; of several winners"
    return [
        ("Condorcet winner", sets.condorcet_winner or "none"),
        ("Condorcet loser", sets.condorcet_loser or "none"),
        ("Smith set", _names(sets.smith_set) + _range(diagnosis, "size of the Smith set", unit="of size ")),
        ("uncovered set", _names(sets.uncovered_set)),
        ("bipartisan set", _names(sets.bipartisan_set) + ("" if sets.bipartisan_unique else several)),
        ("essential set", _names(sets.essential_set) + ("" if sets.essential_unique else several)),
    ]


def _transitivity_rows(diagnosis: Diagnosis) -> list[tuple[str, str]]:
    found = diagnosis.transitivity
    rows = [("chains a > b > c", str(found.chains))]
    for kind, violations in (("weak", found.weak), ("moderate", found.moderate), ("strong", found.strong)):
        interval = _range(diagnosis, f"{kind} violations", percent=True)
        worst = (
            "" if violations.worst is None else f"; worst {' > '.join(violations.worst)}, {violations.shortfall:.3g}"
        )
        rows.append((f"{kind} broken", f"{violations.count}, {100 * violations.share:.2f} %{interval}{worst}"))
    return rows


def _choice_rows(diagnosis: Diagnosis) -> list[tuple[str, str]]:
    rows = []
    for choice in diagnosis.choices:
        interval = _range(diagnosis, f"exploitability of {choice.rule}")
        # Rounding must not print as -0.
        exploitability = max(choice.exploitability, 0.0)
        played = "" if choice.rule == "uniform" else f"  {_names(choice.actions)}"
        rows.append((choice.rule, f"{exploitability:.4f}{interval}{played}"))
    if diagnosis.bradley_terry is not None:
        gap = ELO_PER_NAT * float(diagnosis.bradley_terry.max() - diagnosis.bradley_terry.min())
        rows.append(("(Elo of Bradley-Terry)", f"{gap:.0f} points from last to first"))
    return rows


def _test_rows(diagnosis: Diagnosis) -> list[tuple[str, str]]:
    return [
        (
            f"{test.null}: {test.statistic}",
            f"{test.observed:.4g}, under the null {test.null_mean:.4g} (up to {test.null_high:.4g}); "
            f"p = {test.p_value:.3g}, adjusted {test.adjusted:.3g}",
        )
        for test in diagnosis.tests
    ]


def _size_rows(diagnosis: Diagnosis) -> list[tuple[str, str]]:
    size = diagnosis.sample_size
    if size is None:
        return []
    needed = ", ".join(f"{number} for {100 * margin:g} points" for margin, number in size.needed.items())
    margin = 100 * size.resolved_margin
    resolved = f"win rates {margin:.1f} points from 50 %" if margin < 50 else "not even unanimous pairs"
    rows = [
        (f"{size.per_pair:g} a pair sign", resolved),
        ("to sign every pair", f"{needed} from 50 %"),
    ]
    if size.power:
        wanted = f"{size.multiple} times" if size.multiple else f"more than {max(size.power)} times"
        chances = ", ".join(f"x{times} {100 * power:.0f} %" for times, power in size.power.items())
        rows.append(("to reject Bradley-Terry", f"{wanted} as many, if the excess is real (power: {chances})"))
    return rows


def _range(diagnosis: Diagnosis, name: str, *, percent: bool = False, unit: str = "") -> str:
    interval = diagnosis.intervals.get(name)
    if interval is None:
        return ""
    factor, suffix = (100.0, " %") if percent else (1.0, "")
    return f" [{unit}{factor * interval.low:.4g}, {factor * interval.high:.4g}{suffix}]"


def _names(labels: Sequence[str]) -> str:
    more = f" and {len(labels) - _NAMED} more" if len(labels) > _NAMED else ""
    return f"{', '.join(labels[:_NAMED])}{more} ({len(labels)})" if len(labels) > 1 else ", ".join(labels)
