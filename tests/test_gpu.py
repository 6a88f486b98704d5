"""What only a GPU can show: the same numbers as on the CPU, and a trainer whose every part is on the device."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import preference_models as pm  # noqa: E402
from preference_models import character_tokenizer, small_hybrid_model  # noqa: E402
from rebel_pref.games import rock_paper_scissors_text  # noqa: E402
from rebel_pref.policies import SupervisedConfig, fit_supervised, tiny_language_model  # noqa: E402
from rebel_pref.proximal import proximal_step  # noqa: E402
from rebel_pref.selfplay import (  # noqa: E402
    AlgorithmConfig,
    OptimizationConfig,
    SelfPlayConfig,
    SelfPlayTrainer,
    TextGameEvaluator,
)

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
ALPHABET = "acehikoprst>"
GAME = rock_paper_scissors_text()


def supervised():
    policy = tiny_language_model(character_tokenizer(ALPHABET), max_new_tokens=10)
    fit_supervised(policy, GAME.prompts, [one.labels for one in GAME.games], SupervisedConfig(steps=100), seed=0)
    return policy


def test_log_probs_and_samples_are_the_cpus():
    """Log-probabilities to 1e-3 nats, and the same responses from the same uniforms."""
    policy = supervised()
    legal = policy.encode(GAME.prompts, [one.labels for one in GAME.games])
    with torch.no_grad():
        here = policy.log_probs(legal)
        drawn = policy.sample(GAME.prompts, 16, [np.random.default_rng(3)])
        policy.module.cuda()
        there = policy.log_probs(legal)
    assert there.device.type == "cuda"
    np.testing.assert_allclose(there.cpu().numpy(), here.numpy(), atol=1e-3)
    assert policy.sample(GAME.prompts, 16, [np.random.default_rng(3)]).texts == drawn.texts


def test_implicit_step_on_the_device():
    """Float64 Newton on the GPU is the CPU's to 1e-10, and certified."""
    rng = np.random.default_rng(0)
    upper = np.triu(rng.uniform(-1, 1, (8, 32, 32)), 1)
    base, payoffs = torch.tensor(rng.normal(size=(8, 32))), torch.tensor(upper - upper.swapaxes(1, 2))
    here, there = proximal_step(base, payoffs, 5.0), proximal_step(base.cuda(), payoffs.cuda(), 5.0)
    assert there.converged
    np.testing.assert_allclose(there.policy.cpu().numpy(), here.policy.numpy(), atol=1e-10)


def test_trainer_learns_on_the_device():
    """Policy, reference and oracle on the GPU; exploitability falls below .06 as it does on the CPU."""
    policy, evaluator = supervised(), TextGameEvaluator(GAME)
    config = SelfPlayConfig(
        rounds=60,
        algorithm=AlgorithmConfig("proximal_rebel", step_size=10.0, regularization=0.02),
        optimization=OptimizationConfig(learning_rate=1e-3),
    )
    trainer = SelfPlayTrainer(policy, GAME, GAME.prompts, config, seed=0, evaluator=evaluator)
    trainer.train()
    assert next(trainer.reference.module.parameters()).device.type == "cuda"
    assert GAME.exploitability(evaluator.last) < 0.06


def test_preference_model_serves_from_the_device():
    """P + P.T = 1 on the GPU too, and the CPU's numbers to 1e-4."""
    model = small_hybrid_model(character_tokenizer(ALPHABET), num_discs=2)
    texts = [list(GAME.games[0].labels)]
    here = model.prefer(GAME.prompts, texts)
    there = model.cuda().prefer(GAME.prompts, texts)
    assert np.array_equal(there + there.swapaxes(-1, -2), np.ones_like(there))
    np.testing.assert_allclose(there, here, atol=1e-4)


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_preference_model_is_fitted_on_the_device(precision):
    """A cycle is learned in micro-batches, in single precision and in mixed, and stays skew to the last bit."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state()  # Keeps the precision of the first accelerator of a process.
    words, wins = ["rock", "paper", "scissors"], [("paper", "rock"), ("rock", "scissors"), ("scissors", "paper")]
    first, second = zip(*wins, strict=True)
    data = pm.TextComparisons(("p",) * 3, first, second, np.ones(3))
    model = small_hybrid_model(character_tokenizer(ALPHABET), num_discs=2)
    config = pm.FitConfig(steps=150, batch_size=3, micro_batch_size=2, learning_rate=1e-2, disc_shrinkage=1e-4)
    accelerator = Accelerator(mixed_precision=precision)
    report = pm.fit_preference_model(model, data, config=config, accelerator=accelerator)
    assert model.device.type == "cuda" and report.train_log_loss < 0.1
    logits = model.preference_logits(["p"], [words])
    assert torch.equal(logits, -logits.mT)


def test_shared_prompts_on_the_device():
    """Packed behind one prompt or apart: the same logits to 1e-4."""
    from transformers import LlamaConfig

    tokenizer = character_tokenizer(ALPHABET)
    backbone = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2
    )
    model = pm.HybridPreferenceModel(pm.HybridPreferenceConfig(backbone_config=backbone), tokenizer).cuda()
    asked, texts = ["paper" * 20], [["rock", "paper", "scissors"]]
    packed, apart = (pm.serving.embed_texts(model, asked, texts, share_prompt=share) for share in (True, False))
    torch.testing.assert_close(pm.preference_logits(packed), pm.preference_logits(apart), atol=1e-4, rtol=0)
