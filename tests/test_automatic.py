"""The default: which row and which numbers, by the noise of what a round sees."""

import math

import numpy as np
import pytest

import rebel_pref as rp
from rebel_pref.solvers import automatic_algorithm

GAME = rp.games.blotto(soldiers=6, values=(2, 3, 4))


def test_exact_payoffs_get_the_exact_proximal_point():
    """One row, no magnet: from any start the last iterate comes to the winner, and `self_play` takes it unasked."""
    row = automatic_algorithm()
    assert isinstance(row, rp.Algorithm)
    assert (row.name, row.step_size, row.regularization) == ("proximal_rebel", 100.0, 0.0)
    played = rp.self_play(GAME, steps=200, seed=0, tol=1e-8)
    assert played.method == "proximal_rebel" and played.solved


def test_noise_lowers_the_step_and_slows_the_magnet():
    """eta_t = (1 + 2 t / K)^(-1/2), tau = .1, rate eta_t tau / 2: at t = 12, K = 8 the step is 1/2."""
    schedule = automatic_algorithm(8)
    first, later = schedule.at(0), schedule.at(12)
    assert (first.step_size, later.step_size) == pytest.approx((1.0, 0.5), rel=1e-12)
    assert first.regularization == later.regularization == 0.1
    assert (first.magnet.rate, later.magnet.rate) == pytest.approx((0.05, 0.025), rel=1e-12)


@pytest.mark.parametrize("opponents", [math.inf, 8.0])
def test_units_do_not_matter(opponents):
    """Payoffs c A at scale c: steps by 1 / c, pull by c, the same policies."""
    game, unit = rp.games.random_game(6, seed=0), 7.0
    rescaled = rp.PreferenceGame.from_payoffs(unit * game.payoff)
    start = np.random.default_rng(0).dirichlet(np.ones(6))
    policies = [
        rp.self_play(one, automatic_algorithm(opponents, scale=one.scale), steps=40, start=start).policy
        for one in (game, rescaled)
    ]
    np.testing.assert_allclose(*policies, atol=1e-9)


@pytest.mark.parametrize(
    ("feedback", "opponents"),
    [
        (rp.ExactPayoffs(), math.inf),
        (rp.SampledOpponents(8), 8.0),
        (rp.SampledOpponents(9, labels=True), 3.0),
        (rp.SampledGroups(6, 4), 12.0),
        (rp.OpponentPool(3), 24.0),
        (rp.RegressionError(bias=0.3), math.inf),
        # Variances 1/3 / 8 and 1/3 (noise^2 = 1/3 is one opponent): 1/8 + 1 opponents^-1.
        (rp.RegressionError(noise=math.sqrt(1 / 3), feedback=rp.SampledOpponents(8)), 8 / 9),
    ],
)
def test_what_a_round_is_worth(feedback, opponents):
    """In exact payoffs against independent opponents; `self_play` reads it where no algorithm is named."""
    assert feedback.opponents == pytest.approx(opponents)
    played = rp.self_play(rp.games.rock_paper_scissors(), steps=2, seed=0, feedback=feedback)
    assert played.settings["step_size"] == pytest.approx(automatic_algorithm(opponents).at(0).step_size)
    assert played.method == automatic_algorithm(opponents).name


def test_the_default_ends_nearer_than_constant_numbers():
    """K = 8 opponents a round, 300 rounds, 20 seeds: under half of plain REBEL, and below constant numbers."""
    from rebel_pref.theory.study import play

    game, feedback = rp.games.random_game(10, seed=1), rp.SampledOpponents(8)
    rows = {
        "default": automatic_algorithm(8),
        "rebel": rp.rebel(0.1),
        "constant": rp.magnetic_rebel(0.2, 0.2, magnet=rp.EMAMagnet(0.02)),
    }
    last = {name: play(game, row, feedback, rounds=(300,), seeds=20, seed=5).last.mean() for name, row in rows.items()}
    assert last["default"] < 0.5 * last["rebel"]
    assert last["default"] < last["constant"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"opponents": 0.0}, "opponents must be positive, got 0.0"),
        ({"opponents": float("nan")}, "opponents must be positive, got nan"),
        ({"scale": 0.0}, "scale must be positive and finite, got 0.0"),
        ({"scale": math.inf}, "scale must be positive and finite, got inf"),
    ],
)
def test_bad_numbers_are_refused(arguments, message):
    """Each says what came."""
    with pytest.raises(ValueError, match=message):
        automatic_algorithm(**arguments)
