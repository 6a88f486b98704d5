"""Certificates: rigorous bounds against exact rational arithmetic, recheck of tampered ones, scales of every size."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rebel_pref as rp
from rebel_pref.certificates import Certificate, prove
from rebel_pref.games import FactoredGame, MatvecGame

RPS = rp.games.rock_paper_scissors()


def dense_game(rng, n):
    upper = np.triu(rng.normal(size=(n, n)) * 10.0 ** rng.integers(-3, 4), 1)
    return rp.PreferenceGame.from_payoffs(upper - upper.T)


def factored_game(rng, n):
    left, right = rng.normal(size=(2, n, 2)) * 10.0 ** rng.integers(-3, 4)
    return FactoredGame.from_factors(left, right, rng.normal(size=n))


def exact_payoffs(game, policy):
    """A p / sum(p) without any rounding, for a small game."""
    shares = [Fraction(float(p)) for p in policy]
    total = sum(shares)
    if isinstance(game, FactoredGame):
        u, v, r = (
            [[Fraction(float(x)) for x in np.atleast_1d(row)] for row in a]
            for a in (game.left, game.right, game.scores)
        )
        table = [
            [
                sum(a * d - c * b for a, b, c, d in zip(u[i], u[j], v[i], v[j], strict=True)) + r[i][0] - r[j][0]
                for j in range(len(u))
            ]
            for i in range(len(u))
        ]
    else:
        table = [[Fraction(float(x)) for x in row] for row in game.payoff]
    return [sum(a * p for a, p in zip(row, shares, strict=True)) / total for row in table]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 12), build=st.sampled_from([dense_game, factored_game]))
def test_the_rounding_bound_is_rigorous_and_close(seed, n, build):
    """Against exact rationals: never exceeded by the certificate's error, nor ten thousand times too large."""
    rng = np.random.default_rng(seed)
    game, policy = build(rng, n), rng.dirichlet(np.ones(n))
    certificate = rp.certify(game, policy)
    error = abs(Fraction(certificate.exploitability) - max(exact_payoffs(game, certificate.policy)))
    assert error <= Fraction(certificate.rounding)
    size = max(float(np.abs(game.columns(np.arange(n))).max()), game.scale)
    assert certificate.rounding <= 1e-11 * (size + 1e6)
    assert certificate.verify(game)


@pytest.mark.parametrize("game", [RPS, FactoredGame.from_factors([[1], [-0.5], [-0.5]], [[0], [0.75], [-0.75]])])
def test_a_tampered_certificate_does_not_verify(game):
    """Too good, too bad, of another policy, of another game, of no policy."""
    true = rp.certify(game, [0.5, 0.3, 0.2])
    assert true.verify(game)
    for change in (1e-9, -1e-9, 0.1):
        value = true.exploitability + change
        assert not replace(true, exploitability=value, duality_gap=2 * value).verify(game)
    assert not replace(true, duality_gap=0.0).verify(game)
    assert not replace(true, policy=np.full(3, 1 / 3)).verify(game)
    assert not replace(true, policy=np.array([1.0, -1.0, 1.0])).verify(game)
    assert not true.verify(rp.games.cycle_game(5))
    assert not true.verify(rp.PreferenceGame.from_payoffs(2.0 * RPS.payoff))


def test_an_unbounded_certificate_still_checks():
    """A game behind a function has no rounding bound unless told: nine digits must agree."""
    game = MatvecGame.from_matvec(lambda p: RPS.payoff @ p, 3)
    certificate = rp.certify(game, [0.5, 0.3, 0.2])
    assert certificate.rounding == np.inf
    assert certificate.verify(game)
    assert not Certificate(-1.0, -2.0, "0", None, np.inf, certificate.policy).verify(game)
    assert not certificate.verify(rp.PreferenceGame.from_payoffs(1000.0 * RPS.payoff))
    known = MatvecGame.from_matvec(lambda p: RPS.payoff @ p, 3, matvec_error=1e-15)
    assert rp.certify(known, [0.5, 0.3, 0.2]).rounding == 1e-15


def test_certificates_do_not_change():
    """The policy that was measured is read-only."""
    solution = rp.solve(RPS)
    with pytest.raises(ValueError, match="read-only"):
        solution.policy[0] = 1.0
    assert isinstance(hash(rp.certify(RPS, [1, 0, 0])), int)


def test_a_proof_is_repeated_on_the_game():
    """Other shares, another exploitability or another game undo it; small entries beside large ones are not lost."""
    third = Fraction(1, 3)
    proof = prove(RPS, {0: third, 1: third, 2: third})
    assert proof.verify(RPS)
    assert not replace(proof, exploitability=-7.0).verify(RPS)
    assert not replace(proof, policy=np.array([1.0, 0, 0])).verify(RPS)
    assert not replace(proof, exact_policy={"rock": Fraction(1)}).verify(RPS)
    uneven = rp.PreferenceGame.from_payoffs([[0, -1e-10, 1e6], [1e-10, 0, 1e6], [-1e6, -1e6, 0]])
    assert prove(uneven, {0: Fraction(1)}) is None
    assert prove(uneven, {1: Fraction(1)}) is not None
    for claim in ({0: 0.5, 1: 0.5}, {-1: Fraction(1)}, {3: Fraction(1)}):
        with pytest.raises(ValueError, match="a proof needs fractions for actions 0 to 2"):
            prove(RPS, claim)


