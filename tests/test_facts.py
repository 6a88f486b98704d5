"""Eleven facts about self-play on preferences that are easily got wrong, in order: each with its wrong variant.

The right variant holds to rounding, or within the noise of seeded draws; the wrong one fails by an amount that is
derived or stated. The depth is in the tests of each module; here one small example stands for each fact.
"""

import itertools
import tracemalloc

import numpy as np
import pytest
import torch
from transformers import TopPLogitsWarper

import rebel_pref as rp
from preference_models import ResponseEmbeddings, character_tokenizer, preference_logits
from rebel_pref.diagnostics import bradley_terry_tests, tally, transitive_tests
from rebel_pref.games import Comparisons
from rebel_pref.payoffs import duel_payoffs, fresh_payoffs, in_group_payoffs
from rebel_pref.policies import (
    LanguageModelPolicy,
    Rollouts,
    SupervisedConfig,
    TabularPolicy,
    fit_supervised,
    tiny_language_model,
)
from rebel_pref.preferences import FunctionOracle, check_preferences, symmetrize_logits, symmetrize_preferences
from rebel_pref.proximal import regularized_equilibrium
from rebel_pref.regression import group_gradient_weights, pairwise_loss, pairwise_residuals, weighted_pairwise_loss

RPS = rp.games.rock_paper_scissors()
WEIGHTED = rp.games.rock_paper_scissors(1 / 6, 1 / 2, 1)  # winner (.6, .3, .1)
UNIFORM = np.full(3, 1 / 3)
A = 3  # the token "a", after <pad>, <unk> and <eos>


def log_odds(policy):
    return np.log(policy[0] / policy[1])


def centred(x):
    return x - x.mean()


@pytest.mark.parametrize("k", [2, 3, 5])
def test_fact_01_payoffs_inside_a_regressed_group_divide_by_k(k):
    """Two responses, A = [[0, a], [-a, 0]], m of K draws the first: payoffs a (K - m) / K and -a m / K differ by a.

    That is (A pi)_1 - (A pi)_2 = a for any pi, so `rebel` moves the log-odds by eta a. Dividing by K - 1 makes
    it a K / (K - 1): the move of step size eta K / (K - 1), twice eta at K = 2. Opponents drawn apart, m of M,
    give a (M - m) / M + a m / M = a as they are.
    """
    a, eta, start = 0.6, 0.5, np.array([0.7, 0.3])
    game = rp.PreferenceGame.from_payoffs([[0, a], [-a, 0]])
    asked = {s: log_odds(rp.self_play(game, rp.rebel(s), steps=1, start=start).policy) - log_odds(start)
             for s in (eta, eta * k / (k - 1))}  # fmt: skip
    for first in range(1, k):
        group = np.repeat([0, 1], [first, k - first])
        table = game.payoff[np.ix_(group, group)]
        right, wrong, fresh = in_group_payoffs(table), table.sum(-1) / (k - 1), fresh_payoffs(game.payoff[:, group])
        assert eta * (right[0] - right[-1]) == pytest.approx(asked[eta], rel=1e-12)
        assert eta * (wrong[0] - wrong[-1]) == pytest.approx(asked[eta * k / (k - 1)], rel=1e-12)
        assert eta * (fresh[0] - fresh[1]) == pytest.approx(asked[eta], rel=1e-12)


def test_fact_01_in_a_policy_gradient_it_is_the_other_way_round():
    """E mean_i (onehot_i - pi) r_i, K = 3, is the gradient pi * (A pi) with r over K - 1, and 2 / 3 of it over K.

    Here each of the K - 1 comparisons of a draw counts once, and its zero diagonal is none of them.
    """
    policy = np.array([0.5, 0.3, 0.2])
    by_k, by_one_less = np.zeros(3), np.zeros(3)
    for draw in itertools.product(range(3), repeat=3):
        d = list(draw)
        table, scores = WEIGHTED.payoff[np.ix_(d, d)], np.eye(3)[d] - policy
        by_k += policy[d].prod() * in_group_payoffs(table) @ scores / 3
        by_one_less += policy[d].prod() * table.sum(-1) / 2 @ scores / 3
    gradient = policy * (WEIGHTED.payoff @ policy)
    np.testing.assert_allclose(by_one_less, gradient, atol=1e-15)
    np.testing.assert_allclose(by_k, 2 / 3 * gradient, atol=1e-15)


