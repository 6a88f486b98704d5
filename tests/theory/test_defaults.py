"""The measured sections: what has no proof is held against what else there is, and a broken default is seen."""

import numpy as np
import pytest

import rebel_pref as rp
from rebel_pref.theory import defaults, last_iterate
from rebel_pref.theory.checks import Scale
from rebel_pref.theory.study import geometric_mean, play, random_starts


def test_a_run_is_the_dynamics_with_many_seeds():
    """Rounds 1 and 3 of three seeds: the exploitability of `iterates`, run for each start alone (exact payoffs)."""
    game = rp.games.random_game(5, seed=3)
    row = rp.magnetic_rebel(0.3, 0.2, magnet=rp.EMAMagnet(0.1))
    run = play(game, row, rp.ExactPayoffs(), rounds=(1, 3), seeds=3, seed=4)
    assert run.last.shape == run.magnet.shape == (2, 3)
    for column, start in enumerate(random_starts(5, 3, 4)):
        for mark, steps in enumerate((1, 3)):
            policy = rp.self_play(game, row, steps=steps, start=start).policy
            assert run.last[mark, column] == pytest.approx(rp.exploitability(game, policy), abs=1e-12)


def test_a_settled_run_stops_and_stays():
    """Exact proximal steps settle early: the marks that are left hold the last number."""
    run = play(
        rp.games.rock_paper_scissors(), rp.proximal_rebel(20.0, 0.0), rp.ExactPayoffs(),
        rounds=(50, 60, 70), seeds=2, seed=0, settled=1e-6,
    )  # fmt: skip
    np.testing.assert_array_equal(run.last[0], run.last[2])
    assert run.last.max() < 1e-6


def test_geometric_means_have_a_floor():
    """1e-2 and 1e-12, which counts as 1e-6: 1e-4."""
    assert geometric_mean({"a": 1e-2, "b": 1e-12}) == pytest.approx(1e-4)


def test_a_default_that_circles_loses(tmp_path, monkeypatch):
    """Plain REBEL in the default's place: the comparison with the other rows no longer holds, under noise and exact."""
    monkeypatch.setattr(last_iterate, "automatic_algorithm", lambda opponents, *, scale: rp.rebel(0.5))
    found = last_iterate.section(Scale(quick=True), tmp_path)
    lost = [check for check in found if not check.holds]
    assert any(check.quantity.startswith("K = 8") for check in lost)
    assert any(check.quantity.startswith("exact") for check in lost)
    assert (tmp_path / "last_iterate.csv").read_text(encoding="utf-8").count("\n") > 500


def test_a_default_with_too_small_a_step_loses_to_constant_numbers(tmp_path, monkeypatch):
    """A hundredth of its step: the grid of constant numbers is better, and says so."""
    small = rp.annealed(rp.proximal_rebel, step_size=0.01, regularization=0.1, after=4.0, magnet_share=0.5)
    monkeypatch.setattr(defaults, "automatic_algorithm", lambda opponents, *, scale: small)
    checks = defaults.section(Scale(quick=True), tmp_path)
    assert not all(check.holds for check in checks if check.theorem == "numbers of the default")
    assert (tmp_path / "theory_11_defaults.png").exists() and (tmp_path / "defaults.csv").exists()
