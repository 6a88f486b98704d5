"""Regret matching, fictitious play and the double oracle: the statements hold, and breaking what they measure shows."""

import importlib

import numpy as np
import pytest

from rebel_pref.theory import population, regrets
from rebel_pref.theory.checks import Scale

QUICK = Scale(quick=True)
CURVES = importlib.import_module("rebel_pref.solvers.learning_curve")  # The package holds the function of this name.


def failed(checks):
    return [check.quantity for check in checks if not check.holds]


def test_every_statement_holds(tmp_path):
    """On the quick games; nothing is compared with itself, so every interval is finite on some side and not empty."""
    checks = population.section(QUICK, tmp_path)
    assert failed(checks) == []
    assert {check.theorem.split(",")[0] for check in checks} >= {"regret matching", "fictitious play"}
    assert sum(check.negative for check in checks) >= 6
    assert all(check.low < check.high for check in checks)


def test_the_wrong_sign_of_regrets_breaks_the_bounds(monkeypatch):
    """Who plays what is *not* regretted has z . r > 0 no more: Blackwell's potential grows with T, not sqrt(T)."""

    def unmatched(regrets, fallback):
        negative = np.maximum(-regrets, 0.0)
        return negative / negative.sum() if negative.sum() > 0.0 else fallback

    monkeypatch.setattr("rebel_pref.solvers.regret_matching._matched", unmatched)
    broken = failed(regrets.regret_bounds(QUICK))
    assert len(broken) >= 2
    assert any("sqrt(sum |r_t|^2), T" in quantity for quantity in broken)


def test_no_prediction_is_no_predictive_regret_matching(monkeypatch):
    """Regret matching+ under the name of the predictive variant falls like T^(-1/2): its slope is far from -1."""
    plain = regrets.matched_policies
    monkeypatch.setattr(
        CURVES,
        "matched_policies",
        lambda game, variant, start: plain(game, "plus" if variant == "predictive_plus" else variant, start),
    )
    assert any("slope" in quantity for quantity in failed(regrets.regret_rates(QUICK)))


def test_the_best_response_to_the_last_play_is_not_fictitious_play(monkeypatch):
    """It runs round the cycle of best responses: the slope is -1 where the cycle is the winner, else 0."""

    def forgetful(game, start):
        response = int(game.payoffs_against(start).argmax())
        while True:
            action = response
            payoffs = game.columns(np.array([action]))[:, 0]
            response = int(payoffs.argmax())
            yield action, response, payoffs

    monkeypatch.setattr(CURVES, "best_responses", forgetful)
    assert len(failed(population._fictitious_play(QUICK))) == 1


def test_half_the_regularisation_is_another_equilibrium(monkeypatch):
    """Smooth fictitious play at tau/2 ends elsewhere: both distances, the slope and the bias say so."""
    right = CURVES.smooth_responses
    monkeypatch.setattr(CURVES, "smooth_responses", lambda game, start, tau: right(game, start, 0.5 * tau))
    assert len(failed(population._smooth(QUICK))) == 4


def test_an_inexact_restricted_winner_is_found_out(monkeypatch):
    """Uniform in place of the restricted winner: no exact end, and another policy than the referee's."""
    monkeypatch.setattr(
        "rebel_pref.solvers.double_oracle._restricted_winner", lambda payoffs: np.full(len(payoffs), 1 / len(payoffs))
    )
    broken = failed(population._oracle(Scale(quick=True)))
    assert any("exact" in quantity for quantity in broken)
    assert any("linear program" in quantity for quantity in broken)


@pytest.mark.parametrize("values", [[-0.5, -0.9], [-0.9, -0.5]])
def test_the_worst_is_reported(values):
    """A slope farther from the prediction is the one that the table shows."""
    assert regrets.farthest(values, -0.55) == -0.9