def duel_minimiser(duels):
    """Paper - rock, rock - scissors and scissors - paper of the f that fits `duels`, (probability, (i, j)), best."""
    left, right = [], []
    for probability, pair in duels:
        payoff = duel_payoffs(RPS.payoff[np.ix_(pair, pair)], independent_current=True)
        left.append(np.sqrt(probability) * (np.eye(3)[pair[0]] - np.eye(3)[pair[1]]))
        right.append(np.sqrt(probability) * (payoff[0] - payoff[1]))
    rock, paper, scissors = np.linalg.lstsq(np.array(left), np.array(right), rcond=None)[0]
    return [paper - rock, rock - scissors, scissors - paper]


def test_fact_02_duels_need_independent_unselected_pairs():
    """Rock-paper-scissors at pi = (.5, .3, .2): A pi = (-.1, .3, -.2), differences (.4, .1, -.5).

    Every duel says 1 around the triangle, so a fit whose three differences d sum to 0 leaves residuals
    1 - d_e = c / w_e, w_e the share of the pair e and c = 3 / sum 1 / w.
    I.i.d. pairs: w = (.15, .10, .06), c = .09: exactly A pi.
    Uniform pairs: w equal, c / w = 1: nothing is ever learned.
    Best against worst of K = 3: only groups of two kinds have a best, w = 3 pi_i pi_j (pi_i + pi_j), and
    d = (26, 11, -37) / 47: between 1.4 and 2.3 times the truth, so no step size mends it.
    """
    policy, pairs = np.array([0.5, 0.3, 0.2]), list(itertools.product(range(3), repeat=2))
    independent = duel_minimiser([(policy[i] * policy[j], (i, j)) for i, j in pairs])
    np.testing.assert_allclose(independent, [0.4, 0.1, -0.5], atol=1e-12)
    np.testing.assert_allclose(duel_minimiser([(1 / 9, pair) for pair in pairs]), 0, atol=1e-12)
    selected = []
    for draw in itertools.product(range(3), repeat=3):
        d = list(draw)
        score = in_group_payoffs(RPS.payoff[np.ix_(d, d)])
        selected.append((policy[d].prod(), (d[score.argmax()], d[score.argmin()])))
    np.testing.assert_allclose(duel_minimiser(selected), np.array([26, 11, -37]) / 47, atol=1e-12)
    with pytest.raises(ValueError, match="off-policy or selected"):
        duel_payoffs(RPS.payoff[:2, :2], independent_current=False)


def test_fact_03_the_group_loss_costs_k_not_k_squared():
    """K = 2000: all pairs are 2000^2 doubles, 32 MB; the same number comes from 16 kB a vector."""
    error = np.random.default_rng(3).normal(size=2000)
    cost, value = {}, {}
    for name, loss in [
        ("pairs", lambda: (pairwise_residuals(error) ** 2).sum() / (2000 * 1999)),
        ("group", lambda: pairwise_loss(error)),
    ]:
        tracemalloc.start()
        value[name] = loss()
        cost[name] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert value["group"] == pytest.approx(value["pairs"], rel=1e-12)
    assert cost["group"] < 200_000 < 32_000_000 <= cost["pairs"]


def test_fact_03_a_split_group_keeps_its_gradient_unless_each_part_is_centred():
    """Errors (0, 1, 10, 11): c_i = 4 (e_i - 5.5) / 3 = (-22, -18, 18, 22) / 3, and in logits the gradient is c.

    (grad log pi_i = onehot_i - pi and sum c = 0.) Two microbatches of two with the coefficients of the group
    give just that. Centred each on its own, they give (-2, 2, -2, 2): the wrong sign for the second and third
    response, and no part of the gap of 10 between the halves.
    """
    policy = TabularPolicy(["x"], [["a", "b", "c", "d"]], logits=torch.tensor([[0.3, -1.0, 0.5, 0.0]]).double())
    everything = policy.encode(["x"], [["a", "b", "c", "d"]])
    error = torch.tensor([0.0, 1, 10, 11]).double()

    def gradient(*losses):
        return sum(torch.autograd.grad(loss, policy.logits)[0][0] for loss in losses).numpy()

    # As in a round's first step: log-ratios are 0, and targets are minus the errors.
    def errors(rows):
        log_probs = policy.log_probs(everything.take(rows))
        return log_probs - log_probs.detach() + error[rows]

    whole = gradient(pairwise_loss(errors([0, 1, 2, 3])))
    np.testing.assert_allclose(whole, np.array([-22, -18, 18, 22]) / 3, atol=1e-12)
    c, halves = group_gradient_weights(error), ([0, 1], [2, 3])
    split = gradient(*((c[rows] * policy.log_probs(everything.take(rows))).sum() for rows in halves))
    np.testing.assert_allclose(split, whole, atol=1e-12)
    apart = gradient(*(pairwise_loss(errors(rows)) for rows in halves))
    np.testing.assert_allclose(apart, [-2, 2, -2, 2], atol=1e-12)


