"""Every paper's own formula, in its symbols and mostly on win probabilities P, against the library's row.

A = 2 P - 1, so a step of eta per unit of P is eta / 2 per unit of A, and a pull of tau per nat on P's scale is 2 tau on
A's: eta tau is preserved.
"""

from __future__ import annotations

from itertools import islice, product

import numpy as np

import rebel_pref as rp
from rebel_pref.preferences import FloatArray
from rebel_pref.solvers import DynamicsState, initial_state, iterates, step
from rebel_pref.theory.checks import Check, Scale, at_most
from rebel_pref.theory.divergence import log_softmax
from rebel_pref.theory.games import leaning_start, suite

__all__ = ["checks"]

_SYMBOLS, _FACTS = "a paper's own symbols", "what a row is"


def checks(scale: Scale) -> list[Check]:
    """Conversions of symbols, and rows that are one another."""
    return [*_papers(scale), *_identities(scale)]


def _papers(scale: Scale) -> list[Check]:
    games = suite(quick=scale.quick)
    rng = np.random.default_rng([scale.seed, 7])
    worst = dict.fromkeys(("SPPO", "SPPO, normalised", "INPO", "Nash-MD", "EGPO", "IPO", "MMD"), 0.0)

    def compare(name: str, row: rp.Algorithm, state: DynamicsState, payoff: FloatArray, paper: FloatArray) -> None:
        error = np.abs(step(row, payoff, state).current - log_softmax(paper)).max()
        worst[name] = max(worst[name], float(error))

    for game, eta, pull in product(games.values(), (0.3, 2.0), (0.1, 0.6)):
        n, payoff, wins = len(game), game.payoff, (1.0 + game.payoff) / 2.0
        state = initial_state(np.exp(log_softmax(rng.normal(size=n))), np.exp(log_softmax(rng.normal(size=n))))
        now, reference = state.current, state.magnet
        tau = pull / eta  # in the paper's own scale
        against = wins @ np.exp(now)  # P(y > pi_t)

        # INPO, eq. 8: log-ratio to (tau/eta) log ref + (1 - tau/eta) log pi_t is P(y > pi_t) / eta; its eta is 1/step.
        their_eta, their_tau = 1.0 / eta, pull / eta
        paper = their_tau / their_eta * reference + (1 - their_tau / their_eta) * now + against / their_eta
        compare("INPO", rp.inpo(1 / (2 * their_eta), 2 * their_tau), state, payoff, paper)

        # Nash-MD: argmax eta P(pi > mix) - KL(pi || mix), the mixture pi_t^(1 - eta tau) ref^(eta tau) normalised.
        mix = log_softmax((1 - eta * tau) * now + eta * tau * reference)
        paper = mix + eta * (wins @ np.exp(mix))
        compare("Nash-MD", rp.nash_md(eta / 2, 2 * tau), state, payoff, paper)

        # EGPO: theta' = (1 - eta beta) theta + eta beta (theta_ref + P pi / beta), twice from the same theta.
        beta = tau
        half = (1 - eta * beta) * now + eta * beta * (reference + against / beta)
        ahead = wins @ np.exp(log_softmax(half))
        paper = (1 - eta * beta) * now + eta * beta * (reference + ahead / beta)
        compare("EGPO", rp.egpo(eta / 2, 2 * beta), state, payoff, paper)

        # IPO's minimiser for opponents from pi_t: ref exp(P(y > pi_t) / tau).
        compare("IPO", rp.online_ipo(2 * tau), state, payoff, reference + against / tau)

        # MMD: (pi_t m^(eta alpha) exp(eta q))^(1 / (1 + eta alpha)), for values q of any matrix game.
        paper = (now + eta * tau * reference + eta * (payoff @ np.exp(now))) / (1 + eta * tau)
        compare("MMD", rp.magnetic_rebel(eta, tau), state, payoff, paper)

        # SPPO, eq. 4: pi_t exp(P(y > pi_t) / beta) normalised; its loss: the square of log-ratio - (P - 1/2) / beta.
        beta = 1.0 / eta
        compare("SPPO, normalised", rp.rebel(1 / (2 * beta)), state, payoff, now + against / beta)
        fitted = step(rp.sppo(1 / (2 * beta)), payoff, state).current
        error = np.exp(now) * (fitted - now - (against - 0.5) / beta)
        gradient = 2.0 * (error - np.exp(fitted) * error.sum())
        worst["SPPO"] = max(worst["SPPO"], float(np.abs(gradient).max()))
    where = ", ".join(games)
    words = {
        "SPPO": "SPPO, eta = 1/(2 beta): gradient of its pointwise loss in the logits at the library's next policy",
        "SPPO, normalised": "SPPO's closed form, pi_t exp(P/beta)/Z, against rebel at eta = 1/(2 beta), nats",
        "INPO": "INPO, eta = 1/(2 eta'), tau = 2 tau', next policy, nats",
        "Nash-MD": "Nash-MD, eta = eta'/2, tau = 2 tau', next policy, nats",
        "EGPO": "EGPO, eta = eta'/2, tau = 2 beta, both stages, nats",
        "IPO": "IPO, tau = 2 tau', the fitted policy, nats",
        "MMD": "MMD, eta and tau unchanged, next policy, nats",
    }
    return [at_most(_SYMBOLS, words[name], where, worst[name], 1e-12, kind="identity") for name in words]


def _identities(scale: Scale) -> list[Check]:
    """Rows that are one another: inpo and magnetic, the implicit form of egpo, the first round of optimism."""
    games = suite(quick=scale.quick)
    same = implicit = first = 0.0
    eta, tau = 0.3, 0.27
    for game in games.values():
        payoff, n = game.payoff, len(game)
        start = initial_state(leaning_start(n, 3.0), leaning_start(n, 1.0))
        left = iterates(rp.inpo(eta / (1 + eta * tau), tau), payoff, start)
        right = iterates(rp.magnetic_rebel(eta, tau), payoff, start)
        for one, other in islice(zip(left, right, strict=True), scale.pick(300, 100)):
            same = max(same, float(np.abs(one.current - other.current).max()))
        # Each stage maximises eta <u, A pi> - eta tau KL(u || m) - KL(u || pi_t): log u by its stationarity.
        pull = eta * tau
        anchor = start.current + pull * start.magnet
        half = log_softmax((anchor + eta * payoff @ np.exp(start.current)) / (1 + pull))
        full = log_softmax((anchor + eta * payoff @ np.exp(half)) / (1 + pull))
        egpo = step(rp.egpo(eta / (1 + pull), tau), payoff, start).current
        implicit = max(implicit, float(np.abs(egpo - full).max()))
        optimistic = step(rp.optimistic_rebel(eta), payoff, start).current
        first = max(first, float(np.abs(optimistic - step(rp.rebel(2 * eta), payoff, start).current).max()))
    where = ", ".join(games)
    return [
        at_most(
            _FACTS,
            "inpo at eta / (1 + eta tau) against magnetic_rebel at eta, along a run, nats",
            where,
            same,
            1e-12,
            kind="identity",
        ),
        at_most(
            _FACTS,
            "egpo at eta / (1 + eta tau) against two proximal stages at eta, nats",
            where,
            implicit,
            1e-12,
            kind="identity",
        ),
        at_most(
            _FACTS,
            "optimistic_rebel's first round, where no payoff is before it, against rebel at 2 eta, nats",
            where,
            first,
            1e-14,
            kind="identity",
        ),
    ]
