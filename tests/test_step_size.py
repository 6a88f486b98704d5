"""Suggested steps: the formulas, the promise they make on games, what is refused, and the rows they build."""

import itertools
import math

import numpy as np
import pytest

import rebel_pref as rp
from rebel_pref.solvers import initial_state, iterates
from rebel_pref.solvers.step_size import effective_scale, rotation
from rebel_pref.theory.divergence import kl

RPS = rp.games.rock_paper_scissors(1.0, 1.0, 1.0)
GAMES = [RPS, rp.games.lizard_spock(), rp.games.random_game(7, seed=2), rp.games.bradley_terry_game()]


def by_definition(payoff):
    """L_eff by its four indices."""
    n = len(payoff)
    terms = (
        payoff[i, k] - payoff[i, m] - payoff[j, k] + payoff[j, m]
        for i, j, k, m in itertools.product(range(n), repeat=4)
    )
    return max(map(abs, terms)) / 4.0


@pytest.mark.parametrize("game", GAMES, ids=len)
def test_effective_scale_is_its_definition(game):
    """A range of differences of rows instead of four loops; never above L."""
    assert effective_scale(game.payoff) == pytest.approx(by_definition(game.payoff), abs=1e-15)
    assert effective_scale(game.payoff) <= game.scale + 1e-15


def test_effective_scale_bounds_the_form_it_stands_for():
    """|<A u, v>| <= L_eff |u|_1 |v|_1 for u, v that sum to 0, with equality at differences of two actions each."""
    rng = np.random.default_rng(0)
    game = rp.games.random_game(9, seed=4)
    u, v = rng.normal(size=(2, 500, 9))
    u, v = u - u.mean(axis=1, keepdims=True), v - v.mean(axis=1, keepdims=True)
    forms = np.abs(np.einsum("si,ij,sj->s", u, game.payoff, v))
    assert (forms <= effective_scale(game.payoff) * np.abs(u).sum(1) * np.abs(v).sum(1) + 1e-12).all()


def test_rotation_of_rock_paper_scissors():
    """Cov_p A = A / 3 at uniform, and A has eigenvalues +-i sqrt 3: mu = 1 / sqrt 3."""
    assert rotation(RPS.payoff, np.full(3, 1 / 3)) == pytest.approx(1 / math.sqrt(3), abs=1e-14)


def test_numbers_of_rock_paper_scissors():
    """L = 1, L_eff = 3/4, so eta = tau / .5625; kappa = eta tau / 2; m = ceil(2 / (eta tau))."""
    found = rp.suggest_step(RPS, 0.1)
    assert (found.scale, found.effective_scale, found.regularization) == (1.0, 0.75, 0.1)
    assert found.step_size == pytest.approx(0.1 / 0.5625)
    assert found.magnet_rate == pytest.approx(0.01 / 0.5625 / 2)
    assert found.magnet_every == math.ceil(2 * 0.5625 / 0.01) == 113
    assert found.rotation == pytest.approx(1 / math.sqrt(3))
    with pytest.raises(AttributeError):
        found.step_size = 1.0


def test_default_numbers_where_nothing_is_known():
    """L = 1 and tau = .2: eta = .2, kappa = .02, m = 50, not 51 by rounding."""
    for oracle in (rp.DuelOracle.from_game(RPS, seed=0), rp.FunctionOracle(lambda prompt, first, second: 0.5)):
        found = rp.suggest_step(oracle, 0.2)
        assert (found.step_size, found.magnet_every, found.rotation) == (0.2, 50, None)
        assert found.magnet_rate == pytest.approx(0.02)
        assert found.scale == found.effective_scale == 1.0
    assert oracle.compare("", "", "") == 0.5  # it was asked for nothing


@pytest.mark.parametrize("game", GAMES, ids=len)
@pytest.mark.parametrize("tau", [0.05, 0.3, 2.0])
def test_the_promise(game, tau):
    """(1 + eta tau) KL(p || next) <= KL(p || pi) for the fixed magnet, explicit and by extragradient."""
    found = rp.suggest_step(game, tau)
    uniform = np.full(len(game), 1 / len(game))
    star = np.log(rp.proximal_step(np.log(uniform), game.payoff, 1 / tau, tolerance=1e-30).policy)
    start = np.exp(np.linspace(0.0, 2.0, len(game)))
    fixed = rp.FixedMagnet()
    for row, eta in (
        (found.magnetic(fixed), found.step_size),
        (found.extragradient(fixed), min(1 / game.scale, 0.5 / tau)),
    ):
        state = initial_state(start / start.sum(), uniform)
        for after in itertools.islice(iterates(row, game.payoff, state), 60):
            before, now = float(kl(star, state.current)), float(kl(star, after.current))
            assert before < 1e-10 or now * (1 + eta * tau) <= before * (1 + 1e-9)
            state = after