def test_fact_04_the_guarantee_of_rebel_is_the_averages():
    """The distance KL(winner || pi) grows in every round; the average is at .03 when the last is at .9."""
    start, seen = np.array([0.4, 0.3, 0.3]), []
    played = rp.self_play(RPS, rp.rebel(0.3), steps=300, start=start, record=lambda t, policy: seen.append(policy))
    distance = [-np.log(policy).mean() - np.log(3) for policy in (start, *seen)]
    assert min(np.diff(distance)) > 0
    assert rp.exploitability(RPS, start) == pytest.approx(0.1)
    assert played.certificate.exploitability > 0.9
    assert played.average_certificate.exploitability < 0.03
    assert not played.solved


def test_fact_04_pooled_samples_are_the_average_policy_and_mean_logits_are_not():
    """Winner (.6, .3, .1). Maximum likelihood on draws of all rounds finds the average policy.

    Without multiplicities the three words count alike: uniform, to which scissors is worth (1 - 1/2) / 3 = 1/6.
    The normalised mean of the log-policies, which in a table is the mean of the weights, loses .14.
    """
    start, seen = np.array([0.2, 0.2, 0.6]), []
    played = rp.self_play(WEIGHTED, rp.rebel(0.3), steps=300, start=start, record=lambda t, policy: seen.append(policy))
    policies = np.array([start, *seen[:-1]])
    assert played.average_certificate.exploitability < 0.02
    of_logits = np.exp(np.log(policies).mean(0))
    assert rp.exploitability(WEIGHTED, of_logits / of_logits.sum()) > 0.1
    rng, pool = np.random.default_rng(4), []
    for policy in policies:
        table = TabularPolicy(["throw"], [WEIGHTED.labels], logits=torch.tensor(np.log(policy))[None])
        pool += table.sample(["throw"], 2, [rng]).texts

    def fitted(texts):
        table = TabularPolicy(["throw"], [WEIGHTED.labels])
        fit_supervised(table, ["throw"], [texts], SupervisedConfig(200, 64, 0.1), seed=0)
        return torch.softmax(table.logits.detach()[0], 0).numpy()

    with_multiplicities, without = fitted(pool), fitted(sorted(set(pool)))
    np.testing.assert_allclose(with_multiplicities, played.average_policy, atol=0.05)
    assert rp.exploitability(WEIGHTED, with_multiplicities) < 0.05
    assert rp.exploitability(WEIGHTED, without) == pytest.approx(1 / 6, abs=0.03)


def test_fact_05_nash_md_at_a_constant_step_settles_elsewhere():
    """From and towards m = (.2, .2, .6), tau = .5, until nothing moves: `inpo` ends at the regularised equilibrium.

    `nash_md` does not: its log-probabilities end .056 off at eta = .2, and half as far at half the step.
    """
    magnet, tau = np.array([0.2, 0.2, 0.6]), 0.5
    equilibrium = regularized_equilibrium(np.log(magnet), WEIGHTED.payoff, tau).policy

    def gap(row, eta):
        seen = [magnet]
        rp.self_play(WEIGHTED, row(eta, tau), steps=800, start=magnet, record=lambda t, policy: seen.append(policy))
        assert np.abs(seen[-1] - seen[-2]).max() < 1e-14
        return np.abs(np.log(seen[-1] / equilibrium)).max()

    assert gap(rp.inpo, 0.2) < 1e-12
    assert gap(rp.nash_md, 0.2) == pytest.approx(0.0558, abs=1e-4)
    assert gap(rp.nash_md, 0.1) / gap(rp.nash_md, 0.2) == pytest.approx(0.5, abs=0.01)


