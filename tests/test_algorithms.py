"""The rows of weights: what each asks for, the bridge from NumPy to torch, fixed points, and clear refusals."""

import numpy as np
import pytest
import torch

import rebel_pref as rp
from rebel_pref.algorithms import log_target
from rebel_pref.proximal import regularized_equilibrium
from rebel_pref.solvers import step
from rebel_pref.solvers.dynamics import DynamicsState, initial_state
from rebel_pref.targets import regression_target

ETA, TAU = 0.3, 0.4
ROWS = {
    "rebel": rp.rebel(ETA),
    "optimistic_rebel": rp.optimistic_rebel(ETA),
    "magnetic_rebel": rp.magnetic_rebel(ETA, TAU),
    "optimistic_magnetic_rebel": rp.optimistic_magnetic_rebel(ETA, TAU),
    "proximal_rebel": rp.proximal_rebel(ETA, TAU),
    "inpo": rp.inpo(ETA, TAU),
    "nash_md": rp.nash_md(ETA, TAU),
    "egpo": rp.egpo(ETA, TAU),
    "sppo": rp.sppo(ETA),
    "online_ipo": rp.online_ipo(TAU),
    "comal": rp.comal(rp.inpo(ETA, TAU), every=5),
    "scalar_rebel": rp.scalar_rebel(ETA),
}
STAGES = [pytest.param(stage, id=f"{name}-{i}") for name, row in ROWS.items() for i, stage in enumerate(row.stages)]
RPS = np.array([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]])


def random_skew(rng, *shape):
    upper = np.triu(rng.uniform(-1, 1, shape), 1)
    return upper - np.swapaxes(upper, -1, -2)


def log_softmax(x):
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def random_problem(seed, batch=4, k=6):
    """Log-weights, log-probs of four policies, payoffs, rewards and a mask, all different from each other."""
    rng = np.random.default_rng(seed)
    names = ("current", "previous", "magnet", "lookahead")
    log_probs = {name: log_softmax(rng.normal(size=(batch, k))) for name in names}
    mask = np.arange(k) < np.array([6, 5, 3, 2])[:, None]
    return rng.normal(size=(batch, k)), log_probs, random_skew(rng, batch, k, k), rng.normal(size=(batch, k)), mask


@pytest.mark.parametrize("name", ROWS)
def test_anchor_weights_sum_to_one(name):
    """Otherwise a policy that repeats itself everywhere would not be returned by a row with zero payoffs."""
    for stage in ROWS[name].stages:
        assert sum(stage.anchor.values()) == pytest.approx(1.0, abs=1e-15)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("stage", STAGES)
def test_numpy_and_torch_ask_for_the_same(stage, masked):
    """One definition serves both ends: the target of every row agrees to 1e-12, with and without padding."""
    weights, log_probs, payoffs, rewards, mask = random_problem(0)
    ours = regression_target(stage, weights, log_probs, payoffs, mask=mask if masked else None, rewards=rewards)
    theirs = regression_target(
        stage,
        torch.tensor(weights),
        {name: torch.tensor(value) for name, value in log_probs.items()},
        torch.tensor(payoffs),
        mask=torch.tensor(mask) if masked else None,
        rewards=torch.tensor(rewards),
    )
    assert theirs.log_ratio.dtype == torch.float64
    np.testing.assert_allclose(theirs.log_ratio.numpy(), ours.log_ratio, rtol=0, atol=1e-12)
    assert (ours.kl_certificate is not None) == ("next" in stage.payoff)
    # The row itself is nothing but * and +, so given the same payoffs the two are equal to the last bit.
    torch_row = log_target(stage, {n: torch.tensor(v) for n, v in log_probs.items()},
                           {n: torch.tensor(v) for n, v in ours.payoffs.items()})  # fmt: skip
    np.testing.assert_array_equal(torch_row.numpy(), log_target(stage, log_probs, ours.payoffs))


