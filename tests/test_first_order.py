"""First-order solvers: regret bounds, rates, agreement with the linear program, and honest endings."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rebel_pref.certificates import exploitability
from rebel_pref.games.factored import FactoredGame, MatvecGame
from rebel_pref.games.game import PreferenceGame
from rebel_pref.solvers.fictitious_play import fictitious_play
from rebel_pref.solvers.linear_program import linear_program
from rebel_pref.solvers.primal_dual import primal_dual, project_to_simplex
from rebel_pref.solvers.regret_matching import regret_matching
from rebel_pref.solvers.stopping import starting_policy

SOLVERS = [regret_matching, fictitious_play, primal_dual]
RPS = PreferenceGame.from_payoffs([[0, -1, 1], [1, 0, -1], [-1, 1, 0]], labels=["rock", "paper", "scissors"])


def random_payoffs(seed, n):
    upper = np.triu(np.random.default_rng(seed).uniform(-1, 1, (n, n)), 1)
    return upper - upper.T


def random_game(seed, n):
    return PreferenceGame.from_payoffs(random_payoffs(seed, n))


def random_factored(seed, n, discs):
    rng = np.random.default_rng(seed)
    return FactoredGame.from_factors(*rng.normal(0.3, 1, (2, n, discs)), rng.normal(size=n))


class Counted:
    """A game that counts its matvecs."""

    def __init__(self, game):
        self.game, self.calls = game, 0
        self.labels, self.scale, self.holds_win_rates = game.labels, game.scale, game.holds_win_rates
        self.columns, self.among, self.rounding_bound = game.columns, game.among, game.rounding_bound

    def payoffs_against(self, policy):
        self.calls += 1
        return self.game.payoffs_against(policy)

    def __len__(self):
        return len(self.game)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("n", [1, 4])
def test_games_where_every_policy_wins(solver, n):
    """One action, or payoffs all 0 (by matrix, by equal scores, by matvec): solved in the first step."""
    equal = FactoredGame.from_factors(np.zeros((n, 1)), np.zeros((n, 1)), np.full(n, 0.1))
    for game in (PreferenceGame.from_payoffs(np.zeros((n, n))), equal, MatvecGame.from_matvec(lambda p: 0 * p, n)):
        answer = solver(game)
        assert answer.steps == 1
        assert answer.message == ""
        assert answer.policy.sum() == pytest.approx(1, abs=1e-15)
        assert (answer.policy >= 0).all()


@settings(deadline=None, derandomize=True, max_examples=25)
@given(seed=st.integers(0, 10**6), n=st.integers(2, 12), log_scale=st.floats(-30, 30), index=st.integers(0, 2))
def test_the_unit_of_payoff_does_not_matter(seed, n, log_scale, index):
    """`tol` is a share of max|A|: a change of unit by a power of two repeats every step bit by bit."""
    payoffs, unit = random_payoffs(seed, n), 2.0 ** round(log_scale)
    solver, tol = SOLVERS[index], [1e-3, 1e-1, 1e-9][index]
    here = solver(PreferenceGame.from_payoffs(payoffs), tol=tol)
    # The check for skewness allows 1e-9 whatever the unit, and a tiny game passes it exactly skew.
    there = solver(PreferenceGame.from_payoffs(unit * payoffs), tol=tol)
    assert here.message == there.message == ""
    assert there.steps == here.steps
    np.testing.assert_array_equal(there.policy, here.policy)


@settings(deadline=None, derandomize=True, max_examples=25)
@given(seed=st.integers(0, 10**6), n=st.integers(2, 15), winner=st.integers(0, 14), index=st.integers(0, 2))
def test_a_condorcet_winner_takes_it_all(seed, n, winner, index):
    """An action that beats every other by at least .1 is the unique winner: p_other <= 10 x exploitability."""
    winner %= n
    payoffs = random_payoffs(seed, n)
    payoffs[winner] = np.abs(payoffs[winner]) + 0.1
    payoffs[:, winner] = -payoffs[winner]
    payoffs[winner, winner] = 0
    game = PreferenceGame.from_payoffs(payoffs)
    answer = SOLVERS[index](game, tol=[1e-3, 2e-2, 1e-9][index])
    assert answer.message == ""
    assert 1 - answer.policy[winner] <= 10 * exploitability(game, answer.policy) + 1e-15


@pytest.mark.parametrize("solver", SOLVERS)
def test_forms_of_a_game_agree(solver):
    """Dense, by factors and by matvec: each to its tolerance, and step by step the same but for rounding.

    PDHG's first step size is the game's `scale`, which the three forms know more or less of.
    """
    factored = random_factored(3, 20, 2)
    dense = PreferenceGame.from_payoffs(factored.columns(np.arange(20)))
    games = dense, factored, MatvecGame.from_matvec(lambda p: dense.payoff @ p, 20)
    for game in games:
        assert exploitability(dense, solver(game, tol=0.02).policy) <= 0.02 * dense.scale
    if solver is not primal_dual:
        policies = [solver(game, tol=1e-12, max_steps=100).policy for game in games]
        np.testing.assert_allclose(policies[1:], policies[:1] * 2, atol=1e-9)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_solver_out_of_steps_says_so(solver):
    """What it has is a policy, and the message tells its true exploitability and what to do."""
    game = random_game(0, 30)
    answer = solver(game, tol=1e-14, max_steps=20)
    assert answer.steps <= 20
    reached = exploitability(game, answer.policy)
    assert reached > 1e-3
    assert f"exploitability {reached:.3g} > " in answer.message
    assert "raise max_steps" in answer.message


@pytest.mark.parametrize("solver", SOLVERS)
def test_bad_settings(solver):
    """Refused with what was expected and what came."""
    with pytest.raises(ValueError, match="tol must be positive, got 0"):
        solver(RPS, tol=0)
    with pytest.raises(ValueError, match="max_steps must be at least 1, got 0"):
        solver(RPS, max_steps=0)
    with pytest.raises(ValueError, match=r"expected a policy of shape \(3,\)"):
        solver(RPS, start=[0.5, 0.5])


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_winner_to_start_from_and_progress(solver):
    """Regret matching and PDHG stay at a winner; progress rises in steps and ends near the tolerance."""
    seen = []
    answer = solver(random_game(1, 25), tol=0.02, progress=lambda step, reached: seen.append((step, reached)))
    if seen:
        assert [step for step, _ in seen] == sorted({step for step, _ in seen})
        assert seen[-1][0] <= answer.steps
    if solver is not fictitious_play:
        winner = linear_program(random_game(1, 25)).policy
        assert solver(random_game(1, 25), tol=1e-9, start=winner).steps == 1


@pytest.mark.parametrize("variant", ["plain", "plus", "predictive_plus"])
@pytest.mark.parametrize("averaging", ["uniform", "linear", "quadratic"])
def test_regret_matching_against_its_definition(variant, averaging):
    """Two players' regrets written out with p . A p kept, and weights 1, t, t^2: the same average after 200 steps."""
    game, power = random_game(7, 9), {"uniform": 0, "linear": 1, "quadratic": 2}[averaging]
    regrets, last, policies = np.zeros(9), np.zeros(9), []
    for _ in range(200):
        base = np.maximum(regrets + last, 0)
        policy = base / base.sum() if base.sum() > 0 else np.full(9, 1 / 9)
        policies.append(policy)
        regret = game.payoff @ policy - policy @ game.payoff @ policy
        regrets = regrets + regret if variant == "plain" else np.maximum(regrets + regret, 0)
        last = regret if variant == "predictive_plus" else last
    average = np.average(policies, axis=0, weights=np.arange(1.0, 201) ** power)
    answer = regret_matching(game, variant=variant, averaging=averaging, tol=1e-15, max_steps=200)
    np.testing.assert_allclose(answer.policy, average, atol=1e-12)
    last_policy = regret_matching(game, variant=variant, averaging="last", tol=1e-15, max_steps=200).policy
    np.testing.assert_allclose(last_policy, policies[-1], atol=1e-12)