def test_fact_05_inpo_is_magnetic_rebel_at_a_converted_step():
    """inpo at eta / (1 + eta tau) is magnetic_rebel at eta; at eta itself it moves 1 + eta tau = 1.5 times as far.

    In the first round from the magnet: the anchors cancel and eta A pi stands against eta A pi / (1 + eta tau).
    """
    eta, tau, start = 1.0, 0.5, np.array([0.2, 0.2, 0.6])

    def policy(row, steps):
        return np.log(rp.self_play(WEIGHTED, row, steps=steps, start=start).policy)

    magnetic, converted = rp.magnetic_rebel(eta, tau), rp.inpo(eta / (1 + eta * tau), tau)
    for steps in (1, 40):
        np.testing.assert_allclose(policy(converted, steps), policy(magnetic, steps), atol=1e-12)
    moved, too_far = (centred(policy(row, 1) - np.log(start)) for row in (magnetic, rp.inpo(eta, tau)))
    assert np.abs(moved).max() > 0.3
    np.testing.assert_allclose(too_far, 1.5 * moved, atol=1e-12)


def test_fact_06_a_fixed_magnet_leaves_a_bias_that_can_be_printed():
    """The limit is exploitable by tau (max log p/m - KL(p || m)); without the KL term the number is too large.

    Two actions, a = 1, tau = .5, uniform m: p = sigmoid(a / tau), against which the first action gets a (1 - p).
    And tau (log 2p - KL) = tau (1 - p) log(p / (1 - p)) = a (1 - p): .119, while tau log 2p is .283.
    """
    game, tau, p = rp.PreferenceGame.from_payoffs([[0, 1], [-1, 0]]), 0.5, 1 / (1 + np.exp(-2))
    limit = rp.self_play(game, rp.magnetic_rebel(tau, tau), steps=300)
    np.testing.assert_allclose(limit.policy, [p, 1 - p], atol=1e-12)
    ratio = np.log(2 * limit.policy)
    bias = tau * (ratio.max() - limit.policy @ ratio)
    assert limit.certificate.exploitability == pytest.approx(bias, abs=1e-12)
    assert bias == pytest.approx(1 - p, abs=1e-12)
    assert bias == pytest.approx(0.119, abs=1e-3)
    assert tau * ratio.max() == pytest.approx(0.283, abs=1e-3)
    assert not limit.solved and "fixed magnet leaves a bias" in limit.status


@pytest.mark.parametrize(
    ("row", "exploitability"),
    [
        (rp.magnetic_rebel(0.1, 0.1), (-1e-12, 1e-6)),
        (rp.magnetic_rebel(1.5 * 0.2 / (1 / 3 - 0.01), 0.1), (0.2, 1)),
        (rp.proximal_rebel(1.5 * 0.2 / (1 / 3 - 0.01), 0.1), (-1e-12, 1e-6)),
        (rp.proximal_rebel(1000, 0.1), (-1e-12, 1e-6)),
    ],
    ids=["explicit at tau / L^2", "explicit beyond its limit", "implicit there", "implicit far beyond"],
)
def test_fact_06_explicit_steps_are_limited_and_implicit_ones_are_not(row, exploitability):
    """Rock-paper-scissors, L = 1, tau = .1, uniform magnet: the equilibrium is uniform, exploitability 0.

    A (I / 3) has the eigenvalues +-i mu, mu^2 = 1/3, so the explicit step scales distances^2 by
    (1 + eta^2 mu^2) / (1 + eta tau)^2, which passes 1 at eta = 2 tau / (mu^2 - tau^2) = .62. Half as much
    again, and the last iterate stays far out. (Between tau / L^2 = .1 and .62 nothing is promised.)
    """
    low, high = exploitability
    last = rp.self_play(RPS, row, steps=1500, start=[0.4, 0.3, 0.3], magnet=UNIFORM).certificate.exploitability
    assert low <= last <= high


def regression_step(log_policy, theta, target, base):
    """Least-squares fit over all pairs, weighted by base x base, of the log-ratio linearised at theta, to `target`."""
    jacobian = torch.func.jacrev(log_policy)(theta).numpy()
    weight = np.sqrt(np.outer(base, base))
    left = (pairwise_residuals(jacobian.T) * weight).reshape(len(theta), -1).T
    return np.linalg.lstsq(left, (pairwise_residuals(target) * weight).ravel(), rcond=1e-10)[0]


def natural_gradient_step(log_policy, theta, target):
    """F^+ grad E_pi target, with F the Hessian of KL(pi_theta || .) at theta: no pairs, no regression."""
    current = log_policy(theta).exp()
    fisher = torch.func.hessian(lambda other: -current @ log_policy(other))(theta)
    gradient = torch.func.grad(lambda other: log_policy(other).exp() @ torch.tensor(target))(theta)
    return (torch.linalg.pinv(fisher, rtol=1e-10, hermitian=True) @ gradient).numpy()


