"""`rebel-pref fit`: what it prints and writes, that it resumes, and what it says of bad input."""

import json

import pytest

pytest.importorskip("torch")

import torch
from calling import caller
from transformers import AutoConfig, AutoModel

import preference_models as pm
from preference_models.calibration import Calibration
from preference_models.evaluation import evaluate_logits
from preference_models.training import fit_preference_model
from rebel_pref.cli import fit as command
from rebel_pref.cli import fit_run, main
from rebel_pref.cli.console import Display
from rebel_pref.cli.fit_table import print_report
from rebel_pref.games.text import rock_paper_scissors_text

WORDS = ["rock", "paper", "scissors", "rook", "pepper", "scissor", "roc", "papa", "sister"]


@pytest.fixture
def votes(tmp_path):
    """A cycle of three, each of the three written in three ways."""
    game = rock_paper_scissors_text(0.9, 0.9, 0.9)
    drawn = pm.draw_comparisons(game, game.prompts, [WORDS[:3]], votes=500, seed=0)
    path = tmp_path / "votes.jsonl"
    lines = []
    for n, (prompt, a, b, q) in enumerate(zip(drawn.prompts, drawn.first, drawn.second, drawn.outcome, strict=True)):
        first, second = (WORDS[WORDS.index(word) + 3 * way] for word, way in ((a, n % 3), (b, n // 3 % 3)))
        lines.append(json.dumps({"prompt": prompt, "first": first, "second": second, "outcome": q}))
    path.write_text("\n".join(lines))
    return path


call = caller("fit")


SMALL = ("--steps", 80, "--hidden", 16, "--bootstrap", 50, "--learning-rate", 0.01)


def test_a_cycle_earns_discs(capsys, votes, tmp_path):
    """Table, verdict, a model that loads and that cycles, metrics and calibration."""
    out = tmp_path / "run"
    code, told, err = call(capsys, votes, "--out", out, "--discs", 2, *SMALL)
    assert (code, err) == (0, "")
    assert "The discs earn their keep." in told and "log-loss" in told and "Bradley-Terry" in told
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["num_discs"] == 2 and metrics["evaluation"]["earns_keep"]
    assert metrics["evaluation"]["accuracy"]["model"] > 0.85 > metrics["evaluation"]["accuracy"]["bradley_terry"]
    model = pm.HybridPreferenceModel.from_pretrained(out / "model")
    prompt = json.loads(votes.read_text().splitlines()[0])["prompt"]
    share = model.prefer([prompt], [WORDS[:3]])[0]
    assert min(share[1, 0], share[0, 2], share[2, 1]) > 0.6
    calibration = json.loads((out / "calibration.json").read_text())
    assert calibration["2_discs"]["temperature"] == metrics["temperature"] == model.config.temperature
    assert not (out / "checkpoints").exists()


def test_flipped_votes_are_judged_as_they_are_fitted(capsys, votes, tmp_path):
    """A fit that reckons with flips tells the votes as well as one that does not, and its discs earn their keep."""
    measured = {}
    for noise in (0.0, 0.05):
        out = tmp_path / f"{noise}"
        code, told, _ = call(capsys, votes, "--out", out, "--discs", 2, "--label-noise", noise, *SMALL)
        assert code == 0 and "The discs earn their keep." in told
        measured[noise] = json.loads((out / "metrics.json").read_text())["evaluation"]["log_loss"]["model"]
        bins = json.loads((out / "calibration.json").read_text())["2_discs"]["held_out_reliability"]
        assert max(one["predicted"] for one in bins) <= 1 - noise
    assert measured[0.05] == pytest.approx(measured[0.0], abs=0.1)


def test_patience_outlasts_the_warm_up(capsys, votes, tmp_path):
    """A short fit is not stopped before it has learned anything."""
    options = ("--discs", 2, "--steps", 60, "--hidden", 16, "--bootstrap", 5, "--learning-rate", 0.003)
    _, told, _ = call(capsys, votes, "--out", tmp_path / "run", "--json", *options)
    settings = json.loads(told)["settings"]
    assert settings["warmup_steps"] == 6 < settings["patience"] * settings["evaluate_every"]


def test_new_responses_are_drawn_whole(capsys, votes, tmp_path):
    options = ("--discs", 1, "--steps", 3, "--hidden", 8, "--bootstrap", 5, "--split", "item")
    _, told, _ = call(capsys, votes, "--out", tmp_path / "run", *options)
    assert "bootstrap replicates over 2 responses." in told and "Too little is held out (2 responses)" in told


def test_a_temperature_at_its_limit_is_told_of(capsys, tmp_path):
    report = evaluate_logits([1.0], [0.0], pm.TextComparisons(("p",), ("a",), ("b",), [1.0]))
    for at_limit in (False, True):
        print_report(report, "2_discs", Calibration(20.0, 0.7, 0.6, at_limit), tmp_path, Display())
        assert ("as far as it may go" in capsys.readouterr().out) == at_limit


def test_json_and_a_choice(capsys, votes, tmp_path, monkeypatch):
    """One object on standard output, the same as the file; candidates from 0 discs on."""
    monkeypatch.setattr(command, "CANDIDATES", (0, 1))
    code, told, _ = call(capsys, votes, "--out", tmp_path / "run", "--json", *SMALL)
    metrics = json.loads(told)
    assert code == 0 and metrics == json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert [one["num_discs"] for one in metrics["candidates"]] == [0, 1] and metrics["num_discs"] == 1


@pytest.mark.parametrize("kind", ["disc", "bradley_terry", "cross_encoder", "majority"])
def test_other_kinds(capsys, votes, tmp_path, kind):
    extra = ("--discs", 1) if kind == "disc" else ()
    options = ("--steps", 4, "--hidden", 8, "--bootstrap", 5, "--batch-size", 16)
    code, told, err = call(capsys, votes, "--kind", kind, "--out", tmp_path / "run", *options, *extra)
    assert code in (0, 1) and err == "" and "earn their keep" in told
    stored = json.loads((tmp_path / "run" / "model" / "config.json").read_text())
    assert stored["model_type"] == f"{kind}_preference"


def test_a_backbone_from_a_folder(capsys, votes, tmp_path):
    small = pm.small_hybrid_model(hidden=8, layers=1)
    small.backbone.save_pretrained(tmp_path / "backbone")
    small.tokenizer.save_pretrained(tmp_path / "backbone")
    options = ("--model", tmp_path / "backbone", "--steps", 3, "--bootstrap", 5, "--discs", 1, "--seed", 3)
    code, _, err = call(capsys, votes, "--out", tmp_path / "run", "--split", "item", *options)
    assert code in (0, 1) and err == ""
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["settings"]["learning_rate"] == 2e-5 and metrics["split"] == "item"


def test_adapters_are_merged_into_a_backbone_that_reads_chats(capsys, tmp_path):
    """What is written is a whole model, in the template, and only the adapted layers and the heads have moved."""
    pytest.importorskip("peft")
    backbone, data = tmp_path / "backbone", tmp_path / "chats.jsonl"
    tokenizer = pm.character_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.chat_template = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    original = AutoModel.from_config(
        AutoConfig.for_model(
            "llama", vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=1,
            num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=128,
        )
    )  # fmt: skip
    original.save_pretrained(backbone)
    tokenizer.save_pretrained(backbone)
    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}]
    rows = [
        {"prompt": [*turns, {"role": "user", "content": f"say {n % 3}"}], "chosen": a, "rejected": b}
        for n, (a, b) in enumerate(["ab", "bc", "ca", "ad", "db", "cd", "ef", "fa", "eb", "ce", "de", "fc"])
    ]
    data.write_text("\n".join(map(json.dumps, rows)))
    options = ("--model", backbone, "--steps", 6, "--bootstrap", 5, "--discs", 1, "--lora", 2, "--micro-batch-size", 3)
    code, _, err = call(capsys, data, "--out", tmp_path / "run", "--pooling", "mean", *options)
    assert code in (0, 1) and err == ""
    model = pm.HybridPreferenceModel.from_pretrained(tmp_path / "run" / "model")
    assert model.config.chat and model.config.pooling == "mean"
    before, after = original.state_dict(), model.backbone.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert before.keys() == after.keys() and moved and all("proj" in name for name in moved)
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["settings"]["learning_rate"] == 2e-4


def test_a_killed_run_goes_on(capsys, votes, tmp_path, monkeypatch):
    """Killed in the second fit: --resume true ends with the numbers of a run that was not."""
    options = ("--discs", 1, "--steps", 20, "--hidden", 8, "--bootstrap", 5, "--json")
    _, told, _ = call(capsys, votes, "--out", tmp_path / "whole", *options)

    def dying(*args, progress, **rest):
        def kill(step, loss):
            if len(fits) == 2 and step == 3:
                raise KeyboardInterrupt
            fits[-1] = step
            progress(step, loss)

        fits.append(0)
        return fit_preference_model(*args, progress=kill, **rest)

    fits = []
    monkeypatch.setattr(fit_run, "fit_preference_model", dying)
    with pytest.raises(KeyboardInterrupt):
        main(["fit", str(votes), "--out", str(tmp_path / "cut"), *map(str, options)])
    code, _, err = call(capsys, votes, "--out", tmp_path / "cut", *options)
    assert code == 2 and "--resume true goes on with it" in err
    code, _, err = call(capsys, votes, "--out", tmp_path / "cut", "--resume", "true", "--seed", 4, *options)
    assert code == 2 and "other settings: seed = 0, now 4" in err
    _, again, _ = call(capsys, votes, "--out", tmp_path / "cut", "--resume", "true", *options)
    assert json.loads(again)["evaluation"] == json.loads(told)["evaluation"]
    assert fits[2] == 0 < fits[0] and fits[3] > 3  # the first fit is not done again
    _, once_more, _ = call(capsys, votes, "--out", tmp_path / "cut", "--resume", "true", *options)
    assert once_more == again and len(fits) == 4  # and of a whole run, nothing
    votes.write_text("\n".join(votes.read_text().splitlines()[:-9]))
    code, _, err = call(capsys, votes, "--out", tmp_path / "cut", "--resume", "true", *options)
    assert code == 2 and "other settings: data_sha256 = " in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--kind", "elo"), "--kind: expected one of hybrid, disc, bradley_terry, cross_encoder, majority, got 'elo'"),
        (("--held-out", "1.5"), "--held-out: expected a share between 0 and 1, got 1.5"),
        (("--discs", "few"), "--discs: expected auto or a whole number, not negative, got 'few'"),
        (("--discs", "0"), "ask for --kind bradley_terry"),
        (("--discs", "2", "--kind", "bradley_terry"), "a bradley_terry model has none"),
        (("--steps", "0"), "--steps: expected a whole number from 1 on, got '0'"),
        (("--model", "nowhere"), "expected \"small\" or the folder of a Hugging Face model, got 'nowhere'"),
        (("--pooling", "max"), "--pooling: expected one of auto, last, mean, got 'max'"),
        (("--lora", "4"), "--lora: a small model starts from random weights"),
        (("--split", "prompt"), "expected at least two distinct prompts to split"),
        (("--loss", "hinge", "--label-noise", "0.1"), "label_noise is about probabilities"),
        (("--dataset-split", "test"), "expected a folder of a dataset to take the split 'test' of, got a file"),
    ],
)
def test_bad_options(capsys, votes, tmp_path, options, message):
    code, out, err = call(capsys, votes, "--out", tmp_path / "run", *options)
    assert (code, out) == (2, "") and message in err and err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_bad_data(capsys, tmp_path):
    path = tmp_path / "bad.csv"
    path.write_text("prompt,first,second,outcome\np,a,b,1\np,a,c,2\n")
    code, _, err = call(capsys, path)
    assert code == 2 and f"{path}:3: expected an outcome in [0, 1]" in err
    code, _, err = call(capsys, tmp_path / "absent.csv")
    assert code == 2 and f"no such file: {tmp_path / 'absent.csv'}" in err


