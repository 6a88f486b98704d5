"""Fitting: a cycle is learned where Bradley-Terry cannot, a fit repeats, a bad fit says so."""

import math
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from hypothesis import given, settings
from hypothesis import strategies as st
from model_zoo import MODELS, causal, logits_of
from safetensors.torch import load_file

import preference_models as pm
from preference_models import losses
from preference_models.batching import TokenizedComparisons, prompt_batches
from preference_models.token_lists import TokenLists, join
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
    ties = pm.TextComparisons(("throw>",), ("rock",), ("paper",), np.array([0.5]))
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
    prompt = np.random.default_rng(1).permutation(np.repeat(np.arange(12), 10))
    batches = prompt_batches(prompt, batch_size=20, group_size=10, rng=np.random.default_rng(0))
    one_pass = [next(batches) for _ in range(6)]
    assert sorted(np.concatenate(one_pass).tolist()) == list(range(120))
    assert all(len(set(prompt[rows])) == 2 for rows in one_pass)  # of 12: groups of 10 travel together
    assert [set(prompt[rows]) for rows in one_pass] != [set(prompt[next(batches)]) for _ in range(6)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"learning_rate": 0.0}, "learning_rate must be positive"),
        ({"disc_shrinkage": -1.0}, "disc_shrinkage must not be negative"),
        ({"label_noise": 0.5}, r"in \[0, 0.5\), got 0.5"),
        ({"evaluate_every": 0}, "evaluate_every must be at least 1"),
        ({"patience": 3}, "needs evaluate_every"),
        ({"loss": "square"}, "loss must be one of logistic, regression, hinge, margin, got 'square'"),
        ({"loss": "hinge", "label_noise": 0.1}, "about the logistic loss, not 'hinge'"),
        ({"margin": 0.0}, "margin must be positive"),
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
    with pytest.raises(ValueError, match=r"truth in \[0, 1\]"):
        pm.fit_preference_model(model, data, data, truth=np.full(5, 2.0))


def test_an_unknown_truth_counts_for_nothing():
    model, data = small("hybrid"), votes(6)
    known = np.array([1.0, 0.0, 0.5, np.nan, np.nan, np.nan])
    config = replace(QUICK, steps=2)
    report = pm.fit_preference_model(model, data, data, config, truth=known)
    logits = pm.evaluation.comparison_logits(model, data)
    assert report.truth_accuracy == pytest.approx(((logits[0] > 0) + (logits[1] < 0)) / 2)
    assert pm.fit_preference_model(model, data, data, config, truth=np.full(6, np.nan)).truth_accuracy is None


def test_a_fit_that_blows_up_says_where_and_what_to_do():
    model = small("hybrid")
    with torch.no_grad():
        model.score.weight.fill_(math.inf)
    with pytest.raises(FloatingPointError, match="at step 1: lower learning_rate"):
        pm.fit_preference_model(model, votes(20), config=replace(QUICK, steps=3))


def test_a_fit_that_fails_leaves_every_part_in_its_mode():
    """Whatever ends it: the modes are as they were."""
    model = small("hybrid").eval()
    model.backbone.train()
    with pytest.raises(KeyboardInterrupt):
        pm.fit_preference_model(model, votes(20), config=replace(QUICK, steps=3), progress=interrupt)
    pm.fit_preference_model(model, votes(20), config=replace(QUICK, steps=3))
    assert not model.training and not model.score.training
    assert all(module.training for module in model.backbone.modules())


def interrupt(step, loss):
    raise KeyboardInterrupt


def test_models_with_nothing_to_fit_are_named():
    model = small("hybrid")
    model.requires_grad_(False)
    with pytest.raises(ValueError, match="nothing to fit: every parameter is frozen"):
        pm.fit_preference_model(model, votes(20), config=QUICK)
    model = MODELS["majority, soft"]()
    model.config.vote = "hard"
    with pytest.raises(ValueError, match=r"logits without gradients.*soft votes"):
        pm.fit_preference_model(model, votes(20), config=QUICK)


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_losses_by_hand():
    """One logit s = 1, won (q = 1), margin 2: (1 - 2)^2, max(0, 2 - 1), and the logistic loss of 1 - 2."""
    s, one = torch.ones(1), torch.ones(1)
    assert losses.regression_loss(s, one, one, margin=2.0).item() == 1.0
    assert losses.hinge_loss(s, one, one, margin=2.0).item() == 1.0
    assert losses.margin_loss(s, one, one, margin=2.0).item() == pytest.approx(math.log1p(math.e))
    assert losses.hinge_loss(3 * s, one, one, margin=2.0).item() == 0.0


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(losses.LOSSES), st.floats(-20, 20), st.floats(0, 1), st.floats(0.1, 5))
def test_every_loss_is_odd(name, logit, outcome, margin):
    """Naming the responses the other way round changes nothing; a tie is best called even."""
    s, q, w = torch.tensor([logit]).double(), torch.tensor([outcome]).double(), torch.ones(1).double()
    here = losses.loss_of(name, s, q, w, margin=margin)
    assert losses.loss_of(name, -s, 1 - q, w, margin=margin).item() == pytest.approx(here.item(), abs=1e-9)
    even = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    losses.loss_of(name, even, torch.full_like(w, 0.5), w, margin=margin).backward()
    assert even.grad.item() == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("name", ["regression", "hinge", "margin"])
