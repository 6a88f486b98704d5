"""Do discs find what a Bradley-Terry model cannot say, and do they stay away where there is nothing to find?

    python -m benchmarks.preference_models [--quick] [--out DIR] [--seed N] [--data DIR] [--threads N]

Accuracy is the share of decided held-out pairs whose winner the sign of the logit names, against the true judge where
there is one; the models see a validation part for early stopping and for the number of discs, never the held-out part.

- Blotto, 10 soldiers on 3 fields, 66 allocations, win or lose; a fifth of the pairs held out, 4 splits x 2 seeds. The
  models are tabular: a text is one token, and the backbone is its embedding (a BERT without layers). "exact" is trained
  on the outcomes themselves; N votes are of a judge who is wrong one time in ten, whose doubts the models take over:
  against the truth their log-loss and calibration look worse than they are.
- texts: short sentences in one of three tones (a cycle) or five colours (each beats the next two), by the prompt. The
  held-out sentences have subjects and readers in combinations that no training text has. A ranking of a three-cycle
  gets 2/3 of its pairs right or 1/3, of the five-cycle at most 7/10: "near chance" is a log-loss near log 2 = .693.
- transitive: Bradley-Terry strengths, three votes a pair. Nothing to find.
- UKPConvArg1 (Habernal & Gurevych 2016), if it is there: which of two arguments convinces more, 32 topics, five votes a
  pair, tabular, a fifth of the pairs held out. `--data` names the folder, or else REBEL_PREF_DATA.

Bars: Blotto exact, Bradley-Terry <= .70, two discs >= .95, discs by validation >= .95 (means over runs); texts,
Bradley-Terry <= .70 and log-loss >= .66, hybrid >= .98; on transitive votes and UKPConvArg1 the model chosen by
validation is not worse than Bradley-Terry beyond its 95 % interval. Exits 1 if one is missed.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers import BertConfig

import rebel_pref as rp
from preference_models import (
    BradleyTerryConfig,
    BradleyTerryModel,
    Comparisons,
    FitConfig,
    HybridPreferenceConfig,
    HybridPreferenceModel,
    character_tokenizer,
    fit_preference_model,
    small_backbone,
    split_held_out_pairs,
)
from preference_models.calibration import fit_temperature
from preference_models.evaluation import EvaluationReport, evaluate
from preference_models.selection import choose_discs
from rebel_pref.preferences import FloatArray
from rebel_pref.record import save_table

__all__ = ["main"]

FLIP = 0.1
CANDIDATES = (0, 1, 2, 4)
TABULAR = FitConfig(
    steps=500, batch_size=4096, comparisons_per_prompt=4096, learning_rate=1e-2, disc_shrinkage=1e-3, evaluate_every=25
)
TEXT = FitConfig(
    steps=300, batch_size=128, comparisons_per_prompt=64, learning_rate=5e-3, disc_shrinkage=1e-3, evaluate_every=25
)
Make = Callable[[int, int], Any]


@dataclass(frozen=True)
class Task:
    """Comparisons to fit and to be judged by.

    Attributes
    ----------
    name, condition : as in the table.
    fit, validation, held_out : the held-out outcomes are the true ones where they are known.
    """

    name: str
    condition: str
    fit: Comparisons
    validation: Comparisons
    held_out: Comparisons


def make_tabular(items: Sequence[str], hidden: int = 32) -> Make:
    """From discs and a seed to a model that knows one-character texts apart and nothing else of them."""
    tokenizer = character_tokenizer(items)
    backbone = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        num_hidden_layers=0,
        num_attention_heads=1,
        intermediate_size=4,
        max_position_embeddings=4,
        hidden_dropout_prob=0.0,
        pad_token_id=tokenizer.pad_token_id,
    )
    return _maker(backbone, tokenizer)


def make_text(data: Comparisons, hidden: int = 32) -> Make:
    """From discs and a seed to the packaged small model over the characters of `data`."""
    texts = {*data.prompts, *data.first, *data.second}
    tokenizer = character_tokenizer(sorted({c for text in texts for c in text}))
    return _maker(small_backbone(tokenizer, hidden=hidden, max_length=2 * max(map(len, texts)) + 2), tokenizer)


def _maker(backbone: Any, tokenizer: Any) -> Make:
    def make(discs: int, seed: int) -> Any:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            if discs == 0:
                return BradleyTerryModel(BradleyTerryConfig(backbone_config=backbone), tokenizer)
            return HybridPreferenceModel(HybridPreferenceConfig(backbone_config=backbone, num_discs=discs), tokenizer)

    return make


def with_votes(truth: Comparisons, votes: int, rng: np.random.Generator) -> Comparisons:
    """The same pairs, `votes` noisy verdicts on each: the judge names the loser one time in ten."""
    share = FLIP + (1 - 2 * FLIP) * truth.outcome
    return replace(truth, outcome=rng.binomial(votes, share) / votes, weight=np.full(len(truth), float(votes)))


def blotto(split: int, votes: int | None) -> tuple[Task, Make]:
    """All 2,145 pairs of the 66 allocations."""
    game = rp.games.blotto(10, (1.0, 1.0, 1.0))
    items = _symbols(len(game))
    i, j = np.triu_indices(len(game), 1)
    outcome = 0.5 + 0.5 * np.sign(game.payoff[i, j])
    everything = Comparisons(("",) * len(i), tuple(items[k] for k in i), tuple(items[k] for k in j), outcome)
    rest, held_out = split_held_out_pairs(everything, 0.2, split)
    if votes is not None:
        rest = with_votes(rest, votes, np.random.default_rng([split, votes]))
    fit, validation = split_held_out_pairs(rest, 0.15, split + 100)
    condition = "exact" if votes is None else f"{votes} vote{'s' * (votes > 1)} a pair"
    return Task("Blotto", condition, fit, validation, held_out), make_tabular(items)


def cyclic_texts(seed: int, pairs: int = 3000) -> tuple[Task, Make]:
    """Sentences whose tone (three, by the prompt) or colour (five) decides; test sentences are new."""
    tones, colours = ("calm", "keen", "stern"), ("red", "blue", "gold", "grey", "pink")
    subjects = ("rain", "bread", "trains", "maths", "birds", "chess", "paint", "stars")
    readers = ("Ann", "Bob", "Cleo", "Dan", "Eve", "Finn")
    rng = np.random.default_rng(seed)
    contexts = list(product(subjects, readers))
    order = rng.permutation(len(contexts))
    parts = {"fit": order[12:], "validation": order[6:12], "held_out": order[:6]}

    def draw(places: Any, count: int) -> Comparisons:
        columns: list[tuple[str, str, str, float]] = []
        while len(columns) < count:
            by_tone = rng.random() < 0.5
            cycle = 3 if by_tone else 5
            tone, colour = rng.integers(3, size=2), rng.integers(5, size=2)
            ahead = int((tone[1] - tone[0]) % 3) if by_tone else int((colour[1] - colour[0]) % 5)
            if ahead == 0:
                continue
            texts = []
            for k in range(2):
                subject, reader = contexts[places[rng.integers(len(places))]]
                texts.append(f"a {tones[tone[k]]} {colours[colour[k]]} card on {subject} for {reader}")
            columns.append(("tone?" if by_tone else "colour?", texts[0], texts[1], float(ahead <= cycle // 2)))
        prompts, first, second, outcome = zip(*columns, strict=True)
        return Comparisons(prompts, first, second, np.array(outcome))

    drawn = {name: draw(places, pairs if name == "fit" else 400) for name, places in parts.items()}
    return Task("texts", "3- and 5-cycles, new texts", **drawn), make_text(drawn["fit"])


def transitive(seed: int, items: int = 40, prompts: int = 6) -> tuple[Task, Make]:
    """Bradley-Terry strengths of unit deviation, three votes on each pair."""
    rng = np.random.default_rng(seed)
    names = _symbols(items * prompts)
    i, j = np.triu_indices(items, 1)
    columns: list[list[Any]] = [[], [], [], []]
    for b in range(prompts):
        strength = rng.normal(size=items)
        share = 1 / (1 + np.exp(strength[j] - strength[i]))
        columns[0] += [str(b)] * len(i)
        columns[1] += [names[b * items + k] for k in i]
        columns[2] += [names[b * items + k] for k in j]
        columns[3] += (rng.binomial(3, share) / 3).tolist()
    asked, first, second = (tuple(column) for column in columns[:3])
    everything = Comparisons(asked, first, second, np.array(columns[3]), np.full(len(columns[3]), 3.0))
    rest, held_out = split_held_out_pairs(everything, 0.2, seed)
    fit, validation = split_held_out_pairs(rest, 0.15, seed + 100)
    return Task("transitive", "3 votes a pair", fit, validation, held_out), make_tabular([*names, *"0123456789"])


def ukp(path: Path, split: int) -> tuple[Task, Make]:
    """Topics are prompts; pairs that nobody decided are ties."""
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        topics = [json.loads(line) for line in stream]
    names = _symbols(sum(len(topic["arguments"]) for topic in topics) + len(topics))
    prompts: list[str] = []
    first, second, outcome, weight = [], [], [], []
    start = len(topics)
    for b, topic in enumerate(topics):
        for i, j, ours, theirs, ties in topic["pairs"]:
            if ours + theirs + ties > 0:
                prompts.append(names[b])
                first.append(names[start + i])
                second.append(names[start + j])
                outcome.append((ours + 0.5 * ties) / (ours + theirs + ties))
                weight.append(float(ours + theirs + ties))
        start += len(topic["arguments"])
    everything = Comparisons(tuple(prompts), tuple(first), tuple(second), np.array(outcome), np.array(weight))
    rest, held_out = split_held_out_pairs(everything, 0.2, split)
    fit, validation = split_held_out_pairs(rest, 0.15, split + 100)
    return Task("UKPConvArg1", "32 topics", fit, validation, held_out), make_tabular(names)


def _symbols(count: int) -> list[str]:
    return [chr(0x4E00 + k) for k in range(count)]


def measure(
    task: Task, make: Make, config: FitConfig, *, split: int, seed: int, discs: Sequence[int], auto: bool
) -> tuple[list[dict[str, Any]], EvaluationReport | None]:
    """One row for Bradley-Terry, one for each fixed number of discs and one for the number chosen by validation."""
    config = replace(config, seed=seed)
    rows: list[dict[str, Any]] = []
    models: dict[int, Any] = {}
    report = None

    def row(label: str, count: int, model: Any, seconds: float) -> None:
        found = evaluate(model, models[0], task.held_out, replicates=200, seed=seed)
        rows.append(
            {
                "task": task.name,
                "condition": task.condition,
                "model": label,
                "split": split,
                "seed": seed,
                "discs": count,
                "accuracy": found.accuracy.model,
                "log_loss": found.log_loss.model,
                "ece": found.ece.model,
                "excess_log_loss": found.log_loss.difference,
                "low": found.log_loss.low,
                "high": found.log_loss.high,
                "seconds": seconds,
            }
        )

    for count in (0, *discs):
        began = time.perf_counter()
        models[count] = make(count, seed)
        fit_preference_model(models[count], task.fit, task.validation, config)
        fit_temperature(models[count], task.validation)
        row("Bradley-Terry" if count == 0 else f"{count} discs", count, models[count], time.perf_counter() - began)
    if auto:
        began = time.perf_counter()
        chosen = choose_discs(lambda count: make(count, seed), task.fit, task.validation, config, num_discs=CANDIDATES)
        fit_temperature(chosen.model, task.validation)
        row("chosen discs", chosen.num_discs, chosen.model, time.perf_counter() - began)
        report = evaluate(chosen.model, models[0], task.held_out, seed=seed)
    return rows, report


def missed_bars(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What fell short, in words."""

    def values(task: str, condition: str, model: str, key: str = "accuracy") -> FloatArray:
        where = (task, condition, model)
        return np.array([row[key] for row in rows if (row["task"], row["condition"], row["model"]) == where])

    texts = "3- and 5-cycles, new texts"
    wanted = [
        ("Blotto", "exact", "Bradley-Terry", "accuracy", "<=", 0.70),
        ("Blotto", "exact", "2 discs", "accuracy", ">=", 0.95),
        ("Blotto", "exact", "chosen discs", "accuracy", ">=", 0.95),
        ("texts", texts, "Bradley-Terry", "accuracy", "<=", 0.70),
        ("texts", texts, "Bradley-Terry", "log_loss", ">=", 0.66),
        ("texts", texts, "4 discs", "accuracy", ">=", 0.98),
    ]
    missed = []
    for task, condition, model, key, sign, bar in wanted:
        found = values(task, condition, model, key)
        if found.size and not (found.mean() <= bar if sign == "<=" else found.mean() >= bar):
            missed.append(f"{task}, {condition}, {model}: {key} {found.mean():.3f}, the bar is {sign} {bar}")
    for row in rows:
        if row["task"] in ("transitive", "UKPConvArg1") and row["model"] == "chosen discs" and row["low"] > 0.0:
            missed.append(f"{row['task']}, split {row['split']}: {row['excess_log_loss']:.4f} nats above Bradley-Terry")
    return missed