def random_game(seed, n):
    upper = np.triu(np.random.default_rng(seed).uniform(-1, 1, (n, n)), 1)
    return upper - upper.T


def rebel_slope(log_policy, theta, moved, target, base):
    """Largest derivative of REBEL's own loss, nothing linearised, at theta + moved."""

    def loss(other):
        return weighted_pairwise_loss(log_policy(other) - log_policy(theta) - torch.tensor(target), torch.tensor(base))

    return float(torch.func.grad(loss)(theta + torch.tensor(moved)).abs().max())


def test_fact_07_rebel_is_the_natural_policy_gradient_for_log_linear_policies_on_policy():
    """Three features (one constant, so F is singular) for six responses: eta F^+ grad J minimises REBEL's loss.

    Off-policy (uniform pairs) the fit is elsewhere, by more than a third of the step; with a feature for each
    response, a table, nothing has to be traded off and pair weights no longer matter.
    """
    rng, eta = np.random.default_rng(7), 2.0
    features, table = torch.tensor(rng.normal(size=(6, 3))), torch.eye(6, dtype=torch.float64)
    features[:, 2] = 1.0
    for matrix, realisable in [(features, False), (table, True)]:
        theta = torch.tensor(rng.normal(size=matrix.shape[1]))

        def log_policy(other, matrix=matrix):
            return torch.log_softmax(matrix @ other, -1)

        policy = log_policy(theta).exp().numpy()
        target, uniform = eta * random_game(7, 6) @ policy, np.full(6, 1 / 6)
        npg = natural_gradient_step(log_policy, theta, target)
        assert np.linalg.norm(npg) > 0.5
        np.testing.assert_allclose(regression_step(log_policy, theta, target, policy), npg, atol=1e-12)
        assert rebel_slope(log_policy, theta, npg, target, policy) < 1e-12
        gap = np.linalg.norm(regression_step(log_policy, theta, target, uniform) - npg) / np.linalg.norm(npg)
        assert gap < 1e-12 if realisable else gap > 1 / 3
    # The table's step is the solver's.
    solved = rp.self_play(rp.PreferenceGame.from_payoffs(random_game(7, 6)), rp.rebel(eta), steps=1, start=policy)
    np.testing.assert_allclose(log_policy(theta + torch.tensor(npg)).exp().numpy(), solved.policy, atol=1e-12)


def test_fact_07_one_gauss_newton_step_of_a_network_is_the_natural_policy_gradient():
    """Two inputs, four tanh units, 12 weights for five responses: the linearised regression on-policy = NPG.

    One step, not the solution: REBEL's loss still has a slope there, which the log-linear policy has not.
    """
    rng, eta = np.random.default_rng(8), 0.3
    inputs, theta = torch.tensor(rng.normal(size=(5, 2))), torch.tensor(rng.normal(size=12))

    def log_policy(other):
        return torch.log_softmax(torch.tanh(inputs @ other[:8].reshape(2, 4)) @ other[8:], -1)

    policy = log_policy(theta).exp().numpy()
    target = eta * random_game(8, 5) @ policy
    npg = natural_gradient_step(log_policy, theta, target)
    assert np.linalg.norm(npg) > 0.3
    np.testing.assert_allclose(regression_step(log_policy, theta, target, policy), npg, atol=1e-8)
    assert rebel_slope(log_policy, theta, npg, target, policy) > 1e-3


def test_fact_08_loss_conventions_differ_by_the_square_of_the_step():
    """Ours (log-ratio - eta payoff)^2 is eta^2 times (log-ratio / eta - payoff)^2: at eta = .1, 1 / 100.

    So are the gradients, and with them learning rates and clipping norms of one do not suit the other. Half of
    each, (log-ratio / eta - eta payoff)^2, is a third thing: it is met by steps of eta^2, .01.
    """
    eta, payoff = 0.1, torch.tensor([0.5, -0.2, 0.9, 0.0]).double()

    def loss_and_gradient(error_of, log_ratio):
        log_ratio = log_ratio.clone().requires_grad_()
        loss = pairwise_loss(error_of(log_ratio))
        return loss.detach(), torch.autograd.grad(loss, log_ratio)[0]

    for found, paper in zip(
        loss_and_gradient(lambda ratio: ratio - eta * payoff, torch.zeros(4).double()),
        loss_and_gradient(lambda ratio: ratio / eta - payoff, torch.zeros(4).double()),
        strict=True,
    ):
        np.testing.assert_allclose(found, 0.01 * paper, rtol=1e-12)
        assert paper.abs().max() > 0.4

    def losses(log_ratio):
        residuals = (log_ratio - eta * payoff, log_ratio / eta - payoff, log_ratio / eta - eta * payoff)
        return [float(pairwise_loss(error)) for error in residuals]

    spread = float(pairwise_loss(payoff))
    assert losses(eta * payoff) == pytest.approx([0, 0, 0.9**2 * spread], abs=1e-12)
    assert losses(eta**2 * payoff)[2] == pytest.approx(0, abs=1e-12)


