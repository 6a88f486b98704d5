"""What a round sees of the game: sampled opponents, groups, a pool, errors; right in the mean and in the limit."""

from itertools import islice

import numpy as np
import pytest

import rebel_pref as rp
from rebel_pref.solvers import feedback as module
from rebel_pref.solvers import initial_state, iterates, step
from rebel_pref.solvers.dynamics import fit_pointwise

N = 4
UNIT = rp.Update({"current": 1.0}, {"current": 1.0})
ROWS = {
    "rebel": rp.rebel(0.5),
    "optimistic_rebel": rp.optimistic_rebel(0.5),
    "magnetic_rebel": rp.magnetic_rebel(0.5, 0.4),
    "optimistic_magnetic_rebel": rp.optimistic_magnetic_rebel(0.5, 0.4),
    "proximal_rebel": rp.proximal_rebel(2.0, 0.2),
    "inpo": rp.inpo(0.5, 0.4),
    "nash_md": rp.nash_md(0.5, 0.4),
    "egpo": rp.egpo(0.5, 0.4),
    "sppo": rp.sppo(0.5),
    "online_ipo": rp.online_ipo(0.9),
}


def random_payoffs(seed, *shape):
    upper = np.triu(np.random.default_rng(seed).uniform(-1, 1, shape), 1)
    return upper - upper.swapaxes(-1, -2)


PAYOFFS = random_payoffs(0, N, N)


def a_state(runs=None, rounds=2):
    """Away from the start, so that previous, magnet and current all differ; `runs` copies of it as a batch."""
    state = initial_state([0.4, 0.3, 0.2, 0.1], [0.1, 0.2, 0.3, 0.4])
    state = next(islice(iterates(rp.magnetic_rebel(0.5, 0.1), PAYOFFS, state), rounds - 1, None))
    if runs is None:
        return state
    wide = [np.tile(policy, (runs, 1)) for policy in (state.current, state.magnet, state.previous)]
    return type(state)(wide[0], wide[1], wide[2], state.round)


def log_ratios(row, feedback, state, payoffs=PAYOFFS, seed=0):
    """Centred log-ratios of one round."""
    seen = feedback.begin(payoffs, np.random.default_rng(seed))(state.current)
    change = step(row, payoffs, state, seen).current - state.current
    return change - change.mean(-1, keepdims=True)


def distance(row, feedback, runs):
    """How far one noisy round is from the exact one: root mean square over runs, and of their mean."""
    exact = log_ratios(row, rp.ExactPayoffs(), a_state())
    found = log_ratios(row, feedback, a_state(runs)) - exact
    return float(np.sqrt((found**2).mean())), float(np.abs(found.mean(0)).max())


def test_every_row_is_covered():
    """A new row of the library has to be tried here as well."""
    assert set(ROWS) == set(rp.ALGORITHMS)


@pytest.mark.parametrize("labels", [False, True])
@pytest.mark.parametrize("name", ROWS)
def test_many_sampled_opponents_are_the_exact_round(name, labels):
    """Consistent for every row: sixteen times the opponents, a quarter of the error, and a small one in the end."""
    few, _ = distance(ROWS[name], rp.SampledOpponents(64, labels=labels), 60)
    many, mean = distance(ROWS[name], rp.SampledOpponents(1024, labels=labels), 60)
    assert 0.15 < many / few < 0.4
    assert many < 0.08
    assert mean < 0.02


def test_lucky_draws_of_one_opponent_are_not_preferred():
    """An implicit row against verdicts has a bias of O(1/K): it plays distinct opponents, each by its mean verdict.

    Among the draws themselves it would tilt to those with lucky columns: a bias of .11 here, whatever K is. With fewer
    draws than actions the same holds, here for a policy that is nearly one action.
    """
    row = ROWS["proximal_rebel"]
    assert distance(row, rp.SampledOpponents(16, labels=True), 1000)[1] > 0.03
    assert distance(row, rp.SampledOpponents(256, labels=True), 400)[1] < 0.015
    n, runs = 40, 1500
    payoffs = np.zeros((n, n))
    start = np.full(n, 1e-9)
    start[0] = 1.0
    state = initial_state(np.tile(start / start.sum(), (runs, 1)))
    seen = rp.SampledOpponents(30, labels=True).begin(payoffs, np.random.default_rng(0))(state.current)
    log_ratio = seen.log_ratio(row.stages[0], {"current": state.current, "magnet": state.magnet})
    mean = (log_ratio - log_ratio[:, :1]).mean(0)
    assert np.abs(mean).max() < 0.02