@pytest.mark.parametrize("stage", STAGES)
def test_padding_is_as_good_as_absent(stage):
    """The masked target equals the target of the smaller game, whatever numbers sit in the padding."""
    weights, log_probs, payoffs, rewards, mask = random_problem(1)
    padded = regression_target(stage, weights, log_probs, payoffs, mask=mask, rewards=rewards).log_ratio
    for b, size in enumerate(mask.sum(-1)):
        alone = regression_target(
            stage,
            weights[b, :size],
            {name: value[b, :size] for name, value in log_probs.items()},
            payoffs[b, :size, :size],
            rewards=rewards[b, :size],
        ).log_ratio
        np.testing.assert_allclose(padded[b, :size], alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("rebel", lambda start, magnet, a: start + ETA * a),
        ("optimistic_rebel", lambda start, magnet, a: start + 2 * ETA * a),
        ("magnetic_rebel", lambda start, magnet, a: (start + ETA * TAU * magnet + ETA * a) / (1 + ETA * TAU)),
        (
            "optimistic_magnetic_rebel",
            lambda start, magnet, a: (start + ETA * TAU * magnet + 2 * ETA * a) / (1 + ETA * TAU),
        ),
        ("proximal_rebel", lambda start, magnet, a: (start + ETA * TAU * magnet + ETA * a) / (1 + ETA * TAU)),
        ("inpo", lambda start, magnet, a: (1 - ETA * TAU) * start + ETA * TAU * magnet + ETA * a),
        ("nash_md", lambda start, magnet, a: (1 - ETA * TAU) * start + ETA * TAU * magnet + ETA * a),
        ("egpo", lambda start, magnet, a: (1 - ETA * TAU) * start + ETA * TAU * magnet + ETA * a),
        ("online_ipo", lambda start, magnet, a: magnet + a / TAU),
    ],
)
def test_one_step_of_a_two_action_game_by_hand(name, expected):
    """With A = [[0, a], [-a, 0]] payoffs differ by a q_2 + a q_1 = a against **any** opponent q.

    So every row moves the log-odds by its payoff weights times a, whoever the opponent is; the first round
    of the optimistic row has 2 eta and no previous payoff.
    """
    a, start, magnet = 0.6, 0.5, -1.2
    state = initial_state([1 / (1 + np.exp(-start)), 1 / (1 + np.exp(start))],
                          [1 / (1 + np.exp(-magnet)), 1 / (1 + np.exp(magnet))])  # fmt: skip
    after = step(ROWS[name], np.array([[0, a], [-a, 0]]), state).current
    assert after[0] - after[1] == pytest.approx(expected(start, magnet, a), abs=1e-12)


def test_opponents_are_who_the_row_says():
    """Each opponent's payoff, against the policy written out by hand, from weights that stand for pi_t."""
    _, log_probs, payoffs, _, _ = random_problem(2)
    current = log_probs["current"]
    mix = log_softmax((1 - ETA * TAU) * current + ETA * TAU * log_probs["magnet"])
    for stage, opponent, log_policy in [
        (ROWS["nash_md"].stages[0], "mixture", mix),
        (ROWS["egpo"].stages[1], "lookahead", log_probs["lookahead"]),
        (ROWS["optimistic_rebel"].stages[0], "previous", log_probs["previous"]),
    ]:
        # Any constant in the log-weights drops out.
        found = regression_target(stage, current + 7.0, log_probs, payoffs).payoffs[opponent]
        np.testing.assert_allclose(found, np.einsum("bij,bj->bi", payoffs, np.exp(log_policy)), atol=1e-14)


@pytest.mark.parametrize("stage", STAGES)
def test_weights_stand_for_the_current_policy(stage):
    """Splitting an action into c copies of weight pi / c changes no target: only ratios to pi_t enter.

    So draws (weight 1 each), pools and tables go through one function, for every row.
    """
    _, log_probs, payoffs, rewards, _ = random_problem(6, k=4)
    table = regression_target(stage, log_probs["current"], log_probs, payoffs, rewards=rewards)
    copies = np.array([0, 0, 0, 1, 2, 2, 3])
    weights = (log_probs["current"] - np.log([3, 1, 2, 1]))[:, copies] + 5.0
    split = regression_target(
        stage,
        weights,
        {name: value[:, copies] for name, value in log_probs.items()},
        payoffs[:, copies][:, :, copies],
        rewards=rewards[:, copies],
    )
    np.testing.assert_allclose(split.log_ratio, table.log_ratio[:, copies], rtol=0, atol=1e-9)