def tiny_policy(*, max_new_tokens=3, temperature=0.5, sharpness=30.0):
    """An untrained model over <pad>, <unk>, <eos>, a and b; `sharpness` takes it away from uniform."""
    built = tiny_language_model(character_tokenizer("ab"), max_new_tokens=3, hidden_size=16, layers=1, heads=2)
    with torch.no_grad():
        built.model.lm_head.weight.mul_(sharpness)
    return LanguageModelPolicy(built.model, built.tokenizer, max_new_tokens=max_new_tokens, temperature=temperature)


def score(policy, rows):
    with torch.no_grad():
        return policy.log_probs(Rollouts(("ab",), (0,) * len(rows), ("",) * len(rows), tuple(rows)))


def every_response(policy, length):
    """All token sequences that can be sampled: fewer than `length` symbols and the end, or `length` symbols."""
    end = policy.tokenizer.eos_token_id
    symbols = [token for token in range(len(policy.tokenizer)) if token != end]
    ended = [(*row, end) for size in range(length) for row in itertools.product(symbols, repeat=size)]
    return ended + list(itertools.product(symbols, repeat=length))


def test_fact_09_the_end_of_sequence_token_is_part_of_the_response():
    """1 + 4 + 16 ended and 64 cut responses have probability 1. Without the end's factor it is 1 + E[length].

    For then each y counts with P(starts with y), and sum_y P(starts with y) = sum_{L = 0}^3 P(length >= L):
    here 3.03, so that a fit to such sums is a fit to no distribution.
    """
    policy = tiny_policy()
    rows, end = every_response(policy, 3), policy.tokenizer.eos_token_id
    assert len(rows) == 85
    probability = score(policy, rows).double().exp().numpy()
    assert probability.sum() == pytest.approx(1, abs=1e-5)
    without = [tuple(token for token in row if token != end) for row in rows]
    mass = 1 + float(score(policy, [row for row in without if row]).double().exp().sum())  # The empty one: 1.
    assert mass == pytest.approx(1 + probability @ [len(row) for row in without], abs=1e-5)
    assert mass > 3


def test_fact_09_samples_follow_the_log_probabilities_of_their_own_temperature_without_top_p():
    """2000 draws at T = .5 lie within .05 in total variation of the probabilities at T = .5, and .3 from T = 1.

    Drawn with top_p = .9, responses that have .17 of the probability never come: a bias of .17, whatever the
    number of draws.
    """
    policy, count = tiny_policy(), 2000
    rows = every_response(policy, 3)
    place = {row: i for i, row in enumerate(rows)}
    right = score(policy, rows).double().exp().numpy()
    policy.temperature = 1.0
    hot = score(policy, rows).double().exp().numpy()
    policy.temperature = 0.5

    def frequencies():
        drawn = policy.sample(["ab"], count, [np.random.default_rng(9)]).tokens
        return np.bincount([place[row] for row in drawn], minlength=len(rows)) / count

    def distance(p, q):
        return 0.5 * np.abs(p - q).sum()

    honest = frequencies()
    assert distance(honest, right) < 0.05
    assert distance(honest, hot) > 0.25
    nucleus = TopPLogitsWarper(0.9)

    def truncate(module, inputs, output):
        output.logits = 0.5 * nucleus(None, output.logits[:, -1] / 0.5)[:, None]

    with policy.model.register_forward_hook(truncate):
        truncated = frequencies()
    assert right[truncated == 0].sum() == pytest.approx(0.17, abs=0.01)
    assert distance(truncated, right) > 0.15
    assert right[honest == 0].sum() < 0.01