def test_a_crash_before_the_first_step_leaves_nothing(capsys, votes, tmp_path, monkeypatch):
    """Whatever it is; but what somebody else put there stays."""
    out, note = tmp_path / "run", tmp_path / "run" / "note.txt"

    def crash(*_, **__):
        if out.with_name("note").exists():
            note.write_text("mine")
        raise ZeroDivisionError

    monkeypatch.setattr(fit_run, "fit_preference_model", crash)
    with pytest.raises(ZeroDivisionError):
        main(["fit", str(votes), "--out", str(out)])
    assert not out.exists()
    out.with_name("note").touch()
    with pytest.raises(ZeroDivisionError):
        main(["fit", str(votes), "--out", str(out)])
    assert [entry.name for entry in out.iterdir()] == ["note.txt"]
    monkeypatch.undo()
    options = ("--discs", 1, "--steps", 2, "--hidden", 8, "--bootstrap", 5)
    code, _, err = call(capsys, votes, "--out", out, *options)
    assert code == 2 and "holds no fit" in err
    code, _, err = call(capsys, votes, "--out", out, "--overwrite", "true", *options)
    assert code in (0, 1) and note.read_text() == "mine"
    (out / "model").rename(tmp_path / "moved")
    (out / "model").symlink_to(tmp_path / "moved")
    code, _, err = call(capsys, votes, "--out", out, "--overwrite", "true", *options)
    assert code in (0, 1) and not (out / "model").is_symlink() and (tmp_path / "moved" / "config.json").exists()


