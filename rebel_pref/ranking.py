"""Rank items by their comparisons without assuming that an order exists: `rank`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from rebel_pref.bootstrap import WinnerIntervals, bootstrap_winner, most_mixed_winner
from rebel_pref.diagnostics import Diagnosis, Interval, diagnose, fit_bradley_terry, majority_signs
from rebel_pref.diagnostics.diagnosis import dense_game
from rebel_pref.diagnostics.nulls import BRADLEY_TERRY, TRANSITIVE
from rebel_pref.diagnostics.triads import Triads
from rebel_pref.games import Comparisons, Game, PreferenceGame
from rebel_pref.preferences import FloatArray
from rebel_pref.ranking_words import notes, safety
from rebel_pref.solution import Solution

__all__ = ["RankedItem", "Ranking", "rank"]

Progress = Callable[[int, int], None]
_TELLING = 1e-9


@dataclass(frozen=True)
class RankedItem:
    """One item. Without counts, or with ``bootstrap=0``, the bounds of every interval are NaN.

    Attributes
    ----------
    label : its name.
    probability : of the item in the minimax winner (of maximal entropy, if there are several).
    in_support : share of the replicates whose winner plays it; NaN without replicates.
    against_winner : its win rate against the minimax winner, at most 1/2 up to rounding; in a replicate, against
        the winner of that replicate. Like `borda` in payoff units where payoffs are no win rates (`Ranking.unit`).
    borda : its mean win rate against the other items; a pair that never met counts as 1/2.
    copeland : items it beats minus items it loses to.
    bradley_terry : its score in nats, mean 0; None where payoffs are no win rates.
    bradley_terry_rank : 1 + the number of items with a higher score.
    comparisons : how many it took part in; None for exact payoffs.
    unmet : other items that it never met.
    """

    label: str
    probability: Interval
    in_support: float
    against_winner: Interval
    borda: Interval
    copeland: Interval
    bradley_terry: Interval | None
    bradley_terry_rank: Interval | None
    comparisons: float | None
    unmet: int

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers and dicts; None where a number is undefined."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return {
            name: {key: _finite(number) for key, number in vars(value).items()}
            if isinstance(value, Interval)
            else _finite(value)
            for name, value in values.items()
        }


@dataclass(frozen=True, eq=False)
class Ranking:
    """A leaderboard that does not assume that an order exists; ``print`` it.

    Attributes
    ----------
    sentence : whether an order is safe, in words.
    notes : what limits this ranking: missing pairs, too few comparisons, responses left out.
    items : the likeliest of the minimax winner first, then by win rate against it.
    unit : "win rate", or "payoff" where payoffs are no win rates: of `against_winner` and `borda`.
    condorcet_winner : the item that beats every other, or None.
    smith_set : the smallest set whose members beat everybody outside.
    exploitability : rule -> exploitability of its top choice (payoff units, 0 at best), for "Borda", "Copeland",
        "Bradley-Terry" and "minimax winner". Bounds: the same choice, as it is, on the replicates.
    top : rule -> labels of its top choice.
    game : what was ranked.
    solution : the minimax winner, with its certificate.
    winner_intervals : the bootstrap behind the intervals of items, or None.
    diagnosis : tests, triads and everything else that was measured.
    """

    sentence: str
    notes: tuple[str, ...]
    items: tuple[RankedItem, ...]
    unit: str
    condorcet_winner: str | None
    smith_set: tuple[str, ...]
    exploitability: Mapping[str, Interval]
    top: Mapping[str, tuple[str, ...]]
    game: PreferenceGame = field(repr=False)
    solution: Solution = field(repr=False)
    winner_intervals: WinnerIntervals | None = field(repr=False)
    diagnosis: Diagnosis = field(repr=False)

    @property
    def labels(self) -> tuple[str, ...]:
        """Items in the order of `items`."""
        return tuple(item.label for item in self.items)

    @property
    def triads(self) -> Triads:
        """Cyclic and decided triads of the sums."""
        return self.diagnosis.triads

    def as_dict(self) -> dict[str, Any]:
        """Everything but the matrix, as plain values for JSON; None where a number is undefined."""
        grouped = self.diagnosis.grouped_triads
        counted = self.diagnosis.counted
        intervals = self.winner_intervals
        return {
            "sentence": self.sentence,
            "notes": list(self.notes),
            "unit": self.unit,
            "items": [item.as_dict() for item in self.items],
            "condorcet_winner": self.condorcet_winner,
            "smith_set": list(self.smith_set),
            "choices": {
                rule: {
                    "items": list(self.top[rule]),
                    "exploitability": {key: _finite(number) for key, number in vars(interval).items()},
                }
                for rule, interval in self.exploitability.items()
            },
            "triads": {"cyclic": self.triads.cyclic, "decided": self.triads.decided},
            "grouped_triads": None if grouped is None else vars(grouped),
            "p_values": {null: self.diagnosis.p_value(null) for null in (BRADLEY_TERRY, TRANSITIVE)},
            "counted": None if counted is None else vars(counted),
            "replicates": 0 if intervals is None else intervals.replicates,
            "unsolved": 0 if intervals is None else intervals.unsolved,
            "status": self.solution.status,
            "settings": {key: value for key, value in self.diagnosis.settings.items() if key != "flow"},
        }

    def __str__(self) -> str:
        width = max(len(label) for label in self.labels)
        head = f"{'':{width + 5}}   winner  vs winner   Borda  Copeland      BT rank"
        lines = [self.sentence, *self.notes, "", head]
        for place, item in enumerate(self.items, start=1):
            score, order = item.bradley_terry, item.bradley_terry_rank
            lines.append(
                f"{place:>4} {item.label:<{width}}  {item.probability.estimate:7.3f}  "
                f"{item.against_winner.estimate:9.3f}  {item.borda.estimate:6.3f}  {item.copeland.estimate:8.0f}  "
                + ("" if score is None or order is None else f"{score.estimate:6.2f} {order.estimate:4.0f}")
            )
        return "\n".join(lines)


def rank(
    subject: Game | Comparisons | ArrayLike,
    *,
    bootstrap: int = 200,
    seed: int = 0,
    level: float = 0.95,
    progress: Progress | None = None,
) -> Ranking:
    """Rank items by the minimax winner, beside Borda, Copeland and Bradley-Terry, and say whether an order is safe.

    Intervals of items are percentiles over the replicates of :func:`rebel_pref.bootstrap.bootstrap_winner`: whole
    clusters are drawn again where the comparisons name them, else the comparisons of each pair. Every score is
    computed on the same replicates. The sentence rests on the tests of :func:`rebel_pref.diagnostics.diagnose`.

    Parameters
    ----------
    subject : a game, comparisons, or a matrix [n, n] of win counts, n >= 2.
    bootstrap : replicates; 0 for no intervals and no tests. Each one solves a game and fits Bradley-Terry.
    seed : of the replicates.
    level : of the intervals; tests reject at 1 - level.
    progress : called with the replicates done and the total.

    Raises
    ------
    ValueError
        For fewer than two items, and as :func:`diagnose`: too many items, settings out of range.
    FloatingPointError
        If a linear program or a fit fails, or no replicate was solved.

    >>> from rebel_pref.games import rock_paper_scissors
    >>> rank(rock_paper_scissors()).condorcet_winner is None
    True
    """
    game = dense_game(subject)
    if len(game) < 2:
        raise ValueError(f"a ranking needs at least 2 items, got {len(game)}")

    def advance(done: int) -> None:
        if progress is not None:
            progress(done, 3 * bootstrap)

    diagnosis = diagnose(game, bootstrap=bootstrap, seed=seed, level=level, progress=lambda done, _: advance(done))
    solution = most_mixed_winner(game)
    policies = {choice.rule: choice.policy for choice in diagnosis.choices if choice.rule != "uniform"}
    policies["minimax winner"] = solution.policy
    seen = _scores(game, solution, None, policies)
    bounds = {name: np.full((2, len(score)), np.nan) for name, score in seen.items()}
    in_support = np.full(len(game), np.nan)
    intervals: WinnerIntervals | None = None
    if bootstrap and game.comparisons is not None and game.comparisons.total > 0:
        replicates: list[dict[str, FloatArray]] = []

        def solve(replicate: PreferenceGame) -> Solution:
            # The bootstrap asks for the winner of every replicate: the other scores are taken from the same draw.
            found = most_mixed_winner(replicate)
            if found.solved:
                replicates.append(_scores(replicate, found, seen.get("bradley_terry"), policies))
            return found

        intervals = bootstrap_winner(
            game.comparisons,
            replicates=bootstrap,
            seed=seed,
            level=level,
            solve=solve,
            progress=lambda done: advance(2 * bootstrap + done),
        )
        # The first game it solves is that of the comparisons as they are, no replicate.
        drawn = replicates[1 if solution.solved else 0 :]
        tails = [0.5 - 0.5 * level, 0.5 + 0.5 * level]
        bounds = {name: np.quantile([scores[name] for scores in drawn], tails, axis=0) for name in seen}
        in_support = intervals.probability_in_support
    counts = None if game.comparisons is None else game.comparisons.counts
    played = None if counts is None else counts + counts.T
    met = np.eye(len(game), dtype=bool) | (True if played is None else played > 0)
    against = game.payoffs_against(solution.policy)
    order = np.lexsort((-against.round(9), -np.where(solution.policy > _TELLING, solution.policy, 0.0).round(9)))

    def interval(name: str, i: int) -> Interval:
        return Interval(float(seen[name][i]) + 0.0, float(bounds[name][0, i]) + 0.0, float(bounds[name][1, i]) + 0.0)

    scored = "bradley_terry" in seen
    items = tuple(
        RankedItem(
            label=game.labels[i],
            probability=interval("probability", i),
            in_support=float(in_support[i]),
            against_winner=interval("against_winner", i),
            borda=interval("borda", i),
            copeland=interval("copeland", i),
            bradley_terry=interval("bradley_terry", i) if scored else None,
            bradley_terry_rank=interval("bradley_terry_rank", i) if scored else None,
            comparisons=None if played is None else float(played[i].sum()),
            unmet=int((~met[i]).sum()),
        )
        for i in order.tolist()
    )
    winner = [(item.label, item.probability.estimate) for item in items if item.probability.estimate > _TELLING]
    return Ranking(
        sentence=safety(diagnosis, game.payoff, winner, 1.0 - level),
        notes=notes(diagnosis, intervals, met, _rarely_met(game.comparisons), 1.0 - level),
        items=items,
        unit="win rate" if game.holds_win_rates else "payoff",
        condorcet_winner=diagnosis.solutions.condorcet_winner,
        smith_set=diagnosis.solutions.smith_set,
        exploitability={rule: interval("exploitability", place) for place, rule in enumerate(policies)},
        top={
            rule: tuple(game.labels[i] for i in np.argsort(-policy, kind="stable") if policy[i] > _TELLING)
            for rule, policy in policies.items()
        },
        game=game,
        solution=solution,
        winner_intervals=intervals,
        diagnosis=diagnosis,
    )


def _scores(
    game: PreferenceGame, solution: Solution, start: FloatArray | None, policies: Mapping[str, FloatArray]
) -> dict[str, FloatArray]:
    """Every score of every item, [n] each, and the exploitability of every policy."""
    others = len(game) - 1
    against, mean = game.payoffs_against(solution.policy), game.payoff.sum(1) / others
    result = {
        "probability": solution.policy,
        "against_winner": 0.5 + 0.5 * against if game.holds_win_rates else against,
        "borda": 0.5 + 0.5 * mean if game.holds_win_rates else mean,
        "copeland": majority_signs(game.payoff).sum(1),
        # What rounding makes of 0 is no gain.
        "exploitability": np.maximum([(game.payoff @ policy).max() for policy in policies.values()], 0.0),
    }
    if game.holds_win_rates:
        # As in a diagnosis: win rates are one comparison a pair, which the usual pull to 0 would bend.
        if game.comparisons is None:
            wins = (0.5 + 0.5 * game.payoff).clip(0.0, 1.0)
            np.fill_diagonal(wins, 0.0)
            scores = fit_bradley_terry(wins, ridge=1e-6)
        else:
            scores = fit_bradley_terry(game.comparisons.counts, start=start)
        result["bradley_terry"] = scores
        result["bradley_terry_rank"] = 1.0 + (scores[None, :] > scores[:, None] + 1e-7 * np.ptp(scores)).sum(1)
    return result


def _rarely_met(comparisons: Comparisons | None) -> int:
    """Pairs that met in one cluster only."""
    if comparisons is None or comparisons.cluster is None:
        return 0
    rows = np.flatnonzero(comparisons.wins + comparisons.losses + comparisons.ties > 0)
    pair = np.sort(np.stack([comparisons.first[rows], comparisons.second[rows]]), axis=0)
    triples = np.unique(np.vstack([pair, comparisons.cluster[rows]]), axis=1)
    return int((np.unique(triples[:2], axis=1, return_counts=True)[1] == 1).sum())


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