@pytest.mark.parametrize("variant", ["plain", "plus"])
@pytest.mark.parametrize("steps", [1, 10, 300])
def test_regret_bound(variant, steps):
    """The uniform average is at most max|A| sqrt(n / T) exploitable (Blackwell; Hart and Mas-Colell 2000)."""
    for seed in range(4):
        game = random_game(seed, 5 + 10 * seed)
        answer = regret_matching(game, variant=variant, averaging="uniform", tol=1e-15, max_steps=steps)
        assert exploitability(game, answer.policy) <= game.scale * np.sqrt(len(game) / steps)


def test_predictive_regret_matching_is_fast():
    """n = 300: quadratic averages of predictive RM+ pass 1e-3 in 150 matvecs; RM+ and plain take far more."""
    game = Counted(random_game(0, 300))
    answer = regret_matching(game, tol=1e-3)
    assert answer.steps <= 200
    assert game.calls <= answer.steps + 1  # the certificate costs one matvec in all
    for variant in ("plus", "plain"):
        assert regret_matching(game.game, variant=variant, tol=1e-3, max_steps=3 * answer.steps).message != ""


def test_averages_are_checked_against_drift():
    """What regret matching stops at is what a certificate finds, after thousands of steps too."""
    game = random_game(2, 40)
    answer = regret_matching(game, averaging="linear", tol=1e-5)
    assert answer.steps > 1000
    assert exploitability(game, answer.policy) <= 1e-5 * game.scale * (1 + 1e-9)


