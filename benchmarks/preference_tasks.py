"""What the preference models are measured on: games and texts with a known judge, and arguments that people judged."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import BertConfig

import rebel_pref as rp
from preference_models import (
    BradleyTerryConfig,
    BradleyTerryModel,
    HybridPreferenceConfig,
    HybridPreferenceModel,
    TextComparisons,
    character_tokenizer,
    small_backbone,
    split_held_out,
)

__all__ = ["TEXTS", "Make", "Task", "blotto", "cyclic_texts", "transitive", "ukp"]

FLIP = 0.1
TEXTS = "3- and 5-cycles, new texts"
Make = Callable[[int, int], Any]
"""From a number of discs (0 is Bradley-Terry) and a seed to a fresh model."""


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
    fit: TextComparisons
    validation: TextComparisons
    held_out: TextComparisons


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


def make_text(data: TextComparisons, hidden: int = 32) -> Make:
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


def with_votes(truth: TextComparisons, votes: int, rng: np.random.Generator) -> TextComparisons:
    """The same pairs, `votes` noisy verdicts on each: the judge names the loser one time in ten."""
    share = FLIP + (1 - 2 * FLIP) * truth.outcome
    return replace(truth, outcome=rng.binomial(votes, share) / votes, weight=np.full(len(truth), float(votes)))


def blotto(split: int, votes: int | None) -> tuple[Task, Make]:
    """All 2,145 pairs of the 66 allocations."""
    game = rp.games.blotto(10, (1.0, 1.0, 1.0))
    items = _symbols(len(game))
    i, j = np.triu_indices(len(game), 1)
    outcome = 0.5 + 0.5 * np.sign(game.payoff[i, j])
    everything = TextComparisons(("",) * len(i), tuple(items[k] for k in i), tuple(items[k] for k in j), outcome)
    rest, held_out = split_held_out(everything, 0.2, split)
    if votes is not None:
        rest = with_votes(rest, votes, np.random.default_rng([split, votes]))
    fit, validation = split_held_out(rest, 0.15, split + 100)
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

    def draw(places: Any, count: int) -> TextComparisons:
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
        return TextComparisons(prompts, first, second, np.array(outcome))

    drawn = {name: draw(places, pairs if name == "fit" else 400) for name, places in parts.items()}
    return Task("texts", TEXTS, **drawn), make_text(drawn["fit"])


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
    everything = TextComparisons(asked, first, second, np.array(columns[3]), np.full(len(columns[3]), 3.0))
    rest, held_out = split_held_out(everything, 0.2, seed)
    fit, validation = split_held_out(rest, 0.15, seed + 100)
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
    everything = TextComparisons(tuple(prompts), tuple(first), tuple(second), np.array(outcome), np.array(weight))
    rest, held_out = split_held_out(everything, 0.2, split)
    fit, validation = split_held_out(rest, 0.15, split + 100)
    return Task("UKPConvArg1", "32 topics", fit, validation, held_out), make_tabular(names)


def _symbols(count: int) -> list[str]:
    return [chr(0x4E00 + k) for k in range(count)]
