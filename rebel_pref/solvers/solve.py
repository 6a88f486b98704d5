"""`solve`: one door to every solver; the certificate is computed apart from whatever ran."""

from __future__ import annotations

from typing import overload

import numpy as np

from rebel_pref.certificates import Certificate, certify
from rebel_pref.games.batch import GameBatch
from rebel_pref.games.duels import DuelOracle
from rebel_pref.games.factored import FactoredGame, MatvecGame
from rebel_pref.games.game import Game, PreferenceGame
from rebel_pref.games.labels import NumberLabels
from rebel_pref.preferences import FloatArray
from rebel_pref.solution import SOLVED, BatchSolution, Solution, support_of
from rebel_pref.solvers.active_set import active_set
from rebel_pref.solvers.answer import Answer, Progress
from rebel_pref.solvers.double_oracle import double_oracle
from rebel_pref.solvers.exact import exact_certificate
from rebel_pref.solvers.fictitious_play import fictitious_play
from rebel_pref.solvers.interior_point import interior_point
from rebel_pref.solvers.linear_program import linear_program
from rebel_pref.solvers.pivoting import PURE, can_compile, pivoting, pivoting_batch
from rebel_pref.solvers.primal_dual import primal_dual
from rebel_pref.solvers.regret_matching import regret_matching
from rebel_pref.solvers.sampled import solve_by_duels
from rebel_pref.solvers.selection import SELECTIONS, analytic_center, clone_groups, max_entropy

__all__ = ["METHODS", "solve"]

DENSE_METHODS = ("linear_program", "interior_point", "active_set", "pivoting")
METHODS = ("auto", *DENSE_METHODS, "double_oracle", "primal_dual", "regret_matching", "fictitious_play")

_SMALL = 150
"""Up to this many actions one compiled tableau beats a first-order start with an inverse."""


@overload
def solve(
    game: GameBatch,
    *,
    method: str = ...,
    tol: float | None = ...,
    selection: str = ...,
    exact: bool = ...,
    max_steps: int = ...,
    seed: int = ...,
    delta: float = ...,
    max_duels: int | None = ...,
    progress: Progress | None = ...,
) -> BatchSolution: ...
@overload
def solve(
    game: Game | DuelOracle,
    *,
    method: str = ...,
    tol: float | None = ...,
    selection: str = ...,
    exact: bool = ...,
    max_steps: int = ...,
    seed: int = ...,
    delta: float = ...,
    max_duels: int | None = ...,
    progress: Progress | None = ...,
) -> Solution: ...
def solve(
    game: Game | GameBatch | DuelOracle,
    *,
    method: str = "auto",
    tol: float | None = None,
    selection: str = "any",
    exact: bool = False,
    max_steps: int = 100_000,
    seed: int = 0,
    delta: float = 0.05,
    max_duels: int | None = None,
    progress: Progress | None = None,
) -> Solution | BatchSolution:
    """Compute a minimax winner: the policy that no other policy beats.

    Parameters
    ----------
    game : dense (:class:`PreferenceGame`), by factors or by a matvec (:class:`FactoredGame`, :class:`MatvecGame`),
        a batch of small games (:class:`GameBatch`, which gives a :class:`BatchSolution`), or a
        :class:`DuelOracle` that can only be sampled.
    method : one of ``METHODS``; "auto" chooses by kind and size, and ``solution.method`` says what ran.
    tol : exploitability allowed, as a share of ``max|A|``, 1e-9 unless given; what is missed is said in ``status``.
        For a :class:`DuelOracle`, the exploitability to certify (its payoffs lie in [-1, 1]), .05 unless given.
    selection : which winner of a dense game, where there are several: "any"; "vertex", an extreme point, which plays
        few actions; "analytic_center"; "max_entropy". All but "any" merge clones first and share their mass equally.
    exact : prove the answer over the rationals (dense games; needs python-flint). A proof that cannot be had is
        said in ``status``.
    max_steps : matvecs of a first-order method, plays of fictitious play, rounds of the double oracle.
    seed : of what is random: a perturbation against ties, sampled duels.
    delta, max_duels : the certificate of a sampled game fails with probability delta at most; duels allowed.
    progress : called now and then with steps and exploitability reached.

    Raises
    ------
    ValueError
        For an unknown method or selection, or one that this kind of game has not. A solver that fails does not
        raise: it returns what it has, `status` says so and the certificate tells the truth about it.

    >>> from rebel_pref.games import rock_paper_scissors
    >>> solve(rock_paper_scissors(.1, .3, .6)).policy.round(6)
    array([0.6, 0.3, 0.1])
    """
    if tol is None:
        tol = 0.05 if isinstance(game, DuelOracle) else 1e-9
    _check(game, method, tol, selection, exact)
    if isinstance(game, DuelOracle):
        return solve_by_duels(game, tol=tol, delta=delta, seed=seed, max_duels=max_duels, progress=progress)
    if isinstance(game, GameBatch):
        return _solve_batch(game, tol, seed)
    settings = {"method": method, "tol": tol, "selection": selection, "exact": exact, "seed": seed}
    answer = _answer(_in_range(game), method, tol, selection, exact, max_steps, seed, progress)
    certificate = certify(game, answer.policy)
    status = _status(game, answer, certificate, tol)
    policy = certificate.policy
    if exact and isinstance(game, PreferenceGame):
        proof = exact_certificate(game, policy)
        if proof is None:
            status = (
                f"not proved: the {np.count_nonzero(policy)} actions played do not determine a rational winner; "
                "selection='vertex' gives one that does, unless a share lies below 1e-9"
            )
        else:
            certificate, policy, status = proof, proof.policy, SOLVED
    return Solution(policy, support_of(game, policy), certificate, answer.method, answer.steps, status, settings)


