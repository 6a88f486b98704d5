"""Fitting: a cycle is learned where Bradley-Terry cannot, a fit repeats, a bad fit says so."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import preference_models as pm
from preference_models.batching import TokenizedComparisons, prompt_batches
from rebel_pref.games.text import rock_paper_scissors_text
from rebel_pref.preferences import FunctionOracle

pytestmark = pytest.mark.filterwarnings("error")

WORDS = ["rock", "paper", "scissors"]
CYCLE = rock_paper_scissors_text(0.8, 0.8, 0.8)  # every win has probability .9
QUICK = pm.FitConfig(steps=60, batch_size=64, comparisons_per_prompt=64, learning_rate=1e-2, warmup_steps=5)


def small(kind, seed=0):
    make = {"hybrid": pm.small_hybrid_model, "bradley-terry": pm.small_bradley_terry_model}[kind]
    return make(pm.character_tokenizer("abcdefghijklmnopqrstuvwxyz >"), hidden=16, layers=1, seed=seed)


def votes(count=600, seed=0, flip=0.0):
    return pm.draw_comparisons(CYCLE, CYCLE.prompts, [WORDS], votes=count, flip=flip, seed=seed)


def test_a_hybrid_learns_the_cycle_and_bradley_terry_does_not():
    """Votes won with probability .9 have log-loss .325; a model that must call every pair even has log 2."""
    truth = CYCLE.prefer(CYCLE.prompts, [WORDS])
    train, fresh = votes(), votes(400, seed=1)
    asked = pm.ask(CYCLE, fresh.prompts, fresh.first, fresh.second)
    reports, errors = {}, {}
    for kind in ("hybrid", "bradley-terry"):
        model = small(kind)
        reports[kind] = pm.fit_preference_model(model, train, fresh, QUICK, truth=asked)
        errors[kind] = np.abs(model.prefer(CYCLE.prompts, [WORDS]) - truth).max()
    assert reports["hybrid"].truth_accuracy == 1.0
    assert reports["hybrid"].held_out_log_loss < 0.40 and errors["hybrid"] < 0.08
    assert reports["bradley-terry"].truth_accuracy < 0.75  # a ranking of three gets one pair of the cycle wrong
    assert reports["bradley-terry"].held_out_log_loss > 0.65 and errors["bradley-terry"] > 0.3


def test_the_prompt_decides():
    """Two prompts with opposite cycles: responses alone are worth nothing."""
    beats = {("paper", "rock"), ("rock", "scissors"), ("scissors", "paper")}

    def compare(prompt, first, second):
        return float(((first, second) in beats) == (prompt == "win>"))

    oracle = FunctionOracle(compare)
    model = small("hybrid")
    train = pm.draw_comparisons(oracle, ["win>", "lose>"], [WORDS, WORDS], votes=600, seed=0)
    pm.fit_preference_model(model, train, config=replace(QUICK, steps=120))
    preferences = model.prefer(["win>", "lose>"], [WORDS, WORDS])
    assert preferences[0, 1, 0] > 0.9 and preferences[1, 1, 0] < 0.1


def test_label_noise_recovers_the_judge_behind_the_flips():
    """One vote in five is turned round; the fit that knows it gives back .9, the other one .74."""
    train = votes(4000, flip=0.2)
    estimates = []
    config = replace(QUICK, steps=150, learning_rate=3e-3)
    for noise in (0.0, 0.2):
        model = small("hybrid")
        pm.fit_preference_model(model, train, config=replace(config, label_noise=noise))
        preferences = model.prefer(CYCLE.prompts, [WORDS])[0]
        estimates.append(preferences[[1, 0, 2], [0, 2, 1]].mean())  # paper-rock, rock-scissors, scissors-paper
    assert estimates[0] == pytest.approx(0.8 * 0.9 + 0.2 * 0.1, abs=0.04)
    assert estimates[1] == pytest.approx(0.9, abs=0.06)


def test_shrinking_the_discs_hard_gives_bradley_terry():
    model = small("hybrid")
    pm.fit_preference_model(model, votes(), config=replace(QUICK, disc_shrinkage=10.0, steps=150))
    embeddings = model.embed(CYCLE.prompts, [WORDS])
    assert (embeddings.left @ embeddings.right.mT).abs().max() < 0.02


def test_loss_by_hand():
    """s = log 3 is P = 3/4; half a win costs -(log 3/4 + log 1/4) / 2; a flip of 1/10 makes 3/4 into .7."""
    logit, one = torch.tensor([math.log(3.0)]), torch.ones(1)
    assert pm.logistic_loss(logit, one, one).item() == pytest.approx(-math.log(0.75))
    assert pm.logistic_loss(logit, 0.5 * one, one).item() == pytest.approx(-0.5 * math.log(0.75 * 0.25))
    assert pm.logistic_loss(logit, one, one, label_noise=0.1).item() == pytest.approx(-math.log(0.7))
    weighted = pm.logistic_loss(logit.expand(2), torch.tensor([1.0, 0.0]), torch.tensor([3.0, 1.0]))
    assert weighted.item() == pytest.approx(-(3 * math.log(0.75) + math.log(0.25)) / 4)


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_loss_stays_finite_at_large_logits(noise):
    logits = torch.tensor([-1e4, 1e4], requires_grad=True)
    loss = pm.logistic_loss(logits, torch.tensor([1.0, 0.0]), torch.ones(2), label_noise=noise)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(logits.grad).all()


def test_the_same_seed_fits_the_same_weights():
    def fit(seed):
        model = small("hybrid")
        pm.fit_preference_model(model, votes(100), config=replace(QUICK, steps=5, batch_size=16, seed=seed))
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    torch.manual_seed(123)
    first = fit(0)
    torch.manual_seed(456)
    state = torch.get_rng_state()
    assert torch.equal(fit(0), first) and not torch.equal(fit(1), first)
    assert torch.equal(torch.get_rng_state(), state)  # nobody else's random numbers are used up


def test_early_stopping_keeps_the_best_weights():
    """Fresh votes flip a coin: nothing can be learned of them, and the first look is about the best."""
    noise = FunctionOracle(lambda prompt, first, second: 0.5)
    train = pm.draw_comparisons(noise, ["p>"], [list("abcdefgh")], votes=60, seed=0)
    held_out = pm.draw_comparisons(noise, ["p>"], [list("abcdefgh")], votes=60, seed=1)
    seen = []
    config = replace(QUICK, steps=100, evaluate_every=5, patience=3)
    model = small("hybrid")
    report = pm.fit_preference_model(
        model, train, held_out, config, progress=lambda step, loss: seen.append((step, loss))
    )
    assert report.best_step < report.steps < 100 and report.steps == report.best_step + 15
    assert [step for step, _ in seen] == list(range(1, report.steps + 1))
    again = pm.fit_preference_model(small("hybrid"), train, held_out, replace(config, patience=None))
    assert report.held_out_log_loss == pytest.approx(again.held_out_log_loss) and again.steps == 100


def test_report_without_held_out_comparisons():
    report = pm.fit_preference_model(small("hybrid"), votes(50), config=replace(QUICK, steps=2))
    assert report.held_out_accuracy is report.truth_accuracy is report.held_out_log_loss is None
    assert report.steps == report.best_step == 2 and report.seconds > 0 and report.settings.steps == 2
    ties = pm.Comparisons(("throw>",), ("rock",), ("paper",), np.array([0.5]))
    assert pm.fit_preference_model(small("hybrid"), ties, ties, replace(QUICK, steps=1)).held_out_accuracy is None


def test_each_distinct_text_is_encoded_once():
    model, counts = small("hybrid"), []
    model.backbone.register_forward_pre_hook(
        lambda module, args, kwargs: counts.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    data = TokenizedComparisons(model, votes(50))
    data.pair_logits(model, torch.arange(50))
    assert counts == [3, 1]  # three words, one prompt


def test_batches_cover_every_row_once_and_keep_prompts_together():
    prompt = np.repeat([0, 1, 2], [40, 10, 3])
    batches = prompt_batches(prompt, batch_size=20, group_size=10, rng=np.random.default_rng(0))
    one_pass = [next(batches) for _ in range(3)]
    assert sorted(np.concatenate(one_pass).tolist()) == list(range(53))
    assert all(len(set(prompt[rows])) <= 3 for rows in one_pass)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"learning_rate": 0.0}, "learning_rate must be positive"),
        ({"disc_shrinkage": -1.0}, "disc_shrinkage must not be negative"),
        ({"label_noise": 0.5}, r"in \[0, 0.5\), got 0.5"),
        ({"evaluate_every": 0}, "evaluate_every must be at least 1"),
        ({"patience": 3}, "needs evaluate_every"),
    ],
)
def test_bad_settings_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        pm.FitConfig(**options)


def test_bad_data_is_named():
    model, data = small("hybrid"), votes(5)
    empty = data.select(np.zeros(5, dtype=bool))
    with pytest.raises(ValueError, match="at least one comparison to train on"):
        pm.fit_preference_model(model, empty)
    with pytest.raises(ValueError, match="held_out is empty"):
        pm.fit_preference_model(model, data, empty)
    with pytest.raises(ValueError, match="pass held_out"):
        pm.fit_preference_model(model, data, truth=np.ones(5))
    with pytest.raises(ValueError, match=r"truth of shape \(5,\), got \(4,\)"):
        pm.fit_preference_model(model, data, data, truth=np.ones(4))


def test_a_fit_that_blows_up_says_where_and_what_to_do():
    model = small("hybrid")
    with torch.no_grad():
        model.score.weight.fill_(math.inf)
    with pytest.raises(FloatingPointError, match="at step 1: lower learning_rate"):
        pm.fit_preference_model(model, votes(20), config=replace(QUICK, steps=3))