@pytest.mark.parametrize("labels", [False, True])
@pytest.mark.parametrize("name", ROWS)
def test_large_groups_are_the_exact_round(name, labels):
    """Consistent for every row as a group grows: implicit rows solve their game inside it."""
    few, _ = distance(ROWS[name], rp.SampledGroups(1, 40, labels=labels, ridge=1e-6), 30)
    many, mean = distance(ROWS[name], rp.SampledGroups(1, 300, labels=labels, ridge=1e-6), 15)
    assert many < 0.6 * few
    assert many < 0.12
    assert mean < 0.05


@pytest.mark.parametrize("weights", ["exact", "horvitz_thompson"])
@pytest.mark.parametrize("name", ROWS)
def test_a_pool_that_holds_every_action(name, weights):
    """Exact weights are exact then; Horvitz-Thompson's divide by a probability of having been drawn, nearly 1."""
    state = a_state()
    feedback = rp.OpponentPool(4000, weights=weights)
    observe = feedback.begin(PAYOFFS, np.random.default_rng(0))
    seen = observe(state.current)
    assert observe.seen.all()
    change = step(ROWS[name], PAYOFFS, state, seen).current - state.current
    exact = step(ROWS[name], PAYOFFS, state).current - state.current
    if name == "sppo":  # A pointwise target is not free of its constant, and the pool's has mean 0.
        target = rp.ExactPayoffs().begin(PAYOFFS, np.random.default_rng(0))(state.current)
        target = target.log_ratio(ROWS[name].stages[0], {"current": state.current})
        exact = fit_pointwise(state.current, target - target.mean()) - state.current
    np.testing.assert_allclose(change, exact, atol=1e-10 if weights == "exact" else 1e-9)


def test_a_pool_comes_to_hold_every_action():
    """Fresh draws join the earlier ones; in the end nothing is judged any more and the round is the exact one."""
    observe = rp.OpponentPool(2, weights="exact").begin(PAYOFFS, np.random.default_rng(3))
    state, total = a_state(), 0.0
    sizes = []
    for _ in range(200):
        seen = observe(state.current)
        total += seen.judgements
        sizes.append(int(observe.seen.sum()))
    assert sizes == sorted(sizes)
    assert sizes[-1] == N
    assert total == N * (N - 1) / 2
    assert seen.judgements == 0.0
    exact = rp.ExactPayoffs().begin(PAYOFFS, np.random.default_rng(0))(state.current)
    ours, theirs = (one.log_ratio(UNIT, {"current": state.current}) for one in (seen, exact))
    np.testing.assert_allclose(ours, theirs - theirs.mean(), atol=1e-12)


def test_unseen_actions_keep_their_place():
    """Log-ratio 0 outside the pool and mean 0 inside: only pooled actions move, and among themselves."""
    state = initial_state([0.97, 0.01, 0.01, 0.01])
    observe = rp.OpponentPool(3).begin(PAYOFFS, np.random.default_rng(1))
    for _ in range(8):
        seen = observe(state.current)
        change = seen.log_ratio(UNIT, {"current": state.current})
        assert not change[~observe.seen].any()
        assert abs(change[observe.seen].sum()) < 1e-12
        before = state.current
        state = step(rp.rebel(0.5), PAYOFFS, state, seen)
        outside = (state.current - before)[~observe.seen]
        assert np.ptp(outside) < 1e-12 if len(outside) else True
    assert not observe.seen.all()


def test_an_observation_keeps_what_it_saw():
    """A later round extends the pool; asking an earlier round again gives the earlier answer."""
    observe = rp.OpponentPool(1).begin(PAYOFFS, np.random.default_rng(2))
    state = a_state()
    seen = observe(state.current)
    first = seen.log_ratio(UNIT, {"current": state.current})
    for _ in range(30):
        observe(state.current)
    np.testing.assert_array_equal(seen.log_ratio(UNIT, {"current": state.current}), first)


@pytest.mark.parametrize("count", [1, 2, 7])
@pytest.mark.parametrize("labels", [False, True])
def test_sampled_payoffs_are_unbiased_at_any_count(count, labels):
    """E = A pi_t for one opponent as for seven, verdicts or payoffs: 40,000 runs, within 5 standard errors."""
    runs = 40_000
    state = a_state(runs)
    seen = rp.SampledOpponents(count, labels=labels).begin(PAYOFFS, np.random.default_rng(4))(state.current)
    found = seen.log_ratio(UNIT, {"current": state.current})
    truth = PAYOFFS @ np.exp(a_state().current)
    assert (np.abs(found.mean(0) - truth) < 5 * found.std(0) / np.sqrt(runs)).all()


