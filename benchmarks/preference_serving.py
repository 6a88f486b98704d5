"""What a K x K matrix of preferences costs: embeddings against joint readings, a shared prompt against K of them.

    python -m benchmarks.preference_serving [--quick] [--repeats 5] [--out DIR]

On one CPU thread, float32, random weights (which cost the same as fitted ones). "kxk" is one prompt of 64 tokens with
K responses of 32 to a BERT of 4 layers of width 128: a hybrid reads K texts, a cross-encoder of the same backbone
K (K - 1) of them, each a third longer. "shared prompt" is a prompt of 512 tokens with 8 responses of 32 to a Llama
of 4 layers of width 256, whose responses are packed behind one reading of the prompt, or read apart with it. "fit step"
is a gradient on 2 such prompts with a pair of responses each (tokens allow 2.7 x; no bar).
Times are wall seconds, medians over repeats that take turns; memory is the most in use above that before the call.

Exits 1 if the hybrid is less than 4, 8 and 16 times as fast at K = 8, 16 and 32, or sharing less than 3 times as fast
(it saves a factor of 5.7 in tokens, or 6.3 where the gate's own reading of the prompt is counted), or if the two ways
of reading a prompt differ by more than 1e-4 in a logit. --quick measures less and holds nothing to a bar.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from transformers import BertConfig, LlamaConfig, PreTrainedConfig

import preference_models as pm
from preference_models import serving
from preference_models.batching import TokenizedComparisons
from rebel_pref.preferences import PreferenceOracle
from rebel_pref.record import save_table

__all__ = ["main", "measure_fit_step", "measure_shared_prompt", "measure_square"]

BARS = {8: 4.0, 16: 8.0, 32: 16.0}
SHARED_BAR = 3.0
TOLERANCE = 1e-4


def words(count: int, length: int, seed: int) -> list[str]:
    """`count` different texts of `length` random letters."""
    generator = torch.Generator().manual_seed(seed)
    letters = torch.randint(97, 123, (count, length), generator=generator)
    return ["".join(map(chr, row)) for row in letters.tolist()]


def backbone(kind: type[PreTrainedConfig], hidden: int, layers: int, positions: int) -> PreTrainedConfig:
    """Configuration of a backbone over characters."""
    return kind(
        vocab_size=len(pm.character_tokenizer()),
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 32,
        num_key_value_heads=hidden // 32,
        intermediate_size=4 * hidden,
        max_position_embeddings=positions,
        pad_token_id=0,
        bos_token_id=2,
        eos_token_id=2,
    )


def in_turns(calls: dict[str, Callable[[], Any]], repeats: int) -> dict[str, tuple[float, float]]:
    """Median wall seconds and most megabytes of each call. They take turns, so that a busy moment meets both."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    extra = dict.fromkeys(calls, 0.0)
    for name, call in calls.items():
        call()  # Warms up.
        _trim()
        before = _memory("VmRSS")
        call()
        extra[name] = _memory("VmHWM") - before
    for _ in range(repeats):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - started)
    return {name: (median(seconds[name]), extra[name]) for name in calls}


def _rows(
    work: str,
    count: int,
    found: dict[str, tuple[float, float]],
    fast: str,
    slow: str,
    *,
    bar: float,
    difference: float = 0.0,
) -> list[dict[str, Any]]:
    """A row for each way; the fast one's has its speed-up, its bar and how far it is from the slow one."""
    ratio = found[slow][0] / found[fast][0]
    return [
        {
            "work": work,
            "K": count,
            "way": way,
            "seconds": seconds,
            "extra_mb": extra,
            "speedup": ratio if way == fast else 1.0,
            "bar": bar if way == fast else 0.0,
            "difference": difference if way == fast else 0.0,
        }
        for way, (seconds, extra) in found.items()
    ]


def measure_square(count: int, repeats: int, hidden: int = 128, layers: int = 4) -> list[dict[str, Any]]:
    """Hybrid and cross-encoder on one prompt with `count` responses."""
    config = backbone(BertConfig, hidden, layers, 160)
    tokenizer = pm.character_tokenizer()
    torch.manual_seed(0)
    models: dict[str, PreferenceOracle] = {
        "hybrid": pm.HybridPreferenceModel(pm.HybridPreferenceConfig(backbone_config=config), tokenizer),
        "cross-encoder": pm.CrossEncoderPreferenceModel(
            pm.CrossEncoderPreferenceConfig(backbone_config=config), tokenizer
        ),
    }
    prompts, responses = words(1, 63, 1), [words(count, 31, 2)]
    found = in_turns({name: partial(model.prefer, prompts, responses) for name, model in models.items()}, repeats)
    return _rows("kxk", count, found, "hybrid", "cross-encoder", bar=BARS.get(count, 0.0))


