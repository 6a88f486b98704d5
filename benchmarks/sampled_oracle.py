"""Duels until an exploitability of .05 is certified at level .95, against Exp3 sparring and uniform sampling.

    python -m benchmarks.sampled_oracle [--quick] [--seeds 200] [--peer-seeds 5] [--games NAME ...] [--out DIR]

The peers learn from a number of duels that is the best in hindsight for each run, over a grid of factors 2 (and Exp3
over four step sizes); their policy is then certified with fresh duels, each action against draws from the policy,
equally often and the best number of times in hindsight, by the exact binomial bound (Clopper & Pearson 1934). Nobody
pays a union over actions. Uniform sampling certified by a union over the entries of the matrix instead is a formula.
"race" is uniform sampling whose policy our own race certifies: what the race alone brings. No bar rests on it.

Exits 1 if we take more than a third of the duels of either peer (medians) on the random game, more than half of them
on any other, or if on any game fewer than 95 % of our runs have a true exploitability below the upper end they report.
"""

from __future__ import annotations

import argparse
import sys
import time
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import rebel_pref as rp
from rebel_pref.preferences import FloatArray
from rebel_pref.record import save_table
from rebel_pref.solvers.sampled import certify_by_duels, solve_by_duels

__all__ = ["exp3_sparring", "games", "hold_out", "main"]

TOL, DELTA = 0.05, 0.05
RANDOM_BAR, BAR = 3.0, 2.0
EXP3_RATES = (0.5, 1.0, 2.0, 4.0)
MOST_EXP3 = 2**23
MOST_PER_PAIR = 2**9


def games(size: int = 100) -> dict[str, rp.PreferenceGame]:
    """The games measured; all but Blotto have `size` actions."""
    rng = np.random.default_rng(0)

    def skew(count: int, width: float) -> FloatArray:
        upper = np.triu(rng.uniform(-width, width, (count, count)), 1)
        return np.asarray(upper - upper.T)

    dominated = np.zeros((size, size))
    dominated[:3, :3] = rp.games.rock_paper_scissors().payoff
    loss = np.sort(rng.uniform(0.1, 0.9, size - 3))
    dominated[3:, :3], dominated[:3, 3:] = -loss[:, None], loss
    dominated[3:, 3:] = skew(size - 3, 1.0)
    strength = np.sort(rng.normal(size=size))
    angle, radius = rng.uniform(0.0, 2.0 * np.pi, size), np.sqrt(rng.random(size))
    payoffs = {
        "random": skew(size, 1.0),
        "Bradley-Terry": np.tanh((strength[:, None] - strength) / 2.0),
        "disc": radius[:, None] * radius * np.sin(angle[:, None] - angle),
        "rock-paper-scissors, 97 dominated": dominated,
        "near-ties": skew(size, TOL),
    }
    found = {name: rp.PreferenceGame.from_payoffs(payoff) for name, payoff in payoffs.items()}
    return {**found, "Blotto": rp.games.blotto(10, (1.0, 1.0, 1.0))}


def hold_out(game: rp.PreferenceGame, policy: FloatArray) -> float:
    """Fresh duels that certify `policy` at TOL with a chance of one half; infinite where it is too bad.

    The policy passes if no action wins more often than the exact bound allows, which has a known probability; the
    number of duels for each action is the best in hindsight, and failures are not charged.
    """
    from scipy.special import bdtr

    chance = np.clip(0.5 + 0.5 * game.payoffs_against(policy), 0.0, 1.0)
    number = 16.0
    while 2.0 * chance.max() - 1.0 < TOL and number < 1e6:
        drawn = int(number)
        # The bound of a row is at most TOL where so few wins have a chance of at most DELTA at TOL.
        allowed = bisect_right(range(drawn), DELTA, key=lambda wins: float(bdtr(wins, drawn, 0.5 + 0.5 * TOL))) - 1
        if allowed >= 0 and bdtr(allowed, drawn, chance).prod() >= 0.5:
            return float(drawn * len(game))
        number *= 1.05
    return np.inf


