"""Contextual games: one game a context, one policy a context, and nothing shared but the bill."""

import numpy as np
import pytest

import rebel_pref as rp


def payoffs_of(contexts, n, seed):
    upper = np.triu(np.random.default_rng(seed).uniform(-1, 1, (contexts, n, n)), 1)
    return upper - upper.swapaxes(-1, -2)


WEIGHTS = [0.5, 0.3, 0.2]
GAME = rp.ContextualGame.from_payoffs(payoffs_of(3, 4, 0), WEIGHTS, contexts=["a", "b", "c"], labels=list("wxyz"))
ROWS = {
    "rebel": rp.rebel(0.3),
    "optimistic_rebel": rp.optimistic_rebel(0.3),
    "magnetic_rebel": rp.magnetic_rebel(0.3, 0.2, magnet=rp.EMAMagnet(0.1)),
    "optimistic_magnetic_rebel": rp.optimistic_magnetic_rebel(0.3, 0.2, magnet=rp.ResetMagnet(5)),
    "proximal_rebel": rp.proximal_rebel(3.0, 0.1),
    "inpo": rp.inpo(0.3, 0.2),
    "nash_md": rp.nash_md(0.3, 0.2),
    "egpo": rp.egpo(0.3, 0.2),
    "sppo": rp.sppo(0.3),
    "online_ipo": rp.online_ipo(0.9),
    "annealed": rp.annealed(rp.magnetic_rebel, step_size=0.5, regularization=0.2, magnet_share=0.5),
}


def test_every_row_is_covered():
    """A new row of the library has to be tried here as well."""
    assert set(rp.ALGORITHMS) <= set(ROWS)