def test_what_a_backbone_cannot_do_is_said_and_leaves_nothing(capsys, votes, tmp_path):
    """Weights that are cut short, and texts that do not fit: one line, and no folder that must be overwritten."""
    backbone, out = tmp_path / "backbone", tmp_path / "run"
    small = pm.small_hybrid_model(hidden=8, layers=1, max_length=8)
    small.backbone.save_pretrained(backbone)
    small.tokenizer.save_pretrained(backbone)
    code, _, err = call(capsys, votes, "--model", backbone, "--out", out)
    assert code == 2 and "does not fit the model's 8" in err and err.count("\n") == 1 and not out.exists()
    t5 = tmp_path / "t5"
    AutoConfig.for_model("t5", d_model=8, d_ff=8, num_layers=1, num_heads=2, vocab_size=9).save_pretrained(t5)
    code, _, err = call(capsys, votes, "--model", t5, "--out", out)
    assert code == 2 and "has an encoder and a decoder" in err and not out.exists()
    pm.character_tokenizer("".join(map(chr, range(32, 400)))).save_pretrained(backbone)
    code, _, err = call(capsys, votes, "--model", backbone, "--out", out)
    assert code == 2 and "371 tokens and the model 99 embeddings" in err and not out.exists()
    weights = backbone / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    code, _, err = call(capsys, votes, "--model", backbone, "--out", out)
    assert code == 2 and f"the weights in {backbone} are not whole" in err and err.count("\n") == 1 and not out.exists()


