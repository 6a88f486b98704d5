"""``rebel-pref fit DATA``: a preference model from comparisons, and whether they needed more than Bradley-Terry.

1. the data          a held-out part to judge by, a validation part to choose by, the rest to fit
2. Bradley-Terry     the baseline: one score a response
3. the model         as many discs as pay on the validation part; one temperature, fitted there too
4. the verdict       both on the held-out part, with intervals
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from accelerate import Accelerator
from jsonargparse import ArgumentParser, Namespace
from jsonargparse.typing import NonNegativeInt, PositiveInt

from preference_models.checkpoints import fingerprint
from preference_models.comparisons import TextComparisons
from preference_models.data import load_comparisons
from preference_models.losses import LOSSES
from preference_models.splits import SPLITS, split_held_out
from preference_models.training import FitConfig
from rebel_pref.atomic import write_text
from rebel_pref.cli.console import Display
from rebel_pref.cli.fit_models import KINDS, WITHOUT_DISCS, model_maker
from rebel_pref.cli.fit_run import LOOKS, FitRun, carry_out
from rebel_pref.cli.options import parsed
from rebel_pref.selfplay.checkpoints import difference

__all__ = ["run"]

CANDIDATES = (0, 1, 2, 4, 8)
PATIENCE = 5  # Looks at the validation loss without progress after which a fit stops.
POOLINGS = ("auto", "last", "mean")
_WRITTEN = ("model", ".model.old", "checkpoints", "trackers", "calibration.json", "metrics.json", "config.json")
_PLACE = ("out", "json", "threads", "resume", "overwrite", "trackers", "shard")


def run(argv: Sequence[str]) -> int:
    """Parse, fit, print, write; 1 where the model came out worse than Bradley-Terry."""
    arguments = parsed(_parser(), argv)
    discs = _check(arguments)
    torch.set_num_threads(arguments.threads)
    transformers.utils.logging.disable_progress_bar()
    data = load_comparisons(arguments.data, split=arguments.dataset_split)
    rest, test = split_held_out(data, arguments.held_out, arguments.seed, by=arguments.split)
    try:
        train, validation = split_held_out(rest, arguments.held_out, arguments.seed + 1, by=arguments.split)
    except ValueError as error:
        raise ValueError(
            f"{arguments.data}: with a part held out there is too little left to choose by and to fit: {error}"
        ) from error
    make, make_baseline = (
        model_maker(
            arguments.model,
            kind,
            data,
            hidden=arguments.hidden,
            pooling=None if arguments.pooling == "auto" else arguments.pooling,
            lora=arguments.lora,
            seed=arguments.seed,
        )
        for kind in (arguments.kind, "bradley_terry")
    )
    out = Path(arguments.out)
    accelerator = _accelerator(arguments, out)
    if accelerator.is_main_process:
        _prepare_folder(out, arguments, data)
    accelerator.wait_for_everyone()
    display = Display(quiet=arguments.json or not accelerator.is_main_process)
    display.stage(
        "data",
        f"{len(data):,} comparisons of {len(set(data.prompts)):,} prompts: {len(train):,} to fit, "
        f"{len(validation):,} to choose by, {len(test):,} held out by {arguments.split}",
    )
    plan = FitRun(
        train=train,
        validation=validation,
        test=test,
        config=_fit_config(arguments),
        discs=discs,
        make=make,
        make_baseline=make_baseline,
        kind=arguments.kind,
        shard=arguments.shard,
        out=out,
        accelerator=accelerator,
        trackers=bool(arguments.trackers),
        display=display,
        level=arguments.level,
        replicates=arguments.bootstrap,
        told={name: getattr(arguments, name) for name in ("data", "model", "split", "lora")},
    )
    if arguments.resume and (out / "metrics.json").exists():  # The last file of a run.
        result = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
        display.stage("finished", f"{out} holds the whole run: {result['verdict']}")
    else:
        result = _carry_out(plan)
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        shutil.rmtree(out / "checkpoints", ignore_errors=True)
        if arguments.json:
            print(json.dumps(result))
    return 1 if result["evaluation"]["worse"] else 0


def _carry_out(plan: FitRun) -> dict[str, Any]:
    try:
        return carry_out(plan)
    except Exception:
        # Refused before the first checkpoint: the next call need not ask for an overwrite.
        made = {entry.name for entry in plan.out.iterdir()} & set(_WRITTEN)
        if plan.accelerator.is_main_process and made <= {"config.json", "trackers"}:
            _delete_run(plan.out)
            if not any(plan.out.iterdir()):
                plan.out.rmdir()
        raise


def _accelerator(arguments: Namespace, out: Path) -> Accelerator:
    accelerator = Accelerator(
        cpu=not torch.accelerator.is_available(),
        log_with=list(arguments.trackers) or None,
        project_dir=str(out / "trackers"),
    )
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    if accelerator.num_processes != launched:
        raise ValueError(
            f"{launched} processes were launched and accelerate connected {accelerator.num_processes} of them, as it "
            "does with --use_fsdp on a CPU; launch without it and give --shard true"
        )
    return accelerator


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="rebel-pref fit",
        description="Fit a pairwise preference model to comparisons, and say on held-out ones whether it beats a "
        "Bradley-Terry model (one score a response). Writes OUT/model, OUT/metrics.json and OUT/calibration.json.",
        exit_on_error=False,
        default_env=False,
        allow_abbrev=False,
    )
    whole, natural = PositiveInt, NonNegativeInt
    add = parser.add_argument
    add("data", type=str, help="comparisons: .jsonl, .json, .csv (or .gz of them), .parquet, or a dataset's folder")
    add("--model", type=str, default="small", metavar="PATH", help="folder of a Hugging Face backbone, or small")
    add("--kind", type=str, default="hybrid", metavar="NAME", help=f"one of {', '.join(KINDS)}")
    add("--discs", type=str, default="auto", metavar="N", help="cyclic components; auto lets the validation choose")
    add("--split", type=str, default="pair", metavar="NAME", help=f"what is held out, one of {', '.join(SPLITS)}")
    add("--held-out", type=float, default=0.2, metavar="X", help="share held out; of the rest, share to choose by")
    add("--out", type=str, default="runs/fit", metavar="DIR", help="where the model and the numbers go")
    add("--seed", type=natural, default=0, metavar="N", help="of splits, weights, batches and intervals")
    add("--steps", type=whole, default=1000, metavar="N", help="most optimiser steps of a fit")
    add("--batch-size", type=whole, default=256, metavar="N", help="comparisons a step")
    add(
        "--learning-rate",
        type=float,
        default=0.0,
        metavar="X",
        help="peak; 0 takes 3e-3 if small, else 2e-5, with --lora 2e-4",
    )
    add("--weight-decay", type=float, default=0.01, metavar="X", help="of AdamW")
    add("--disc-shrinkage", type=float, default=0.001, metavar="X", help="pull of the discs towards 0")
    add("--loss", type=str, default="logistic", metavar="NAME", help=f"one of {', '.join(LOSSES)}")
    add("--label-noise", type=float, default=0.0, metavar="X", help="probability of a flipped vote to reckon with")
    add(
        "--micro-batch-size",
        type=natural,
        default=0,
        metavar="N",
        help="most comparisons in one pass; 0 for any number",
    )
    add("--lora", type=natural, default=0, metavar="RANK", help="of adapters, merged in the end; 0 fits all weights")
    add("--pooling", type=str, default="auto", metavar="NAME", help=f"of a response's states: {', '.join(POOLINGS)}")
    add("--shard", type=bool, default=False, metavar="true|false", help="split the model over the processes (FSDP)")
    add("--hidden", type=whole, default=32, metavar="N", help="width of a small model, even")
    add("--level", type=float, default=0.95, metavar="X", help="of the intervals")
    add("--bootstrap", type=whole, default=1000, metavar="N", help="replicates of the intervals")
    add("--dataset-split", type=str, default=None, metavar="NAME", help="of a dataset's folder with several")
    add("--trackers", type=tuple[str, ...], default=(), metavar="[NAME]", help="of accelerate, as [tensorboard]")
    add("--threads", type=whole, default=1, metavar="N", help="of torch on a CPU")
    add("--resume", type=bool, default=False, metavar="true|false", help="go on with a run that was stopped")
    add("--overwrite", type=bool, default=False, metavar="true|false", help="delete the run that is in OUT")
    add("--json", action="store_true", help="print metrics.json instead of tables")
    return parser


def _check(arguments: Namespace) -> tuple[int, ...]:
    """The numbers of discs to try; refuses what makes no sense before anything is read."""
    for name, known in (("kind", KINDS), ("split", SPLITS), ("loss", LOSSES), ("pooling", POOLINGS)):
        if getattr(arguments, name) not in known:
            raise ValueError(f"--{name}: expected one of {', '.join(known)}, got {getattr(arguments, name)!r}")
    if not 0.0 < arguments.held_out < 1.0:
        raise ValueError(f"--held-out: expected a share between 0 and 1, got {arguments.held_out}")
    if not 0.0 < arguments.level < 1.0:
        raise ValueError(f"--level: expected a number between 0 and 1, got {arguments.level}")
    _fit_config(arguments)
    asked = arguments.discs
    if arguments.kind in WITHOUT_DISCS:
        if asked != "auto":
            raise ValueError(f"--discs: a {arguments.kind} model has none, got {asked!r}")
        return ()
    if asked == "auto":
        return CANDIDATES
    if not asked.isdecimal():
        raise ValueError(f"--discs: expected auto or a whole number, not negative, got {asked!r}")
    if int(asked) == 0:
        raise ValueError("--discs: 0 discs are a Bradley-Terry model; ask for --kind bradley_terry")
    return (int(asked),)


def _fit_config(arguments: Namespace) -> FitConfig:
    usual = 3e-3 if arguments.model == "small" else 2e-4 if arguments.lora else 2e-5
    return FitConfig(
        steps=arguments.steps,
        batch_size=arguments.batch_size,
        comparisons_per_prompt=arguments.batch_size,
        learning_rate=arguments.learning_rate or usual,
        weight_decay=arguments.weight_decay,
        disc_shrinkage=arguments.disc_shrinkage,
        loss=arguments.loss,
        label_noise=arguments.label_noise,
        warmup_steps=min(50, max(1, arguments.steps // 10)),  # Patience must outlast it.
        evaluate_every=max(1, arguments.steps // LOOKS),
        patience=PATIENCE,
        micro_batch_size=arguments.micro_batch_size or None,
        seed=arguments.seed,
    )


def _prepare_folder(out: Path, arguments: Namespace, data: TextComparisons) -> None:
    """Make the folder; a run that is there is resumed or deleted only if that was asked for."""
    if out.exists() and not out.is_dir():
        raise NotADirectoryError(f"--out: {out} is a file; give a folder")
    wanted = {k: v for k, v in vars(arguments).items() if k not in _PLACE} | {"data_sha256": fingerprint(data)}
    stored = out / "config.json"
    found = _stored_settings(stored)
    if found is not None and arguments.resume:
        asked = json.loads(json.dumps(wanted))
        if found != asked:
            raise ValueError(
                f"{out} holds a run with other settings: {difference(found, asked)}; give the same ones, or another "
                "--out"
            )
        return
    if out.exists() and any(out.iterdir()):
        others = not any((out / name).exists() for name in _WRITTEN)  # Beside which an overwrite writes.
        if found is None and not (arguments.overwrite and others):
            raise ValueError(f"--out: {out} is not empty and holds no fit; give another folder")
        if not arguments.overwrite:
            raise ValueError(f"--out: {out} holds a fit: --resume true goes on with it, --overwrite true deletes it")
        for name in ("data", "model"):
            place = Path(getattr(arguments, name)).resolve()
            if any((out / written).resolve() in (place, *place.parents) for written in _WRITTEN):
                raise ValueError(f"--overwrite: {name} {getattr(arguments, name)} lies in {out}; give another --out")
        _delete_run(out)
    out.mkdir(parents=True, exist_ok=True)
    write_text(stored, json.dumps(wanted, indent=1) + "\n")


def _delete_run(out: Path) -> None:
    """What a fit writes; whatever else is in the folder is not ours."""
    for name in _WRITTEN:
        place = out / name
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        else:
            place.unlink(missing_ok=True)


def _stored_settings(path: Path) -> dict[str, Any] | None:
    """The settings of a fit; None for no file, or one that is somebody else's (every model has a config.json)."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and {"data", "model", "kind", "steps"} <= found.keys() else None
