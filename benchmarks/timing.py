"""One process for each measurement: a hang or a crash is a row, and nobody's imports warm another's clock.

A child builds its problem, solves a toy of the same kind (imports, compilation), then solves the problem again and
again and reports each time at once, so that what it did before the limit counts.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.peers import Solver
from benchmarks.suite import Problem, recheck, toy

__all__ = ["THREAD_VARIABLES", "Cell", "Limits", "measure", "single_thread"]

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
_SHORTEST = 0.02  # Seconds of one sample: quicker solvers are called several times for it.
_WARM_SHARE = 0.1  # A first run that took less than this share of the budget is warm-up; a longer one is a sample.


@dataclass(frozen=True)
class Limits:
    """How long and how often.

    Attributes
    ----------
    seconds : wall time that one run may take, after which the child is killed.
    repeats : samples to take the median of.
    budget : wall seconds after which no further sample is begun.
    """

    seconds: float = 120.0
    repeats: int = 5
    budget: float = 20.0


@dataclass(frozen=True)
class Cell:
    """What one solver did on one problem.

    Attributes
    ----------
    status : "ok", "wrong" (an answer that misses the accuracy, or is no distribution), "failed: ...", "timeout",
        "crashed: ..." or "absent".
    repeats : samples behind the median.
    exploitability : as a share of max|A|, rechecked in float64, the worst of all answers; NaN where none.
    setting : what the solver was set to, or None.
    extra_mb : most memory in use during a solve above that before it; peak_mb : most memory of the whole process.
    """

    solver: str
    status: str
    cpu: float = float("nan")
    wall: float = float("nan")
    repeats: int = 0
    exploitability: float = float("nan")
    setting: Any = None
    extra_mb: float = float("nan")
    peak_mb: float = float("nan")

    @property
    def ok(self) -> bool:
        """Whether the answer is right."""
        return self.status == "ok"


@dataclass(frozen=True)
class _Run:
    setting: Any
    cpu: float
    wall: float
    exploitability: float
    extra_mb: float
    peak_mb: float
    warm: bool


def single_thread() -> None:
    """Tell every numerical library of this process's children, and of this one if none is loaded, to use one thread."""
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))


def measure(make: Callable[[], Problem], solver: Solver, accuracy: float, limits: Limits) -> Cell:
    """Time `solver` on the problem that `make` builds, in a process of its own.

    Parameters
    ----------
    make : a module-level function or a partial of one, so that it can be sent to the child.
    accuracy : exploitability, as a share of max|A|, from which an answer is right.
    """
    if not solver.installed:
        return Cell(solver.name, "absent")
    single_thread()
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(sender, make, solver, accuracy, limits), daemon=True)
    child.start()
    sender.close()
    runs: list[_Run] = []
    end = ""
    # The first message, "ready", waits for imports and compilation as well.
    patience = limits.seconds + 60.0
    while not end:
        if not receiver.poll(patience):
            end = "timeout"
            break
        try:
            message = receiver.recv()
        except EOFError:
            child.join()
            end = f"crashed: exit code {child.exitcode}"
            break
        patience = limits.seconds
        if isinstance(message, _Run):
            runs.append(message)
        elif message != "ready":
            end = str(message)
    if child.is_alive():
        child.kill()
    child.join()
    receiver.close()
    return _summary(solver.name, runs, end, accuracy)


def _summary(name: str, runs: list[_Run], end: str, accuracy: float) -> Cell:
    # Settings are tried from loose to tight, and the last is the one that counts.
    runs = [run for run in runs if run.setting == runs[-1].setting]
    timed = [run for run in runs if not run.warm] or runs
    if not timed:
        return Cell(name, end)
    worst = max((run.exploitability for run in runs), key=lambda value: (math.isnan(value), value))
    cell = Cell(
        name,
        "ok" if worst <= accuracy else "wrong: no distribution" if math.isnan(worst) else "wrong",
        cpu=median(run.cpu for run in timed),
        wall=median(run.wall for run in timed),
        repeats=len(timed),
        exploitability=worst,
        setting=timed[-1].setting,
        extra_mb=max(run.extra_mb for run in runs),
        peak_mb=max(run.peak_mb for run in runs),
    )
    # Samples taken before a timeout stand; before a failure they do not.
    if end == "done" or (end == "timeout" and cell.ok):
        return cell
    return replace(cell, status=end)


def _child(sender: Connection, make: Callable[[], Problem], solver: Solver, accuracy: float, limits: Limits) -> None:
    with suppress(OSError), open(os.devnull, "w", encoding="utf-8") as silence:
        # Solvers print licences and warnings where a table is being drawn.
        os.dup2(silence.fileno(), 1)
        os.dup2(silence.fileno(), 2)
    try:
        problem = make()
        with suppress(Exception):
            if solver.warm_up is not None:
                solver.warm_up()
            solver.solve(toy(problem), solver.settings[0])
        sender.send("ready")
        for setting in solver.settings:
            first = _run(problem, solver, setting, 1)
            warm = first.wall < _WARM_SHARE * limits.budget and limits.repeats > 1
            sender.send(replace(first, warm=warm))
            if not first.exploitability <= accuracy:
                continue
            calls = max(1, int(_SHORTEST / max(first.wall, 1e-7))) if warm else 1
            spent = first.wall
            for _ in range(limits.repeats if warm else limits.repeats - 1):
                if spent >= limits.budget:
                    break
                sample = _run(problem, solver, setting, calls)
                spent += sample.wall * calls
                sender.send(sample)
            break
        sender.send("done")
    except BaseException as error:
        sender.send(f"failed: {type(error).__name__}: {error}"[:300])
    finally:
        sender.close()


def _run(problem: Problem, solver: Solver, setting: Any, calls: int) -> _Run:
    before = _memory("VmRSS")
    _forget_peak()
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(calls):
        answer = solver.solve(problem, setting)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = _memory("VmHWM")
    return _Run(setting, cpu / calls, wall / calls, recheck(problem, answer), peak - before, peak, False)


def _forget_peak() -> None:
    with suppress(OSError):  # Linux only; elsewhere memory reads NaN.
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _memory(field: str) -> float:
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith(field):
                return int(line.split()[1]) / 1024.0
    except OSError:
        pass
    return float("nan")
