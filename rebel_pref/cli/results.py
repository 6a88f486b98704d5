"""The last stage of a run: certificates against the true judge, summary.json, figures, report, closing table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rebel_pref.atomic import write_text
from rebel_pref.certificates import exploitability
from rebel_pref.cli.config import TrainConfig
from rebel_pref.cli.console import Display
from rebel_pref.cli.figures import exploitability_curve, policy_against_winner, who_beats_whom
from rebel_pref.cli.report import write_report
from rebel_pref.games import PreferenceGame, TextGame
from rebel_pref.preferences import FloatArray
from rebel_pref.proximal import regularized_equilibrium
from rebel_pref.record import provenance
from rebel_pref.selfplay import TextGameEvaluator
from rebel_pref.solvers import solve

__all__ = ["RunResult", "best_regularization", "cross_play", "write_results"]

PACKAGES = ("rebel_pref", "numpy", "scipy", "torch", "transformers", "accelerate")
TAUS = (0.01, 0.02, 0.03, 0.05, 0.08, 0.12, 0.2, 0.3, 0.5, 1.0)


@dataclass(frozen=True, eq=False)
class RunResult:
    """What the first four stages leave behind. Policies are B arrays [n_b], one a prompt.

    Attributes
    ----------
    start, magnet : enumerated policies.
    evaluator : of the main run; bradley_terry : of the contrast, or None.
    preference_report : how the fits went; empty with the true judge as oracle.
    preference_tables : fitted win probabilities, B arrays [n, n], by model name.
    counts : of the main run.
    """

    game: TextGame
    config: TrainConfig
    start: list[FloatArray]
    magnet: list[FloatArray]
    evaluator: TextGameEvaluator
    bradley_terry: TextGameEvaluator | None
    preference_report: Mapping[str, float | None]
    preference_tables: Mapping[str, Sequence[FloatArray]]
    counts: Mapping[str, int]
    seconds: float

    def policies(self) -> dict[str, list[FloatArray]]:
        """The policies that are certified, by the names of summary.json."""
        named = {"start": self.start}
        if self.bradley_terry is not None:
            named["bradley_terry"] = self.bradley_terry.last
        return {**named, "last": self.evaluator.last, "magnet": self.magnet, "average": self.evaluator.average}


_REPORTED = ("exploitability", "completions", "queries", "seconds", "seed", "versions")
_TITLES = {
    "blotto": "Colonel Blotto in text: self-play towards a minimax winner",
    "rock-paper-scissors": "Rock-paper-scissors in words: self-play towards a minimax winner",
}
_NAMES = {
    "start": "start",
    "bradley_terry": "Bradley-Terry, last",
    "last": "self-play, last",
    "magnet": "self-play, magnet",
    "average": "self-play, average",
}
_NOTES = {
    "start": "supervised model",
    "bradley_terry": "same trainer and settings",
    "last": "the exported model",
    "magnet": "what KL pulls towards",
    "average": "exact mean of iterates",
}


def write_results(out: Path, result: RunResult, settings: str, display: Display) -> dict[str, Any]:
    """Write summary.json, figures/ and report.html into `out`; print the closing table. Returns the summary."""
    game = result.game
    # Blotto has many winners; the one of largest entropy shows every action that some winner plays.
    winners = [solve(one, selection="max_entropy").policy for one in game.games]
    policies = result.policies()
    measured = {name: game.exploitability(policy) for name, policy in policies.items()}
    summary: dict[str, Any] = {
        "exploitability": measured,
        "best_responder_win_rate": {name: 0.5 + 0.5 * value for name, value in measured.items()},
        "minimax_winner_exploitability": game.exploitability(winners),
        "legal": float(np.mean([row.sum() for row in policies["last"]])),
        "oracle": result.config.oracle,
        "preference_models": dict(result.preference_report),
        "completions": result.counts["completions"],
        "queries": result.counts["queries"],
        "missing_judgements": result.counts["missing"],
        "seconds": round(result.seconds, 1),
        "seed": result.config.seed,
        "versions": provenance(PACKAGES),
    }
    for name, tables in result.preference_tables.items():
        own = result.config.self_play.algorithm.regularization
        tau, value = best_regularization(game, tables, (*TAUS, own) if own > 0 else TAUS)
        summary[f"{name}_equilibrium"] = {
            "at_own_regularization": _fitted_exploitability(game, tables, own) if own > 0 else None,
            "best_regularization": tau,
            "at_best_regularization": value,
        }
    write_text(out / "summary.json", json.dumps(summary, indent=1) + "\n")
    notes = _NOTES if result.config.self_play.evaluate_every == 1 else {**_NOTES, "average": "mean of those evaluated"}
    rows = [(_NAMES[name], value, 50.0 + 50.0 * value, notes[name]) for name, value in measured.items()]
    rows.append(("minimax winner", summary["minimax_winner_exploitability"], 50.0, "exact, for comparison"))
    figures = _draw(out, result, winners)
    write_report(
        out / "report.html",
        title=_TITLES[result.config.game.name],
        summary={**{key: summary[key] for key in _REPORTED}, "certified": "last", **_facts(summary)},
        table=rows,
        figures=figures,
        samples=_samples(out / "samples.jsonl"),
        settings=settings,
    )
    display.table(
        "Against the true judge",
        ("policy", "exploitability", "a best responder wins", "note"),
        [(name, f"{value:.4f}", f"{rate:.1f} %", note) for name, value, rate, note in rows],
    )
    if "bradley_terry_equilibrium" in summary:
        best = summary["bradley_terry_equilibrium"]
        display.line(
            f"Bradley-Terry at its best: with tau = {best['best_regularization']:g} its regularised equilibrium still "
            f"lets a best responder win {50 + 50 * best['at_best_regularization']:.1f} %."
        )
    display.line(f"written: {out}/summary.json, report.html, model/, figures/, metrics.jsonl, samples.jsonl")
    return summary


def _facts(summary: Mapping[str, Any]) -> dict[str, str]:
    """What the report says of a run beside the contract's numbers, in words."""
    facts = {"legal completions": f"{100 * summary['legal']:.1f} %"}
    models = summary["preference_models"]
    if models:
        facts["votes"] = f"{models['votes']:,.0f}"
    for name, title in (("hybrid", "hybrid model"), ("bradley_terry", "Bradley-Terry model")):
        if f"{name}_equilibrium" in summary:
            best = summary[f"{name}_equilibrium"]
            facts[title] = held_out_words(models, name)
            facts[f"{title}, at its best tau"] = (
                f"{best['best_regularization']:g}: a best responder wins "
                f"{50 + 50 * best['at_best_regularization']:.1f} % "
                "against its regularised equilibrium"
            )
    if summary["missing_judgements"]:
        facts["missing judgements"] = f"{summary['missing_judgements']:,}"
    return facts


