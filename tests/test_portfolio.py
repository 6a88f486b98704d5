"""The exact solvers: every method against the certificate and the linear program, selections, proofs, batches."""

import sys
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import rebel_pref as rp
from rebel_pref.games import GameBatch, blotto
from rebel_pref.solvers import active_set as active
from rebel_pref.solvers import pivoting as small
from rebel_pref.solvers.active_set import active_set, follow_path
from rebel_pref.solvers.answer import Answer
from rebel_pref.solvers.basis import independent_support, invert_in_halves, lapack_inverse, support_inverse
from rebel_pref.solvers.first_order import RegretMatchingPlay, first_order_guess
from rebel_pref.solvers.interior_point import central_path, polish
from rebel_pref.solvers.selection import clone_groups

Game = rp.PreferenceGame
EXACT = ("linear_program", "interior_point", "active_set", "pivoting")
KINDS = ("uniform", "integer", "ties", "clones", "disc", "bradley_terry", "tournament", "one_pair", "near_singular")


def skew(matrix):
    upper = np.triu(matrix, 1)
    return upper - upper.T


def payoff_of(kind, n, seed):
    """A skew matrix [n, n] of a kind that breaks naive solvers in its own way."""
    rng = np.random.default_rng([seed, n])
    match kind:
        case "uniform":
            return skew(rng.uniform(-1, 1, (n, n)))
        case "integer":
            return skew(rng.integers(-2, 3, (n, n)).astype(float))
        case "ties":
            return skew(rng.integers(-1, 2, (n, n)) * (rng.random((n, n)) < 0.3)).astype(float)
        case "clones":
            actions = rng.integers(0, max(1, n // 2), n)
            return skew(rng.normal(size=(n, n)))[np.ix_(actions, actions)]
        case "disc":
            u, v = rng.normal(size=(2, n, 2))
            return u @ v.T - v @ u.T
        case "bradley_terry":
            s = rng.normal(size=n)
            return np.tanh(s[:, None] - s[None, :])
        case "tournament":
            return skew(np.sign(rng.normal(size=(n, n))))
        case "one_pair":
            matrix = np.zeros((n, n))
            if n > 1:
                matrix[0, n - 1], matrix[n - 1, 0] = 1.0, -1.0
            return matrix
        case "near_singular":
            base = payoff_of("clones", n, seed)
            return base + 1e-7 * skew(rng.normal(size=(n, n)))
    raise AssertionError(kind)


def random_game(n, seed, kind="uniform"):
    return Game.from_payoffs(payoff_of(kind, n, seed))


def entropy(policy):
    played = policy[policy > 0]
    return float(-(played * np.log(played)).sum())


@settings(max_examples=60, deadline=None)
@given(kind=st.sampled_from(KINDS), n=st.integers(1, 40), seed=st.integers(0, 10**6), method=st.sampled_from(EXACT))
def test_every_exact_method_wins(kind, n, seed, method):
    """Whatever the game, the answer is a winner to 1e-9 of max|A|, and another way of summing agrees."""
    game = random_game(n, seed, kind)
    solution = rp.solve(game, method=method)
    assert solution.solved, solution.status
    assert solution.policy.min() >= 0.0
    assert solution.policy.sum() == pytest.approx(1.0, abs=1e-12)
    assert solution.certificate.upper_bound <= 1e-9 * max(game.scale, 1e-300) + solution.certificate.rounding
    assert solution.certificate.verify(game)


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 30), seed=st.integers(0, 10**6))
def test_methods_agree_where_the_winner_is_unique(n, seed):
    """Random continuous payoffs: one winner, of odd support, found by every method to 1e-7."""
    game = random_game(n, seed)
    winners = [rp.solve(game, method=method).policy for method in EXACT]
    for winner in winners[1:]:
        np.testing.assert_allclose(winner, winners[0], atol=1e-7)
    assert np.count_nonzero(winners[-1] > 1e-9) % 2 == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [59, 120])
def test_larger_games(kind, n):
    """Sizes at which "auto" leaves the tableau: exact to 1e-12 of max|A|."""
    game = random_game(n, 0, kind)
    solution = rp.solve(game)
    assert solution.certificate.exploitability <= 1e-12 * game.scale
    assert solution.method in ("active_set", "interior_point", "pivoting", "unbeaten_action")