def test_optimistic_first_round_has_no_previous_payoff():
    """Round 1: previous payoff 0, target 2 eta A pi; with previous = current it would be eta A pi."""
    _, log_probs, payoffs, _, _ = random_problem(3)
    current, row = log_probs["current"], ROWS["optimistic_rebel"].stages[0]
    played = np.einsum("bij,bj->bi", payoffs, np.exp(current))
    first = regression_target(row, current, {"current": current}, payoffs)
    assert not first.payoffs["previous"].any()
    np.testing.assert_allclose(first.log_ratio, 2 * ETA * played, atol=1e-14)
    second = regression_target(row, current, {"current": current, "previous": current}, payoffs)
    np.testing.assert_allclose(second.log_ratio, ETA * played, atol=1e-14)


@pytest.mark.parametrize("seed", [0, 1])
def test_inpo_is_fixed_magnet_magnetic_rebel(seed):
    """inpo at eta / (1 + eta tau) is magnetic_rebel at eta: 50 rounds agree in log-probability."""
    rng = np.random.default_rng(seed)
    payoffs, start = random_skew(rng, 5, 5), rng.dirichlet(np.ones(5))
    ours = theirs = initial_state(start, rng.dirichlet(np.ones(5)))
    for _ in range(50):
        ours = step(rp.magnetic_rebel(ETA, TAU), payoffs, ours)
        theirs = step(rp.inpo(ETA / (1 + ETA * TAU), TAU), payoffs, theirs)
    np.testing.assert_allclose(ours.current, theirs.current, atol=1e-12)
    assert np.abs(ours.current - np.log(start)).max() > 0.1


def at_fixed_point(seed, tau=TAU):
    rng = np.random.default_rng(seed)
    payoffs, magnet = random_skew(rng, 5, 5), log_softmax(rng.normal(size=5))
    return payoffs, magnet, regularized_equilibrium(magnet, payoffs, tau).policy


@pytest.mark.parametrize(
    "name", ["magnetic_rebel", "optimistic_magnetic_rebel", "proximal_rebel", "inpo", "egpo", "online_ipo"]
)
def test_regularized_equilibrium_is_a_fixed_point(name):
    """p = softmax(log m + A p / tau) stays where it is under every row with a fixed magnet."""
    payoffs, magnet, equilibrium = at_fixed_point(4)
    state = DynamicsState(np.log(equilibrium), magnet, np.log(equilibrium), 1)
    np.testing.assert_allclose(step(ROWS[name], payoffs, state).current, state.current, atol=1e-12)
    # Not because nothing ever moves: from the magnet the same row does.
    assert np.abs(step(ROWS[name], payoffs, DynamicsState(magnet, magnet, None, 0)).current - magnet).max() > 0.01


def test_nash_md_has_another_fixed_point():
    """At a constant step: q = current^(1-eta tau) magnet^(eta tau) solves tau / (1 - eta tau), pi = m exp(A q / tau).

    Fixed point: log pi = (1 - eta tau) log pi + eta tau log m + eta A q, so log pi = log m + A q / tau and
    log q = (1 - eta tau) log pi + eta tau log m = log m + (1 - eta tau) A q / tau.
    """
    payoffs, magnet, equilibrium = at_fixed_point(5)
    moved = step(ROWS["nash_md"], payoffs, DynamicsState(np.log(equilibrium), magnet, None, 1)).current
    assert np.abs(moved - np.log(equilibrium)).max() > 1e-3
    mixture = regularized_equilibrium(magnet, payoffs, TAU / (1 - ETA * TAU)).policy
    fixed = log_softmax(magnet + payoffs @ mixture / TAU)
    state = DynamicsState(fixed, magnet, None, 1)
    np.testing.assert_allclose(step(ROWS["nash_md"], payoffs, state).current, fixed, atol=1e-12)
    np.testing.assert_allclose(log_softmax((1 - ETA * TAU) * fixed + ETA * TAU * magnet), np.log(mixture), atol=1e-12)


def test_sppo_is_rebel_up_to_the_cube_of_the_step():
    """Dropping log Z costs O(eta^3): the measured order lies within .1 of 3."""
    rng = np.random.default_rng(6)
    payoffs, state = random_skew(rng, 6, 6), initial_state(rng.dirichlet(np.ones(6)))
    steps = np.array([0.02, 0.04, 0.08])
    gaps = [np.abs(step(rp.sppo(e), payoffs, state).current - step(rp.rebel(e), payoffs, state).current).max()
            for e in steps]  # fmt: skip
    assert np.polyfit(np.log(steps), np.log(gaps), 1)[0] == pytest.approx(3.0, abs=0.1)