@pytest.mark.parametrize("averaging", ["uniform", "linear", "last"])
@pytest.mark.parametrize("name", ROWS)
def test_self_play_is_self_play_in_each_context(name, averaging):
    """Policies of contexts share nothing, so a batched run is the separate runs, from the same starts."""
    start = np.random.default_rng(1).dirichlet(np.ones(4), size=3)
    together = rp.self_play(GAME, ROWS[name], steps=30, start=start, averaging=averaging)
    for context in range(3):
        alone = rp.self_play(GAME.games[context], ROWS[name], steps=30, start=start[context], averaging=averaging)
        np.testing.assert_allclose(together.policies[context], alone.policy, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(together.average_policies[context], alone.average_policy, rtol=1e-9, atol=1e-12)
        expected = alone.certificate.exploitability
        assert together.certificates[context].exploitability == pytest.approx(expected, abs=1e-11)
    assert together.method == ROWS[name].name
    assert together.steps == 30


def test_exploitability_is_the_mean_over_contexts():
    """A best responder answers each context apart: the weighted mean of the certificates, last and average."""
    solution = rp.self_play(GAME, rp.rebel(0.3), steps=20, seed=2)
    by_context = [certificate.exploitability for certificate in solution.certificates]
    assert solution.exploitability == pytest.approx(np.dot(WEIGHTS, by_context), abs=1e-12)
    of_average = [certificate.exploitability for certificate in solution.average_certificates]
    assert solution.average_exploitability == pytest.approx(np.dot(WEIGHTS, of_average), abs=1e-12)
    uniform = rp.ContextualGame.from_payoffs(GAME.payoff)
    np.testing.assert_allclose(uniform.weights, 1 / 3)
    assert uniform.exploitability(solution.policies) == pytest.approx(np.mean(by_context), abs=1e-12)


def test_a_context_that_never_comes_up_costs_nothing():
    """Weight 0: its policy is trained like any other, and left out of the mean."""
    game = rp.ContextualGame.from_payoffs(GAME.payoff[:2], [1.0, 0.0])
    winner = rp.solve(game.games[0]).policy
    assert game.exploitability([winner, [1, 0, 0, 0]]) == pytest.approx(0.0, abs=1e-9)


def test_the_implicit_step_solves_every_context():
    """Status is about the mean over contexts; the certificates about each."""
    solution = rp.self_play(GAME, rp.proximal_rebel(20.0, 0.0), steps=400, tol=1e-6)
    assert solution.status == "solved"
    assert max(certificate.exploitability for certificate in solution.certificates) < 1e-5
    short = rp.self_play(GAME, rp.rebel(0.3), steps=3)
    assert "stopped after 3 rounds" in short.status


def test_starts_of_one_policy_of_many_and_of_a_seed():
    """[n] is repeated, [C, n] taken as it is, a seed draws a different start for each context; None is uniform."""
    start = np.array([0.4, 0.3, 0.2, 0.1])
    once, often = (rp.self_play(GAME, rp.rebel(0.3), steps=5, start=s) for s in (start, np.tile(start, (3, 1))))
    np.testing.assert_array_equal(once.policies, often.policies)
    first = []
    rp.self_play(GAME, rp.rebel(1e-12), steps=1, seed=3, record=lambda t, policies: first.append(policies))
    assert first[0].shape == (3, 4)
    assert np.abs(first[0][0] - first[0][1]).max() > 1e-3
    again = rp.self_play(GAME, rp.rebel(1e-12), steps=1)
    np.testing.assert_allclose(again.policies, 0.25, rtol=1e-9)
    magnet = rp.self_play(GAME, rp.online_ipo(1e9), steps=1, magnet=start)
    np.testing.assert_allclose(magnet.policies, np.tile(start, (3, 1)), rtol=1e-6)


@pytest.mark.parametrize(
    "feedback", [rp.SampledOpponents(2), rp.SampledGroups(3, 3, labels=True), rp.OpponentPool(3)], ids=repr
)
def test_noisy_feedback_in_every_context(feedback):
    """Contexts draw apart, runs repeat with their seed, and certificates are of the game itself."""
    runs = [rp.self_play(GAME, rp.magnetic_rebel(0.3, 0.1), steps=10, seed=s, feedback=feedback) for s in (5, 5, 6)]
    np.testing.assert_array_equal(runs[0].policies, runs[1].policies)
    assert np.abs(runs[0].policies - runs[2].policies).max() > 1e-6
    for context, certificate in enumerate(runs[0].certificates):
        assert certificate.verify(GAME.games[context])
    twins = rp.ContextualGame.from_payoffs(np.stack([GAME.payoff[0]] * 2))
    both = rp.self_play(twins, rp.rebel(0.3), steps=10, start=[0.25] * 4, seed=1, feedback=feedback)
    assert np.abs(both.policies[0] - both.policies[1]).max() > 1e-6


def test_what_it_says_of_itself():
    """Names, sizes, and numbers that nobody can change by accident."""
    assert repr(GAME) == "ContextualGame(3 contexts, 4 actions)"
    assert len(GAME) == 3
    assert list(GAME.contexts) == ["a", "b", "c"]
    assert list(GAME.labels) == list("wxyz")
    with pytest.raises(ValueError, match="read-only"):
        GAME.weights[0] = 1.0
    given = np.array(WEIGHTS)
    made = rp.ContextualGame.from_payoffs(GAME.payoff, given)
    given[0] = 0.0
    np.testing.assert_allclose(made.weights, WEIGHTS)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: rp.ContextualGame.from_payoffs(GAME.payoff, [0.5, 0.5]), "a weight for each of 3 contexts"),
        (
            lambda: rp.ContextualGame.from_payoffs(GAME.payoff, [0.5, 0.5, 0.5]),
            "with sum 1.5; divide them by their sum",
        ),
        (lambda: rp.ContextualGame.from_payoffs(GAME.payoff, [1.5, -0.5, 0.0]), "weights of contexts are a distr"),
        (lambda: rp.ContextualGame.from_payoffs(GAME.payoff, [np.nan, 0.5, 0.5]), "weights of contexts are a distr"),
        (lambda: rp.ContextualGame.from_payoffs(GAME.payoff, contexts=["a", "a", "b"]), "must be distinct, got 'a'"),
        (lambda: rp.ContextualGame.from_payoffs(GAME.payoff, contexts=["a"]), "expected 3 labels"),
        (lambda: rp.ContextualGame.from_payoffs(GAME.payoff + 0.1), "skew|sum"),
        (lambda: GAME.exploitability(np.full(4, 0.25)), r"expected policies of shape \(3, 4\), got \(4,\)"),
        (lambda: rp.self_play(GAME, rp.rebel(0.3), steps=1, start=np.full((2, 4), 0.25)), "each of 3 contexts, got 2"),
        (lambda: rp.self_play(GAME, rp.rebel(0.3), steps=1, start=[1, 0, 0, 0]), "full support"),
        (lambda: rp.self_play(GAME, rp.rebel(0.3), steps=1, start=[1, 1, 1, 1]), "policy sums to 4"),
        (lambda: rp.self_play(GAME, rp.rebel(0.3), steps=1, averaging="weights"), "no averaging is called 'weights'"),
    ],
)
def test_bad_input(make, message):
    """Every refusal names what came in and what was expected."""
    with pytest.raises(ValueError, match=message):
        make()


def test_averages_of_self_play_are_those_of_the_recorded_policies():
    """pi_1 is the start: 1, t, or the last of pi_1..pi_T as weights; pi_{T+1} is the policy, never in the average."""
    game, start, seen = GAME.games[0], np.array([0.4, 0.3, 0.2, 0.1]), []
    runs = {}
    for averaging in ("uniform", "linear", "last"):
        seen = [start]
        runs[averaging] = rp.self_play(
            game,
            rp.rebel(0.5),
            steps=6,
            start=start,
            averaging=averaging,
            record=lambda t, policy, seen=seen: seen.append(policy),
        )
    played = np.array(seen[:-1])
    weights = np.arange(1, 7) / 21
    np.testing.assert_allclose(runs["uniform"].average_policy, played.mean(0), rtol=1e-13)
    np.testing.assert_allclose(runs["linear"].average_policy, weights @ played, rtol=1e-13)
    np.testing.assert_allclose(runs["last"].average_policy, played[-1], rtol=1e-13)
    for averaging, run in runs.items():
        np.testing.assert_array_equal(run.policy, seen[-1])
        assert run.average_certificate.verify(game)
        assert run.settings["averaging"] == averaging
