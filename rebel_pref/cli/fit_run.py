"""What ``rebel-pref fit`` does once it knows what was asked: fit, choose, calibrate, judge, write."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from preference_models.calibration import Calibration, fit_temperature
from preference_models.comparisons import TextComparisons
from preference_models.evaluation import comparison_logits, evaluate, reliability
from preference_models.selection import Candidate, choose_discs
from preference_models.training import FitConfig, FitReport, fit_preference_model
from rebel_pref.atomic import new_folder, write_text
from rebel_pref.cli.console import Display
from rebel_pref.cli.fit_models import merge_lora
from rebel_pref.cli.fit_table import print_candidates, print_report
from rebel_pref.record import provenance

__all__ = ["FitRun", "carry_out"]

LOOKS = 20
"""Looks at the validation loss during a fit, and checkpoints."""

_SUBJECTS = {"cross_encoder": "joint readings", "majority": "voters"}
BASELINE = "bradley_terry"


@dataclass(frozen=True, kw_only=True)
class FitRun:
    """What was asked.

    Attributes
    ----------
    train, validation, test : to fit, to choose by, held out.
    config : of every fit.
    discs : numbers to try, with 0 among several; one is taken as it is; none for a kind without discs.
    make, make_baseline : from a number of discs to a fresh model of the kind, or of Bradley-Terry.
    kind : of the model.
    shard : see :func:`fit_preference_model`.
    out : the folder.
    level, replicates : of the intervals.
    told : what ``metrics.json`` repeats of the command.
    """

    train: TextComparisons
    validation: TextComparisons
    test: TextComparisons
    config: FitConfig
    discs: tuple[int, ...]
    make: Callable[[int], Any]
    make_baseline: Callable[[int], Any]
    kind: str
    shard: bool
    out: Path
    accelerator: Accelerator
    trackers: bool
    display: Display
    level: float
    replicates: int
    told: Mapping[str, Any]


def carry_out(run: FitRun) -> dict[str, Any]:
    """Fit, choose, calibrate, judge, write; what ``metrics.json`` holds."""
    started = time.perf_counter()
    models, candidates, chosen, count = _fit_all(run)
    calibrations = {
        name: fit_temperature(models[name], run.validation, label_noise=run.config.label_noise)
        for name in dict.fromkeys((BASELINE, chosen))
    }
    report = evaluate(
        models[chosen],
        models[BASELINE],
        run.test,
        level=run.level,
        replicates=run.replicates,
        seed=run.config.seed,
        subject=f"the {_SUBJECTS.get(run.kind, 'discs')}",
        seen=TextComparisons.join(run.train, run.validation),
        label_noise=run.config.label_noise,
    )
    calibration = calibrations[chosen]
    metrics = {
        **run.told,
        "kind": BASELINE if chosen == BASELINE else run.kind,
        "num_discs": count,
        "comparisons": {"train": len(run.train), "validation": len(run.validation), "held_out": len(run.test)},
        "verdict": report.verdict,
        "evaluation": report.as_dict(),
        "candidates": [{k: v for k, v in dataclasses.asdict(one).items() if k != "report"} for one in candidates],
        "temperature": calibration.temperature,
        "settings": dataclasses.asdict(run.config),
        "seed": run.config.seed,
        "seconds": time.perf_counter() - started,
        "versions": provenance(),
    }
    if run.accelerator.is_main_process:
        _write(run, models[chosen], metrics, {name: (models[name], one) for name, one in calibrations.items()})
    print_report(report, chosen, calibration, run.out, run.display)
    return metrics


def _fit_all(run: FitRun) -> tuple[dict[str, Any], tuple[Candidate, ...], str, int]:
    """The fitted models by name, the candidates among them, the name of the chosen one and its number of discs."""
    models: dict[str, Any] = {}

    def fitted(model: Any, name: str, settings: FitConfig) -> FitReport:
        models[name] = model
        return _fit(run, model, name, settings)

    if len(run.discs) > 1:
        selection = choose_discs(
            run.make,
            run.train,
            run.validation,
            run.config,
            num_discs=run.discs,
            fit=lambda model, count, own: fitted(model, _name(count), own),
        )
        print_candidates(selection.candidates, selection.num_discs, run.display)
        return models, selection.candidates, _name(selection.num_discs), selection.num_discs
    fitted(run.make_baseline(0), BASELINE, run.config)
    count = run.discs[0] if run.discs else 0
    chosen = _name(count) if run.discs else run.kind
    if chosen != BASELINE:
        fitted(run.make(count), chosen, run.config)
    return models, (), chosen, count


def _fit(run: FitRun, model: Any, name: str, settings: FitConfig) -> FitReport:
    """Fit one model, on the accelerator's device in the end, without adapters."""
    if run.trackers:
        run.accelerator.init_trackers(name)
    with run.display.progress(name, settings.steps) as advance:
        report = fit_preference_model(
            model,
            run.train,
            run.validation,
            settings,
            progress=lambda step, loss: advance(1),
            accelerator=run.accelerator,
            shard=run.shard,
            checkpoints=run.out / "checkpoints" / name,
            checkpoint_every=max(1, settings.steps // LOOKS),
        )
    if run.trackers:
        for tracker in run.accelerator.trackers:
            tracker.finish()
    merge_lora(model)
    model.to(run.accelerator.device)
    run.display.stage(
        name.replace("_", "-"),
        f"validation log-loss {report.held_out_log_loss:.4f}, step {report.best_step} of {report.steps}, "
        f"{report.seconds:.0f} s",
    )
    return report


def _name(discs: int) -> str:
    return f"{discs}_disc{'s' * (discs != 1)}" if discs else BASELINE


def _write(
    run: FitRun, model: Any, metrics: Mapping[str, Any], calibrations: Mapping[str, tuple[Any, Calibration]]
) -> None:
    """``model/``, ``metrics.json`` and ``calibration.json``."""
    told = {
        name: {
            **dataclasses.asdict(one),
            "held_out_reliability": reliability(
                comparison_logits(fitted, run.test, label_noise=run.config.label_noise), run.test
            ),
        }
        for name, (fitted, one) in calibrations.items()
    }
    write_text(run.out / "calibration.json", json.dumps(told, indent=1) + "\n")
    with new_folder(run.out / "model") as folder:
        model.save_pretrained(folder)
    write_text(run.out / "metrics.json", json.dumps(metrics, indent=1) + "\n")