def measure_shared_prompt(
    repeats: int, prompt: int = 512, response: int = 32, count: int = 8, hidden: int = 256, layers: int = 4
) -> list[dict[str, Any]]:
    """One prompt read once or `count` times; both ways read it for the gate as well."""
    config = backbone(LlamaConfig, hidden, layers, prompt + response)
    torch.manual_seed(0)
    model = pm.HybridPreferenceModel(pm.HybridPreferenceConfig(backbone_config=config), pm.character_tokenizer())
    prompts, responses = words(1, prompt - 1, 1), [words(count, response - 1, 2)]

    def read(share: bool) -> torch.Tensor:
        embeddings = serving.embed_texts(model, prompts, responses, share_prompt=share)
        return pm.preference_logits(embeddings)

    found = in_turns({"shared": lambda: read(True), "apart": lambda: read(False)}, repeats)
    difference = float((read(True) - read(False)).abs().max())
    return _rows("shared prompt", count, found, "shared", "apart", bar=SHARED_BAR, difference=difference)


def measure_fit_step(
    repeats: int, prompt: int = 512, response: int = 32, prompts: int = 2, hidden: int = 256, layers: int = 4
) -> list[dict[str, Any]]:
    """Loss and gradient of a pair a prompt, the prompt read once, or once for each response and once for the gate."""
    config = backbone(LlamaConfig, hidden, layers, prompt + response)
    torch.manual_seed(0)
    model = pm.HybridPreferenceModel(pm.HybridPreferenceConfig(backbone_config=config), pm.character_tokenizer())
    texts = words(2 * prompts, response - 1, 2)
    data = pm.TextComparisons(
        tuple(words(prompts, prompt - 1, 1)), tuple(texts[::2]), tuple(texts[1::2]), np.ones(prompts)
    )
    prepared = {
        "shared": TokenizedComparisons(model, data, share_prompt=True),
        "apart": TokenizedComparisons(model, data, share_prompt=False),
    }
    rows = torch.arange(prompts)

    def step(way: str) -> torch.Tensor:
        model.zero_grad()
        _, logits = prepared[way].pair_logits(model, rows)
        torch.nn.functional.softplus(-logits).mean().backward()
        return logits.detach()

    found = in_turns({way: partial(step, way) for way in prepared}, repeats)
    difference = float((step("shared") - step("apart")).abs().max())
    return _rows("fit step", 2, found, "shared", "apart", bar=0.0, difference=difference)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, save; 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="tiny models, one repeat, no bars")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    arguments = parser.parse_args(argv)
    if arguments.repeats < 1:
        parser.error(f"--repeats must be at least 1, got {arguments.repeats}")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        if arguments.quick:
            rows = measure_square(4, 1, hidden=32, layers=1)
            rows += measure_shared_prompt(1, prompt=64, response=8, count=4, hidden=32, layers=1)
            rows += measure_fit_step(1, prompt=64, response=8, hidden=32, layers=1)
        else:
            rows = [row for count in BARS for row in measure_square(count, arguments.repeats)]
            rows += measure_shared_prompt(arguments.repeats)
            rows += measure_fit_step(arguments.repeats)
    finally:
        torch.set_num_threads(threads)
    print(f"{'work':14} {'K':>3} {'way':14} {'seconds':>9} {'extra MB':>9} {'speed-up':>9} {'bar':>5}  difference")
    missed = []
    for row in rows:
        bar = f"{row['bar']:5.0f}" if row["bar"] else "     "
        print(
            f"{row['work']:14} {row['K']:3} {row['way']:14} {row['seconds']:9.4f} {row['extra_mb']:9.1f} "
            f"{row['speedup']:8.1f}x {bar}  {row['difference']:.1e}"
        )
        if row["speedup"] < row["bar"]:
            missed.append(f"{row['work']} at K = {row['K']}: {row['speedup']:.1f} x, bar {row['bar']:.0f} x")
        if row["difference"] > TOLERANCE:
            missed.append(f"{row['work']}: logits differ by {row['difference']:.1e}, at most {TOLERANCE:.0e}")
    settings = {"seed": 0, "threads": 1, "quick": arguments.quick, "repeats": arguments.repeats}
    save_table(arguments.out, "preference_serving", rows, settings)
    if arguments.quick:
        return 0
    for line in missed:
        print(f"missed: {line}")
    return 1 if missed else 0


def _trim() -> None:
    """Give freed memory back to the system and forget the peak; on Linux, elsewhere memory reads NaN."""
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _memory(field: str) -> float:
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith(field):
                return int(line.split()[1]) / 1024.0
    return float("nan")


if __name__ == "__main__":
    sys.exit(main())
