"""Hedge: every statement holds, and a wrong step, row or constant breaks those that speak of it."""

import math

import numpy as np
import pytest

import rebel_pref as rp
from rebel_pref.theory import hedge, hedge_failures, hedge_last_iterate
from rebel_pref.theory.checks import Scale

QUICK = Scale(quick=True)


def failed(checks):
    return [f"{check.theorem}: {check.quantity}" for check in checks if not check.holds]


def test_every_statement_holds_and_both_figures_are_drawn(tmp_path):
    """On the quick games; every interval is finite on some side and not empty, and failures are among the rows."""
    checks = hedge.section(QUICK, tmp_path)
    assert failed(checks) == []
    assert sum(check.negative for check in checks) >= 8
    assert all(math.isfinite(check.low) or math.isfinite(check.high) for check in checks)
    assert {path.name for path in tmp_path.iterdir()} == {
        f"theory_{name}.{suffix}" for name in ("01_trajectories", "02_averages") for suffix in ("png", "svg")
    }


def test_another_step_is_seen_in_averages(monkeypatch):
    """The payoffs' formula divides by eta; and log(n) / eta, met where one action beats all, moves with it."""
    right = rp.rebel
    monkeypatch.setattr(rp, "rebel", lambda eta: right(0.5 * eta))
    assert any("sum of log Z_t" in line for line in failed(hedge.averages(QUICK)))
    assert any("the first term is met" in line for line in failed(hedge.sharpness(QUICK)))


def test_a_constant_step_has_another_rate(monkeypatch):
    """At eta = .4 for every horizon the bound tuned to T is left: 1/T first, then a floor of the order of eta."""
    right = rp.rebel
    monkeypatch.setattr(rp, "rebel", lambda eta: right(0.4))
    assert any("slope" in line for line in failed(hedge.averages(QUICK)))


def test_play_against_oneself_needs_its_second_term(monkeypatch):
    """E r^2 is (1 - 1/n^2) / 3 on an order, so 1/3 is sharp; and log n / (eta T) alone is no bound at the tuned eta."""
    one = np.sign(np.subtract.outer(np.arange(9), np.arange(9)))
    assert ((one @ np.full(9, 1 / 9)) ** 2).mean() == pytest.approx((1 - 1 / 81) / 3, abs=1e-15)
    monkeypatch.setattr(hedge, "_bennett", lambda eta: 0.0)
    assert any("Hedge against itself" in line for line in failed(hedge.averages(QUICK)))


def test_plain_hedge_is_not_optimistic(monkeypatch):
    """At the same constant step T Expl(average) grows like T, and near the winner KL grows instead of falling."""
    monkeypatch.setattr(rp, "optimistic_rebel", rp.rebel)
    assert len(failed(hedge.optimism(QUICK))) >= 3
    assert len(failed(hedge_last_iterate.local_rates())) == 2


def test_a_row_that_comes_home_is_not_hedge(monkeypatch):
    """A magnet, or optimism, brings the last iterate nearer: KL falls, and log E exp(eta r) is not its growth."""
    for row in (lambda eta: rp.magnetic_rebel(eta, 0.2), rp.optimistic_rebel):
        with monkeypatch.context() as patch:
            patch.setattr(rp, "rebel", row)
            broken = failed(hedge_last_iterate.outward(QUICK))
            assert any("less log E exp" in line for line in broken)
            assert any("does not grow" in line for line in broken)


def test_half_the_tau_is_seen_in_the_logit_response(monkeypatch):
    """The factor is (mu / tau)^2: with tau_IPO in the place of tau it is four times as large."""
    right = rp.online_ipo
    monkeypatch.setattr(rp, "online_ipo", lambda tau: right(tau / 2.0))
    assert len(failed(hedge_last_iterate.logit_response())) == 4


def test_an_error_of_the_second_order_is_not_what_sppo_drops(monkeypatch):
    """eta + eta^2 in the place of eta differs from Hedge by eta^2: its order is 2."""
    right = rp.rebel
    monkeypatch.setattr(rp, "sppo", lambda eta: right(eta + eta * eta))
    assert len(failed(hedge_failures.without_normaliser(QUICK))) == 2


def test_one_policy_for_all_contexts_is_seen(monkeypatch):
    """Contexts share nothing: with the first context's policies everywhere neither law survives."""
    right = rp.self_play

    def shared(game, row, *, steps):
        first = game.games[0] if isinstance(game, rp.ContextualGame) else game
        alone = right(first, row, steps=steps)
        if first is game:
            return alone
        table, average = (np.tile(policy, (len(game), 1)) for policy in (alone.policy, alone.average_policy))
        return rp.ContextualSolution.of(game, table, average, "shared", steps, "solved", {})

    monkeypatch.setattr(rp, "self_play", shared)
    assert len(failed(hedge.contexts(QUICK))) == 3