def _check(game: object, method: str, tol: float, selection: str, exact: bool) -> None:
    if method not in METHODS:
        raise ValueError(f"no method is called {method!r}; known methods: {', '.join(METHODS)}")
    if selection not in SELECTIONS:
        raise ValueError(f"no selection is called {selection!r}; known selections: {', '.join(SELECTIONS)}")
    if not 0.0 < tol < np.inf:
        raise ValueError(f"tol must be positive and finite, got {tol}")
    if isinstance(game, np.ndarray | list | tuple | str):
        raise ValueError(
            f"expected a game, got a {type(game).__name__}; "
            "PreferenceGame.from_payoffs takes a matrix, games.named_game a name, load_game a file"
        )
    dense = isinstance(game, PreferenceGame)
    if not dense and (method in DENSE_METHODS or selection != "any" or exact):
        asked = f"method={method!r}" if method in DENSE_METHODS else "selection" if selection != "any" else "exact=True"
        if not (isinstance(game, GameBatch) and asked == "method='pivoting'"):
            raise ValueError(f"{asked} needs a PreferenceGame, whose matrix is at hand; got a {type(game).__name__}")
    if selection != "any" and method != "auto":
        raise ValueError(f"selection={selection!r} chooses its method; leave method='auto' (got {method!r})")
    if isinstance(game, DuelOracle | GameBatch) and method not in ("auto", "pivoting"):
        raise ValueError(f"a {type(game).__name__} has a solver of its own; leave method='auto' (got {method!r})")


def _answer(
    game: Game,
    method: str,
    tol: float,
    selection: str,
    exact: bool,
    max_steps: int,
    seed: int,
    progress: Progress | None,
) -> Answer:
    if game.scale == 0.0:
        return Answer(np.full(len(game), 1.0 / len(game)), "every_payoff_is_0", 0)
    if isinstance(game, PreferenceGame):
        if selection != "any" or (exact and method == "auto"):
            return _select(game, "vertex" if selection == "any" else selection, tol, seed, progress)
        match method:
            case "auto":
                return _auto(game, tol, seed, progress)
            case "linear_program":
                return linear_program(game)
            case "interior_point":
                return interior_point(game, tol=tol, progress=progress)
            case "active_set":
                found = active_set(game, tol=tol, seed=seed, progress=progress)
                return found or interior_point(game, tol=tol, progress=progress)
            case "pivoting":
                return pivoting(game, seed=seed) or interior_point(game, tol=tol, progress=progress)
    match method:
        case "regret_matching":
            return regret_matching(game, tol=tol, max_steps=max_steps, progress=progress)
        case "fictitious_play":
            return fictitious_play(game, tol=tol, max_steps=max_steps, progress=progress)
        case "primal_dual":
            return primal_dual(game, tol=tol, max_steps=max_steps, progress=progress)
    if method == "auto" and not isinstance(game, FactoredGame):
        return primal_dual(game, tol=tol, max_steps=max_steps, progress=progress)
    return double_oracle(game, tol=tol, max_steps=max_steps, solve_restricted=_solve_restricted, progress=progress)


