"""Small fits, for one process or for two: ``python two_processes.py OUT`` writes ``OUT/rank-R.safetensors``."""

import gc
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from model_zoo import causal
from safetensors.torch import save_file

import preference_models as pm

CONFIG = pm.FitConfig(
    steps=12, batch_size=7, comparisons_per_prompt=3, warmup_steps=3, disc_shrinkage=0.05, evaluate_every=4
)
PACKED = replace(CONFIG, steps=6, micro_batch_size=2, share_prompt=True)


class Killed(Exception):
    pass


def comparisons(count, seed):
    rng = np.random.default_rng(seed)
    words = ["rock", "paper", "scissors", "well"]
    pairs = [rng.choice(4, 2, replace=False) for _ in range(count)]
    return pm.TextComparisons(
        tuple(rng.choice(["p>", "q>"], count).tolist()),
        tuple(words[i] for i, _ in pairs),
        tuple(words[j] for _, j in pairs),
        rng.random(count),
        rng.uniform(0.5, 3.0, count),
    )


def fit(accelerator=None, config=CONFIG, **options):
    """22 comparisons are three batches of 7 and one of 1. Only the main process starts from these weights."""
    rank = 0 if accelerator is None else accelerator.process_index
    tokenizer = pm.character_tokenizer("abcdefghijklmnopqrstuvwxyz>")
    model = pm.small_hybrid_model(tokenizer, num_discs=2, hidden=16, layers=1, seed=rank)
    if config.share_prompt:
        model = causal(seed=rank)
    pm.fit_preference_model(model, comparisons(22, 0), comparisons(9, 1), config, accelerator=accelerator, **options)
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def killed(accelerator, folder):
    """A sharded fit that ends at step 9, after its checkpoint of step 6."""

    def stop(step, loss):
        if step == 9:
            raise Killed

    try:
        fit(accelerator, shard=True, checkpoints=folder, checkpoint_every=6, progress=stop)
    except Killed:
        accelerator.wait_for_everyone()


if __name__ == "__main__":
    torch.set_num_threads(1)
    out, accelerator = Path(sys.argv[1]), Accelerator(cpu=True)
    fitted = {"replicated": fit(accelerator), "sharded": fit(accelerator, shard=True)}
    fitted["packed"] = fit(accelerator, PACKED)
    fitted["packed and sharded"] = fit(accelerator, PACKED, shard=True)
    killed(accelerator, out / "killed")
    if accelerator.is_main_process:
        shutil.copytree(out / "killed", out / "resumed")
    accelerator.wait_for_everyone()
    fitted["resumed"] = fit(accelerator, shard=True, checkpoints=out / "resumed", checkpoint_every=6)
    own = out / "resumed" if accelerator.is_main_process else out / "nowhere"
    try:
        fit(accelerator, checkpoints=own)
    except ValueError as error:
        assert "same checkpoints of steps, got 12, 0" in str(error)  # noqa: PT017 - no pytest in this process
        fitted["refused"] = torch.ones(1)
    save_file(fitted, out / f"rank-{accelerator.process_index}.safetensors")
    accelerator.wait_for_everyone()
    gc.collect()  # What holds the process group must go before it does.
    accelerator.end_training()