def test_the_path_is_exact_and_short():
    """n = 200: the first-order start names the support up to a tenth, and a few dozen pivots mend it."""
    game = random_game(200, 3)
    start, slack, rounds = first_order_guess(game.payoff, game.scale)
    np.testing.assert_allclose(-slack, game.payoff @ start / game.scale, atol=1e-5)
    assert rounds == 100
    policy, pivots = follow_path(game.payoff, game.scale, start, slack)
    assert (game.payoff @ policy).max() < 1e-15
    assert 0 < pivots < 100
    far = np.zeros(200)
    far[0] = 1.0
    policy, more = follow_path(game.payoff, game.scale, far, -game.payoff[:, 0] / game.scale, max_pivots=5000)
    assert (game.payoff @ policy).max() < 1e-15
    assert more > 2 * pivots


def test_a_loose_tolerance_ends_with_the_first_order_start():
    """tol 1e-2 needs no pivots; the certificate holds in float64 though the start ran in float32."""
    game = random_game(300, 0)
    solution = rp.solve(game, tol=1e-2)
    assert solution.method == "regret_matching"
    assert 1e-6 < solution.certificate.exploitability <= 1e-2 * game.scale


def test_a_large_game_is_screened():
    """n = 700: most of the rounds play on the actions that still matter; slacks are those of the whole game."""
    game = random_game(700, 0)
    start, slack, _ = first_order_guess(game.payoff, game.scale)
    np.testing.assert_allclose(slack, -(game.payoff @ start) / game.scale, atol=1e-6)
    play = RegretMatchingPlay(game.payoff, game.scale)
    for _ in range(100):
        play.step()
    before = play.whole_average()
    play.keep(np.arange(100, 600))
    np.testing.assert_allclose(play.whole_average()[0], before[0], atol=1e-12)
    for _ in range(10):
        play.step()
    policy, slack = play.whole_average()
    assert policy[:100].sum() < before[0][:100].sum()
    np.testing.assert_allclose(slack, -(game.payoff @ policy) / game.scale, atol=1e-6)
    loose = rp.solve(game, tol=2e-4)
    assert loose.method == "regret_matching"
    assert loose.certificate.exploitability <= 2e-4 * game.scale


def test_a_broken_path_falls_back(monkeypatch):
    """No basis, no path: the interior point answers, and `method` says so; without it the linear program."""
    game = random_game(160, 1)  # Too large for the compiled tableau, should another test have loaded it.
    monkeypatch.setattr(active, "_first_basis", lambda *_: None)
    assert active_set(game) is None
    solution = rp.solve(game)
    assert (solution.method, solution.status) == ("interior_point", "solved")
    stalled = Answer(np.full(160, 1 / 160), "interior_point", 3, "the central path stalled")
    monkeypatch.setattr(sys.modules["rebel_pref.solvers.solve"], "interior_point", lambda *_, **__: stalled)
    assert rp.solve(game).method == "linear_program"


def test_steps_out_of_pivots():
    """A path that is cut short is no answer."""
    game = random_game(100, 0)
    start, slack, _ = first_order_guess(game.payoff, game.scale)
    assert follow_path(game.payoff, game.scale, start, slack, max_pivots=1) is None


def test_dependent_guesses_are_thinned():
    """Rank 4 and a guess of all 60 actions: K_S is singular, a regular odd part of it is found."""
    game = random_game(60, 0, "disc")
    every = np.arange(60)
    assert support_inverse(game.payoff, game.scale, every[:59]) is None
    members = independent_support(game.payoff, game.scale, every)
    assert len(members) % 2 == 1
    assert len(members) <= 5
    assert support_inverse(game.payoff, game.scale, members) is not None


