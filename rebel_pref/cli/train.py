"""``rebel-pref train``: from comparisons to a certified minimax-winner language model, one straight program.

1. the game          prompts, legal completions, the true judge
2. the start         a small model supervised on uniform legal completions, or a given checkpoint
3. the preferences   noisy votes; a hybrid and a Bradley-Terry model fitted to the same ones
4. self-play         against the hybrid model, and the same trainer on the Bradley-Terry scores
5. the certificate   exploitability against the true judge, beside the LP minimax winner; figures, report

A run that was stopped goes on with ``--resume true``: stages that are done are read back from its folder.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jsonargparse
import numpy as np
import torch
import transformers
import yaml
from accelerate import PartialState
from docstring_parser import DocstringStyle

from preference_models import (
    BradleyTerryModel,
    HybridPreferenceModel,
    ask,
    character_tokenizer,
    draw_comparisons,
    fit_preference_model,
    near_misses,
    small_bradley_terry_model,
    small_hybrid_model,
    split_held_out,
)
from preference_models.comparisons import TextComparisons
from preference_models.training import FitConfig
from rebel_pref.atomic import new_folder, write_text
from rebel_pref.cli.config import TrainConfig, recipe_path, recipes
from rebel_pref.cli.console import Display
from rebel_pref.cli.results import RunResult, held_out_words, write_results
from rebel_pref.games import TextGame
from rebel_pref.policies import LanguageModelPolicy, fit_supervised, tiny_language_model
from rebel_pref.preferences import PreferenceOracle
from rebel_pref.selfplay import SelfPlayTrainer, TextGameEvaluator, enumerate_policy
from rebel_pref.selfplay.checkpoints import difference, what_matters

__all__ = ["parse", "run", "train"]


def run(argv: Sequence[str]) -> int:
    """Parse the command line and train; 1 if the last iterate is no less exploitable than the start."""
    name, config = parse(argv)
    out = Path(config.out or f"runs/{name}")
    summary = train(dataclasses.replace(config, out=str(out)), out)
    return 0 if summary is None or summary["exploitability"]["last"] < summary["exploitability"]["start"] else 1


def parse(argv: Sequence[str]) -> tuple[str, TrainConfig]:
    """The recipe's name and the settings: defaults, then the recipe, then flags."""
    # Without this the parser guesses a docstring's style, and guesses wrong.
    jsonargparse.set_parsing_settings(docstring_parse_style=DocstringStyle.NUMPYDOC)
    parser = jsonargparse.ArgumentParser(
        prog="rebel-pref train RECIPE",
        usage="rebel-pref train RECIPE|CONFIG.yaml [--setting value ...]",
        description="Self-play fine-tuning from a recipe or a YAML file. Flags override the file.\n"
        f"Recipes: {', '.join(recipes())}.",
        exit_on_error=False,
        default_env=False,
        allow_abbrev=False,
    )
    parser.add_argument("--config", action="config", help="a YAML file with any of the settings below")
    parser.add_class_arguments(TrainConfig, as_group=False)
    rest = list(argv)
    if rest and not rest[0].startswith("-"):
        path = recipe_path(rest.pop(0))
        rest = ["--config", str(path), *rest]
        name = path.stem
    else:
        name = "run"
        if not any(flag.startswith(("-h", "--help", "--config", "--print_config")) for flag in rest):
            raise ValueError(f"say first what to train: a recipe ({', '.join(recipes())}) or a YAML file")
    parsed = parser.instantiate(parser.parse_args(rest))
    settings = {key: value for key, value in vars(parsed).items() if key != "config"}
    return name, TrainConfig(**settings)


@dataclasses.dataclass(frozen=True)
class _FittedModels:
    hybrid: HybridPreferenceModel
    bradley_terry: BradleyTerryModel
    report: dict[str, float | None]