def test_fact_09_sums_are_float32_and_dropout_is_off():
    """100 tokens of about 1.6 nats from a bfloat16 model: within 1e-3 of float64 sums over the same logits.

    Summed in bfloat16, 8 bits, the sum moves by halves from 64 on and by ones from 128 on: more than a nat off.
    With dropout on, two calls would differ by more than .1 somewhere.
    """
    policy, logits = tiny_policy(max_new_tokens=100, temperature=1.0, sharpness=1.0), []
    policy.model.to(torch.bfloat16)
    with policy.model.register_forward_hook(lambda module, inputs, output: logits.append(output.logits[0])):
        found = score(policy, [(A,) * 100])
    nats = torch.log_softmax(torch.cat([logits[0][-1:], logits[1]]).double(), -1)[:, A]
    assert logits[1].dtype == torch.bfloat16 and nats.shape == (100,)
    assert found.dtype == torch.float32
    assert float(found) == pytest.approx(float(nats.sum()), abs=1e-3)
    rough = torch.zeros((), dtype=torch.bfloat16)
    for one in nats.bfloat16():
        rough = rough + one
    assert abs(float(rough) - float(nats.sum())) > 1

    model = tiny_policy().model.train()
    for layer in model.model.layers:
        layer.self_attn.attention_dropout = 0.5
    policy = LanguageModelPolicy(model, character_tokenizer("ab"), max_new_tokens=3)
    rows = every_response(policy, 3)
    assert torch.equal(score(policy, rows), score(policy, rows))
    policy.model.train()
    torch.manual_seed(0)
    assert (score(policy, rows) - score(policy, rows)).abs().max() > 0.1


@pytest.mark.parametrize(("bias", "probabilities_say"), [(3, 0.7), (300, 0.5 + 0.5 * (900 / 901 - 100 / 101))])
def test_fact_10_both_orders_are_averaged_at_the_logit_level(bias, probabilities_say):
    """y beats y' by .75, logit log 3; a judge adds log b to whatever comes first: f = (log 3b, log b/3).

    b = 3: it says 9/10 for y first and 1/2 for y' first, together 1.4: no preference, and one order alone says
    .9 or .5. Mean logit (log 9 - 0) / 2 = log 3: exactly .75. Mean probability (.9 + .5) / 2 = .7, and at
    b = 300 (900/901 + 1/101) / 2 = .504: towards 1/2, as the position takes over.
    """
    truth = np.array([[0, np.log(3)], [-np.log(3), 0]])
    raw = truth + np.log(bias)
    judge = 1 / (1 + np.exp(-raw))
    with pytest.raises(ValueError, match=r"not complementary.*average both orders"):
        check_preferences(judge)
    one_order = FunctionOracle(lambda prompt, first, second: judge["ab".index(first), "ab".index(second)])
    said = one_order.prefer(["x", "x"], [["a", "b"], ["b", "a"]])
    assert said[0, 0, 1] - said[1, 1, 0] == pytest.approx(judge[0, 1] + judge[1, 0] - 1)
    assert said[0, 0, 1] - said[1, 1, 0] > 0.39
    np.testing.assert_allclose(symmetrize_logits(raw), truth, atol=1e-14)
    averaged = symmetrize_preferences(judge)
    assert averaged[0, 1] == pytest.approx(probabilities_say, abs=1e-12)
    assert 0.5 < check_preferences(averaged)[0, 1] < 0.75
    # A bias that is not additive leaves a remainder, but a skew-symmetric one, to the last bit.
    uneven = np.random.default_rng(10).normal(size=(5, 5))
    assert np.array_equal(symmetrize_logits(uneven), -symmetrize_logits(uneven).T)
    assert np.abs(uneven + uneven.T).max() > 1


def game_of(scores, left, right):
    """The game that a preference model with these embeddings plays."""
    logits = preference_logits(ResponseEmbeddings(*(torch.tensor(x).double() for x in (scores, left, right))))
    return rp.PreferenceGame.from_payoffs(torch.tanh(logits / 2).numpy(), labels=RPS.labels)  # 2 sigmoid - 1