def test_a_magnet_moves_no_faster_than_is_known_to_be_stable():
    """eta tau <= 1/2 whatever tau, so that kappa <= 1/4 and m >= 4; in a game without rotation that alone binds."""
    for tau in (1.0, 50.0):
        found = rp.suggest_step(RPS, tau)
        assert found.step_size * tau == pytest.approx(0.5)
        assert (found.magnet_rate, found.magnet_every) == (pytest.approx(0.25), 4)
    scores = np.array([0.5, 0.25, -0.5])
    transitive = rp.suggest_step(rp.PreferenceGame.from_payoffs(scores[:, None] - scores), 0.2)
    assert (transitive.effective_scale, transitive.step_size) == (0.0, 2.5)
    assert "nothing rotates" in str(transitive)
    alone = rp.suggest_step(rp.PreferenceGame.from_payoffs([[0.0]]), 0.2)
    assert (alone.scale, alone.step_size) == (0.0, 2.5)
    assert alone.extragradient().stages[0].payoff["current"] > 0.0


def test_payoffs_in_other_units_scale_the_step():
    """A -> c A with tau -> c tau is the same play at eta / c, and kappa and m, which count rounds, stay."""
    game = rp.games.random_game(6, seed=1)
    one, other = (rp.suggest_step(rp.PreferenceGame.from_payoffs(c * game.payoff), c * 0.1) for c in (1.0, 40.0))
    assert other.step_size == pytest.approx(one.step_size / 40)
    assert (other.magnet_rate, other.magnet_every) == (pytest.approx(one.magnet_rate), one.magnet_every)


def test_the_worst_of_several_games_counts():
    """A batch and a contextual game take the largest scales and the fastest rotation of their members."""
    payoffs = np.stack([rp.games.random_game(5, seed=s).payoff for s in range(6)])
    each = [rp.suggest_step(rp.PreferenceGame.from_payoffs(payoff), 0.1) for payoff in payoffs]
    for game in (rp.GameBatch.from_payoffs(payoffs), rp.ContextualGame.from_payoffs(payoffs)):
        found = rp.suggest_step(game, 0.1)
        assert found.step_size == min(one.step_size for one in each)
        assert found.effective_scale == max(one.effective_scale for one in each)
        assert found.rotation == pytest.approx(max(one.rotation for one in each))


def test_games_whose_matrix_is_not_formed():
    """A factored game's L bounds every payoff from above; a matvec game's is what was met."""
    rng = np.random.default_rng(3)
    factored = rp.FactoredGame.from_factors(*rng.normal(size=(2, 40, 2)), rng.normal(size=40))
    largest = np.abs(factored.among(np.arange(40))).max()
    found = rp.suggest_step(factored, 0.1)
    assert found.scale >= largest
    assert found.effective_scale == found.scale
    matvec = rp.MatvecGame.from_matvec(lambda p: RPS.payoff @ p, 3)
    assert rp.suggest_step(matvec, 0.1).scale == 1.0
    assert "few calls" in str(rp.suggest_step(matvec, 0.1))


def test_a_large_game_takes_the_largest_payoff():
    """Above some 300 actions L_eff = L, which promises the same at a smaller step."""
    game = rp.games.random_game(400, seed=0)
    found = rp.suggest_step(game, 0.2)
    assert found.effective_scale == found.scale == game.scale
    assert found.rotation is None


def test_rows():
    """The moving magnet is the default; other rules replace it; the implicit eta of egpo enters its explicit row."""
    found = rp.suggest_step(RPS, 0.1)
    assert found.magnetic() == rp.magnetic_rebel(found.step_size, 0.1, magnet=rp.EMAMagnet(found.magnet_rate))
    assert found.magnetic(rp.ResetMagnet(7)).magnet == rp.ResetMagnet(7)
    assert found.extragradient() == rp.egpo(1 / 1.1, 0.1, magnet=rp.ResetMagnet(20))
    assert found.proximal() == rp.proximal_rebel(10.0, 0.0)
    for row in (found.magnetic(), found.extragradient(), found.proximal()):
        start = np.array([0.6, 0.3, 0.1])
        assert rp.self_play(RPS, row, steps=1500, start=start).certificate.exploitability < 1e-4


def test_text_gives_formulas_and_numbers():
    """Step, rate and period in the first line, then one reason a line."""
    lines = str(rp.suggest_step(RPS, 0.1)).splitlines()
    assert "0.177778" in lines[0]
    assert "m = 113" in lines[0]
    assert all(line.startswith("- ") for line in lines[1:])
    text = " ".join(lines)
    for formula in ("tau / L_eff^2", "2 tau / (mu^2 - tau^2)", "eta tau / 2", "ceil(2 / (eta tau))", "1 / L = 1"):
        assert formula in text


@pytest.mark.parametrize("tau", [0.0, -0.1, math.inf, math.nan])
def test_regularization_must_be_positive(tau):
    """And the message names what to do without one."""
    with pytest.raises(ValueError, match=r"positive and finite.*proximal_rebel"):
        rp.suggest_step(RPS, tau)


@pytest.mark.parametrize("tau", ["0.1", None, True, [0.1]])
def test_regularization_must_be_a_number(tau):
    """Text from a configuration file is not silently converted."""
    with pytest.raises(TypeError, match="must be a number"):
        rp.suggest_step(RPS, tau)


@pytest.mark.parametrize("thing", [RPS.payoff, "rock-paper-scissors", None, rp.FunctionOracle])
def test_what_is_no_game(thing):
    """A bare matrix could be win rates or payoffs."""
    with pytest.raises(TypeError, match=r"expected a game.*from_payoffs or \.from_preferences"):
        rp.suggest_step(thing, 0.1)
