"""LoRA by peft: adapters and heads train, the backbone does not; what is saved is small and loads to the bit."""

import numpy as np
import pytest
import torch
from model_zoo import causal, logits_of
from transformers import AutoModel

import preference_models as pm

peft = pytest.importorskip("peft")


def test_adapters_train_save_and_load(tmp_path):
    """The adapter directory names its base model, so that loading it is one call."""
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    causal(seed=1).save_pretrained(base)
    model = pm.HybridPreferenceModel.from_pretrained(base)
    model.add_adapter(
        peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"], modules_to_save=["score", "discs", "gate"])
    )
    untouched = logits_of(pm.HybridPreferenceModel.from_pretrained(base))
    torch.testing.assert_close(logits_of(model), untouched, atol=1e-6, rtol=1e-5)  # LoRA starts at nothing
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    votes = pm.TextComparisons(("a>",) * 3, ("x", "y", "z"), ("y", "z", "x"), np.array([1.0, 0.9, 0.8]))
    config = pm.FitConfig(steps=3, batch_size=4, comparisons_per_prompt=4, learning_rate=1e-2, warmup_steps=0)
    pm.fit_preference_model(model, votes, config=config)
    moved = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    assert moved and all("lora_" in name or "modules_to_save" in name for name in moved)
    assert {name.split(".")[0] for name in moved} == {"backbone", "score", "discs", "gate"}
    model.save_pretrained(adapter)
    assert (adapter / "adapter_model.safetensors").exists() and not (adapter / "model.safetensors").exists()
    for loaded in (pm.HybridPreferenceModel.from_pretrained(adapter), AutoModel.from_pretrained(adapter)):
        logits = logits_of(loaded)
        assert torch.equal(logits, logits_of(model)) and torch.equal(logits, -logits.mT)
    assert (logits - untouched).abs().max() > 1e-3