@pytest.mark.parametrize("scale", [1e-200, 1e-40, 1e-7, 1e40, 1e200])
@pytest.mark.parametrize("kind", ["dense", "factored", "matvec"])
def test_winners_do_not_depend_on_the_unit(kind, scale):
    """Weighted rock-paper-scissors in any unit of payoff: the same winner, solved, certified in that unit."""
    payoff = rp.games.rock_paper_scissors(0.1, 0.3, 0.6).payoff
    if kind == "dense":
        game = rp.PreferenceGame.from_payoffs(scale * payoff)
    elif kind == "factored":
        # Points on a circle, stretched, give the three payoffs: a disc of area.
        left, right = [[0.0], [1.0], [-0.5]], [[0.0], [0.0], [0.6]]
        game = FactoredGame.from_factors(np.array(left) * scale, right, scale * np.array([0.0, 0.1, -0.3]))
    else:
        game = MatvecGame.from_matvec(lambda p: scale * payoff @ p, 3)
    solution = rp.solve(game)
    assert solution.solved, solution.status
    assert solution.certificate.verify(game)
    if kind != "factored":
        np.testing.assert_allclose(solution.policy, [0.6, 0.3, 0.1], atol=1e-8)


def test_an_action_that_ties_with_all_hides_nothing():
    """The scale of a game that is never looked at whole: action 0 ties with everyone, the others form a cycle."""
    cycle = np.zeros((4, 4))
    cycle[1:, 1:] = rp.games.rock_paper_scissors(0.1, 0.3, 0.6).payoff
    behind = MatvecGame.from_matvec(lambda p: cycle @ p, 4)
    assert behind.scale == pytest.approx(0.6)
    factored = FactoredGame.from_factors([[0], [1], [-0.5], [-0.2]], [[0], [0], [0.75], [-0.75]])
    assert factored.scale == pytest.approx(np.abs(factored.columns(np.arange(4))).max())
    for game in (behind, factored):
        solution = rp.solve(game)
        assert solution.solved
        assert solution.certificate.exploitability <= 1e-9 * game.scale


def test_win_rates_are_claimed_only_where_they_are():
    """Payoffs beyond 1 are no win rates: no best responder's win rate is printed."""
    assert rp.certify(RPS, [1, 0, 0]).best_response_win_rate == 1.0
    assert rp.certify(rp.PreferenceGame.from_payoffs(3.0 * RPS.payoff), [1, 0, 0]).best_response_win_rate is None
    scores = FactoredGame.from_factors(np.zeros((3, 1)), np.zeros((3, 1)), [0.0, 1.0, 3.0])
    assert rp.certify(scores, [1, 0, 0]).best_response_win_rate is None
    small = FactoredGame.from_factors(np.full((3, 1), 0.1), np.full((3, 1), 0.1), [0.0, 0.1, 0.3])
    assert rp.certify(small, [1, 0, 0]).best_response_win_rate == pytest.approx(0.65)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: MatvecGame.from_matvec(np.abs, 3), "matvec is not skew-symmetric"),
        (lambda: MatvecGame.from_matvec(lambda p: 1e-10 * np.abs(RPS.payoff) @ p, 3), "matvec is not skew-symmetric"),
        (lambda: MatvecGame.from_matvec(lambda p: p[:2], 3), "expected 3 finite payoffs from matvec, got shape"),
        (lambda: MatvecGame.from_matvec(lambda p: 0 * p, 3, matvec_error=-1.0), "is not negative, got -1.0"),
        (lambda: FactoredGame.from_factors([[1e200], [0]], [[1e200], [1]]), "payoffs overflow"),
        (lambda: FactoredGame.from_factors([[np.nan]], [[1]]), r"factors must be finite, got left\[0, 0\] = nan"),
        (lambda: FactoredGame.from_factors([[1.0]], [[1.0], [2.0]]), "two factors of the same shape"),
        (lambda: FactoredGame.from_factors([[1.0]], [[1.0]], [1, 2]), "expected scores of shape"),
        (lambda: rp.PreferenceGame.from_payoffs([[0, 1e-10], [1e-10, 0]]), "payoff is not skew-symmetric"),
        (lambda: rp.solve(RPS.payoff), "expected a game, got a ndarray; PreferenceGame.from_payoffs takes a matrix"),
        (lambda: rp.solve("rock-paper-scissors"), "expected a game, got a str"),
        (lambda: rp.certify(RPS.payoff, [1, 0, 0]), "expected a game, got a ndarray"),
        (lambda: rp.solve(RPS, tol=np.inf), "tol must be positive and finite, got inf"),
    ],
)
def test_what_is_no_game_is_refused(call, message):
    """With what was expected."""
    with pytest.raises(ValueError, match=message):
        call()