def test_other_losses_learn_the_cycle(name):
    model = small("hybrid")
    pm.fit_preference_model(model, votes(), config=replace(QUICK, loss=name))
    preferences = model.prefer(CYCLE.prompts, [WORDS])[0]
    assert (preferences[[1, 0, 2], [0, 2, 1]] > 0.5).all()


def test_a_cross_encoder_is_fitted_from_pairs():
    model = pm.small_cross_encoder_model(
        pm.character_tokenizer("abcdefghijklmnopqrstuvwxyz >"), hidden=16, layers=1, seed=0
    )
    fresh = votes(50, seed=1)
    asked = pm.ask(CYCLE, fresh.prompts, fresh.first, fresh.second)
    report = pm.fit_preference_model(model, votes(300), fresh, replace(QUICK, steps=40, batch_size=32), truth=asked)
    assert report.truth_accuracy == 1.0


@pytest.mark.parametrize("stop", [3, 7, 10, 19])
def test_a_killed_fit_resumes_to_the_bit(tmp_path, stop):
    """Killed in any step, with checkpoints every 5 and looks every 4: the same weights, report and steps."""
    config = replace(QUICK, steps=20, evaluate_every=4, patience=4, disc_shrinkage=0.01)
    held_out = votes(60, seed=1)
    whole = small("hybrid")
    expected = pm.fit_preference_model(whole, votes(100), held_out, config)

    def kill(step, loss):
        if step == stop:
            raise KeyboardInterrupt

    options = {"checkpoints": tmp_path, "checkpoint_every": 5}
    with pytest.raises(KeyboardInterrupt):
        pm.fit_preference_model(small("hybrid"), votes(100), held_out, config, progress=kill, **options)
    steps = []
    resumed = small("hybrid", seed=9)  # what was stored decides, where something was
    if stop < 5:
        resumed = small("hybrid")
    report = pm.fit_preference_model(
        resumed, votes(100), held_out, config, progress=lambda step, loss: steps.append(step), **options
    )
    assert torch.equal(weights(resumed), weights(whole))
    assert replace(report, seconds=0.0) == replace(expected, seconds=0.0)
    assert steps[0] == 1 + 5 * ((stop - 1) // 5)
    done = small("hybrid", seed=9)  # a finished fit is read back without a step
    pm.fit_preference_model(done, votes(100), held_out, config, progress=pytest.fail, **options)
    assert torch.equal(weights(done), weights(whole))
    assert [folder.name for folder in tmp_path.iterdir()] == [f"step-{expected.steps:08d}"]


def test_checkpoints_of_another_fit_are_refused(tmp_path):
    config = replace(QUICK, steps=2)
    pm.fit_preference_model(small("hybrid"), votes(20), config=config, checkpoints=tmp_path)
    with pytest.raises(ValueError, match=r"other config: learning_rate = 0\.01, now 0\.02"):
        pm.fit_preference_model(
            small("hybrid"), votes(20), config=replace(config, learning_rate=0.02), checkpoints=tmp_path
        )
    with pytest.raises(ValueError, match="a fit with other data"):
        pm.fit_preference_model(small("hybrid"), votes(21), config=config, checkpoints=tmp_path)
    state = tmp_path / "step-00000002" / "state.json"
    known = state.read_text()
    state.write_text(known.replace('"config": {', '"config": {"rounds": 3, '))
    with pytest.raises(ValueError, match="other config: rounds = 3, now None"):
        pm.fit_preference_model(small("hybrid"), votes(20), config=config, checkpoints=tmp_path)
    state.write_text(known)
    with pytest.raises(ValueError, match="another model"):
        pm.fit_preference_model(small("bradley-terry"), votes(20), config=config, checkpoints=tmp_path)
    (tmp_path / "step-00000002" / "weights.safetensors").write_bytes(b"cut")
    with pytest.raises(ValueError, match="not a whole checkpoint"):
        pm.fit_preference_model(small("hybrid"), votes(20), config=config, checkpoints=tmp_path)


def test_one_process_of_accelerate_changes_nothing(tmp_path):
    """The same bits, and a loss in the trackers for every step."""
    accelerator = Accelerator(cpu=True, log_with="tensorboard", project_dir=str(tmp_path))
    accelerator.init_trackers("fit")
    config = replace(QUICK, steps=3)
    ours, plain = small("hybrid"), small("hybrid")
    pm.fit_preference_model(ours, votes(40), config=config, accelerator=accelerator)
    pm.fit_preference_model(plain, votes(40), config=config)
    for tracker in accelerator.trackers:
        tracker.finish()
    assert torch.equal(weights(ours), weights(plain))
    assert list((tmp_path / "fit").glob("events*"))


@pytest.mark.parametrize(
    ("name", "loss"),
    [
        *((name, "logistic") for name in ("hybrid", "discs", "bradley-terry", "majority, soft", "cross-encoder")),
        *(("hybrid", loss) for loss in ("regression", "hinge", "margin")),
    ],
)
def test_a_batch_in_parts_has_the_gradient_of_the_whole(name, loss):
    """Weights, ties, shrinkage, flips, and responses that several parts read; batches of 7 in parts of 2 at most."""
    rng = np.random.default_rng(0)
    pairs = [rng.choice(4, 2, replace=False) for _ in range(14)]
    data = pm.TextComparisons(
        tuple("pq"[n % 2] for n in range(14)),
        tuple("wxyz"[i] for i, _ in pairs),
        tuple("wxyz"[j] for _, j in pairs),
        rng.choice([0.0, 0.5, 1.0, 0.3], 14),
        rng.uniform(0.5, 3.0, 14),
    )
    noise = 0.1 if loss == "logistic" else 0.0
    config = pm.FitConfig(
        steps=4, batch_size=7, warmup_steps=0, loss=loss, label_noise=noise, disc_shrinkage=0.1, learning_rate=1e-3
    )
    fitted = [MODELS[name]() for _ in range(2)]
    for model, rows in zip(fitted, (2, None), strict=True):
        pm.fit_preference_model(model, data, config=replace(config, micro_batch_size=rows))
    # Logits, not weights: where a gradient is 0 but for rounding, AdamW makes steps of the rounding.
    parts, whole, start = (logits_of(model.eval()) for model in (*fitted, MODELS[name]().eval()))
    torch.testing.assert_close(parts, whole, atol=1e-4, rtol=0)
    assert (whole - start).abs().max() > 1e-3


@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_a_shared_prompt_fits_the_same_model(pooling):
    """Packed or apart, on data with several responses a prompt in any order."""
    train = pm.TextComparisons(
        ("a>", "b>", "a>", "b>", "a>"), ("x", "y", "zz", "y", "w"), ("y", "x", "x", "w", "zz"), np.linspace(0, 1, 5)
    )
    config = pm.FitConfig(steps=5, batch_size=3, warmup_steps=0, disc_shrinkage=0.1, learning_rate=1e-2)
    fitted = {}
    for share in (True, False):
        fitted[share] = causal(pooling=pooling)
        pm.fit_preference_model(fitted[share], train, config=replace(config, share_prompt=share))
    torch.testing.assert_close(weights(fitted[True]), weights(fitted[False]), atol=1e-4, rtol=0)
    assert not torch.allclose(weights(fitted[True]), weights(causal(pooling=pooling)), atol=1e-3)


def test_prompts_are_shared_where_that_saves_tokens():
    """Long prompts on a causal backbone are; short ones are not, nor are an encoder's, and to insist is an error."""
    long, short = (pm.TextComparisons(("p" * count,), ("x" * 20,), ("y" * 20,), np.ones(1)) for count in (40, 1))
    assert TokenizedComparisons(causal(), long).texts.share_prompt
    assert not TokenizedComparisons(causal(), short).texts.share_prompt
    assert not TokenizedComparisons(small("hybrid"), long).texts.share_prompt
    with pytest.raises(ValueError, match="a bert backbone cannot share a prompt"):
        pm.fit_preference_model(small("hybrid"), long, config=replace(QUICK, share_prompt=True))


def test_token_lists_give_their_tokens_back():
    lists = TokenLists.of([[1, 2], [3], [4, 5, 6]])
    assert len(lists) == 3 and lists.lengths.tolist() == [2, 1, 3]
    assert lists.lists(torch.tensor([2, 0])) == [[4, 5, 6], [1, 2]]
    batch = join(lists, torch.tensor([1, 0]), lists, torch.tensor([2, 1]), pad=9)
    assert batch.input_ids.tolist() == [[3, 4, 5, 6], [1, 2, 3, 9]]
    assert batch.attention_mask.tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]
    assert batch.pool_mask.tolist() == [[0, 1, 1, 1], [0, 0, 1, 0]]


@pytest.mark.slow
def test_two_processes_fit_what_one_does(tmp_path):
    """Two gloo processes, batches of 7 and a last one of 1 (which leaves a process idle), shrinkage and weights.

    Whole on each or sharded, in one pass or in parts, killed and resumed by two (to the bit) or by one.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    launch = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_addr", "127.0.0.1"]
    script = Path(__file__).with_name("two_processes.py")
    command = [sys.executable, *launch, "--master_port", str(port), str(script), str(tmp_path)]
    path = os.pathsep.join([str(script.parents[2]), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": path}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    first, second = (load_file(tmp_path / f"rank-{rank}.safetensors") for rank in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert torch.equal(first["resumed"], first["sharded"])
    assert "refused" in first and "refused" in second
    from two_processes import PACKED, fit

    alone, packed = fit(), fit(config=replace(PACKED, micro_batch_size=None))
    from_two = fit(checkpoints=tmp_path / "killed", checkpoint_every=6)
    for expected, found in (
        (alone, first["replicated"]),
        (alone, first["sharded"]),
        (alone, from_two),
        (packed, first["packed"]),
        (packed, first["packed and sharded"]),
    ):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