def _in_range(game: Game) -> Game:
    """The game itself, or one with the same winners whose payoffs can be squared without overflow."""
    scale = game.scale
    if scale == 0.0 or 1e-30 < scale < 1e30:
        return game
    match game:
        case PreferenceGame():
            return PreferenceGame(game.payoff / scale, game.labels)
        case FactoredGame():
            return FactoredGame(game.left / scale, game.right, game.scores / scale, game.labels)
        case _:
            return MatvecGame(lambda policy: game.payoffs_against(policy) / scale, len(game), game.labels)


def _auto(game: PreferenceGame, tol: float, seed: int, progress: Progress | None) -> Answer:
    # An action that nothing beats is a winner.
    unbeaten = game.payoff.min(axis=1) >= 0.0
    if unbeaten.any():
        policy = np.zeros(len(game))
        policy[int(unbeaten.argmax())] = 1.0
        return Answer(policy, "unbeaten_action", 0)
    found = None
    if len(game) <= PURE or (len(game) <= _SMALL and can_compile()):
        found = pivoting(game, seed=seed)
    found = found or active_set(game, tol=tol, seed=seed, progress=progress)
    if found is not None and float((game.payoff @ found.policy).max()) <= max(tol, 1e-12) * game.scale:
        return found
    found = interior_point(game, tol=tol, progress=progress)
    return linear_program(game) if found.message else found


def _select(game: PreferenceGame, selection: str, tol: float, seed: int, progress: Progress | None) -> Answer:
    groups = clone_groups(game.payoff)
    _, kept, counts = np.unique(groups, return_index=True, return_counts=True)
    merged = PreferenceGame.from_payoffs(game.payoff[np.ix_(kept, kept)])
    if len(merged) == 1 or merged.scale == 0.0:
        policy, steps, method = np.full(len(merged), 1.0 / len(merged)), 0, selection
        if selection == "vertex":
            policy = np.eye(len(merged))[0]
    elif selection == "vertex":
        found = _auto(merged, min(tol, 1e-9), seed, progress)
        if found.method == "interior_point":  # Between the vertices.
            found = linear_program(merged)
        policy, steps, method = found.policy, found.steps, found.method
    else:
        rule = max_entropy if selection == "max_entropy" else analytic_center
        policy, steps = rule(merged.payoff, merged.scale)
        method = selection
    return Answer((policy / counts)[groups], method, steps)


def _solve_restricted(payoff: FloatArray) -> FloatArray:
    """Winner [k] of a small matrix: what the double oracle asks for every round."""
    game = PreferenceGame(payoff, NumberLabels(len(payoff)))
    return np.full(len(game), 1.0 / len(game)) if game.scale == 0.0 else _auto(game, 1e-12, 0, None).policy


def _solve_batch(batch: GameBatch, tol: float, seed: int) -> BatchSolution:
    policies, pivots, scales = pivoting_batch(batch, seed=seed)
    payoffs = np.matmul(batch.payoffs, policies[:, :, None])[:, :, 0]
    worst = payoffs.max(axis=1)
    statuses = {}
    for b in np.flatnonzero((pivots < 0) | ~(worst <= tol * scales)):
        again = solve(batch[int(b)], tol=tol, seed=seed)
        policies[b], pivots[b], worst[b] = again.policy, again.steps, again.certificate.exploitability
        if not again.solved:
            statuses[int(b)] = again.status
    return BatchSolution(batch, policies, worst, pivots, statuses, {"tol": tol, "seed": seed})


def _status(game: Game, answer: Answer, certificate: Certificate, tol: float) -> str:
    # Where every payoff is 0, what is left is rounding, if that is known.
    rounding = certificate.rounding if np.isfinite(certificate.rounding) else 0.0
    allowed = tol * game.scale if game.scale > 0.0 else rounding
    if certificate.exploitability <= allowed:
        return SOLVED
    if answer.message:
        return f"fell short: {answer.message}"
    return f"fell short: exploitability {certificate.exploitability:.3g} > {allowed:.3g}; raise tol or max_steps"
