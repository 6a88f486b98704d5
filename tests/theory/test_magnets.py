"""Magnets: the statements hold, and breaking what they measure shows."""

import numpy as np
import pytest

import rebel_pref as rp
from rebel_pref.theory import magnets, magnets_figures, magnets_moving, magnets_nash_md, magnets_nested
from rebel_pref.theory.checks import Scale
from rebel_pref.theory.contraction import distances, equilibrium, worst_ratio
from rebel_pref.theory.games import leaning_start, random_game, weighted_rps

QUICK = Scale(quick=True)


def failed(checks):
    return [check.quantity for check in checks if not check.holds]


def test_every_statement_holds(monkeypatch, tmp_path):
    """On the quick games; negatives are among them, and no interval is empty."""
    monkeypatch.setattr(magnets, "draw", lambda scale, out: None)
    checks = magnets.section(QUICK, tmp_path)
    assert failed(checks) == []
    assert sum(check.negative for check in checks) >= 6
    assert all(check.low < check.high for check in checks)


def test_figures_are_drawn(monkeypatch, tmp_path):
    """Four of them, without a warning; small here, and no SVG, which takes as long again."""
    monkeypatch.setattr(magnets_figures, "save", lambda figure, out, name: figure.savefig(out / f"{name}.png", dpi=40))
    magnets_figures.draw(QUICK, tmp_path)
    names = ("03_rates", "04_step_sizes", "09_bias", "10_nash_md")
    assert all((tmp_path / f"theory_{name}.png").stat().st_size > 5_000 for name in names)


def test_equilibria_are_exact():
    """log p = log m + A p / tau + const to rounding, which is what identities of 1e-12 need."""
    game, magnet = random_game(10, 0), leaning_start(10)
    for tau in (0.02, 0.5):
        star = equilibrium(game.payoff, tau, magnet)
        assert np.ptp(star - np.log(magnet) - game.payoff @ np.exp(star) / tau) < 1e-12


def test_the_promise_ends_somewhere():
    """At twelve times tau / L^2 the promised factor is missed: the bound is of the step, not of any step."""
    game, tau = weighted_rps(1.0, 1.0, 1.0), 0.1
    magnet = np.full(3, 1 / 3)
    kls = distances(rp.magnetic_rebel(1.2, tau), game.payoff, equilibrium(game.payoff, tau, magnet),
                    leaning_start(3), magnet, 50)  # fmt: skip
    assert worst_ratio(kls) > 1.0 / 1.12


@pytest.mark.parametrize("factor", [0.5, 1.1])
def test_a_wrong_step_breaks_the_fixed_magnet(monkeypatch, factor):
    """The identity has the step in it, and near rest the factor is a function of it."""
    right = rp.magnetic_rebel
    monkeypatch.setattr(rp, "magnetic_rebel", lambda eta, tau, **rest: right(factor * eta, tau, **rest))
    assert len(failed(magnets.fixed_magnet(QUICK))) >= 1
    broken = failed(magnets.step_limits(QUICK))
    assert any("tight" in quantity for quantity in broken)


def test_a_step_too_long_breaks_the_contraction(monkeypatch):
    """L_eff too small by half makes the step four times too long: the promise is missed on some game."""
    right = magnets.effective_scale
    monkeypatch.setattr(magnets, "effective_scale", lambda payoff: 0.25 * right(payoff))
    assert any("L_eff" in quantity for quantity in failed(magnets.fixed_magnet(QUICK)))


def test_one_stage_is_no_extragradient(monkeypatch):
    """At eta = 1 / L one evaluation a round spirals out: contraction and monotone KL are both missed."""
    monkeypatch.setattr(rp, "egpo", rp.inpo)
    monkeypatch.setattr(magnets, "_rounds_to", lambda scale, games: [])  # It would never get there.
    broken = failed(magnets.extragradient(QUICK))
    assert any("1 / L, tau = .02" in quantity for quantity in broken)
    assert any("largest rise" in quantity for quantity in broken)


def test_explicit_steps_are_no_proximal_point(monkeypatch):
    """The opponent is the next policy; against the current one the identity, the mean and the factor fail."""
    monkeypatch.setattr(rp, "proximal_rebel", lambda eta, tau: rp.rebel(eta))
    broken = failed(magnets_nested.nested(QUICK))
    assert any("KL(p*||next)" in quantity for quantity in broken)
    assert any("largest rise of KL" in quantity for quantity in broken)
    assert any("1 / (1 + mu^2 / tau^2)" in quantity for quantity in broken)


def test_another_schedule_or_opponent_breaks_nash_md(monkeypatch):
    """Steps like t^(-1/2) give no slope of -2; INPO under the name of Nash-MD has no floor."""
    right = rp.annealed

    def slower(*row, **numbers):
        return right(*row, **{**numbers, "step_power": 0.5})

    monkeypatch.setattr(rp, "annealed", slower)
    assert any("slope" in quantity for quantity in failed(magnets_nash_md.nash_md(QUICK)))
    monkeypatch.undo()
    monkeypatch.setattr(rp, "nash_md", rp.inpo)
    assert any("it stops at" in quantity for quantity in failed(magnets_nash_md.nash_md(QUICK)))


def test_a_magnet_that_stays_leaves_its_bias(monkeypatch):
    """Without its rule the moving magnet is a fixed one and does not reach the winner."""
    right = magnets_moving.magnetic_rebel
    monkeypatch.setattr(magnets_moving, "magnetic_rebel", lambda eta, tau, magnet=None: right(eta, tau))
    broken = failed(magnets_moving.moving_magnets(QUICK))
    assert sum("Expl(last iterate), payoff units" in quantity for quantity in broken) >= 3