def exp3_sparring(game: rp.PreferenceGame, rate: float, rng: np.random.Generator) -> list[tuple[int, FloatArray]]:
    """Average policies of two Exp3 players of each other (Dudik et al. 2015) after 2^k duels.

    Step ``rate sqrt(log n / (n t))``; a batch of t / 2000 duels shares one update, which changes nothing that matters
    and lets millions be played.
    """
    size = len(game)
    losses, sums = np.zeros((2, size)), np.zeros((2, size))
    found: list[tuple[int, FloatArray]] = []
    played, mark = 0, 1024
    while mark <= MOST_EXP3:
        step = rate * np.sqrt(np.log(size) / (size * (played + 1)))
        weights = np.exp(-step * (losses - losses.min(axis=1, keepdims=True)))
        policies = weights / weights.sum(axis=1, keepdims=True)
        batch = min(1 + played // 2000, mark - played)
        first, second = (np.searchsorted(policies[k].cumsum(), rng.random(batch)).clip(0, size - 1) for k in (0, 1))
        won = rng.random(batch) < 0.5 + 0.5 * game.payoff[first, second]
        losses[0] += np.bincount(first, ~won / policies[0, first], size)
        losses[1] += np.bincount(second, won / policies[1, second], size)
        sums += batch * policies
        played += batch
        if played == mark:
            found.append((played, sums.sum(axis=0) / sums.sum()))
            mark *= 2
    return found


def measure_exp3(game: rp.PreferenceGame, seed: int) -> float:
    """Duels in all, best in hindsight over step sizes and stopping times."""
    rng = np.random.default_rng(seed)
    return min(
        (played + hold_out(game, policy) for rate in EXP3_RATES for played, policy in exp3_sparring(game, rate, rng)),
        default=np.inf,
    )


def measure_uniform(game: rp.PreferenceGame, seed: int) -> tuple[float, float]:
    """Duels in all with the hold-out and with our race as certificate, each best in hindsight."""
    rng = np.random.default_rng(seed)
    size = len(game)
    pairs = size * (size - 1) // 2
    rows, columns = np.triu_indices(size, 1)
    plain, raced = np.inf, np.inf
    per_pair = 1
    while per_pair <= MOST_PER_PAIR and per_pair * pairs < plain:
        estimate = np.zeros((size, size))
        chance = 0.5 + 0.5 * game.payoff[rows, columns]
        estimate[rows, columns] = 2.0 * rng.binomial(per_pair, chance) / per_pair - 1.0
        policy = rp.solve(rp.PreferenceGame.from_payoffs(estimate - estimate.T)).policy
        played = per_pair * pairs
        plain = min(plain, played + hold_out(game, policy))
        if rp.exploitability(game, policy) < 0.9 * TOL and played < raced:
            oracle = rp.DuelOracle.from_game(game, seed=seed + per_pair)
            certificate = certify_by_duels(oracle, policy, tol=TOL, delta=DELTA, max_duels=10**7, seed=seed)
            raced = min(raced, played + certificate.duels if certificate.upper <= TOL else np.inf)
        per_pair *= 2
    return plain, raced


def entrywise(size: int) -> float:
    """Uniform sampling certified by Hoeffding's inequality and a union over all entries: ``r <= TOL`` for each."""
    pairs = size * (size - 1) // 2
    return float(pairs * np.ceil(2.0 * np.log(2 * pairs / DELTA) / TOL**2))


def measure_ours(name: str, game: rp.PreferenceGame, seeds: int) -> list[dict[str, Any]]:
    """One row for each seed: duels, interval, truth."""
    rows = []
    for seed in range(seeds):
        began = time.process_time()
        oracle = rp.DuelOracle.from_game(game, seed=10_000 + seed)
        solution = solve_by_duels(oracle, tol=TOL, delta=DELTA, seed=seed)
        certificate, truth = solution.certificate, rp.exploitability(game, solution.policy)
        rows.append(
            {
                "game": name,
                "method": "ours",
                "seed": seed,
                "duels": oracle.duels,
                "upper": certificate.upper_bound,
                "exploitability": truth,
                "covered": truth <= certificate.upper_bound,
                "cpu_seconds": time.process_time() - began,
            }
        )
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, save; 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="three seeds, one of the peers, two easy games")
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--peer-seeds", type=int, default=5)
    parser.add_argument("--games", nargs="+", default=None, help="those whose name contains one of these")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    arguments = parser.parse_args(argv)
    if arguments.quick:
        arguments.seeds, arguments.peer_seeds = 3, 1
        arguments.games = arguments.games or ["Bradley", "Blotto"]
    wanted = {
        name: game
        for name, game in games().items()
        if arguments.games is None or any(part in name for part in arguments.games)
    }
    if not wanted:
        parser.error(f"--games {' '.join(arguments.games)} matches none of: {'; '.join(games())}")
    rows: list[dict[str, Any]] = []
    missed = []
    print(f"{'game':34} {'ours':>9} {'exp3':>10} {'uniform':>10} {'race':>9}   ratios        coverage  CPU s")
    for name, game in wanted.items():
        ours = measure_ours(name, game, arguments.seeds)
        rows += ours
        peers: dict[str, list[float]] = {"exp3": [], "uniform": [], "race": []}
        for seed in range(arguments.peer_seeds):
            plain, raced = measure_uniform(game, seed)
            for peer, duels in (("exp3", measure_exp3(game, seed)), ("uniform", plain), ("race", raced)):
                peers[peer].append(duels)
                empty = {"upper": "", "exploitability": "", "covered": "", "cpu_seconds": ""}
                rows.append({"game": name, "method": peer, "seed": seed, "duels": duels, **empty})
        duels = float(np.median([row["duels"] for row in ours]))
        covered = float(np.mean([row["covered"] for row in ours]))
        exp3, uniform, race = (float(np.median(peers[peer])) for peer in ("exp3", "uniform", "race"))
        uniform = min(uniform, entrywise(len(game)))
        seconds = float(np.mean([row["cpu_seconds"] for row in ours]))
        print(
            f"{name:34} {duels:9,.0f} {exp3:10,.0f} {uniform:10,.0f} {race:9,.0f}"
            f"   {exp3 / duels:5.1f} {uniform / duels:5.1f}    {covered:5.3f}   {seconds:5.2f}",
            flush=True,
        )
        bar = min(exp3, uniform) / (RANDOM_BAR if name == "random" else BAR)
        if duels > bar:
            missed.append(f"{name}: {duels:,.0f} duels, the bar is {bar:,.0f}")
        if covered < 1.0 - DELTA:
            missed.append(f"{name}: coverage {covered:.3f}, the bar is {1 - DELTA}")
    extra = {"tol": TOL, "delta": DELTA, "seeds": arguments.seeds, "missed": missed, "most_exp3": MOST_EXP3}
    save_table(arguments.out, "sampled_oracle", rows, extra)
    for line in missed:
        print(f"missed: {line}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
