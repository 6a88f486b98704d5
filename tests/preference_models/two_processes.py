"""A small fit, for one process or for two: ``python two_processes.py OUT`` writes ``OUT/rank-R.safetensors``."""

import sys
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from safetensors.torch import save_file

import preference_models as pm

CONFIG = pm.FitConfig(
    steps=12, batch_size=7, comparisons_per_prompt=3, warmup_steps=3, disc_shrinkage=0.05, evaluate_every=4
)


def comparisons(count, seed):
    rng = np.random.default_rng(seed)
    words = ["rock", "paper", "scissors", "well"]
    pairs = [rng.choice(4, 2, replace=False) for _ in range(count)]
    return pm.Comparisons(
        tuple(rng.choice(["p>", "q>"], count).tolist()),
        tuple(words[i] for i, _ in pairs),
        tuple(words[j] for _, j in pairs),
        rng.random(count),
        rng.uniform(0.5, 3.0, count),
    )


def fit(accelerator=None):
    """22 comparisons are three batches of 7 and one of 1. Only the main process starts from these weights."""
    rank = 0 if accelerator is None else accelerator.process_index
    tokenizer = pm.character_tokenizer("abcdefghijklmnopqrstuvwxyz>")
    model = pm.small_hybrid_model(tokenizer, num_discs=2, hidden=16, layers=1, seed=rank)
    pm.fit_preference_model(model, comparisons(22, 0), comparisons(9, 1), CONFIG, accelerator=accelerator)
    return model


if __name__ == "__main__":
    torch.set_num_threads(1)
    accelerator = Accelerator(cpu=True)
    flat = torch.cat([p.detach().flatten() for p in fit(accelerator).parameters()])
    save_file({"weights": flat}, Path(sys.argv[1]) / f"rank-{accelerator.process_index}.safetensors")
    accelerator.wait_for_everyone()
    accelerator.end_training()