def _print(rows: Sequence[dict[str, Any]]) -> None:
    """Means over splits and seeds of one condition, a line a model."""
    for model in dict.fromkeys(row["model"] for row in rows):
        mine = [row for row in rows if row["model"] == model]
        accuracy, loss = (np.array([row[key] for row in mine]) for key in ("accuracy", "log_loss"))
        counts = sorted({row["discs"] for row in mine})
        discs = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]}-{counts[-1]}"
        error = np.mean([row["ece"] for row in mine])
        print(
            f"{mine[0]['task']:12} {mine[0]['condition']:27} {model:14} {discs:>5}  {accuracy.mean():.3f} "
            f"[{accuracy.min():.3f}, {accuracy.max():.3f}]   {loss.mean():.3f}   {error:.3f}"
            f"   {np.mean([row['seconds'] for row in mine]):6.1f}",
            flush=True,
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, save; 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="one split and seed of exact Blotto and of few transitive votes"
    )
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("REBEL_PREF_DATA") or beside))
    arguments = parser.parse_args(argv)
    torch.set_num_threads(arguments.threads)
    transformers.utils.logging.disable_progress_bar()
    first, quick = arguments.seed, arguments.quick
    splits, seeds = (range(first, first + (1 if quick else n)) for n in (4, 2))
    tabular = replace(TABULAR, steps=250) if quick else TABULAR
    real = arguments.data / "ukpconvarg1" / "ukpconvarg1_counts.jsonl.gz"
    plan: list[list[tuple[Any, ...]]] = [
        [(blotto, (split, None), tabular, split, seed, (2,), not quick) for split in splits for seed in seeds]
    ]
    if quick:
        plan.append([(transitive, (first, 12, 2), tabular, first, first, (), True)])
    else:
        for votes in (1, 5, 50):
            plan.append([(blotto, (split, votes), tabular, split, first, (2,), True) for split in splits[:2]])
        plan.append([(cyclic_texts, (seed,), TEXT, seed, seed, (4,), False) for seed in seeds])
        plan.append([(transitive, (split,), tabular, split, first, (2,), True) for split in splits[:2]])
        if real.exists():
            plan.append([(ukp, (real, split), tabular, split, first, (2,), True) for split in splits[:2]])
    print(f"{'task':12} {'condition':27} {'model':14} {'discs':>5}  accuracy               log-loss ECE  seconds")
    rows: list[dict[str, Any]] = []
    verdicts = []
    for group in plan:
        found = []
        for build, asked, config, split, seed, discs, auto in group:
            task, make = build(*asked)
            part, report = measure(task, make, config, split=split, seed=seed, discs=discs, auto=auto)
            found += part
            if report is not None:
                verdicts.append({"task": task.name, "condition": task.condition, "split": split} | report.as_dict())
        rows += found
        _print(found)
    if not quick and not real.exists():
        print(f"UKPConvArg1 is left out: no {real}; name the data folder with --data")
    for name in dict.fromkeys((one["task"], one["condition"]) for one in verdicts):
        told = [one["verdict"] for one in verdicts if (one["task"], one["condition"]) == name]
        for sentence in dict.fromkeys(told):
            print(f"{name[0]}, {name[1]}: {sentence} ({told.count(sentence)} of {len(told)})")
    missed = missed_bars(rows)
    extra = {"seed": first, "threads": arguments.threads, "quick": quick, "missed": missed, "verdicts": verdicts}
    save_table(arguments.out, "preference_models", rows, extra)
    for line in missed:
        print(f"missed: {line}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