@pytest.mark.parametrize("kind", ["uniform", "integer", "disc", "clones"])
def test_the_central_path_is_the_formula(kind):
    """p_i = mu / (n mu - (A p)_i) at every mu, and at its end one of p_i and w_i is gone."""
    game = random_game(40, 2, kind)
    for tol in (1e-1, 1e-3, 1e-6):
        point = central_path(game.payoff, game.scale, tol=tol)
        np.testing.assert_allclose(point.slack, point.value - game.payoff @ point.policy / game.scale, atol=1e-12)
        products = point.policy * point.slack
        assert point.value == pytest.approx(products.sum())
        assert products.max() / products.min() < 1e4  # predictor-corrector: near the path, not on it
    end = central_path(game.payoff, game.scale)
    assert end.steps < 30
    ratio = end.policy / end.slack
    assert np.maximum(ratio, 1 / ratio).min() > 1e4
    assert (game.payoff @ polish(game.payoff, game.scale, end)).max() < 1e-14 * game.scale


def test_progress_is_told():
    """Every long solver reports steps and exploitability, in payoff units."""
    game = Game.from_payoffs(7.0 * random_game(300, 0).payoff)
    for method in ("active_set", "interior_point", "primal_dual", "regret_matching"):
        seen = []
        rp.solve(game, method=method, tol=1e-3, progress=lambda step, value, seen=seen: seen.append((step, value)))
        assert seen, method
        assert all(step >= 0 and 0 <= value < 100 for step, value in seen)


# Selections


@settings(max_examples=25, deadline=None)
@given(kind=st.sampled_from(KINDS), n=st.integers(1, 24), seed=st.integers(0, 10**6))
def test_selections_are_winners(kind, n, seed):
    """Every rule picks a winner; the one of largest entropy beats the others at entropy."""
    game = random_game(n, seed, kind)
    found = {rule: rp.solve(game, selection=rule) for rule in ("max_entropy", "analytic_center", "vertex", "any")}
    for rule, solution in found.items():
        assert solution.solved, (rule, solution.status)
    # Clones count once and share equally, which is not how the entropy of all the actions counts them; and payoffs that
    # differ by 1e-7 are told apart only to that.
    if len(set(clone_groups(game.payoff))) == n and kind != "near_singular":
        best = entropy(found["max_entropy"].policy)
        assert all(best >= entropy(solution.policy) - 1e-6 for solution in found.values())


@settings(max_examples=25, deadline=None)
@given(n=st.integers(1, 15), seed=st.integers(0, 10**6), kind=st.sampled_from(["uniform", "integer", "disc"]))
def test_clones_share_and_nobody_else_notices(n, seed, kind):
    """Duplicate the first action: its mass is halved, every other probability stays."""
    game = random_game(n, seed, kind)
    assume(len(set(clone_groups(game.payoff))) == n)  # A third clone would take its share from the second.
    order = np.append(np.arange(n), 0)
    with_clone = Game.from_payoffs(game.payoff[np.ix_(order, order)])
    for rule in ("max_entropy", "analytic_center", "vertex"):
        alone = rp.solve(game, selection=rule).policy
        both = rp.solve(with_clone, selection=rule).policy
        assert both[0] == both[n]
        assert both[0] + both[n] == pytest.approx(alone[0], abs=1e-6)
        np.testing.assert_allclose(both[1:n], alone[1:], atol=1e-6)


def test_clone_groups():
    """Equal rows, one group, numbered as they appear; -0.0 is 0.0."""
    payoff = np.array([[0.0, 1.0, -0.0, 1.0], [-1, 0, -1, 0], [0, 1, 0, 1], [-1, 0, -1, 0]])
    np.testing.assert_array_equal(clone_groups(payoff), [0, 1, 0, 1])


def test_largest_entropy_by_hand():
    """Rock-paper-scissors-well: well beats rock and scissors and loses to paper; rock is dominated by it.

    The winner is paper, scissors, well at a third each. With a tie between two pairs that beat nobody else
    (A = 0 on 4 actions) it is uniform; on the segment of winners of Blotto with 2 soldiers on 2 fields, where all
    payoffs are 0, too.
    """
    well = [[0, -1, 1, -1], [1, 0, -1, 1], [-1, 1, 0, -1], [1, -1, 1, 0]]
    np.testing.assert_allclose(
        rp.solve(Game.from_payoffs(well), selection="max_entropy").policy, [0, 1 / 3, 1 / 3, 1 / 3], atol=1e-10
    )
    # Two cycles that tie with each other: any mixture of the two uniform thirds wins, the even one has most entropy.
    cycle = rp.games.rock_paper_scissors().payoff
    twice = np.block([[cycle, np.zeros((3, 3))], [np.zeros((3, 3)), cycle]])
    for rule in ("max_entropy", "analytic_center"):
        np.testing.assert_allclose(rp.solve(Game.from_payoffs(twice), selection=rule).policy, np.full(6, 1 / 6))
    assert len(rp.solve(Game.from_payoffs(twice), selection="vertex").support) == 3