def test_fact_10_one_score_a_response_is_bradley_terry_again():
    """Scores cannot go round: logits around rock -> paper -> scissors -> rock cancel. One disc can.

    Three points of a disc at 120 degrees, radius^2 r: each beats the next by the logit r sin 120, and A = RPS
    times a constant. Mean payoffs against uniform: all 0 in plain RPS, so the collapsed game is all ties and any
    policy counts as solved: pure rock too, exploitability 1. In the weighted game they are (1/9, -5/18, 1/6):
    scissors > rock > paper, whose winner is scissors alone, which rock beats by 1/2. The winner is (.6, .3, .1).
    """
    angles = 2 * np.pi / 3 * np.arange(3)
    left, right = 2 * np.cos(angles)[:, None], -2 * np.sin(angles)[:, None]
    cycle = game_of(np.zeros(3), left, right)
    np.testing.assert_allclose(cycle.payoff, np.tanh(2 * np.sin(2 * np.pi / 3)) * RPS.payoff, atol=1e-12)
    nothing = np.zeros((3, 0))
    any_scores = np.arctanh(game_of(np.random.default_rng(11).normal(size=3), nothing, nothing).payoff)
    assert any_scores[1, 0] + any_scores[2, 1] + any_scores[0, 2] == pytest.approx(0, abs=1e-12)

    ties = game_of(RPS.payoff.mean(1), nothing, nothing)
    np.testing.assert_allclose(ties.payoff, 0, atol=1e-15)
    rock = [1, 0, 0]
    assert (rp.exploitability(ties, rock), rp.exploitability(RPS, rock)) == pytest.approx((0, 1), abs=1e-15)

    ordered = game_of(WEIGHTED.payoff.mean(1), nothing, nothing)
    assert ordered.payoff[2, 0] > 0 and ordered.payoff[0, 1] > 0 and ordered.payoff[2, 1] > 0
    collapsed, winner = rp.solve(ordered).policy, rp.solve(WEIGHTED).policy
    np.testing.assert_allclose(collapsed, [0, 0, 1], atol=1e-12)
    np.testing.assert_allclose(winner, [0.6, 0.3, 0.1], atol=1e-9)
    assert rp.exploitability(WEIGHTED, collapsed) == pytest.approx(0.5, abs=1e-9)
    assert rp.exploitability(WEIGHTED, winner) < 1e-9


def rejections(preferences, number, rng):
    """Whether counts of `number` comparisons a pair cycle, reject Bradley-Terry, reject every transitive model."""
    upper = np.triu(rng.binomial(number, preferences), 1)
    wins = upper + np.triu(number - upper, 1).T
    tallies = tally(Comparisons.from_counts(wins))
    common = {"replicates": 99, "level": 0.95, "rng": rng}
    of_bradley_terry = bradley_terry_tests(tallies, **common, advance=lambda count: None)
    of_orders, cycle = transitive_tests(tallies, **common)
    return bool(cycle), *(min(test.adjusted for test in tests) <= 0.05 for tests in (of_bradley_terry, of_orders))


def test_fact_11_cycles_in_counts_are_made_by_chance():
    """Three equal items, 25 comparisons a pair: each pair falls either way, so 2 of 8 outcomes are a cycle.

    Calling a cycle in the counts intransitive is wrong once in four times; the tests at most once in twenty. (99.9 %
    points of 300 draws: 53 to 100 at 1/4, 27 at 1/20.)
    """
    rng = np.random.default_rng(12)
    cycles, not_bradley_terry, intransitive = np.sum([rejections(np.full((3, 3), 0.5), 25, rng) for _ in range(300)], 0)
    assert 53 <= cycles <= 100
    assert not_bradley_terry <= 27 and intransitive <= 27


def test_fact_11_rejecting_bradley_terry_is_no_cycle():
    """A step: five items, neighbours at 55 %, all others at 95 %, in one order, so weakly stochastically transitive.

    Log-odds that add up would put items two apart at log-odds 2 x .2, 60 %: the bootstrap of Bradley-Terry rejects, as
    it should, and whoever reads a cycle into that is wrong each time. Only the test against every order tells the
    step from a circle, where each item beats the next two at 75 %.
    """
    rng = np.random.default_rng(13)
    distance = np.subtract.outer(np.arange(5), np.arange(5)).T
    step = 0.5 + np.sign(distance) * np.where(abs(distance) == 1, 0.05, 0.45) * (distance != 0)
    circle = np.where(distance == 0, 0.5, np.where(distance % 5 <= 2, 0.75, 0.25))
    stepping = np.array([rejections(step, 80, rng)[1:] for _ in range(20)])
    circling = np.array([rejections(circle, 80, rng)[1:] for _ in range(20)])
    assert stepping.mean(0).tolist() == [1.0, 0.0]
    assert circling.mean(0).tolist() == [1.0, 1.0]