def test_verdicts_have_mean_a_and_none_against_oneself():
    """One opponent: every verdict is +1 or -1 and 0 exactly where the action meets itself, with mean A by pair."""
    runs = 60_000
    state = a_state(runs)
    observed = {}
    for labels in (True, False):
        seen = rp.SampledOpponents(1, labels=labels).begin(PAYOFFS, np.random.default_rng(5))(state.current)
        observed[labels] = seen.log_ratio(UNIT, {"current": state.current})
    rival = np.abs(observed[False]).argmin(-1)  # The same draws: the payoff is 0 against oneself alone.
    np.testing.assert_array_equal(observed[True] == 0.0, np.arange(N) == rival[:, None])
    assert set(np.unique(observed[True])) == {-1.0, 0.0, 1.0}
    for j in range(N):
        met = observed[True][rival == j]
        assert (np.abs(met.mean(0) - PAYOFFS[:, j]) < 5 / np.sqrt(len(met))).all()


def test_a_pool_asks_for_each_verdict_once():
    """A verdict is drawn once and kept: two looks at one full pool agree, and with each other's mirror image."""
    observe = rp.OpponentPool(500, weights="exact", labels=True).begin(PAYOFFS, np.random.default_rng(6))
    state = a_state()
    first, second = (observe(state.current) for _ in range(2))
    assert (first.judgements, second.judgements) == (N * (N - 1) / 2, 0.0)
    kept = observe.payoffs
    assert set(np.unique(kept)) == {-1.0, 0.0, 1.0}
    np.testing.assert_array_equal(kept, -kept.T)
    np.testing.assert_array_equal(
        first.log_ratio(UNIT, {"current": state.current}), second.log_ratio(UNIT, {"current": state.current})
    )


@pytest.mark.parametrize("count", [3, 4, 9])
def test_draws_by_multiplicity_are_the_draws_one_by_one(count):
    """From n opponents on, equal draws are merged: the same regression for every opponent a row can name."""
    state = a_state(50)
    log_probs = {"current": state.current, "previous": state.previous, "magnet": state.magnet}
    log_probs["lookahead"] = state.magnet
    drawn = module._draw(np.random.default_rng(7), state.current, count)
    weights = np.zeros(drawn.shape)
    merged = module._by_multiplicity(PAYOFFS, drawn)
    columns = module._columns(PAYOFFS, drawn)
    averaged = module._by_multiplicity(module._mean_columns(columns, drawn), drawn)
    stages = [stage for row in ROWS.values() for stage in row.stages]
    for stage in stages:
        one_by_one = rp.targets.regression_target(stage, weights, log_probs, columns, columns=drawn).log_ratio
        np.testing.assert_allclose(merged(stage, log_probs), one_by_one, atol=1e-9)
        np.testing.assert_allclose(averaged(stage, log_probs), one_by_one, atol=1e-9)
    # Verdicts differ from draw to draw of one opponent; explicit rows see only their means.
    verdicts = np.where(np.random.default_rng(15).random(columns.shape) < 0.5 + 0.5 * columns, 1.0, -1.0)
    averaged = module._by_multiplicity(module._mean_columns(verdicts, drawn), drawn)
    for stage in stages:
        if "next" not in stage.payoff:
            one_by_one = rp.targets.regression_target(stage, weights, log_probs, verdicts, columns=drawn).log_ratio
            np.testing.assert_allclose(averaged(stage, log_probs), one_by_one, atol=1e-9)


FEEDBACKS = {
    "exact": rp.ExactPayoffs(),
    "opponents": rp.SampledOpponents(3),
    "many opponents": rp.SampledOpponents(6),
    "verdicts": rp.SampledOpponents(3, labels=True),
    "groups": rp.SampledGroups(2, 3),
    "groups of verdicts": rp.SampledGroups(2, 3, labels=True),
    "pool": rp.OpponentPool(2),
    "exact pool": rp.OpponentPool(2, weights="exact"),
    "pool of verdicts": rp.OpponentPool(2, labels=True),
    "errors": rp.RegressionError(bias=[0.1, 0.0, -0.2, 0.3], noise=0.2),
    "errors on samples": rp.RegressionError(noise=0.2, feedback=rp.SampledOpponents(2)),
}


