"""``rebel-pref fit DATA``: a preference model from comparisons, and whether they needed more than Bradley-Terry.

1. the data          a held-out part to judge by, a validation part to choose by, the rest to fit
2. Bradley-Terry     the baseline: one score a response
3. the model         as many discs as pay on the validation part; one temperature, fitted there too
4. the verdict       both on the held-out part, with intervals
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from accelerate import Accelerator
from jsonargparse import ArgumentParser, Namespace
from jsonargparse.typing import NonNegativeInt, PositiveInt

from preference_models.calibration import fit_temperature
from preference_models.comparisons import Comparisons
from preference_models.data import load_comparisons
from preference_models.evaluation import MEASURES, EvaluationReport, comparison_logits, evaluate, reliability
from preference_models.losses import LOSSES
from preference_models.selection import Candidate, choose_discs
from preference_models.splits import SPLITS, split_held_out
from preference_models.training import FitConfig, FitReport, fit_preference_model
from rebel_pref.cli.console import Display
from rebel_pref.cli.fit_models import KINDS, chat_tokenizer, model_maker
from rebel_pref.cli.options import parsed
from rebel_pref.record import provenance
from rebel_pref.selfplay.checkpoints import write_text

__all__ = ["run"]

CANDIDATES = (0, 1, 2, 4, 8)
LOOKS = 20  # at the validation loss, and after PATIENCE of them without progress a fit stops.
PATIENCE = 5
_PLACE = ("out", "json", "threads", "resume", "overwrite", "trackers")


def run(argv: Sequence[str]) -> int:
    """Parse, fit, print, write; 1 where the model came out worse than Bradley-Terry."""
    arguments = parsed(_parser(), argv)
    discs = _check(arguments)
    torch.set_num_threads(arguments.threads)
    transformers.utils.logging.disable_progress_bar()
    data = load_comparisons(arguments.data, tokenizer=chat_tokenizer(arguments.model), split=arguments.dataset_split)
    rest, test = split_held_out(data, arguments.held_out, arguments.seed, by=arguments.split)
    train, validation = split_held_out(rest, arguments.held_out, arguments.seed + 1, by=arguments.split)
    out = Path(arguments.out)
    accelerator = Accelerator(
        cpu=not torch.accelerator.is_available(),
        log_with=list(arguments.trackers) or None,
        project_dir=str(out / "trackers"),
    )
    if accelerator.is_main_process:
        _prepare_folder(out, arguments)
    accelerator.wait_for_everyone()
    display = Display(quiet=arguments.json or not accelerator.is_main_process)
    display.stage(
        "data",
        f"{len(data):,} comparisons of {len(set(data.prompts)):,} prompts: {len(train):,} to fit, "
        f"{len(validation):,} to choose by, {len(test):,} held out by {arguments.split}",
    )
    result = _fit(arguments, discs, (data, train, validation, test), out, accelerator, display)
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        shutil.rmtree(out / "checkpoints", ignore_errors=True)
        if arguments.json:
            print(json.dumps(result))
    if accelerator.num_processes > 1:
        accelerator.end_training()
    return 1 if result["evaluation"]["log_loss"]["low"] > 0.0 else 0


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
    add("--learning-rate", type=float, default=0.0, metavar="X", help="peak; 0 takes 3e-3 if small, else 2e-5")
    add("--weight-decay", type=float, default=0.01, metavar="X", help="of AdamW")
    add("--disc-shrinkage", type=float, default=0.001, metavar="X", help="pull of the discs towards 0")
    add("--loss", type=str, default="logistic", metavar="NAME", help=f"one of {', '.join(LOSSES)}")
    add("--label-noise", type=float, default=0.0, metavar="X", help="probability of a flipped vote to reckon with")
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
    for name, known in (("kind", KINDS), ("split", SPLITS), ("loss", LOSSES)):
        if getattr(arguments, name) not in known:
            raise ValueError(f"--{name}: expected one of {', '.join(known)}, got {getattr(arguments, name)!r}")
    if not 0.0 < arguments.held_out < 1.0:
        raise ValueError(f"--held-out: expected a share between 0 and 1, got {arguments.held_out}")
    if not 0.0 < arguments.level < 1.0:
        raise ValueError(f"--level: expected a number between 0 and 1, got {arguments.level}")
    _fit_config(arguments)
    asked = arguments.discs
    if arguments.kind in ("bradley_terry", "cross_encoder"):
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
    rate = arguments.learning_rate or (3e-3 if arguments.model == "small" else 2e-5)
    return FitConfig(
        steps=arguments.steps,
        batch_size=arguments.batch_size,
        comparisons_per_prompt=arguments.batch_size,
        learning_rate=rate,
        weight_decay=arguments.weight_decay,
        disc_shrinkage=arguments.disc_shrinkage,
        loss=arguments.loss,
        label_noise=arguments.label_noise,
        warmup_steps=min(50, arguments.steps),
        evaluate_every=max(1, arguments.steps // LOOKS),
        patience=PATIENCE,
        seed=arguments.seed,
    )


def _fit(
    arguments: Namespace,
    discs: tuple[int, ...],
    parts: tuple[Comparisons, Comparisons, Comparisons, Comparisons],
    out: Path,
    accelerator: Accelerator,
    display: Display,
) -> dict[str, Any]:
    started = time.perf_counter()
    data, train, validation, test = parts
    config, kind = _fit_config(arguments), arguments.kind
    make = model_maker(arguments.model, kind, data, hidden=arguments.hidden, seed=arguments.seed)
    made: dict[str, Any] = {}
    reports: dict[str, FitReport] = {}

    def fitted(model: Any, name: str, settings: FitConfig) -> FitReport:
        if arguments.trackers:
            accelerator.init_trackers(name)
        with display.progress(name, settings.steps) as advance:
            report = fit_preference_model(
                model,
                train,
                validation,
                settings,
                progress=lambda step, loss: advance(1),
                accelerator=accelerator,
                checkpoints=out / "checkpoints" / name,
                checkpoint_every=max(1, settings.steps // LOOKS),
            )
        if arguments.trackers:
            for tracker in accelerator.trackers:
                tracker.finish()
        made[name], reports[name] = model, report
        display.stage(
            name.replace("_", "-"),
            f"validation log-loss {report.held_out_log_loss:.4f}, step {report.best_step} of {report.steps}, "
            f"{report.seconds:.0f} s",
        )
        return report

    def name_of(count: int) -> str:
        return f"{count}_disc{'s' * (count != 1)}" if count else "bradley_terry"

    candidates: tuple[Candidate, ...] = ()
    if len(discs) > 1:
        selection = choose_discs(
            make, train, validation, config, num_discs=discs, fit=lambda model, n, own: fitted(model, name_of(n), own)
        )
        candidates, chosen, count = selection.candidates, name_of(selection.num_discs), selection.num_discs
    else:
        base = model_maker(arguments.model, "bradley_terry", data, hidden=arguments.hidden, seed=arguments.seed)
        fitted(base(0), "bradley_terry", config)
        count = discs[0] if discs else 0
        chosen = name_of(count) if discs else kind
        if chosen != "bradley_terry":
            fitted(make(count), chosen, config)
    if candidates:
        display.line("")
        display.table(
            "Discs, by the validation part", ("discs", "log-loss", "excess", "error", ""), _rows(candidates, count)
        )

    calibrations = {
        name: fit_temperature(made[name], validation, label_noise=arguments.label_noise)
        for name in dict.fromkeys(("bradley_terry", chosen))
    }
    model, baseline = made[chosen], made["bradley_terry"]
    subject = "joint readings" if kind == "cross_encoder" else "discs"
    report = evaluate(
        model,
        baseline,
        test,
        level=arguments.level,
        replicates=arguments.bootstrap,
        seed=arguments.seed,
        subject=f"the {subject}",
    )
    metrics = {
        "data": str(arguments.data),
        "model": arguments.model,
        "kind": "bradley_terry" if chosen == "bradley_terry" else kind,
        "num_discs": count,
        "comparisons": {"train": len(train), "validation": len(validation), "held_out": len(test)},
        "split": arguments.split,
        "verdict": report.verdict,
        "evaluation": report.as_dict(),
        "candidates": [{k: v for k, v in dataclasses.asdict(one).items() if k != "report"} for one in candidates],
        "temperature": calibrations[chosen].temperature,
        "settings": dataclasses.asdict(config),
        "seed": arguments.seed,
        "seconds": time.perf_counter() - started,
        "versions": provenance(),
    }
    if accelerator.is_main_process:
        told = {
            name: {
                **dataclasses.asdict(one),
                "held_out_reliability": reliability(comparison_logits(made[name], test), test),
            }
            for name, one in calibrations.items()
        }
        write_text(out / "calibration.json", json.dumps(told, indent=1) + "\n")
        staging = out / ".model.part"
        shutil.rmtree(staging, ignore_errors=True)
        accelerator.unwrap_model(model).save_pretrained(staging)
        shutil.rmtree(out / "model", ignore_errors=True)
        staging.rename(out / "model")
        write_text(out / "metrics.json", json.dumps(metrics, indent=1) + "\n")
    _print(report, chosen, calibrations[chosen].temperature, out, display)
    return metrics


def _rows(candidates: Sequence[Candidate], chosen: int) -> list[list[str]]:
    return [
        [
            str(one.num_discs),
            f"{one.log_loss:.4f}",
            f"{one.excess:.4f}",
            f"{one.standard_error:.4f}",
            "chosen" if one.num_discs == chosen else "",
        ]
        for one in candidates
    ]


def _print(report: EvaluationReport, chosen: str, temperature: float, out: Path, display: Display) -> None:
    rows = []
    for name in MEASURES:
        one = getattr(report, name)
        interval = f"[{one.low:+.4f}, {one.high:+.4f}]"
        values = [f"{one.model:.4f}", f"{one.bradley_terry:.4f}", f"{one.difference:+.4f}"]
        rows.append([name.replace("_", "-"), *values, interval])
    display.line("")
    display.table(
        f"{report.comparisons:,} held-out comparisons",
        ("", chosen.replace("_", " "), "Bradley-Terry", "difference", f"{100 * report.level:g} % interval"),
        rows,
    )
    display.line(f"Intervals: {report.replicates} bootstrap replicates over {report.clusters:,} {report.cluster}s.")
    if chosen == "bradley_terry":
        display.line("The model is the Bradley-Terry model: the two columns are one.")
    display.line(f"Temperature {temperature:.3g}; the model is in {out / 'model'}.")
    display.line(f"{report.verdict[0].upper()}{report.verdict[1:]}.")


def _prepare_folder(out: Path, arguments: Namespace) -> None:
    """Make the folder; a run that is there is resumed or deleted only if that was asked for."""
    if out.exists() and not out.is_dir():
        raise NotADirectoryError(f"--out: {out} is a file; give a folder")
    wanted = {k: v for k, v in vars(arguments).items() if k not in _PLACE}
    stored = out / "config.json"
    if stored.exists() and arguments.resume:
        found = json.loads(stored.read_text(encoding="utf-8"))
        if found != json.loads(json.dumps(wanted)):
            name = next(k for k in wanted if found.get(k) != wanted[k])
            raise ValueError(
                f"{out} holds a run with other settings: {name} = {found.get(name)!r}, now {wanted[name]!r}; give the "
                "same ones, or another --out"
            )
        return
    if out.exists() and any(out.iterdir()):
        if not stored.exists():
            raise ValueError(f"--out: {out} is not empty and holds no fit; give another folder")
        if not arguments.overwrite:
            raise ValueError(f"--out: {out} holds a fit: --resume true goes on with it, --overwrite true deletes it")
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    write_text(stored, json.dumps(wanted, indent=1) + "\n")
