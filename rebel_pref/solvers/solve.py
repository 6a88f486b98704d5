"""`solve`: one door to every solver; the certificate is computed apart from whatever ran."""

from __future__ import annotations

import numpy as np

from rebel_pref.certificates import certify
from rebel_pref.games.game import PreferenceGame
from rebel_pref.solution import SOLVED, Solution
from rebel_pref.solvers.linear_program import linear_program

__all__ = ["METHODS", "solve", "support_of"]

METHODS = ("auto", "linear_program")


def solve(game: PreferenceGame, *, method: str = "auto", tol: float = 1e-9) -> Solution:
    """Compute a minimax winner: the policy that no other policy beats.

    Parameters
    ----------
    game : the game; build it with :class:`PreferenceGame`.
    method : one of ``METHODS``; "auto" chooses, and ``solution.method`` says what ran.
    tol : exploitability allowed, as a share of ``max|A|``; what is missed is said in ``status``.

    Raises
    ------
    ValueError
        For an unknown method. A solver that fails does not raise: it returns what it has, `status` says
        so and the certificate tells the truth about it.

    >>> from rebel_pref.games import rock_paper_scissors
    >>> solve(rock_paper_scissors(.1, .3, .6)).policy.round(6)
    array([0.6, 0.3, 0.1])
    """
    if method not in METHODS:
        raise ValueError(f"no method is called {method!r}; known methods: {', '.join(METHODS)}")
    if not tol > 0.0:
        raise ValueError(f"tol must be positive, got {tol}")
    policy, steps, message = linear_program(game)
    if policy is None:
        policy = np.full(len(game), 1.0 / len(game))
        status = f"failed: {message}; the policy is only uniform, read the certificate"
    else:
        status = SOLVED
    certificate = certify(game, policy)
    allowed = tol * max(float(np.abs(game.payoff).max()), np.finfo(float).tiny)
    if status == SOLVED and certificate.exploitability > allowed:
        status = f"fell short: exploitability {certificate.exploitability:.3g} > {allowed:.3g}; raise tol"
    return Solution(
        policy=policy,
        support=support_of(game, policy),
        certificate=certificate,
        method="linear_program",
        steps=steps,
        status=status,
        settings={"method": method, "tol": tol},
    )


def support_of(game: PreferenceGame, policy: np.ndarray) -> tuple[str, ...]:
    """Labels with a probability above 1e-9, likeliest first."""
    order = np.argsort(-policy, kind="stable")
    return tuple(game.labels[i] for i in order if policy[i] > 1e-9)
