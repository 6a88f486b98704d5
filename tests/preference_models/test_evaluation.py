"""Splits, measures, intervals, temperature, the number of discs: laws, and numbers by hand."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import preference_models as pm
from preference_models import evaluation
from preference_models.calibration import best_temperature_factor
from preference_models.evaluation import clusters, comparison_logits, evaluate_logits, reliability
from preference_models.selection import simplest_within
from rebel_pref.games.text import rock_paper_scissors_text
from rebel_pref.preferences import FunctionOracle

pytestmark = pytest.mark.filterwarnings("error")

WORDS = ["rock", "paper", "scissors"]
CYCLE = rock_paper_scissors_text(0.8, 0.8, 0.8)
QUICK = pm.FitConfig(steps=60, batch_size=64, comparisons_per_prompt=64, learning_rate=1e-2, warmup_steps=5)


def data(outcome, weight=None, prompts=None, group=None):
    n = len(outcome)
    prompts = tuple(f"p{k}" for k in range(n)) if prompts is None else prompts
    return pm.TextComparisons(prompts, ("a",) * n, ("b",) * n, np.array(outcome), weight, group)


def random_data(seed, prompts=6, items=5, count=80):
    rng = np.random.default_rng(seed)
    pairs = [rng.choice(items, 2, replace=False) for _ in range(count)]
    asked = rng.integers(prompts, size=count)
    return pm.TextComparisons(
        tuple(f"p{b}" for b in asked),
        tuple(f"y{i}" for i, _ in pairs),
        tuple(f"y{j}" for _, j in pairs),
        rng.integers(0, 5, size=count) / 4,
        rng.uniform(0.5, 2, count),
    )


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(["pair", "item", "prompt"]), st.floats(0.05, 0.5), st.integers(0, 1000))
def test_what_is_held_out_is_not_trained_on(by, fraction, seed):
    """No training row mentions a held-out prompt, response or pair; no row is lost."""
    everything = random_data(seed % 7)
    train, held_out = pm.split_held_out(everything, fraction, seed, by=by)
    assert len(train) + len(held_out) == len(everything) and len(train) and len(held_out)

    def keys(part):
        rows = zip(part.prompts, part.first, part.second, strict=True)
        return {
            "prompt": lambda: [{p} for p, _, _ in rows],
            "item": lambda: [{(p, a), (p, b)} for p, a, b in rows],
            "pair": lambda: [{(p, frozenset((a, b)))} for p, a, b in rows],
        }[by]()

    known = set().union(*keys(train))
    assert all(not row <= known for row in keys(held_out))


def test_measures_by_hand():
    """P = 3/4 (s = log 3): won, lost, tied. Accuracy 1/2 of the decided; the favourite is won in half of the votes.

    Log-loss: (-log 3/4 - log 1/4 - (log 3/4 + log 1/4) / 2) / 3. Brier: (1/16 + 9/16 + 5/16) / 3. ECE: 3/4 - 1/2.
    """
    s = math.log(3)
    report = evaluate_logits([s, s, s], [0.0, 0.0, 0.0], data([1.0, 0.0, 0.5]), replicates=50)
    assert report.accuracy.model == 0.5 and report.accuracy.bradley_terry == 0.0  # a logit of 0 names nobody
    assert report.log_loss.model == pytest.approx(-(math.log(0.75) + math.log(0.25)) / 2)
    assert report.log_loss.bradley_terry == pytest.approx(math.log(2))
    assert report.brier.model == pytest.approx(15 / 48) and report.brier.bradley_terry == pytest.approx(0.25)
    assert report.ece.model == pytest.approx(0.25) and report.ece.bradley_terry == 0.0
    told = json.loads(json.dumps(report.as_dict()))
    assert told["log_loss"]["difference"] == report.log_loss.difference and told["verdict"] in str(report)
    ties = evaluate_logits([1.0, 1.0], [0.0, 0.0], data([0.5, 0.5]), replicates=20)
    assert math.isnan(ties.accuracy.model) and ties.as_dict()["accuracy"]["model"] is None


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.data())
def test_measures_do_not_know_who_stands_first(seed, draw):
    """Any rows turned round: the same numbers. Votes as rows or as weights: the same numbers."""
    rng = np.random.default_rng(seed)
    everything = random_data(seed, count=20)
    logits = rng.choice([-2.0, -0.5, 0.0, 0.5, 2.0], 20)
    turned = np.array(draw.draw(st.lists(st.booleans(), min_size=20, max_size=20)))
    swapped = replace(
        everything,
        first=tuple(np.where(turned, everything.second, everything.first).tolist()),
        second=tuple(np.where(turned, everything.first, everything.second).tolist()),
        outcome=np.where(turned, 1 - everything.outcome, everything.outcome),
    )
    ours = evaluate_logits(logits, 0 * logits, everything, replicates=5)
    theirs = evaluate_logits(np.where(turned, -logits, logits), 0 * logits, swapped, replicates=5)
    doubled = evaluate_logits(logits, 0 * logits, replace(everything, weight=2 * everything.weight), replicates=5)
    for name in ("accuracy", "log_loss", "brier", "ece"):
        value = getattr(ours, name).model
        assert getattr(theirs, name).model == pytest.approx(value, abs=1e-12, nan_ok=True)
        assert getattr(doubled, name).model == pytest.approx(value, abs=1e-12, nan_ok=True)


def test_what_the_bootstrap_draws():
    """Groups, or else prompts; of fewer than ten prompts, pairs in either order."""
    everything = pm.TextComparisons(
        ("p", "p", "q", "q"), tuple("acac"), tuple("bdbd"), np.ones(4), group=("x", "y", "y", "z")
    )
    many = data([1.0] * 20, prompts=tuple(f"p{k // 2}" for k in range(20)))
    one = pm.TextComparisons(("p",) * 3, ("a", "b", "a"), ("b", "a", "c"), np.ones(3))
    crowd = replace(one, group=("x", "y", "z"))  # three people, two pairs
    for comparisons, name, members in (
        (everything, "group", [0, 1, 1, 2]),
        (many, "prompt", [k // 2 for k in range(20)]),
        (replace(everything, group=None), "pair", [0, 1, 2, 3]),
        (one, "pair", [0, 0, 1]),
        (crowd, "pair", [0, 0, 1]),
    ):
        found = clusters(comparisons)
        assert (found.name, found.members.tolist()) == (name, [[k, k] for k in members])
        assert found.count == max(members) + 1


def test_new_responses_are_drawn_with_all_their_comparisons():
    """b and c are new: a pair of both is there as often as both are, multiplied; where one is known, nothing is new."""
    pairs = [("a", "b"), ("b", "d"), ("c", "a"), ("c", "b"), ("e", "c")]
    held_out = pm.TextComparisons(("p",) * 5, *map(tuple, zip(*pairs, strict=True)), np.ones(5))
    seen = pm.TextComparisons(("p",) * 2, ("a", "d"), ("d", "e"), np.ones(2))
    found = clusters(held_out, seen)
    assert (found.name, found.count) == ("response", 2)
    assert found.members.tolist() == [[0, 0], [0, 0], [1, 1], [1, 0], [1, 1]]
    assert clusters(held_out, held_out).name == clusters(held_out).name == "pair"
    report = evaluate_logits(np.zeros(5), np.ones(5), held_out, seen=seen, replicates=50)
    assert report.clusters == 2 and "too little is held out (2 responses)" in report.verdict

    many = pm.TextComparisons(tuple(f"p{k}" for k in range(12)), ("a",) * 12, ("b",) * 12, np.ones(12))
    assert clusters(many, seen).name == "prompt"  # responses of many prompts go with them
    prompts, people = tuple(f"p{k // 3}" for k in range(30)), tuple(map(str, range(30)))
    three = pm.TextComparisons(prompts, ("new",) * 30, tuple("abc" * 10), np.ones(30), group=people)
    known = replace(three, first=three.second, second=tuple("bca" * 10))
    assert clusters(three, known).name == "group"
    pair = pm.TextComparisons(("p",), ("x",), ("y",), np.ones(1))
    assert clusters(pair, seen).name == "pair"  # one pair is one, whatever it is made of


def test_what_is_drawn_adds_up():
    """Cells of one cluster are there as often as it is drawn, of two as often as both are, multiplied."""
    one = evaluation._resample([np.ones((2, 1))], np.array([[0, 0], [1, 1]]), 2, 50, 0)[0]
    assert (one == 2).all()
    two = evaluation._resample([np.eye(3)], np.array([[0, 0], [1, 1], [0, 1]]), 2, 50, 0)[0]
    assert (two[:, 2] == two[:, 0] * two[:, 1]).all() and len({*map(tuple, two)}) == 3


def test_intervals_of_new_responses_hold_what_they_promise():
    """Two models that are equally wrong, by the response: pairs drawn one by one decide too often between them."""
    decided = {"pair": 0, "response": 0}
    rng = np.random.default_rng(0)
    new, old = [f"new {i}" for i in range(8)], [f"{i}" for i in range(32)]
    seen = pm.TextComparisons(("p",) * 31, old[1:], old[:-1], np.ones(31))
    pairs = [(x, y) for x in new for y in old] + [(x, y) for i, x in enumerate(new) for y in new[:i]]
    place = {name: row for row, name in enumerate(new + old)}
    index = np.array([[place[x], place[y]] for x, y in pairs])
    held_out = pm.TextComparisons(("p",) * len(pairs), *map(tuple, zip(*pairs, strict=True)), np.full(len(pairs), 0.5))
    for _ in range(100):
        truth = rng.normal(size=40)
        ours, theirs = (truth + rng.normal(size=40) * (np.arange(40) < 8) for _ in range(2))
        gap = truth[index[:, 0]] - truth[index[:, 1]]
        votes = replace(held_out, outcome=1 / (1 + np.exp(-gap)))
        for name, known in (("pair", None), ("response", seen)):
            logits = [strength[index[:, 0]] - strength[index[:, 1]] for strength in (ours, theirs)]
            report = evaluate_logits(*logits, votes, seen=known, replicates=200)
            decided[name] += report.log_loss.low > 0 or report.log_loss.high < 0
    assert decided["pair"] > 25 and decided["response"] < 15


def test_votes_that_are_flipped_are_measured_as_such():
    """P of a vote is nu + (1 - 2 nu) P, odd in the logit to the last bit, and has the loss that the votes have."""
    logits = np.array([0.0, 1.0, -1.0, 30.0, -800.0, 800.0])
    held_out = data([1.0] * 6)
    oracle = FunctionOracle(lambda prompt, one, other: 0.75)
    assert comparison_logits(oracle, held_out, label_noise=0.1) == pytest.approx(math.log(0.7 / 0.3))
    flipped = evaluation._flipped(logits, 0.1)
    share = 0.1 + 0.8 / (1 + np.exp(-np.clip(logits, -700, 700)))
    np.testing.assert_allclose(flipped, np.log(share / (1 - share)), rtol=1e-12)
    assert np.array_equal(evaluation._flipped(-logits, 0.1), -flipped)
    model = pm.small_hybrid_model(hidden=16, layers=1)
    asked = pm.draw_comparisons(CYCLE, CYCLE.prompts, [WORDS], votes=9, seed=0)
    report = pm.evaluate(model, model, asked, label_noise=0.1, replicates=5)
    own = evaluation._flipped(comparison_logits(model, asked), 0.1)
    assert report.log_loss.model == evaluate_logits(own, own, asked, replicates=5).log_loss.model
    np.testing.assert_allclose(evaluation._flipped(logits[:4], 0.0), logits[:4], rtol=1e-12)


def test_the_interval_is_wider_where_votes_come_in_clusters():
    """Copies of 20 votes in 20 clusters are 20 votes: the interval is that of the 20, not of the 400 rows."""
    rng = np.random.default_rng(0)
    outcome = rng.integers(0, 2, 20).astype(float)
    few = evaluate_logits(np.ones(20), np.zeros(20), data(outcome), seed=3)
    copies = data(np.repeat(outcome, 20), prompts=tuple(f"p{k // 20}" for k in range(400)))
    many = evaluate_logits(np.ones(400), np.zeros(400), copies, seed=3)
    alone = evaluate_logits(np.ones(400), np.zeros(400), replace(copies, prompts=tuple(map(str, range(400)))), seed=3)
    assert many.log_loss.low == pytest.approx(few.log_loss.low) and many.clusters == 20
    widths = [report.log_loss.high - report.log_loss.low for report in (many, alone)]
    assert widths[0] / widths[1] == pytest.approx(math.sqrt(20), rel=0.15)


def test_verdicts():
    """400 votes at s = 0 against s = +-2 that are right 88 % of the time, or 50 %."""
    rng = np.random.default_rng(1)
    outcome = rng.integers(0, 2, 400).astype(float)
    right = np.where(rng.random(400) < 0.88, 1, -1)
    good, bad = 2 * right * (2 * outcome - 1), 2 * rng.choice([-1.0, 1.0], 400)
    report = evaluate_logits(good, np.zeros(400), data(outcome))
    assert report.verdict == "the discs earn their keep" and report.earns_keep
    report = evaluate_logits(bad, np.zeros(400), data(outcome), subject="the joint readings")
    assert report.verdict == "the joint readings do not earn their keep: a Bradley-Terry model is better"
    report = evaluate_logits(good, good, data(outcome))
    assert report.verdict == "the discs do not earn their keep: a Bradley-Terry model is as good"
    assert report.log_loss.low == report.log_loss.high == 0.0
    report = evaluate_logits(bad, 2 * bad, data(outcome))
    assert report.log_loss.high < 0 and not report.earns_keep
    assert report.verdict == "the discs do not earn their keep: neither model tells held-out winners better than a coin"
    one_pair = pm.TextComparisons(
        ("p",) * 400, ("a",) * 400, ("b",) * 400, np.ones(400), group=tuple(map(str, range(400)))
    )
    report = evaluate_logits(np.ones(400), np.zeros(400), one_pair)
    assert report.verdict.startswith("too little is held out (1 pair) to tell") and not report.earns_keep


def test_an_oracle_is_measured_by_its_probabilities():
    """A judge that is sure and right has log-loss -log(1 - 1e-6); one that has not judged is refused."""
    held_out = data([1.0, 1.0])
    sure = FunctionOracle(lambda prompt, one, other: float(one < other))
    even = FunctionOracle(lambda prompt, one, other: 0.5)
    report = pm.evaluate(sure, even, held_out, replicates=5)
    assert report.accuracy.model == 1.0 and report.log_loss.model == pytest.approx(1e-6, rel=1e-3)
    silent = FunctionOracle(lambda prompt, one, other: math.nan)
    with pytest.raises(ValueError, match="2 of 2 comparisons are not judged"):
        pm.evaluate(silent, even, held_out)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.2, 5.0))
def test_the_temperature_undoes_a_scale(seed, scale):
    """Outcomes that are sigmoid(s): the best factor for ``scale * s`` is ``scale``, and no other is better."""
    s = torch.from_numpy(np.random.default_rng(seed).normal(0, 1.5, 200))
    weight = torch.ones(200)
    factor = best_temperature_factor(scale * s, torch.sigmoid(s), weight)
    assert factor == pytest.approx(scale, rel=1e-3)
    bins = reliability(s.numpy(), data(torch.sigmoid(s).numpy()))
    assert [one["predicted"] for one in bins] == pytest.approx([one["won"] for one in bins])
    assert sum(one["votes"] for one in bins) == 200


def test_a_fitted_temperature_is_saved_and_keeps_what_is_skew(tmp_path):
    """Twenty times too sure: the loss falls, winners stay, P + P^T = 1 to the bit, the saved model has it."""
    votes = pm.draw_comparisons(CYCLE, CYCLE.prompts, [WORDS], votes=400, seed=0)
    model = pm.small_hybrid_model(hidden=16, layers=1)
    pm.fit_preference_model(model, votes, config=QUICK)
    model.config.temperature = 0.2
    before = model.prefer(CYCLE.prompts, [WORDS])[0]
    found = pm.fit_temperature(model, votes)
    after = model.prefer(CYCLE.prompts, [WORDS])[0]
    assert found.after < found.before and model.config.temperature == found.temperature and not found.at_limit
    assert ((before > 0.5) == (after > 0.5)).all() and (after + after.T == 1.0).all()
    model.save_pretrained(tmp_path)
    loaded = pm.HybridPreferenceModel.from_pretrained(tmp_path)
    assert loaded.config.temperature == found.temperature
    assert (loaded.prefer(CYCLE.prompts, [WORDS])[0] == after).all()


def test_a_temperature_is_no_surer_than_its_votes():
    """30 votes that agree with every logit, all of one size: P = 31/32, whatever the model said before."""
    asked = ["rock", "paper"]
    votes = pm.TextComparisons(tuple(CYCLE.prompts) * 30, ("paper",) * 30, ("rock",) * 30, np.ones(30))
    model = pm.small_hybrid_model(hidden=16, layers=1)
    pm.fit_preference_model(model, votes, config=replace(QUICK, steps=20))
    pm.fit_temperature(model, votes)
    assert model.prefer(CYCLE.prompts, [asked])[0, 1, 0] == pytest.approx(31 / 32, abs=1e-4)


def test_the_simplest_within_one_standard_error():
    """Excesses .2 +- .1, .05 +- .1 and 0 (four clusters): the second is the first within one error, none within 0."""
    spread = np.sqrt(3) * 0.1 * np.array([1, -1, 1, -1])
    losses = np.stack([0.5 + 0.2 + spread, 0.5 + 0.05 + spread, np.full(4, 0.5)])
    members = np.repeat(np.arange(4), 2).reshape(4, 2)
    chosen, excess, errors = simplest_within(losses, np.ones(4), members, 1.0)
    assert chosen == 1 and excess == pytest.approx([0.2, 0.05, 0.0]) and errors == pytest.approx([0.1, 0.1, 0.0])
    assert simplest_within(losses, np.ones(4), members, 0.0)[0] == 2
    # A row of two clusters moves with both: spreads (e_0, e_0 + e_1) of deviations e.
    two = np.array([[0.9, 0.6], [0.5, 0.4]])
    _, _, errors = simplest_within(two, np.ones(2), np.array([[0, 1], [1, 1]]), 1.0)
    assert errors[0] == pytest.approx(math.sqrt(2 * (0.1**2 + 0.0**2)) / 2)
    # One cluster has no spread, which does not make the best of its rows certain.
    assert simplest_within(losses, np.ones(4), 0 * members, 1.0)[0] == chosen
    assert simplest_within(losses, np.ones(4), members, 2.5)[0] == 0


def test_discs_are_chosen_where_they_pay():
    """One for a cycle of three; none for a ranking, whose votes a Bradley-Terry model explains."""
    words = [*WORDS, "well", "lizard", "fire"]
    strength = {word: 0.5 * k for k, word in enumerate(words)}
    ranking = FunctionOracle(lambda prompt, a, b: 1 / (1 + math.exp(strength[b] - strength[a])))
    tokenizer = pm.character_tokenizer("abcdefghijklmnopqrstuvwxyz >")

    def make(count):
        return pm.small_hybrid_model(tokenizer, num_discs=count, hidden=16, layers=1)

    for oracle, asked, expected in ((CYCLE, WORDS, 1), (ranking, words, 0)):
        train, validation = (
            pm.draw_comparisons(oracle, CYCLE.prompts, [asked], votes=400, seed=seed) for seed in range(2)
        )
        found = pm.choose_discs(make, train, validation, QUICK, num_discs=(0, 1, 2))
        assert found.num_discs == found.model.config.num_discs == expected
        assert [one.num_discs for one in found.candidates] == [0, 1, 2]
    grid = pm.choose_discs(make, train, validation, replace(QUICK, steps=2), num_discs=(0, 1), shrinkage=(0.0, 0.1))
    assert [(one.num_discs, one.disc_shrinkage) for one in grid.candidates] == [(0, 0.1), (1, 0.1), (1, 0.0)]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pm.split_held_out(random_data(0), 0.2, 0, by="rows"), "one of pair, item, prompt, got 'rows'"),
        (lambda: pm.split_held_out(random_data(0), 1.0, 0, by="item"), "between 0 and 1, got 1.0"),
        (lambda: pm.split_held_out(random_data(0, prompts=1), 0.2, 0, by="prompt"), "two distinct prompts"),
        (lambda: pm.split_held_out(data([1.0]), 0.5, 0, by="item"), "no comparison is left"),
        (lambda: evaluate_logits([1.0], [1.0, 2.0], data([1.0, 1.0])), r"finite logits of shape \(2,\)"),
        (lambda: evaluate_logits([math.nan], [1.0], data([1.0])), "finite logits"),
        (lambda: evaluate_logits([1.0], [1.0], data([1.0]), level=1.0), r"in \(0, 1\), got 1.0"),
        (lambda: evaluate_logits([1.0], [1.0], data([1.0]), replicates=0), "replicates must be at least 1"),
        (lambda: pm.choose_discs(None, data([1.0]), data([1.0]), num_discs=(1, 2)), "0 discs .* among them"),
        (lambda: pm.choose_discs(None, data([1.0]), data([1.0]), shrinkage=(-1.0,)), "must not be negative"),
        (lambda: pm.fit_temperature(None, data([1.0]).select([False])), "got an empty set"),
        (lambda: data([1.0], group=("x", "y")), "one group a comparison, got 2 for 1"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(("loss", "noise"), [("logistic", 0.0), ("logistic", 0.1), ("regression", 0.0)])
def test_candidates_are_compared_as_they_will_be_judged(loss, noise):
    """As votes with their flips, calibrated where the loss fits no probabilities, new responses drawn whole."""
    words = [*WORDS, *(f"word {n}" for n in range(9))]
    pairs = [(x, y) for i, x in enumerate(words) for y in words[:i]]
    both = pm.TextComparisons(("p",) * len(pairs), *zip(*pairs, strict=True), np.linspace(0, 1, len(pairs)))
    train, validation = pm.split_held_out(both, 0.4, 0, by="item")
    oracles = {n: FunctionOracle(lambda prompt, one, other, n=n: 0.5 + 0.09 * n * (one < other)) for n in (0, 1, 2)}
    config = pm.FitConfig(loss=loss, label_noise=noise, steps=1)
    found = pm.choose_discs(
        oracles.get, train, validation, config, num_discs=(0, 1, 2), fit=lambda model, count, settings: count
    )
    logits = [comparison_logits(oracle, validation, label_noise=noise) for oracle in oracles.values()]
    if loss == "regression":
        rows = [torch.tensor(values) for values in (validation.outcome, validation.weight)]
        logits = [one / best_temperature_factor(torch.as_tensor(one), *rows) for one in logits]
    losses = np.stack([evaluation.row_log_loss(one, validation.outcome) for one in logits])
    members = clusters(validation, train)
    assert (members.name, members.count) == ("response", 5)
    _, _, errors = simplest_within(losses, validation.weight, members.members, 1.0)
    assert [one.log_loss for one in found.candidates] == pytest.approx(losses.mean(1))
    assert [one.standard_error for one in found.candidates] == pytest.approx(errors)
    assert [one.report for one in found.candidates] == [0, 1, 2]
