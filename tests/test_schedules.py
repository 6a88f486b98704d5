"""Schedules: numbers that fall with the round, the magnet that slows down with them, and clear refusals."""

import numpy as np
import pytest

import rebel_pref as rp

WEIGHTED = rp.games.rock_paper_scissors(0.1, 0.3, 0.6)


def test_an_algorithm_is_the_same_in_every_round():
    """A row is a schedule that never changes."""
    row = rp.inpo(0.3, 0.2)
    assert row.at(0) is row
    assert row.at(10**6) is row


@pytest.mark.parametrize("tau", [0.03, 0.07, 0.1, 0.3, 1 / 3, 0.49, 0.7, 1.7])
def test_nash_md_at_its_published_step(tau):
    """eta_t = 2 / (tau (t + 2)): 1/tau at first, where the anchor is the magnet alone; then it falls like 1/t."""
    falling = rp.annealed(rp.nash_md, step_size=1 / tau, regularization=tau, after=2.0, step_power=1.0)
    for number in (0, 1, 2, 18, 1000):
        row = falling.at(number)
        assert row.step_size == pytest.approx(2 / (tau * (number + 2)), rel=1e-13)
        assert row.regularization == tau
        assert row.stages[0].anchor["magnet"] == pytest.approx(2 / (number + 2), rel=1e-13)
    assert falling.at(0).stages[0].anchor["current"] == pytest.approx(0.0, abs=1e-15)
    assert falling.name == "annealed nash_md"


def test_nash_md_is_within_its_theorem():
    """At that step KL(p* || pi_T) <= 2 / (tau^2 (T + 1)) for payoffs of at most 1, in every round."""
    tau, start = 0.5, np.array([0.7, 0.2, 0.1])
    star = rp.regularized_equilibrium(np.log(start), WEIGHTED.payoff, tau).policy
    falling = rp.annealed(rp.nash_md, step_size=1 / tau, regularization=tau, after=2.0, step_power=1.0)
    seen = []
    rp.self_play(WEIGHTED, falling, steps=500, start=start, record=lambda t, policy: seen.append(policy))
    divergence = [float(star @ np.log(star / policy)) for policy in seen]
    assert all(kl <= 2 / (tau**2 * (t + 1)) for t, kl in enumerate(divergence, 1))
    assert divergence[-1] < 1e-2 * divergence[0]


def test_both_numbers_fall_as_they_are_told():
    """eta (1 + t/after)^-a and tau (1 + t/after)^-b; a magnet_share sets the rate share eta_t tau_t, at most 1."""
    falling = rp.annealed(
        rp.magnetic_rebel,
        step_size=0.4,
        regularization=0.2,
        after=10.0,
        step_power=0.5,
        regularization_power=0.25,
        magnet_share=0.5,
    )
    for number in (0, 5, 90):
        row, age = falling.at(number), 1 + number / 10
        assert row.step_size == pytest.approx(0.4 * age**-0.5)
        assert row.regularization == pytest.approx(0.2 * age**-0.25)
        assert row.magnet == rp.EMAMagnet(0.5 * row.step_size * row.regularization)
    capped = rp.annealed(rp.magnetic_rebel, step_size=10.0, regularization=1.0, magnet_share=1.0)
    assert capped.at(0).magnet == rp.EMAMagnet(1.0)


def test_powers_of_zero_are_the_row_itself():
    """Nothing falls: the same trajectory, to the bit, and the magnet rule that was given."""
    rule = rp.ResetMagnet(7)
    row = rp.magnetic_rebel(0.3, 0.1, magnet=rule)
    constant = rp.annealed(rp.magnetic_rebel, step_size=0.3, regularization=0.1, step_power=0.0, magnet=rule)
    assert constant.at(123) == row
    ours, theirs = (rp.self_play(WEIGHTED, one, steps=40, start=[0.5, 0.3, 0.2]) for one in (constant, row))
    np.testing.assert_array_equal(ours.policy, theirs.policy)
    assert ours.method == "annealed magnetic_rebel"


def test_a_schedule_may_change_the_row_altogether():
    """Round t = 0, 1, ... is played by row(t): here a step of rebel and then standing still."""
    asked = []

    def row(number):
        asked.append(number)
        return rp.rebel(0.5 if number == 0 else 1e-300)

    once = rp.self_play(WEIGHTED, rp.rebel(0.5), steps=1, start=[0.5, 0.3, 0.2])
    played = rp.self_play(WEIGHTED, rp.Schedule("once", row), steps=5, start=[0.5, 0.3, 0.2])
    np.testing.assert_allclose(played.policy, once.policy, rtol=1e-12)
    assert {0, 1, 2, 3, 4} <= set(asked)
    assert played.method == "once"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"after": 0.0}, "after must be positive, a number of rounds, got 0"),
        ({"after": float("nan")}, "after must be positive"),
        ({"step_power": -0.5}, "powers must not be negative, got -0.5 and 0.0"),
        ({"regularization_power": -1.0}, "powers must not be negative"),
        ({"magnet_share": 0.0}, "magnet_share is a positive number and takes the place of magnet, got 0"),
        ({"magnet_share": 0.5, "magnet": rp.FixedMagnet()}, "takes the place of magnet"),
        ({"step_size": 0.0}, "step_size must be positive and finite, got 0"),
        ({"regularization": -1.0}, "regularization must be finite and not negative, got -1"),
    ],
)
def test_what_cannot_be_annealed(options, message):
    """Said when the schedule is made, not in the round that trips over it."""
    with pytest.raises(ValueError, match=message):
        rp.annealed(rp.magnetic_rebel, **{"step_size": 0.3, "regularization": 0.1, **options})
