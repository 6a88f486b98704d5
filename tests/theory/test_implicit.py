"""The implicit step, the pool and the papers' symbols: the statements hold, and breaking what they measure shows."""

import numpy as np
import pytest

import rebel_pref as rp
from rebel_pref import algorithms, payoffs, proximal
from rebel_pref.solvers import feedback
from rebel_pref.theory import conversions, implicit, implicit_errors, pool, pooled_game, single_rows
from rebel_pref.theory.checks import Scale

QUICK = Scale(quick=True)


def failed(checks):
    return [f"{check.theorem}: {check.quantity}" for check in checks if not check.holds]


def test_every_statement_holds(tmp_path):
    """On the quick games, each with an interval that something can fall outside of."""
    checks = implicit.section(QUICK, tmp_path)
    assert failed(checks) == []
    assert {check.theorem for check in checks} >= {"implicit step", "implicit solver", "pool, stratified"}
    assert sum(check.negative for check in checks) >= 8
    assert all(np.isfinite(check.low) or np.isfinite(check.high) for check in checks)


def test_a_step_of_another_size_breaks_the_identity(monkeypatch):
    """s = eta for eta / (1 + eta tau): the fixed point is no longer p*, and the KL identity is off at once."""
    monkeypatch.setattr(algorithms, "_implicit_step", lambda eta, tau: eta)
    broken = failed(implicit._contraction(QUICK))
    assert any("error of (1 + eta tau)" in line for line in broken)
    assert any("a step from p* moves" in line for line in broken)


def test_an_inexact_solver_is_seen(monkeypatch):
    """Newton stopped at a KL of 1e-6: certificate and referee say so."""
    exact = implicit.proximal_step
    monkeypatch.setattr(implicit, "proximal_step", lambda *a, **k: exact(*a, **{"tolerance": 1e-6, **k}))
    broken = failed(implicit._newton(QUICK))
    assert any("largest certificate" in line for line in broken)
    assert any("egpo at tau = 1/s" in line for line in broken)


def test_a_dropped_half_in_the_certificate_is_seen(monkeypatch):
    """Half of the reported KL is neither f(p) nor an upper bound of the distance."""
    whole = proximal._kl_of
    monkeypatch.setattr(proximal, "_kl_of", lambda xp, policy, gap: 0.5 * whole(xp, policy, gap))
    assert any("what Newton reports" in line for line in failed(implicit._certificate(QUICK)))


def test_errors_of_twice_the_range_pass_the_bound(monkeypatch):
    """The worst error of range eps meets eps / (2 sqrt 2): one of range 2 eps does not fit under it."""
    worst = implicit_errors._worst_error
    monkeypatch.setattr(implicit_errors, "_worst_error", lambda star, p, width: worst(star, p, 2 * width))
    assert len(failed(implicit_errors._recursion(QUICK))) >= 1


def test_dividing_by_n_minus_1_biases_the_stratified_estimator(monkeypatch):
    """The sum of what lies outside S over n is unbiased; over n - 1 it is n / (n - 1) too large."""

    def wrong(pool_payoffs, pool_probs, fresh, fresh_outside):
        n = fresh.shape[-1]
        scaled = fresh_outside * n / max(n - 1, 1)
        return payoffs.stratified_payoffs(pool_payoffs, pool_probs, fresh, scaled)

    monkeypatch.setattr(pool, "stratified_payoffs", wrong)
    assert any("mean of the estimate less A pi" in line for line in failed(pool._unbiased()))


def test_a_pool_that_is_not_the_policy_does_not_contract(monkeypatch):
    """Uniform weights on a complete pool for pi_t: its steps are another game's, and KL does not fall by q."""
    found = payoffs.exact_pool_weights
    monkeypatch.setattr(feedback, "exact_pool_weights", lambda logs, mask=None: found(0.0 * logs, mask))
    assert any("once the pool is complete" in line for line in failed(pooled_game._complete(QUICK)))


@pytest.mark.parametrize("name", ["inpo", "nash_md", "egpo"])
def test_a_wrong_conversion_is_seen(monkeypatch, name):
    """The paper's eta for half of it, on the scale A = 2 P - 1, doubles the payoff's weight."""
    right = getattr(rp, name)
    monkeypatch.setattr(rp, name, lambda eta, tau: right(2 * eta, tau / 2))
    words = {"inpo": "INPO", "nash_md": "Nash-MD", "egpo": "EGPO"}[name]
    assert any(words in line for line in failed(conversions._papers(QUICK)))


def test_nash_md_against_the_current_policy_is_another_row(monkeypatch):
    """With the mixture taken for the current policy the row is inpo's, which does rest at the equilibrium of tau."""
    monkeypatch.setattr(rp, "nash_md", rp.inpo)
    assert len(failed(single_rows._nash_md(QUICK))) == 3
