"""The section on regression holds on a quick run, and its checks flip when what they measure is broken."""

import numpy as np
import pytest

import rebel_pref as rp
from rebel_pref.theory import npg, offline, regression, regression_error, regression_fits, scalar_rewards
from rebel_pref.theory.checks import Scale

QUICK = Scale(quick=True)


def broken(checks):
    return [check.quantity for check in checks if not check.holds]


def test_the_section_holds_and_draws(tmp_path):
    """Every statement of a quick run, the failures that theory predicts among them."""
    checks = regression.section(QUICK, tmp_path)
    assert broken(checks) == []
    assert sum(check.negative for check in checks) >= 5
    assert all(check.games and check.theorem for check in checks)
    for name in ("theory_05_regression_error", "theory_06_natural_gradient"):
        assert (tmp_path / f"{name}.png").stat().st_size > 10_000


def test_a_step_of_twice_eta_is_not_the_error_that_was_put_in(monkeypatch):
    """The error is read off the iterates: at 2 eta they have moved by 2 (r + e), an error of r + 2 e."""
    row = rp.rebel
    monkeypatch.setattr(regression_error.rp, "rebel", lambda step_size: row(2 * step_size))
    assert any("the bias put in" in quantity for quantity in broken(regression_error.bounds(QUICK)))


def test_a_bias_of_the_wrong_sign_plays_another_game(monkeypatch):
    """A - e 1^T + 1 e^T is not the game that fitting r + e plays."""
    shifted = regression.shifted
    monkeypatch.setattr(regression, "shifted", lambda payoffs, bias: shifted(payoffs, -bias))
    assert any("exact payoffs on A + e1'" in quantity for quantity in broken(regression._biases(QUICK)))


def test_an_error_term_of_half_the_size_is_passed(monkeypatch):
    """The bound is not slack: at a large bias a run passes what half of the error term would allow."""
    run = regression_error.run_with_errors

    def halved(payoffs, *arguments, bias=0.0, **settings):
        found, exact = (run(payoffs, *arguments, bias=b, **settings) for b in (bias, 0.0))
        bound = exact.bound + 0.5 * (found.bound - exact.bound)
        return regression_error.Run(**{**vars(found), "bound": bound})

    monkeypatch.setattr(regression_error, "run_with_errors", halved)
    assert any("Expl(average) / [KL" in quantity for quantity in broken(regression_error.bounds(QUICK)))


@pytest.mark.parametrize(
    ("damping", "quantity"),
    [(1.0, "damped by l"), (0.0, "damped by l")],
    ids=["l for l/2", "none"],
)
def test_half_the_damping_is_the_right_one(monkeypatch, damping, quantity):
    """2 F + l against F + l: only l/2 gives the step of the damped regression."""
    step = npg.natural_gradient_step
    monkeypatch.setattr(
        npg,
        "natural_gradient_step",
        lambda policy, target, **settings: step(policy, target, damping=damping * 2 * settings.get("damping", 0.0)),
    )
    assert any(quantity in text for text in broken(npg._networks(QUICK)))


def test_a_loss_in_payoffs_has_another_gradient(monkeypatch):
    """L / eta^2 is in the statement: with the paper's loss in the place of ours it is off by 1 / eta^2."""
    loss = npg.regression_loss
    monkeypatch.setattr(npg, "regression_loss", lambda *arguments: loss(*arguments) / 0.3**2)
    assert any("the paper's scale" in quantity for quantity in broken(npg._networks(QUICK)))


@pytest.mark.parametrize("name", ["pairwise_loss", "group_gradient_weights"])
def test_k_in_the_place_of_k_minus_1_is_seen(monkeypatch, name):
    """Means over pairs i != j divide by K (K - 1)."""
    right = getattr(regression_fits, name)
    monkeypatch.setattr(regression_fits, name, lambda error: right(error) * (error.shape[-1] - 1) / error.shape[-1])
    assert broken(regression_fits._groups(QUICK))


def test_a_reward_at_the_wrong_step_is_seen(monkeypatch):
    """Half the step: not pi exp(eta r) / Z, and the last iterate comes late."""
    row = rp.scalar_rebel
    monkeypatch.setattr(scalar_rewards.rp, "scalar_rebel", lambda step_size: row(step_size / 2))
    failed = broken(scalar_rewards.checks(QUICK))
    assert any("pi exp(eta r)/Z" in quantity for quantity in failed)
    assert any("least probability of the best arm" in quantity for quantity in failed)


def test_without_the_data_the_mixture_fails(monkeypatch):
    """Share 0 under the name of a mixture: nothing covers the winner."""
    monkeypatch.setattr(offline, "_MIXED", 1e-300)
    assert any("mixture of half data: Expl" in quantity for quantity in broken(offline._offline(QUICK)))


def test_a_reward_game_is_scored_by_hand():
    """Two arms r = (1, 0), eta = 1 from uniform: log-odds 1 after one round."""
    log_policy = np.log([0.5, 0.5])
    after = log_policy + scalar_rewards.scalar_log_ratio(log_policy, 1.0, np.array([1.0, 0.0]))
    assert after[0] - after[1] == pytest.approx(1.0)
