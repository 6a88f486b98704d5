"""Does any solver claim what is not so? Thousands of awkward games, every claim recomputed by other means.

    python -m benchmarks.solver_fuzz [--games N] [--seed S] [--quick] [--out DIR]
    python -m benchmarks.solver_fuzz --replay KIND:SEED

Every game is solved by method "auto" and by one other way in turn. A failure is: an answer whose exploitability,
recomputed in extended precision or fractions, exceeds its certificate's upper bound, or the tolerance where the status
says "solved"; a policy that is no distribution; a certificate that does not verify; an exception, a hang or a dead
process. Exits 1 if there is any. An answer that falls short and says so is counted, and is no failure.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fuzz_games import KINDS
from benchmarks.fuzz_ways import WAYS, Claim
from benchmarks.timing import single_thread
from rebel_pref.cli.console import Display
from rebel_pref.games import PreferenceGame
from rebel_pref.record import save_table

__all__ = ["failure", "main"]

SOLVED, SHORT = "solved", "fell short, said so"
PACKAGES = ("numpy", "scipy", "numba", "python-flint")


@dataclass(frozen=True)
class Case:
    """A game and the way to solve it, small enough to send to another process."""

    kind: str
    seed: int
    way: str


@dataclass(frozen=True)
class Outcome:
    """What came of a case; `exploitability` is the recomputed one, as a share of max|A|."""

    kind: str
    seed: int
    way: str
    actions: int
    outcome: str
    exploitability: float
    seconds: float


def failure(claim: Claim) -> tuple[str, float]:
    """What is wrong with an answer, or "solved", or that it said itself that it fell short; and its exploitability.

    The exploitability is a share of max|A|, recomputed over the true payoffs in extended precision.
    """
    solution, payoff = claim.solution, claim.payoff
    policy, certificate = solution.policy, solution.certificate
    if policy.shape != (len(payoff),) or not np.isfinite(policy).all() or policy.min() < 0.0:
        return "no distribution", float("nan")
    if abs(policy.sum() - 1.0) > 1e-12:
        return f"no distribution: sum {policy.sum()!r}", float("nan")
    mass = policy.astype(np.longdouble)
    worst = (payoff @ mass).max() / mass.sum()
    scale = payoff.max()
    share = float(worst / scale) if scale > 0 else float(worst)
    # What extended precision itself may be wrong by.
    slack = 4 * len(payoff) * np.finfo(np.longdouble).eps * scale
    # A proof is of the fractions, which `policy` rounds.
    if certificate.exact_policy is None and worst > np.longdouble(certificate.upper_bound) + slack:
        return f"over its certificate's {certificate.upper_bound:.3g}", share
    if not certificate.verify(claim.game):
        return "certificate does not verify", share
    if not solution.solved:
        return SHORT, share
    # The solver compares a rounded exploitability with its tolerance.
    rounding = certificate.rounding if np.isfinite(certificate.rounding) else 0.0
    if worst > claim.tol * scale + np.longdouble(rounding) + slack:
        return f"over its tolerance {claim.tol:g}", share
    if solution.settings.get("exact"):
        return _proof_failure(claim), share
    return SOLVED, share


def _proof_failure(claim: Claim) -> str:
    shares = claim.solution.certificate.exact_policy
    if shares is None:
        return "solved with exact=True, and no proof"
    assert isinstance(claim.game, PreferenceGame)
    place = {label: action for action, label in enumerate(claim.game.labels)}
    if sum(shares.values()) != 1 or min(shares.values()) < 0:
        return "proof is no distribution"
    # Kinds with proofs have whole payoffs, so that floats are the exact numbers.
    for row in claim.game.payoff.tolist():
        if sum(Fraction(row[place[label]]) * share for label, share in shares.items()) > 0:
            return "proof is false"
    return SOLVED


def run_case(case: Case) -> Outcome:
    """Solve and judge; exceptions are outcomes."""
    way = next(way for way in WAYS if way.name == case.way)
    began = time.perf_counter()
    actions, verdict, share = 0, "", float("nan")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # An overflow or an empty mean is a fault that has not crashed yet.
            claims = way.claims(case.kind, case.seed)
        seconds = time.perf_counter() - began
        actions = len(claims[0].game)
        judged = [failure(claim) for claim in claims]
        # The worst of a batch speaks for it.
        verdict, share = max(judged, key=lambda one: (one[0] != SOLVED, one[0] != SHORT and one[0] != SOLVED))
    except Exception as error:
        seconds = time.perf_counter() - began
        verdict = f"crashed: {type(error).__name__}: {error}"[:200]
    return Outcome(case.kind, case.seed, case.way, actions, verdict, share, seconds)


def isolated(cases: Sequence[Case], limit: float) -> Iterator[Outcome]:
    """Outcomes in order, from a child process that is replaced when it dies, or hangs for more than `limit` seconds."""
    single_thread()
    context = multiprocessing.get_context("spawn")
    done = 0
    while done < len(cases):
        receiver, sender = context.Pipe(duplex=False)
        child = context.Process(target=_child, args=(sender, cases[done:]), daemon=True)
        child.start()
        sender.close()
        patience = limit + 60.0  # A new child imports and compiles first.
        while done < len(cases):
            try:
                if not receiver.poll(patience):
                    yield _lost(cases[done], f"hung for {patience:.0f} s", patience)
                    done += 1
                    break
                outcome: Outcome = receiver.recv()
            except EOFError:
                child.join()
                yield _lost(cases[done], f"process died: exit code {child.exitcode}", 0.0)
                done += 1
                break
            patience = limit
            done += 1
            yield outcome
        if child.is_alive():
            child.kill()
        child.join()
        receiver.close()


def _lost(case: Case, verdict: str, seconds: float) -> Outcome:
    return Outcome(case.kind, case.seed, case.way, 0, verdict, float("nan"), seconds)


def _child(sender: Connection, cases: Sequence[Case]) -> None:
    for case in cases:
        sender.send(run_case(case))
    sender.close()


def all_cases(count: int, seed: int) -> list[Case]:
    """`count` games, kinds in turn; each by the first way and by one of the others in turn."""
    kinds = list(KINDS)
    first, others = WAYS[0], WAYS[1:]
    cases = []
    for number in range(count):
        turn, place = divmod(number, len(kinds))
        kind = kinds[place]
        # Ways made for a kind get every other turn of it; the kinds set out from different ways.
        special = [way for way in others if kind in way.kinds]
        pool = special if special and turn % 2 else [way for way in others if not way.kinds]
        second = pool[(turn // 2 if special else turn + place) % len(pool)]
        cases += [Case(kind, seed + number, first.name), Case(kind, seed + number, second.name)]
    return cases


def replay(text: str) -> int:
    """Every way on one game, with tracebacks."""
    kind, _, seed = text.rpartition(":")
    if kind not in KINDS or not seed.isdecimal():
        raise SystemExit(f"expected KIND:SEED with a kind of {', '.join(KINDS)}, got {text!r}")
    bad = False
    for way in WAYS:
        if not way.fits(kind):
            continue
        try:
            for claim in way.claims(kind, int(seed)):
                verdict, share = failure(claim)
                bad |= verdict not in (SOLVED, SHORT)
                solution = claim.solution
                print(
                    f"{way.name}: n={len(claim.game)}, {verdict}, exploitability {share:.3g} max|A|, "
                    f"{solution.method} in {solution.steps} steps: {solution.status}"
                )
        except Exception:
            bad = True
            print(f"{way.name}: crashed")
            traceback.print_exc()
    return int(bad)


def main(argv: Sequence[str] | None = None) -> int:
    """Draw, solve, judge, print, save; 1 if any claim was false or anything crashed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--games", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0, help="of the first game; the others count up from it")
    parser.add_argument("--limit", type=float, default=60.0, help="seconds after which a solver hangs")
    parser.add_argument("--quick", action="store_true", help="60 games: checks that everything runs")
    parser.add_argument("--replay", metavar="KIND:SEED", help="every way on one game, in this process")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    arguments = parser.parse_args(argv)
    if arguments.replay:
        return replay(arguments.replay)
    if arguments.games < 1:
        parser.error(f"--games must be at least 1, got {arguments.games}")
    cases = all_cases(60 if arguments.quick else arguments.games, arguments.seed)
    display = Display()
    display.console.width = max(display.console.width, 200)
    outcomes: list[Outcome] = []
    began = time.perf_counter()
    with display.progress("fuzzing", len(cases)) as advance:
        for outcome in isolated(cases, arguments.limit):
            outcomes.append(outcome)
            advance(1)
            if outcome.outcome not in (SOLVED, SHORT):
                display.line(f"FAILED {outcome.kind}:{outcome.seed} {outcome.way}: {outcome.outcome}")
    seconds = time.perf_counter() - began
    _print_table(display, outcomes)
    failed = [outcome for outcome in outcomes if outcome.outcome not in (SOLVED, SHORT)]
    short = sum(outcome.outcome == SHORT for outcome in outcomes)
    slowest = max(outcomes, key=lambda outcome: outcome.seconds)
    display.line(
        f"{len(cases) // 2} games, {len(cases)} answers in {seconds:.0f} s: {len(failed)} failures, {short} fell short "
        f"and said so; slowest {slowest.kind}:{slowest.seed} by {slowest.way}, {slowest.seconds:.2g} s"
    )
    for outcome in failed[:20]:
        display.line(f"replay with --replay '{outcome.kind}:{outcome.seed}'  ({outcome.way}: {outcome.outcome})")
    save_table(
        arguments.out,
        "solver_fuzz",
        _summary(outcomes),
        {
            "games": len(cases) // 2,
            "seed": arguments.seed,
            "seconds": seconds,
            "failures": [asdict(outcome) for outcome in failed],
        },
        PACKAGES,
    )
    return 1 if failed else 0