@pytest.mark.parametrize("row", [rp.rebel(0.5), rp.proximal_rebel(2.0, 0.2), rp.egpo(0.5, 0.4)], ids=lambda r: r.name)
@pytest.mark.parametrize("name", FEEDBACKS)
def test_a_matrix_a_run_is_the_same_as_one_matrix(name, row):
    """[S, n, n] of equal matrices with the same draws gives what [n, n] does, over several rounds."""
    runs = 5
    start = initial_state(np.random.default_rng(8).dirichlet(np.ones(N), size=runs))
    ends = []
    for payoffs in (PAYOFFS, np.stack([PAYOFFS] * runs)):
        states = iterates(row, payoffs, start, feedback=FEEDBACKS[name], rng=np.random.default_rng(9))
        ends.append(next(islice(states, 5, None)).current)
    np.testing.assert_allclose(ends[0], ends[1], atol=1e-9)


@pytest.mark.parametrize("name", FEEDBACKS)
def test_each_run_has_a_matrix_of_its_own(name):
    """[S, n, n] of different matrices: run s is the run of matrix s, here with a batch of one kind at a time."""
    runs = 3
    payoffs = random_payoffs(10, runs, N, N)
    start = initial_state(np.full((runs, N), 1 / N))
    together = next(islice(iterates(rp.rebel(0.5), payoffs, start, feedback=FEEDBACKS[name],
                                    rng=np.random.default_rng(11)), 0, None))  # fmt: skip
    for one in range(runs):
        same = np.stack([payoffs[one]] * runs)
        alone = next(iterates(rp.rebel(0.5), same, start, feedback=FEEDBACKS[name], rng=np.random.default_rng(11)))
        np.testing.assert_allclose(together.current[one], alone.current[one], atol=1e-9)


@pytest.mark.parametrize("runs", [None, 1, 7])
def test_judgements_are_those_of_one_run(runs):
    """All pairs; n K; B K (K - 1)/2; what is new to the pool: whatever the number of runs in the batch."""
    state = a_state(runs)
    expected = {"exact": 6.0, "opponents": 12.0, "many opponents": 24.0, "verdicts": 12.0, "groups": 6.0,
                "groups of verdicts": 6.0, "errors": 6.0, "errors on samples": 8.0}  # fmt: skip
    for name, judged in expected.items():
        seen = FEEDBACKS[name].begin(PAYOFFS, np.random.default_rng(0))(state.current)
        assert seen.judgements == judged, name
    observe = FEEDBACKS["pool"].begin(PAYOFFS, np.random.default_rng(0))
    seen = observe(state.current)
    size = observe.seen.sum(-1)
    assert seen.judgements == pytest.approx(np.mean(size * (size - 1) / 2))


def test_actions_that_no_group_drew_stay():
    """The ridge keeps them where they were: log-ratio 0, and the drawn ones move around 0."""
    state = initial_state([0.5, 0.499998, 1e-6, 1e-6])
    seen = rp.SampledGroups(2, 4, ridge=1e-6).begin(PAYOFFS, np.random.default_rng(12))(state.current)
    change = seen.log_ratio(UNIT, {"current": state.current})
    np.testing.assert_allclose(change[2:], 0.0, atol=1e-12)
    assert abs(change[:2].sum()) < 1e-9
    assert change[0] - change[1] == pytest.approx(PAYOFFS[0, 1], abs=1e-4)


def test_a_heavy_ridge_stands_still():
    """ridge |log-ratio|^2 in units of the loss: the step shrinks like 1 / ridge."""
    state = a_state()
    seen = [rp.SampledGroups(4, 4, ridge=r).begin(PAYOFFS, np.random.default_rng(13))(state.current)
            for r in (1e4, 1e5)]  # fmt: skip
    ours, theirs = (np.abs(one.log_ratio(UNIT, {"current": state.current})).max() for one in seen)
    assert theirs == pytest.approx(ours / 10, rel=1e-3)
    assert ours < 1e-3