def test_entropy_cannot_be_raised():
    """Blotto's winners form a polytope. Entropy is concave, so p is its maximiser if and only if no winner q has
    grad H(p) . q > grad H(p) . p: a linear program over the winners."""
    from scipy.optimize import linprog

    for game in (blotto(5), blotto(10), blotto(4, (1, 1, 1, 1))):
        policy = rp.solve(game, selection="max_entropy").policy
        centre = rp.solve(game, selection="analytic_center").policy
        played = policy > 0
        gradient = np.where(played, -np.log(np.maximum(policy, 1e-300)) - 1.0, 0.0)
        best = linprog(
            -gradient,
            A_ub=game.payoff,
            b_ub=np.full(len(game), 1e-12),
            A_eq=np.ones((1, len(game))),
            b_eq=[1.0],
            bounds=[(0, None if inside else 0) for inside in played],
        )
        assert -best.fun == pytest.approx(gradient @ policy, abs=1e-8)
        assert entropy(policy) >= entropy(centre)
        # Nothing outside the support is played by any winner.
        outside = linprog(
            -(~played).astype(float),
            A_ub=game.payoff,
            b_ub=np.zeros(len(game)),
            A_eq=np.ones((1, len(game))),
            b_eq=[1.0],
        )
        assert -outside.fun == pytest.approx(0.0, abs=1e-7)


# Proofs


def test_proofs_over_the_rationals():
    """Weighted rock-paper-scissors is (3/5, 3/10, 1/10); Blotto's vertex is proved on all 66 actions."""
    pytest.importorskip("flint")
    proof = rp.solve(rp.games.rock_paper_scissors(0.1, 0.3, 0.6), exact=True)
    fractions = {"rock": Fraction(3, 5), "paper": Fraction(3, 10), "scissors": Fraction(1, 10)}
    assert proof.certificate.exact_policy == fractions
    assert (proof.status, proof.certificate.exploitability, proof.certificate.rounding) == ("solved", 0.0, 0.0)
    assert proof.certificate.verify(rp.games.rock_paper_scissors(0.1, 0.3, 0.6))
    assert not proof.certificate.verify(rp.games.rock_paper_scissors(0.1, 0.3, 0.5))
    assert "exactly 0, proved" in str(proof.certificate)
    assert rp.solve(blotto(), exact=True).certificate.exact_policy is not None


@settings(max_examples=25, deadline=None)
@given(
    kind=st.sampled_from(["integer", "ties", "tournament", "one_pair", "clones"]),
    n=st.integers(1, 20),
    seed=st.integers(0, 10**6),
)
def test_integer_games_are_proved(kind, n, seed):
    """Integer payoffs: fractions that sum to 1, and A p <= 0 without rounding."""
    pytest.importorskip("flint")
    payoff = np.round(payoff_of(kind, n, seed))
    solution = rp.solve(Game.from_payoffs(payoff), exact=True)
    assert solution.solved, solution.status
    policy = [solution.certificate.exact_policy.get(str(i), Fraction(0)) for i in range(n)]
    assert sum(policy) == 1
    assert all(sum(int(a) * p for a, p in zip(row, policy, strict=True)) <= 0 for row in payoff)


def test_counts_are_read_as_fractions():
    """A third of a win rate stays a third: (2 - 1) / 3 against (4 - 1) / 5 and (5 - 2) / 7."""
    pytest.importorskip("flint")
    game = Game.from_counts([[0, 1, 5], [2, 0, 1], [2, 4, 0]])
    # Payoffs: paper over rock 1/3, scissors over paper 3/5, rock over scissors 3/7.
    total = Fraction(1, 3) + Fraction(3, 5) + Fraction(3, 7)
    exact = rp.solve(game, exact=True).certificate.exact_policy
    assert exact == {"0": Fraction(3, 5) / total, "1": Fraction(3, 7) / total, "2": Fraction(1, 3) / total}