def test_unknown_names():
    """Variants and ways of averaging are listed."""
    with pytest.raises(ValueError, match="no variant is called 'minus'; known variants: plain, plus, predictive_plus"):
        regret_matching(RPS, variant="minus")
    with pytest.raises(ValueError, match="known ways: uniform, linear, quadratic, last"):
        regret_matching(RPS, averaging="cubic")


def test_fictitious_play_by_hand():
    """All tie against uniform, so rock. Totals (0, 1, -1): paper; (-1, 1, 0): paper; (-2, 1, 1), a tie: paper;
    (-3, 1, 2): scissors.
    """
    plays = [np.rint(k * fictitious_play(RPS, tol=1e-12, max_steps=k).policy).tolist() for k in (1, 2, 3, 4, 5)]
    assert plays == [[1, 0, 0], [1, 1, 0], [1, 2, 0], [1, 3, 0], [1, 3, 1]]


def test_fictitious_play_responds_to_its_start_first():
    """Against paper the best response is scissors, and the start is then forgotten."""
    answer = fictitious_play(RPS, tol=1e-12, max_steps=1, start=[0, 1, 0])
    np.testing.assert_array_equal(answer.policy, [0, 0, 1])
    assert "exploitability 1 > " in answer.message


def test_fictitious_play_takes_one_column_a_step():
    """No matvec but the first and those that confirm the end."""
    game = Counted(random_game(3, 50))
    answer = fictitious_play(game, tol=0.05)
    assert answer.steps > 100
    assert game.calls <= 3


@settings(deadline=None, derandomize=True, max_examples=60)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 40), log_spread=st.floats(-12, 8))
def test_projection_onto_the_simplex(seed, n, log_spread):
    """The projection q of v: on the simplex, and (v - q) . (r - q) <= 0 for every corner r (its definition)."""
    rng = np.random.default_rng(seed)
    point = rng.normal(size=n) * np.exp(log_spread) + rng.normal()
    found = project_to_simplex(point)
    assert (found >= 0).all()
    assert found.sum() == pytest.approx(1, abs=1e-13)
    away = point - found
    assert (away - away @ found).max() <= 1e-13 * max(1, np.abs(point).max())


@pytest.mark.parametrize(("seed", "n"), [(0, 2), (1, 3), (2, 10), (3, 11), (4, 40), (5, 100), (2, 300)])
def test_primal_dual_is_exact(seed, n):
    """1e-12 of max|A| is asked, and the winner is the linear program's."""
    game = Counted(random_game(seed, n))
    answer = primal_dual(game, tol=1e-12)
    assert answer.message == ""
    assert answer.steps == game.calls  # every matvec is counted
    assert answer.steps < 6000
    assert exploitability(game, answer.policy) <= 1e-12
    np.testing.assert_allclose(answer.policy, linear_program(game.game).policy, atol=1e-7)


def test_primal_dual_where_winners_are_many():
    """Clones and ties: the linear tail gets there without a unique support."""
    clones = np.kron(random_payoffs(0, 12), np.ones((2, 2)))
    votes = np.sign(random_payoffs(1, 40))
    for payoffs in (clones, votes, np.sign(clones)):
        game = PreferenceGame.from_payoffs(payoffs)
        answer = primal_dual(game, tol=1e-10)
        assert answer.message == ""
        assert exploitability(game, answer.policy) <= 1e-10


def test_primal_dual_finds_few_winners_among_many_actions():
    """2000 actions by factors: |A|_2 is far above what the support needs, and the step size finds that out."""
    game = random_factored(1, 2000, 3)
    answer = primal_dual(game, max_steps=20_000)
    assert answer.message == ""
    assert exploitability(game, answer.policy) <= 1e-9 * game.scale
    assert np.count_nonzero(answer.policy) <= 2 * 3 + 3


def test_starts():
    """Uniform unless given; given, it is checked and normalised."""
    np.testing.assert_array_equal(starting_policy(RPS, None), np.full(3, 1 / 3))
    with pytest.raises(ValueError, match="policy sums to 2"):
        starting_policy(RPS, [1, 1, 0])