def train(config: TrainConfig, out: Path) -> dict[str, Any] | None:
    """Run the five stages; see the module. Returns summary.json, on the main process."""
    started = time.perf_counter()
    torch.set_num_threads(config.threads)
    transformers.utils.logging.disable_progress_bar()  # Its bars for small files would break up ours.
    config.self_play.check()
    state = PartialState(cpu=not torch.accelerator.is_available())
    settings = yaml.safe_dump(json.loads(json.dumps(dataclasses.asdict(config))), sort_keys=False)
    display = Display(quiet=not state.is_main_process)
    # The game: prompts, legal completions and the true judge. Built before anything is written.
    game = config.game.build()
    if state.is_main_process:
        _prepare_folder(out, settings, resume=config.resume, overwrite=config.overwrite)
    state.wait_for_everyone()
    sizes = sorted({len(one) for one in game.games})
    display.stage("game", f"{len(game.prompts)} prompts, {'-'.join(map(str, sizes))} legal completions each")

    # The start and the preference models: made by the main process, read by all, so that all hold the same.
    if state.is_main_process:
        _make_start(config, game, out / "start", display)
        if config.oracle == "fitted":
            _fit_models(config, game, out, display)
    state.wait_for_everyone()
    fitted = _read_models(out, state.device) if config.oracle == "fitted" else None
    oracle: PreferenceOracle = game if fitted is None else fitted.hybrid

    # Self-play, and the contrast: the same everything on the Bradley-Terry scores.
    trainer, evaluator = _self_play(config, game, oracle, out, display, "self-play")
    contrast = None
    if fitted is not None and config.contrast:
        contrast = _self_play(config, game, fitted.bradley_terry, out / "bradley_terry", display, "Bradley-Terry")[1]

    # The certificate.
    summary = None
    result = RunResult(
        game=game,
        config=config,
        start=enumerate_policy(trainer.reference, game),
        magnet=enumerate_policy(trainer.magnet, game),
        evaluator=evaluator,
        bradley_terry=contrast,
        preference_report={} if fitted is None else fitted.report,
        preference_tables={}
        if fitted is None
        else {"hybrid": _tables(fitted.hybrid, game), "bradley_terry": _tables(fitted.bradley_terry, game)},
        counts=dict(trainer.counts),
        seconds=time.perf_counter() - started,
    )
    if state.is_main_process:
        assert isinstance(trainer.policy, LanguageModelPolicy)
        _whole(out / "model", trainer.policy.save)
        summary = write_results(out, result, settings, display)
    state.wait_for_everyone()
    return summary


def _make_start(config: TrainConfig, game: TextGame, folder: Path, display: Display) -> None:
    if folder.exists():
        display.stage("start", f"read back from {folder}")
        return
    completions = [one.labels for one in game.games]
    if config.model is not None:
        policy = LanguageModelPolicy.from_pretrained(
            config.model, max_new_tokens=1, trust_remote_code=config.start.trust_remote_code
        )
        display.stage("start", f"{config.model} as it is")
    else:
        start = config.start
        policy = tiny_language_model(
            character_tokenizer(_alphabet(game)),
            max_new_tokens=1,
            hidden_size=start.hidden_size,
            layers=start.layers,
            heads=start.heads,
            seed=config.seed,
        )
        with display.progress("supervised", start.supervised.steps) as advance:
            loss = fit_supervised(
                policy, game.prompts, completions, start.supervised, seed=config.seed, progress=advance
            )
        count = sum(parameter.numel() for parameter in policy.model.parameters())
        display.stage("start", f"Llama with {count:,} parameters, supervised to {loss:.3f} nats a completion")
    _whole(folder, policy.save)


def _read_start(config: TrainConfig, game: TextGame, folder: Path) -> LanguageModelPolicy:
    policy = LanguageModelPolicy.from_pretrained(
        str(folder),
        max_new_tokens=config.start.max_new_tokens or 1,
        temperature=config.start.temperature,
        trust_remote_code=config.start.trust_remote_code,
    )
    completions = policy.encode(game.prompts, [one.labels for one in game.games])
    longest = max(map(len, completions.tokens))
    if not config.start.max_new_tokens:
        policy.max_new_tokens = longest + 2
    elif policy.max_new_tokens < longest:
        raise ValueError(
            f"start.max_new_tokens = {policy.max_new_tokens} cuts legal completions, which have up to {longest} tokens "
            "with the end: raise it, or leave it at 0"
        )
    return policy


