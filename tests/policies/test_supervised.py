"""Supervised fine-tuning: the start of self-play puts its mass on the legal completions, evenly."""

import numpy as np
import pytest
import torch

from preference_models import character_tokenizer
from rebel_pref.games import rock_paper_scissors_text
from rebel_pref.policies import SupervisedConfig, TabularPolicy, fit_supervised, tiny_language_model
from rebel_pref.selfplay import enumerate_policy

GAME = rock_paper_scissors_text()
LABELS = [list(one.labels) for one in GAME.games]


def fitted(seed, steps=250):
    tokenizer = character_tokenizer("".join(sorted({c for text in (*GAME.prompts, *LABELS[0]) for c in text})))
    policy = tiny_language_model(tokenizer, max_new_tokens=10, hidden_size=32, layers=1, heads=2)
    config = SupervisedConfig(steps=steps, batch_size=48, learning_rate=1e-2)
    return policy, fit_supervised(policy, GAME.prompts, LABELS, config, seed=seed)


def test_a_tiny_model_learns_uniform_legal_completions():
    """At least 97 % legal mass, each word within 0.08 of a third; the loss cannot be below log 3.

    Exploitability of uniform play on weights (.1, .3, .6): paper meets rock and scissors, (.1 - .6)/3 < 0;
    scissors (.6 - .3)/3 = .1 is the best response. The bound allows the unevenness.
    """
    policy, loss = fitted(0)
    [row] = enumerate_policy(policy, GAME)
    assert row.sum() > 0.97
    np.testing.assert_allclose(row, np.full(3, 1 / 3), atol=0.08)
    assert GAME.exploitability([row]) < 0.2
    assert np.log(3) - 0.05 < loss < np.log(3) + 0.1


def test_the_same_seed_gives_the_same_weights():
    """To the bit; another seed draws other batches."""
    (one, loss), (two, again), (other, _) = fitted(0, 20), fitted(0, 20), fitted(1, 20)
    assert loss == again
    for a, b in zip(one.model.parameters(), two.model.parameters(), strict=True):
        assert torch.equal(a, b)
    assert any(not torch.equal(a, b) for a, b in zip(one.model.parameters(), other.model.parameters(), strict=True))


def test_repeated_responses_count_as_often_as_they_stand_there():
    """A table fitted to rock, rock, paper goes to (2/3, 1/3, 0): what distilling pooled samples relies on."""
    policy = TabularPolicy(GAME.prompts, LABELS)
    config = SupervisedConfig(steps=400, batch_size=300, learning_rate=0.1)
    fit_supervised(policy, GAME.prompts, [["rock", "rock", "paper"]], config, seed=0)
    np.testing.assert_allclose(torch.softmax(policy.logits.detach()[0], 0), [2 / 3, 1 / 3, 0], atol=0.02)


def test_no_steps():
    with pytest.raises(ValueError, match="supervised steps must be at least 1, got 0"):
        fitted(0, steps=0)
