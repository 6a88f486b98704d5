"""The implicit step ``p = softmax(b + s A p)``: contraction for any step size, its solver, its certificate.

The rest of the section: what errors do to the step (:mod:`~rebel_pref.theory.implicit_errors`), the pool of past
responses that it is solved on (:mod:`~rebel_pref.theory.pool`, :mod:`~rebel_pref.theory.pooled_game`), the rows against
the papers' own formulas (:mod:`~rebel_pref.theory.conversions`) and one by one (:mod:`~rebel_pref.theory.single_rows`).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice, product
from pathlib import Path

import numpy as np

import rebel_pref as rp
from rebel_pref.algorithms import weighted_sum
from rebel_pref.games import PreferenceGame
from rebel_pref.preferences import FloatArray
from rebel_pref.proximal import proximal_step, regularized_equilibrium
from rebel_pref.solvers import initial_state, iterates, step
from rebel_pref.theory import conversions, implicit_errors, pool, pooled_game, single_rows
from rebel_pref.theory.checks import Check, Scale, at_least, at_most
from rebel_pref.theory.divergence import kl, log_softmax, spread
from rebel_pref.theory.games import leaning_start, suite

__all__ = ["section"]

_STEP, _FIXED, _SOLVER, _CERTIFICATE = "implicit step", "implicit step, tau = 0", "implicit solver", "step certificate"


def section(scale: Scale, out: Path) -> list[Check]:
    """Every statement on the implicit step, the pool and the conversions; draws nothing."""
    return [
        *_contraction(scale),
        *_fixed_points(scale),
        *_newton(scale),
        *_certificate(scale),
        *implicit_errors.checks(scale),
        *pool.checks(scale),
        *pooled_game.checks(scale),
        *conversions.checks(scale),
        *single_rows.checks(scale),
    ]


def _games(scale: Scale) -> Mapping[str, PreferenceGame]:
    return {name: game for name, game in suite(quick=scale.quick).items() if len(game) <= 50}


def _contraction(scale: Scale) -> list[Check]:
    """A fixed magnet: the exact identity, and what follows from it for any step size."""
    games, etas, taus = _games(scale), (0.1, 1.0, 10.0, 100.0), scale.pick((0.05, 0.1, 0.5), (0.1,))
    rng = np.random.default_rng(scale.seed)
    identity = ratio = near_fixed = moved = default = 0.0
    rises: list[float] = []
    for game, eta, tau in product(games.values(), etas, taus):
        payoff, n = game.payoff, len(game)
        magnet = log_softmax(rng.normal(size=n))
        # To rounding: the default tolerance, 1e-10 in the logits, enters the identity to first order.
        star = np.log(proximal_step(magnet, payoff, 1 / tau, tolerance=1e-30).policy)
        row, pull = rp.proximal_rebel(eta, tau), eta * tau
        at_star = step(row, payoff, initial_state(np.exp(star), np.exp(magnet)))
        moved = max(moved, float(np.abs(at_star.current - star).max()))
        before = initial_state(leaning_start(n, 3.0), np.exp(magnet))
        for after in islice(iterates(row, payoff, before), 4):
            w, stage = before.current, row.stages[0]
            base = weighted_sum(stage.anchor, {"current": w, "magnet": magnet})
            p = np.log(proximal_step(base, payoff, stage.payoff["next"], tolerance=1e-30).policy)
            default = max(default, float(np.abs(after.current - p).max()))
            left, far = (1 + pull) * kl(star, p), kl(star, w)
            terms = np.array([left, far, kl(p, w), pull * kl(p, star)])
            identity = max(identity, abs(left - far + terms[2] + terms[3]) / max(1.0, terms.max()))
            if far > 1e-8:
                ratio = max(ratio, float(left / far))
                length = float(np.abs(np.exp(p) - np.exp(star)).sum())
                near_fixed = max(near_fixed, 2 * pull * length / float(spread(p - w)))
                rises.append(rp.certify(game, np.exp(p)).exploitability - rp.certify(game, np.exp(w)).exploitability)
            before = after
    where = ", ".join(games)
    return [
        at_most(
            _STEP,
            "error of (1 + eta tau) KL(p*||p) = KL(p*||w) - KL(p||w) - eta tau KL(p||p*), over its largest term or 1",
            where,
            identity,
            1e-12,
            kind="identity",
        ),
        at_most(
            _STEP,
            "log-probability of a round of proximal_rebel against the step solved to rounding, nats",
            where,
            default,
            1e-8,
            kind="identity",
        ),
        at_most(_STEP, "(1 + eta tau) KL(p*||p) / KL(p*||w), eta .1 to 100", where, ratio, 1.0 + 1e-9),
        at_most(_STEP, "nats that a step from p* moves", where, moved, 1e-8, kind="identity"),
        at_most(
            _STEP,
            "only p* stands still: 2 eta tau |p - p*|_1 / range(log p - log w)",
            where,
            near_fixed,
            1.0 + 1e-9,
        ),
        at_least(
            _STEP,
            "KL to p* falls, exploitability need not: its largest rise in a step (payoff units)",
            where,
            max(rises),
            1e-3,
            negative=True,
        ),
    ]


def _fixed_points(scale: Scale) -> list[Check]:
    """Without a pull every pure policy stands still, yet the last iterate from full support finds a winner."""
    games = _games(scale)
    eta, small = 1.0, 1e-12
    excess, shown = 0.0, np.inf
    for game in games.values():
        n, largest = len(game), float(np.abs(game.payoff).max())
        starts = np.full((n, n), small / (n - 1))
        np.fill_diagonal(starts, 1.0 - small)
        before = initial_state(starts)
        after = step(rp.proximal_rebel(eta, 0.0), np.broadcast_to(game.payoff, (n, n, n)), before)
        moved = np.abs(np.exp(after.current) - np.exp(before.current)).sum(axis=-1)
        excess = max(excess, float(moved.max()) / (2 * small * np.exp(2 * eta * largest)))
        worst = (starts @ game.payoff.T).max(axis=-1)
        standing = worst[moved < 1e-9]
        shown = min(shown, float(standing.max()) if len(standing) else 0.0)
    where = ", ".join(games)
    checks = [
        at_most(
            _FIXED,
            f"a pure policy hardly moves: |p - w|_1 / (2 d e^(2 eta L)) with mass d = {small:g} off it",
            where,
            excess,
            1.0 + 1e-3,
        ),
        at_least(
            _FIXED,
            "a fixed point is no winner: exploitability of a policy that moves by less than 1e-9 (payoff units)",
            where,
            shown,
            0.2,
            negative=True,
        ),
    ]
    # Rounds grow where the winner leaves actions out by a small margin: linear, but slow.
    kept = {name: game for name, game in games.items() if len(game) <= 20}
    last, rise, agreement, against_comal = 0.0, -np.inf, 0.0, 0.0
    etas, rounds = scale.pick((30.0, 100.0), (100.0,)), scale.pick(600, 100)
    full: list[str] = []
    partial: list[str] = []
    for name, game in kept.items():
        payoff, n = game.payoff, len(game)
        winner = rp.solve(game).policy
        (full if (winner > 1e-9).all() else partial).append(name)
        start = initial_state(leaning_start(n, 1.0))
        reached = [0.0]
        for round_eta in etas:
            state, support = start, winner > 0
            for _ in range(rounds):
                after = step(rp.proximal_rebel(round_eta, 0.0), payoff, state)
                gain = (winner[support] * (state.current - after.current)[support]).sum()
                rise, state = max(rise, float(gain)), after
            reached.append(rp.certify(game, np.exp(state.current)).exploitability)
        last = max(last, *reached)
        tau = 0.3
        once = step(rp.proximal_rebel(1 / tau, 0.0), payoff, start).current
        outer = regularized_equilibrium(start.current, payoff, tau).policy
        agreement = max(agreement, float(np.abs(np.exp(once) - outer).max()))
        many = int(80 / tau)
        inner = islice(iterates(rp.comal(rp.egpo(0.5, tau), every=many), payoff, start), many - 1, many)
        against_comal = max(against_comal, float(np.abs(np.exp(next(inner).magnet) - outer).max()))
    steps = " and ".join(f"{eta:g}" for eta in etas)
    where = f"full support: {', '.join(full)}; less: {', '.join(partial)}"
    return [
        *checks,
        at_most(
            _FIXED,
            f"exploitability of the last iterate, eta = {steps}, {rounds} rounds (payoff units)",
            where,
            last,
            1e-6,
            kind="observation",
        ),
        at_most(_FIXED, "largest rise of KL(winner || p) in a round (nats)", where, rise, 1e-9),
        at_most(
            _FIXED,
            "one step at eta = 1/tau' against COMAL's outer step, the equilibrium at tau' around the current policy",
            ", ".join(kept),
            agreement,
            1e-10,
            kind="identity",
        ),
        at_most(
            _FIXED,
            "the same against comal(egpo) after its inner rounds, where the magnet is reset",
            ", ".join(kept),
            against_comal,
            1e-9,
            kind="identity",
        ),
    ]


_MOST_ITERATIONS = {0.1: 3, 1.0: 5, 5.0: 9, 20.0: 15, 100.0: 46}
"""s -> Newton iterations to 1e-10 in the logits that no game of 4 to 64 actions may pass."""


def _drawn(rng: np.random.Generator, kind: str, count: int, size: int) -> FloatArray:
    shape = (count, size, size)
    upper = np.triu(rng.uniform(-1.0, 1.0, shape) if kind == "uniform" else rng.choice([-1.0, 1.0], shape), 1)
    return np.asarray(upper - upper.swapaxes(-1, -2))


def _newton(scale: Scale) -> list[Check]:
    """Iterations of the library's Newton, why it never meets a singular matrix, and a first-order referee."""
    sizes, count = (4, 8, 16, 32, 64), scale.pick(20, 2)
    rng = np.random.default_rng([scale.seed, 1])
    checks = []
    worst_certificate = apart = 0.0
    least = np.inf
    for s, most in _MOST_ITERATIONS.items():
        taken = 0
        for size, kind in product(sizes, ("uniform", "signs")):
            payoffs, base = _drawn(rng, kind, count, size), rng.normal(size=(count, size))
            solved = [proximal_step(b, a, s) for b, a in zip(base, payoffs, strict=True)]
            taken = max(taken, *(one.iterations for one in solved))
            worst_certificate = max(worst_certificate, *(float(one.kl_certificate) for one in solved))
            p = rng.dirichlet(np.ones(size), size=count)
            against = (payoffs * p[:, None, :]).sum(-1)
            jacobian = np.eye(size) - s * (payoffs - against[:, :, None]) * p[:, None, :]
            sign, log_det = np.linalg.slogdet(jacobian)
            least = min(least, float((sign * np.exp(np.minimum(log_det, 50.0))).min()))
            if size <= 16 and s <= scale.pick(100.0, 5.0):
                # Extragradient on the same game: tau = 1/s towards softmax(base), at its largest safe step.
                h = 1.0 / (1.0 + 1.0 / s)
                rounds = int(26 * s) + 60
                start = initial_state(np.full(base.shape, 1 / size), np.exp(log_softmax(base)))
                end = next(islice(iterates(rp.egpo(h, 1 / s), payoffs, start), rounds, None))
                newton = np.stack([one.policy for one in solved])
                apart = max(apart, float(np.abs(np.exp(end.current) - newton).max()))
        checks.append(
            at_most(
                _SOLVER,
                f"Newton iterations to 1e-10, s = {s:g}",
                "uniform and +-1 games, K 4 to 64",
                taken,
                most,
                kind="observation",
            )
        )
    where = "uniform and +-1 games, s .1 to 100, K 4 to 64"
    return [
        *checks,
        at_most(_SOLVER, "largest certificate at the end, in nats", where, worst_certificate, 1e-20),
        at_least(_SOLVER, "det J at random policies", where, least, 1.0 - 1e-9),
        at_most(
            _SOLVER,
            "probability by which egpo at tau = 1/s, after 26 s + 60 rounds, differs from Newton",
            f"uniform and +-1 games, K 4 to 16, s .1 to {scale.pick(100, 5)}",
            apart,
            1e-9,
            kind="identity",
        ),
    ]