def _fit_models(config: TrainConfig, game: TextGame, out: Path, display: Display) -> None:
    hybrid_folder, bradley_terry_folder = out / "preference_model", out / "preference_model_bradley_terry"
    if hybrid_folder.exists() and bradley_terry_folder.exists():
        display.stage("preferences", f"read back from {hybrid_folder}")
        return
    settings = config.preferences
    warm = _read_start(config, game, out / "start")
    warm.temperature *= settings.warm_temperature
    comparisons = _votes(config, game, warm)
    training, held_out, truth = comparisons, None, None
    if settings.held_out > 0.0:
        training, held_out = split_held_out(comparisons, settings.held_out, config.seed)
        truth = ask(game, held_out.prompts, held_out.first, held_out.second)
    tokenizer = character_tokenizer(_alphabet(game))
    # Room for anything that the policy can write: a token such as <unk> is spelled out when it is judged.
    spelled = max(6, *map(len, warm.tokenizer.get_vocab()))
    longest = max(map(len, game.prompts)) + spelled * warm.max_new_tokens + 2
    size = {"hidden": settings.hidden_size, "max_length": longest, "seed": config.seed}
    hybrid = small_hybrid_model(tokenizer, num_discs=settings.num_discs, **size)
    bradley_terry = small_bradley_terry_model(tokenizer, **size)
    report: dict[str, float | None] = {"votes": float(len(comparisons))}
    fits: tuple[tuple[str, HybridPreferenceModel | BradleyTerryModel, FitConfig], ...] = (
        ("hybrid", hybrid, settings.hybrid),
        ("bradley_terry", bradley_terry, settings.bradley_terry),
    )
    for name, model, asked in fits:
        fit = dataclasses.replace(asked, label_noise=asked.label_noise or settings.flip)
        with display.progress(name.replace("_", "-"), fit.steps) as advance:
            done = fit_preference_model(model, training, held_out, fit, truth=truth, progress=_ignoring_loss(advance))
        report |= {
            f"{name}_held_out_accuracy": done.held_out_accuracy,
            f"{name}_true_accuracy": done.truth_accuracy,
            f"{name}_held_out_log_loss": done.held_out_log_loss,
        }
        display.stage(
            name.replace("_", "-"),
            held_out_words(report, name),
        )
    write_text(out / "preferences.json", json.dumps(report, indent=1))
    _whole(bradley_terry_folder, bradley_terry.save_pretrained)
    _whole(hybrid_folder, hybrid.save_pretrained)


def _ignoring_loss(advance: Callable[[int], None]) -> Callable[[int, float], None]:
    return lambda step, loss: advance(1)


def _votes(config: TrainConfig, game: TextGame, start: LanguageModelPolicy) -> TextComparisons:
    """Votes of the noisy judge on uniform legal completions, and some of legal against illegal ones.

    The illegal ones are what the start writes when sampled warm, and near misses of the legal ones. A model
    fitted to legal text alone says anything about the rest, and self-play finds out: without these votes the
    policy drifts to eleven soldiers.
    """
    settings = config.preferences
    legal = [list(one.labels) for one in game.games]
    votes = draw_comparisons(
        game, game.prompts, legal, votes=settings.votes, flip=settings.flip, seed=_derived(config.seed, 1)
    )
    if not settings.illegal_votes:
        return votes
    alphabet = "".join(sorted({c for text in _legal(game) for c in text}))
    rngs = [np.random.default_rng(_derived(config.seed, 100 + b)) for b in range(len(game.prompts))]
    warm = start.sample(game.prompts, settings.warm_samples, rngs)
    near = near_misses(_legal(game), alphabet, count=settings.near_misses, seed=_derived(config.seed, 2))
    candidates = sorted({*warm.texts, *near})
    malformed = [[text for text in candidates if not game.is_legal(prompt, text)] for prompt in game.prompts]
    against = draw_comparisons(
        game,
        game.prompts,
        legal,
        malformed,
        votes=settings.illegal_votes,
        flip=settings.flip,
        seed=_derived(config.seed, 0),
    )
    return TextComparisons.join(votes, against)