def test_a_false_claim_is_not_proved():
    """The prover believes nobody: a wrong share, a missing share, a loser."""
    from rebel_pref.certificates import prove

    game = rp.games.rock_paper_scissors()
    assert prove(game, {0: Fraction(1, 3), 1: Fraction(1, 3), 2: Fraction(1, 3)}) is not None
    assert prove(game, {0: Fraction(1, 3), 1: Fraction(2, 3)}) is None
    assert prove(game, {0: Fraction(1, 2), 1: Fraction(1, 4), 2: Fraction(1, 3)}) is None
    assert prove(game, {0: Fraction(1)}) is None
    assert prove(game, {0: Fraction(3, 2), 1: Fraction(-1, 2)}) is None


# Batches and the compiled kernel


def batch_of(count, n, kind="uniform"):
    return GameBatch.from_payoffs(np.stack([payoff_of(kind, n, seed) for seed in range(count)]))


@pytest.mark.parametrize(("kind", "n"), [("uniform", 7), ("ties", 6), ("integer", 9), ("disc", 8), ("one_pair", 1)])
def test_batches(kind, n):
    """B games in one call; every one of them as if it had been alone."""
    batch = batch_of(40, n, kind)
    found = rp.solve(batch)
    assert found.solved
    assert found.policies.shape == (40, n)
    assert len(found) == 40
    for b in (0, 7, -1):
        alone = rp.certify(batch[b], found.policies[b])
        assert found[b].certificate.exploitability == alone.exploitability
        assert found.exploitability[b] == pytest.approx(alone.exploitability, abs=1e-15)
        assert found[b].status == "solved"
    with pytest.raises(IndexError, match="no game 40 in a batch of 40"):
        found[40]


def without_numba(monkeypatch):
    """As on a machine where numba is not installed."""
    monkeypatch.setattr(small, "can_compile", lambda: False)


@pytest.mark.parametrize(("kind", "n"), [("uniform", 12), ("integer", 11), ("clones", 10), ("uniform", 44)])
def test_compiled_is_pure(kind, n, monkeypatch):
    """The kernel is one source: compiled and interpreted, it takes the same pivots to the same winner."""
    pytest.importorskip("numba")
    games = [random_game(n, seed, kind) for seed in range(3)]
    from rebel_pref.solvers import compiled  # noqa: F401  Loaded, so that small games use it too.

    fast = [small.pivoting(game) for game in games]
    batched = rp.solve(batch_of(3, n, kind)).policies
    without_numba(monkeypatch)
    for game, answer, policy in zip(games, fast, batched, strict=True):
        slow = small.pivoting(game)
        assert slow.steps == answer.steps
        np.testing.assert_allclose(slow.policy, answer.policy, atol=1e-12)
        np.testing.assert_allclose(slow.policy, policy, atol=1e-12)
    np.testing.assert_allclose(rp.solve(batch_of(3, n, kind)).policies, batched, atol=1e-12)


# Refusals


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: rp.solve(blotto(2), selection="best"),
            "no selection is called 'best'; known selections: any, max_entr",
        ),
        (lambda: rp.solve(blotto(2), selection="vertex", method="pivoting"), "chooses its method; leave method='auto'"),
        (lambda: rp.solve(batch_of(2, 3), method="linear_program"), "needs a PreferenceGame, whose matrix is at hand"),
        (lambda: rp.solve(batch_of(2, 3), selection="vertex"), "selection needs a PreferenceGame"),
        (lambda: rp.solve(batch_of(2, 3), method="primal_dual"), "a GameBatch has a solver of its own"),
        (lambda: GameBatch.from_payoffs(np.zeros((3, 3))), "a batch of games has shape"),
    ],
)
def test_bad_calls_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("seed", range(4))
def test_inverse_in_halves(seed):
    """By Schur complement, the inverse that LAPACK finds; a corner that is singular is refused."""
    matrix = skew(np.random.default_rng(seed).uniform(-1, 1, (80, 80)))
    found = np.zeros((80, 80))
    assert invert_in_halves(matrix, found)
    np.testing.assert_allclose(found, lapack_inverse(matrix), atol=1e-8)
    matrix[:20, :20] = 0.0
    matrix[:4] = matrix[:, :4] = 0.0
    assert not invert_in_halves(matrix, found)