def held_out_words(report: Mapping[str, float | None], name: str) -> str:
    """How well a fitted model names the winner of pairs that it has not seen."""
    noisy, true = (report[f"{name}_{kind}_accuracy"] for kind in ("held_out", "true"))
    shares = [
        f"{100 * share:.1f} % of {what}"
        for share, what in ((noisy, "noisy votes"), (true, "true verdicts"))
        if share is not None
    ]
    return f"held-out pairs: {', '.join(shares) or 'none'}"


def best_regularization(
    game: TextGame, tables: Sequence[FloatArray], taus: Sequence[float] = TAUS
) -> tuple[float, float]:
    """The tau at which a fitted model's regularised equilibrium is least exploitable by the true judge.

    Parameters
    ----------
    tables : fitted win probabilities of each prompt, B arrays [n, n].

    Returns
    -------
    tau (of `taus`) and the exploitability there, payoff scale, uniform magnet on legal completions.
    """
    values = {tau: _fitted_exploitability(game, tables, tau) for tau in taus}
    best = min(values, key=lambda tau: values[tau])
    return best, values[best]


def cross_play(game: TextGame, policies: Sequence[Sequence[FloatArray]]) -> FloatArray:
    """Mean payoff over prompts of every policy against every other, [m, m], illegal mass included."""
    table = np.zeros((len(policies), len(policies)))
    for b, one in enumerate(game.games):
        rows = np.stack([np.asarray(policy[b]) for policy in policies])
        illegal = 1.0 - rows.sum(-1)
        # Legal beats illegal (+1), illegal ties with illegal (0).
        table += rows @ one.payoff @ rows.T + rows.sum(-1)[:, None] * illegal[None] - illegal[:, None] * rows.sum(-1)
    return table / len(game.games)


def _fitted_exploitability(game: TextGame, tables: Sequence[FloatArray], tau: float) -> float:
    worst = []
    for one, preferences in zip(game.games, tables, strict=True):
        fitted = PreferenceGame.from_preferences(preferences)
        solved = regularized_equilibrium(np.zeros(len(one)), fitted.payoff, tau)
        worst.append(exploitability(one, solved.policy))
    return float(np.mean(worst))


def _draw(out: Path, result: RunResult, winners: Sequence[FloatArray]) -> list[tuple[Path, str]]:
    folder = out / "figures"
    metrics = _curve(out / "metrics.jsonl")
    curves = {
        "self-play, last iterate": (metrics["completions"], metrics["exploitability"]),
        "self-play, average": (metrics["completions"], metrics["exploitability_average"]),
    }
    if result.bradley_terry is not None:
        contrast = _curve(out / "bradley_terry" / "metrics.jsonl")
        curves["Bradley-Terry, last iterate"] = (contrast["completions"], contrast["exploitability"])
    game = result.game
    figures = [
        (
            exploitability_curve(folder, curves, start=50.0 + 50.0 * game.exploitability(result.start)),
            "How often a best responder wins against the policy, by the true judge, as training goes on.",
        ),
        (
            policy_against_winner(
                folder,
                game.prompts,
                [one.labels for one in game.games],
                result.evaluator.last,
                winners,
                policy_name="self-play, last iterate",
            ),
            "What the policy writes beside what a minimax winner writes, prompt by prompt.",
        ),
    ]
    rounds = sorted(result.evaluator.snapshots)
    named = {"start" if number == 0 else f"round {number}": result.evaluator.snapshots[number] for number in rounds}
    named["average"] = result.evaluator.average
    if result.bradley_terry is not None:
        named["Bradley-Terry"] = result.bradley_terry.last
    named["minimax winner"] = list(winners)
    rates = 50.0 + 50.0 * cross_play(game, list(named.values()))
    figures.append(
        (
            who_beats_whom(folder, list(named), rates),
            "Who beats whom: win rate of the row against the column, by the true judge. No row can be far above 50 % "
            "in the minimax winner's column.",
        )
    )
    return figures


def _curve(path: Path) -> dict[str, FloatArray]:
    """Columns of a metrics log, exploitability as the best responder's win rate in percent."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    evaluated = [line for line in lines if "exploitability" in line]
    return {
        "completions": np.array([line.get("completions", 0) for line in evaluated], dtype=np.float64),
        **{
            name: np.array([50.0 + 50.0 * line[name] for line in evaluated])
            for name in ("exploitability", "exploitability_average")
        },
    }


def _samples(path: Path) -> list[dict[str, Any]]:
    """The last round's verdicts, the first few of each prompt."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    last = max((line["round"] for line in lines), default=0)
    return [line for line in lines if line["round"] == last][:24]