def _certificate(scale: Scale) -> list[Check]:
    """``f(p) = KL(p || softmax(b + s A p))``: what the solver reports, above the distance to the solution, convex."""
    draws = scale.pick(500, 100)
    rng = np.random.default_rng([scale.seed, 2])
    reported = zero = ratio = 0.0
    bend = -np.inf
    for s, size in product((0.3, 3.0, 30.0), (3, 8)):
        payoff, base = _drawn(rng, "uniform", 1, size)[0], rng.normal(scale=2.0, size=size)
        solved = np.log(proximal_step(base, payoff, s).policy)
        star = np.log(proximal_step(base, payoff, s, tolerance=1e-30).policy)

        def f(log_p: FloatArray, base: FloatArray = base, payoff: FloatArray = payoff, s: float = s) -> FloatArray:
            return kl(log_p, log_softmax(base + s * np.exp(log_p) @ payoff.T))

        p, q = (log_softmax(rng.normal(scale=3.0, size=(draws, size))) for _ in range(2))
        ratio = max(ratio, float((kl(p, star) / f(p)).max()))
        zero = max(zero, float(f(solved)))
        for share in (0.1, 0.5, 0.9):
            between = np.log((1 - share) * np.exp(p) + share * np.exp(q))
            bend = max(bend, float((f(between) - (1 - share) * f(p) - share * f(q)).max()))
        for iterations in (0, 1, 2, 3):
            early = proximal_step(base, payoff, s, max_iterations=iterations)
            log_p = np.log(early.policy)
            reported = max(reported, abs(float(early.kl_certificate) - float(f(log_p))) / (1.0 + float(f(log_p))))
            if early.kl_certificate > 1e-8:  # Nearer, the quotient is of rounding.
                ratio = max(ratio, float(kl(log_p, star) / early.kl_certificate))
    where = f"uniform games, s .3, 3, 30, K 3, 8; {draws} draws each"
    return [
        at_most(
            _CERTIFICATE,
            "what Newton reports, stopped after 0 to 3 iterations, against f(p)",
            where,
            reported,
            1e-12,
            kind="identity",
        ),
        at_most(_CERTIFICATE, "KL(p || solution) / f(p), random p and Newton's own", where, ratio, 1.0 + 1e-9),
        at_most(_CERTIFICATE, "f at the solution, nats", where, zero, 1e-20),
        at_most(_CERTIFICATE, "f between two policies less the chord (convex: never > 0), nats", where, bend, 1e-12),
    ]