def test_a_bias_is_another_game():
    """Bias e in every round plays ``A + e 1^T - 1 e^T``: the same last and average iterate as that game exactly."""
    bias = np.array([0.1, 0.0, -0.2, 0.3])
    start = initial_state([0.4, 0.3, 0.2, 0.1])
    shifted = PAYOFFS + bias[:, None] - bias
    for row in ROWS.values():
        # In the first round the missing previous policy counts as 0 plus the bias: they agree from the second on.
        first = step(row, shifted, start)
        played = iterates(row, PAYOFFS, first, feedback=rp.RegressionError(bias=bias))
        exact = iterates(row, shifted, first)
        if row.name in ("sppo", "proximal_rebel"):  # Pointwise, and solved for on the payoffs without errors.
            continue
        for ours, theirs in islice(zip(played, exact, strict=True), 6):
            np.testing.assert_allclose(ours.current, theirs.current, atol=1e-12)


def test_noise_is_drawn_anew_and_scales():
    """Standard deviation `noise` times the row's payoff weights, independent over actions, runs and rounds."""
    runs = 20_000
    state = a_state(runs)
    update = rp.optimistic_rebel(0.5).stages[0]  # 2 eta - eta: one eta.
    observe = rp.RegressionError(noise=0.3).begin(PAYOFFS, np.random.default_rng(14))
    log_probs = {"current": state.current, "previous": state.previous}
    first, second = (observe(state.current).log_ratio(update, log_probs) for _ in range(2))
    exact = rp.ExactPayoffs().begin(PAYOFFS, np.random.default_rng(0))(state.current).log_ratio(update, log_probs)
    error = np.stack([first - exact, second - exact])
    np.testing.assert_allclose(error.std(1), 0.15, rtol=0.03)
    assert abs(np.corrcoef(error[0].ravel(), error[1].ravel())[0, 1]) < 0.02
    assert abs(np.corrcoef(error[0, :, 0], error[0, :, 1])[0, 1]) < 0.04
    quiet = rp.RegressionError().begin(PAYOFFS, np.random.default_rng(0))(state.current).log_ratio(update, log_probs)
    np.testing.assert_array_equal(quiet, exact)


def test_worth_in_opponents():
    """Infinite if exact; a verdict is worth a third of a payoff; variances of errors add up."""
    assert rp.ExactPayoffs().opponents == np.inf
    assert rp.SampledOpponents(6).opponents == 6.0
    assert rp.SampledOpponents(6, labels=True).opponents == pytest.approx(2.0)
    assert rp.RegressionError(bias=1.0).opponents == np.inf
    noisy = rp.RegressionError(noise=1 / np.sqrt(3), feedback=rp.SampledOpponents(2))
    assert noisy.opponents == pytest.approx(1 / (1 + 1 / 2))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: rp.SampledOpponents(0), "count must be at least 1 opponent a round, got 0"),
        (lambda: rp.SampledGroups(0, 2), "at least 1 group of at least 2 draws, got 0 of 2"),
        (lambda: rp.SampledGroups(1, 1), "at least 1 group of at least 2 draws, got 1 of 1"),
        (lambda: rp.SampledGroups(1, 2, ridge=0.0), "ridge must be positive, got 0.0"),
        (lambda: rp.SampledGroups(1, 2, ridge=float("nan")), "ridge must be positive, got nan"),
        (lambda: rp.OpponentPool(0), "count must be at least 1 draw a round, got 0"),
        (lambda: rp.OpponentPool(1, weights="uniform"), "no weights are called 'uniform'; known: horvitz_thompson, ex"),
        (
            lambda: rp.RegressionError(bias=[1.0, 2.0]).begin(PAYOFFS, np.random.default_rng(0)),
            "a bias for each of 4 actions",
        ),
        *(
            (
                lambda f=f: f.begin(2 * PAYOFFS / np.abs(PAYOFFS).max(), np.random.default_rng(0)),
                "verdicts need payoffs",
            )
            for f in (FEEDBACKS["verdicts"], FEEDBACKS["groups of verdicts"], FEEDBACKS["pool of verdicts"])
        ),
    ],
)
def test_wrong_inputs(make, message):
    """Every refusal names what came in."""
    with pytest.raises(ValueError, match=message):
        make()


def test_payoffs_beyond_one_need_no_verdicts():
    """Any skew matrix is a game: payoffs themselves are seen on its own scale."""
    game = rp.PreferenceGame.from_payoffs(30 * PAYOFFS)
    solution = rp.self_play(game, rp.rebel(0.01), steps=50, seed=0, feedback=rp.SampledOpponents(2))
    assert np.isfinite(solution.policy).all()
    assert "SampledOpponents(count=2" in solution.settings["feedback"]