def _counts(outcomes: Sequence[Outcome]) -> tuple[int, int, int]:
    solved = sum(outcome.outcome == SOLVED for outcome in outcomes)
    short = sum(outcome.outcome == SHORT for outcome in outcomes)
    return solved, short, len(outcomes) - solved - short


def _summary(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    rows = []
    for way in WAYS:
        for kind in KINDS:
            own = [outcome for outcome in outcomes if (outcome.way, outcome.kind) == (way.name, kind)]
            if own:
                solved, short, failed = _counts(own)
                rows.append(
                    {
                        "way": way.name,
                        "kind": kind,
                        "answers": len(own),
                        "solved": solved,
                        "fell_short": short,
                        "failed": failed,
                        "largest_exploitability": max(
                            (o.exploitability for o in own if o.outcome == SOLVED), default=None
                        ),
                        "seconds": sum(outcome.seconds for outcome in own),
                    }
                )
    return rows


def _print_table(display: Display, outcomes: Sequence[Outcome]) -> None:
    """Ways down, kinds across: answers, in brackets how many fell short, and after a ! how many failed."""

    def cell(own: Sequence[Outcome]) -> str:
        if not own:
            return ""
        _, short, failed = _counts(own)
        return f"{len(own)}" + (f" ({short})" if short else "") + (f" !{failed}" if failed else "")

    rows = []
    for way in WAYS:
        own = [outcome for outcome in outcomes if outcome.way == way.name]
        by_kind = [cell([outcome for outcome in own if outcome.kind == kind]) for kind in KINDS]
        rows.append((way.name, *by_kind, cell(own)))
    display.table("Answers (of them fell short and said so) !failures", ("way", *KINDS, "all"), rows)


if __name__ == "__main__":
    sys.exit(main())
