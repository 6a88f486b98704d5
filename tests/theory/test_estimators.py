"""The section on sampled payoffs: all of it holds, and each kind of mistake in the library shows in it."""

import numpy as np
import pytest

import rebel_pref as rp
from rebel_pref import payoffs
from rebel_pref.solvers import feedback
from rebel_pref.theory import budgets, estimators, group_estimators
from rebel_pref.theory.checks import Scale
from rebel_pref.theory.enumeration import Prescribed, groups, multisets, places, population_minimiser

QUICK = Scale(quick=True)


def broken(checks):
    return {(check.theorem, check.quantity) for check in checks if not check.holds}


def test_every_statement_holds_and_the_figure_is_drawn(tmp_path):
    """Names are unique, negatives are marked, numbers are finite."""
    checks = estimators.section(QUICK, tmp_path)
    assert not broken(checks)
    assert len({(check.theorem, check.quantity) for check in checks}) == len(checks)
    assert sum(check.negative for check in checks) >= 7
    assert (tmp_path / "theory_07_estimators.png").stat().st_size > 10_000
    assert (tmp_path / "theory_07_estimators.svg").exists()


def test_dividing_by_k_minus_1_shows(monkeypatch):
    """The trap itself: in-group payoffs over K - 1 double the step at K = 2 and break every statement on groups."""
    monkeypatch.setattr(payoffs, "in_group_payoffs", lambda a: a.sum(-1) / (a.shape[-1] - 1))
    found = {theorem for theorem, _ in broken(group_estimators.checks(QUICK))}
    assert {"group estimator", "pairs inside a group", "policy gradient of a group"} <= found


def test_opponents_from_the_wrong_policy_show(monkeypatch):
    """Uniform opponents in the place of draws from pi_t: the regret is small, the mix of opponents is not a winner."""
    monkeypatch.setattr(
        feedback,
        "_draw",
        lambda rng, log_policy, count: rng.integers(log_policy.shape[-1], size=(*log_policy.shape[:-1], count)),
    )
    found = broken(estimators._one_opponent(QUICK))
    assert any("mean exploitability of the drawn opponents" in quantity for _, quantity in found)


@pytest.mark.parametrize("factor", [-1.0, 0.1])
def test_a_wrong_step_size_shows(monkeypatch, factor):
    """A row that climbs the wrong way, or ten times too slowly, leaves the bound of its step size."""
    hedge = rp.Update({"current": 1.0}, {"current": 1.0})

    def rebel(step_size):
        row = rp.Update(hedge.anchor, {"current": factor * step_size})
        return rp.Algorithm("rebel", (row,), step_size)

    monkeypatch.setattr(rp, "rebel", rebel)
    found = broken(estimators._one_opponent(QUICK))
    assert any(theorem == "one sampled opponent" for theorem, _ in found)


def test_a_wrong_gradient_shows(monkeypatch):
    """Half of the coefficients halves the gradient: biased, and a quarter of the variance."""
    real = budgets.group_gradient_weights
    monkeypatch.setattr(budgets, "group_gradient_weights", lambda error: 0.5 * real(error))
    assert len(broken(budgets._u_statistic(QUICK))) >= 2


def test_weights_without_the_ratio_show(monkeypatch):
    """Opponents that are not reweighted keep the bias of the current policy, whatever K is."""
    real = feedback.regression_target

    def current_for_all(update, log_weights, log_probs, payoffs, **options):
        everyone = {name: log_probs["current"] for name in log_probs}
        return real(update, log_weights, everyone, payoffs, **options)

    monkeypatch.setattr(feedback, "regression_target", current_for_all)
    assert any("slope of the bias" in quantity for _, quantity in broken(estimators._reweighted(QUICK)))


def test_enumeration_is_complete():
    """Probabilities sum to 1, and multisets carry the mass of all orders of their draws."""
    policy = np.array([0.5, 0.3, 0.2])
    draws, chance = groups(policy, 4)
    kinds, mass = multisets(policy, 4)
    assert (len(draws), len(kinds)) == (81, 15)
    for kind, weight in zip(kinds, mass, strict=True):
        same = (np.sort(draws, axis=-1) == kind).all(axis=-1)
        assert chance[same].sum() == pytest.approx(weight, rel=1e-12)
    drawn = feedback._draw(Prescribed([places(policy, draws)]), np.log(np.tile(policy, (81, 1))), 4)
    np.testing.assert_array_equal(drawn, draws)


def test_the_population_minimiser_of_known_targets():
    """Targets that are a function of the response are reached exactly; an action that is never drawn stays at 0."""
    wanted = np.array([0.4, -0.7, 0.1, 5.0])
    draws, chance = groups(np.array([0.6, 0.2, 0.2]), 3)
    found = population_minimiser(draws, chance, wanted[draws], 4)
    np.testing.assert_allclose(found, [*(wanted[:3] - wanted[:3].mean()), 0.0], atol=1e-12)