def test_nobody_else_s_folder_is_deleted(capsys, votes, tmp_path):
    """A model's folder has a config.json too; data inside of a run; and a preference model is no backbone."""
    model, out = tmp_path / "model", tmp_path / "run"
    pm.small_hybrid_model(hidden=8, layers=1).save_pretrained(model)
    code, _, err = call(capsys, votes, "--out", model, "--overwrite", "true")
    assert code == 2 and "is not empty and holds no fit" in err and (model / "model.safetensors").exists()
    code, _, err = call(capsys, votes, "--model", model, "--out", out)
    assert code == 2 and "is a preference model already" in err and not out.exists()
    options = ("--discs", 1, "--steps", 2, "--hidden", 8, "--bootstrap", 5)
    call(capsys, votes, "--out", out, *options)
    for inside in (out / "model" / "votes.jsonl", out / "votes.jsonl"):
        inside.write_text(votes.read_text())
    code, _, err = call(capsys, out / "model" / "votes.jsonl", "--out", out, "--overwrite", "true", *options)
    assert code == 2 and f"data {out / 'model' / 'votes.jsonl'} lies in {out}" in err
    code, _, err = call(capsys, votes, "--out", out / "other", *options)
    code, _, err = call(capsys, inside, "--out", out, "--overwrite", "true", *options)
    assert code in (0, 1) and err == "" and inside.exists() and (out / "other" / "metrics.json").exists()
    assert not (out / "model" / "votes.jsonl").exists()


def test_help_names_every_kind(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["fit", "--help"])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    assert "cross_encoder" in out and "Bradley-Terry" in out and "--held-out" in out