def _read_models(out: Path, device: torch.device) -> _FittedModels:
    return _FittedModels(
        HybridPreferenceModel.from_pretrained(out / "preference_model").to(device),
        BradleyTerryModel.from_pretrained(out / "preference_model_bradley_terry").to(device),
        json.loads((out / "preferences.json").read_text(encoding="utf-8")),
    )


def _self_play(
    config: TrainConfig, game: TextGame, oracle: PreferenceOracle, out: Path, display: Display, name: str
) -> tuple[SelfPlayTrainer, TextGameEvaluator]:
    root = out if name == "self-play" else out.parent
    policy = _read_start(config, game, root / "start")
    rounds = config.self_play.rounds
    evaluator = TextGameEvaluator(game, snapshots=sorted({0, rounds // 8, rounds // 4, rounds // 2, rounds}))
    with display.progress(name, rounds) as advance:

        def show(metrics: Mapping[str, float]) -> None:
            if metrics["round"]:
                advance(1)
            if "exploitability" in metrics:
                display.note(f"best responder wins {50 + 50 * metrics['exploitability']:.1f} %")

        trainer = SelfPlayTrainer(
            policy,
            oracle,
            game.prompts,
            config.self_play,
            seed=config.seed,
            out=out,
            evaluator=evaluator,
            progress=show,
        )
        trainer.train(resume=config.resume)
    last = game.exploitability(evaluator.last) if evaluator.last else float("nan")
    display.stage(
        name,
        f"{trainer.counts['completions']:,} completions, {trainer.counts['queries']:,} queries; "
        f"last iterate: a best responder wins {50 + 50 * last:.1f} %",
    )
    return trainer, evaluator


def _tables(model: PreferenceOracle, game: TextGame) -> list[np.ndarray]:
    """The model's win probabilities on every prompt's legal completions, B arrays [n, n]."""
    return [model.prefer([prompt], [one.labels])[0] for prompt, one in zip(game.prompts, game.games, strict=True)]


def _prepare_folder(out: Path, settings: str, *, resume: bool, overwrite: bool) -> None:
    """Make the run's folder. A run that is there is resumed or deleted only if that was asked for."""
    if out.exists() and not out.is_dir():
        raise NotADirectoryError(f"the run's folder {out} is a file; choose another with --out")
    stored = out / "config.yaml"
    if resume and stored.exists():
        _check_same(yaml.safe_load(stored.read_text(encoding="utf-8")), yaml.safe_load(settings), out)
        return
    if out.exists() and any(out.iterdir()):
        if not stored.exists():
            raise ValueError(f"{out} is not empty and holds no run; choose another folder with --out")
        if not overwrite:
            raise ValueError(
                f"{out} holds a run: --resume true goes on with it, --overwrite true deletes it and starts anew"
            )
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    write_text(stored, settings)


def _check_same(stored: dict[str, Any], wanted: dict[str, Any], out: Path) -> None:
    """Refuse to resume with settings that would mix two runs; where and how it runs may change."""
    for name in ("out", "threads", "resume", "overwrite"):
        stored.pop(name, None)
        wanted.pop(name)
    for settings in (stored, wanted):
        settings["self_play"] = what_matters(settings["self_play"])
    if stored != wanted:
        raise ValueError(
            f"{out} holds a run with other settings: {difference(stored, wanted)}; resume with the same ones (its "
            "config.yaml is a recipe), or give another --out"
        )


def _whole(folder: Path, save: Callable[[Path], object]) -> None:
    """Write a folder so that one that exists is whole."""
    with new_folder(folder) as staging:
        save(staging)


def _alphabet(game: TextGame) -> str:
    return "".join(sorted({c for text in (*game.prompts, *_legal(game)) for c in text}))


def _legal(game: TextGame) -> list[str]:
    return [label for one in game.games for label in one.labels]


def _derived(seed: int, purpose: int) -> int:
    return int(np.random.SeedSequence([seed, 7, purpose]).generate_state(1)[0])