@pytest.mark.parametrize("tau", [0.57, 0.58])
def test_online_ipo_diverges_below_a_regularization(tau):
    """On rock-paper-scissors the map z -> A softmax(z) / tau rotates and scales: KL times 1 / (3 tau^2) a round.

    At uniform d softmax = I / 3 on centred logits and A has eigenvalues +-i sqrt 3, so distances scale by
    sqrt 3 / (3 tau), more than 1 if tau < .57735.
    """
    states = [DynamicsState(log_softmax(np.array([1e-4, 0, -1e-4])), np.full(3, -np.log(3)), None, 0)]
    for _ in range(40):
        states.append(step(rp.online_ipo(tau), RPS, states[-1]))
    first, last = (np.square(s.current + np.log(3)).sum() for s in (states[0], states[-1]))
    assert last / first == pytest.approx((1 / (3 * tau**2)) ** 40, rel=1e-3)
    assert (last > first) == (tau < 1 / np.sqrt(3))


@pytest.mark.parametrize("name", rp.ALGORITHMS)
def test_a_configuration_builds_the_same_row(name):
    """`make_algorithm` with a name and two numbers is the function of that name; online_ipo's step is 1 / tau."""
    tau = 0.0 if name in ("rebel", "optimistic_rebel", "sppo") else TAU
    eta = 1 / TAU if name == "online_ipo" else ETA
    assert rp.make_algorithm(name, step_size=eta, regularization=tau) == ROWS[name]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: rp.make_algorithm("grpo", step_size=1), r"no algorithm is called 'grpo'; known algorithms: rebel, "),
        (lambda: rp.make_algorithm("sppo", step_size=1, regularization=0.1), "sppo takes no regularization, got 0.1"),
        (lambda: rp.make_algorithm("rebel", step_size=1, magnet=rp.EMAMagnet(0.1)), "rebel has no magnet in its row"),
        (lambda: rp.rebel(1.0).with_magnet(rp.ResetMagnet(3)), "rebel has no magnet in its row"),
        (lambda: rp.comal(rp.rebel(1.0), every=3), "rebel has no magnet in its row"),
        (
            lambda: rp.make_algorithm("online_ipo", step_size=3, regularization=0.5),
            "steps by 1 / regularization = 2, got",
        ),
        (lambda: rp.rebel(0.0), "step_size must be positive and finite, got 0.0"),
        (lambda: rp.egpo(float("nan"), 0.1), "step_size must be positive and finite, got nan"),
        (lambda: rp.magnetic_rebel(0.1, -0.2), "regularization must be finite and not negative, got -0.2"),
        (lambda: rp.nash_md(2.0, 0.6), r"step_size \* regularization = 1.2 > 1 puts a negative weight"),
        (lambda: rp.online_ipo(0.0), "online_ipo needs a finite regularization > 0, got 0.0"),
        (lambda: rp.online_ipo(float("inf")), "online_ipo needs a finite regularization > 0, got inf"),
        (lambda: rp.EMAMagnet(0.0), r"magnet rate must lie in \(0, 1\], got 0.0"),
        (lambda: rp.ResetMagnet(0), "a magnet is reset every m >= 1 rounds, got 0"),
        (lambda: rp.Update({"now": 1.0}, {}), "unknown policy 'now' in an anchor; known: current, previous, magnet"),
        (lambda: rp.Update({"current": 1.0}, {"judge": 1.0}), "unknown opponent 'judge'; known: current, "),
        (lambda: rp.Update({"current": 0.9}, {"current": 1.0}), "anchor weights must sum to 1"),
        (lambda: rp.Update({"current": 1.0}, {"next": 1.0, "current": 1.0}), "an implicit row has the opponent 'next'"),
    ],
)
def test_bad_numbers_and_names_are_refused(build, message):
    """Each refusal says what came and what was expected."""
    with pytest.raises(ValueError, match=message):
        build()


def test_a_scalar_row_needs_rewards():
    """A row whose opponent is a reward cannot be run on payoffs alone."""
    with pytest.raises(ValueError, match=r"pass rewards \[..., K\]"):
        regression_target(ROWS["scalar_rebel"].stages[0], np.zeros(3), {"current": np.zeros(3)}, RPS)
