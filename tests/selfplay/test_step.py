"""The regression step: the gradient of a whole group, however it is split."""

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from preference_models import character_tokenizer
from rebel_pref.policies import tiny_language_model
from rebel_pref.selfplay import step
from rebel_pref.selfplay.config import OptimizationConfig
from rebel_pref.selfplay.step import RegressionBatch, regress

TEXTS = (("a", "bb", "abab", "b"), ("ba", "", "bbb"))


def policy_and_batch():
    """Two groups of 4 and 3 responses; the base of the log-ratio lies elsewhere than the policy."""
    policy = tiny_language_model(character_tokenizer("abx"), max_new_tokens=6, hidden_size=16, layers=1, heads=2)
    rollouts = policy.encode(["x", "xx"], TEXTS)
    rng = np.random.default_rng(0)
    rows = torch.tensor(rollouts.prompt_index)
    columns = torch.tensor([0, 1, 2, 3, 0, 1, 2])
    weights = torch.zeros(2, 4)
    weights[0] = torch.from_numpy(rng.dirichlet(np.ones(4)))
    weights[1, :3] = torch.from_numpy(rng.dirichlet(np.ones(3)))
    target = torch.from_numpy(rng.normal(size=(2, 4))).float()
    base = policy.log_probs(rollouts).detach() + torch.from_numpy(rng.normal(size=7)).float()
    return policy, RegressionBatch(rollouts, rows, columns, base, target, weights)


def run(policy, optimizer, batch, config, residual="pairwise"):
    return regress(policy, optimizer, Accelerator(cpu=True), batch, config, residual=residual, total_prompts=2)


def moved(residual, microbatch_tokens):
    """Parameters' movement in one SGD step at rate 1 without clipping: minus the gradient."""
    policy, batch = policy_and_batch()
    before = [parameter.detach().clone() for parameter in policy.module.parameters()]
    optimizer = torch.optim.SGD(policy.module.parameters(), lr=1.0)
    config = OptimizationConfig(inner_steps=1, max_grad_norm=1e9, microbatch_tokens=microbatch_tokens)
    sums = run(policy, optimizer, batch, config, residual)
    return [old - new.detach() for old, new in zip(before, policy.module.parameters(), strict=True)], sums


def loss_by_definition(residual):
    """sum_ij v_i v_j (e_i - e_j)^2 over all pairs, or sum_i v_i e_i^2; mean over the two prompts."""
    policy, batch = policy_and_batch()
    ratio = policy.log_probs(batch.rollouts) - batch.log_current
    total = torch.zeros(())
    for b, (start, end) in enumerate(((0, 4), (4, 7))):
        size = end - start
        error, v = ratio[start:end] - batch.target[b, :size], batch.weights[b, :size]
        if residual == "pairwise":
            total = total + (v[:, None] * v[None] * (error[:, None] - error[None]) ** 2).sum() / 2
        else:
            total = total + (v * error**2).sum() / 2
    total.backward()
    return [parameter.grad for parameter in policy.module.parameters()], float(total.detach())


@pytest.mark.parametrize("residual", ["pairwise", "pointwise"])
@pytest.mark.parametrize("microbatch_tokens", [10**6, 12, 1])
def test_gradients_of_a_group(residual, microbatch_tokens, monkeypatch):
    """In one piece, in a few and one response at a time: always the gradient of the loss over all pairs.

    Split groups go through `group_gradient_weights`, whole ones do not.
    """
    calls = []
    original = step.group_gradient_weights
    monkeypatch.setattr(step, "group_gradient_weights", lambda *a, **k: calls.append(1) or original(*a, **k))
    (ours, sums), (expected, loss) = moved(residual, microbatch_tokens), loss_by_definition(residual)
    assert len(calls) == (microbatch_tokens < 10**6)
    for a, b in zip(ours, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)
    assert max(float(b.abs().max()) for b in expected) > 0.1
    assert sums["loss"] / 2 == pytest.approx(loss, rel=1e-5)


def test_parts_are_really_smaller():
    """12 padded tokens: the parts hold every row once, in order, and none holds the whole."""
    _, batch = policy_and_batch()
    parts = list(batch.rollouts.microbatches(12))
    assert [row for part in parts for row in part] == list(range(7)) and len(parts) > 2


def test_fit_and_loss_fall_together():
    """30 AdamW steps explain most of the target's variance; the loss that is reported is the first step's."""
    policy, batch = policy_and_batch()
    optimizer = torch.optim.AdamW(policy.module.parameters(), lr=1e-2)
    config = OptimizationConfig(inner_steps=30, max_grad_norm=10.0)
    first, second = (run(policy, optimizer, batch, config) for _ in range(2))
    assert first["loss"] / 2 == pytest.approx(loss_by_definition("pairwise")[1], rel=1e-5)
    assert first["left"] < 0.2 * first["wanted"]
    assert second["loss"] < 0.2 * first["loss"]


def test_gradients_that_are_not_finite():
    policy, batch = policy_and_batch()
    batch.target[0, 0] = torch.nan
    optimizer = torch.optim.SGD(policy.module.parameters(), lr=1.0)
    before = [parameter.detach().clone() for parameter in policy.module.parameters()]
    with pytest.raises(FloatingPointError, match=r"gradient is not finite .* lower learning_rate or step_size"):
        run(policy, optimizer, batch, OptimizationConfig())
    for old, new in zip(before, policy.module.parameters(), strict=True):
        assert torch.equal(old, new)
