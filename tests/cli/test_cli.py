"""The command line: what it prints, its exit codes, one line for bad input, and a whole small run."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM

from rebel_pref.cli import COMMANDS, main
from rebel_pref.games import rock_paper_scissors
from rebel_pref.policies import LanguageModelPolicy

CYCLE = "rock,paper,scissors\n0,-0.1,0.3\n0.1,0,-0.6\n-0.3,0.6,0\n"
TINY = [
    "rock-paper-scissors",
    *("--threads", "1"),
    *("--start.hidden_size", "16", "--start.layers", "1", "--start.heads", "2"),
    *("--start.supervised.steps", "60", "--start.supervised.batch_size", "32"),
    *("--start.supervised.learning_rate", "0.01"),
    *("--preferences.votes", "400", "--preferences.illegal_votes", "50"),
    *("--preferences.hidden_size", "16", "--preferences.num_discs", "2"),
    *("--preferences.hybrid.steps", "20", "--preferences.hybrid.batch_size", "64"),
    *("--preferences.bradley_terry.steps", "20", "--preferences.bradley_terry.batch_size", "64"),
    *("--self_play.rounds", "4", "--self_play.checkpoint_every", "2", "--self_play.samples_every", "1"),
]


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch):
    """Tables are not folded, and no setting of the caller's changes an exit code."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("REBEL_PREF_TRACEBACK", raising=False)


def call(capsys, *argv):
    """Exit code, standard output and standard error of a command."""
    code = main([str(argument) for argument in argv])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def refused(capsys, *argv):
    """The one line on standard error of a command that ends with exit code 2 and prints nothing else."""
    code, out, err = call(capsys, *argv)
    assert code == 2
    assert out == ""
    assert err.endswith("\n") and err.count("\n") == 1, err
    return err


# Help and names.


def test_help_lists_every_command(capsys):
    for flag in ("--help", "-h"):
        code, out, err = call(capsys, flag)
        assert (code, err) == (0, "")
        assert all(f"  {name} " in out and text in out for name, text in COMMANDS.items())


def test_no_command_prints_the_help_and_fails(capsys):
    code, out, _ = call(capsys)
    assert code == 2 and "usage: rebel-pref COMMAND" in out


def test_the_examples_of_the_help_are_options_that_exist(capsys):
    """`evaluate runs/seed1/model --recipe blotto` fails for want of the model, not of the option."""
    examples = [line.split() for line in call(capsys, "--help")[1].splitlines() if line.startswith("  rebel-pref ")]
    [example] = [words[1:] for words in examples if words[1:2] == ["evaluate"]]
    assert "no such folder: runs/seed1/model" in refused(capsys, *example)


@pytest.mark.parametrize("command", ["solve", "train", "evaluate"])
def test_every_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    assert f"rebel-pref {command}" in capsys.readouterr().out


def test_unknown_command(capsys):
    assert refused(capsys, "slove") == (f"rebel-pref: no command is called 'slove'; commands: {', '.join(COMMANDS)}\n")


def test_version(capsys):
    code, out, _ = call(capsys, "--version")
    assert code == 0 and out.startswith("rebel-pref ") and out.split()[1][0].isdigit()


def test_as_a_module(run_environment):
    """`python -m rebel_pref` is the same program, and its exit code is the command's."""
    command = [sys.executable, "-m", "rebel_pref", "solve"]
    done = subprocess.run(
        [*command, "rock-paper-scissors"], env=run_environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and "0.333333" in done.stdout
    done = subprocess.run([*command, "no-such-game"], env=run_environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1


# solve.


def test_solve_by_name(capsys):
    """A table with every action, the certificate and how it was solved; win rate 50 % against the winner."""
    code, out, err = call(capsys, "solve", "rock-paper-scissors")
    assert (code, err) == (0, "")
    for label in ("rock", "paper", "scissors"):
        [line] = [line for line in out.splitlines() if f" {label} " in line]
        assert "0.333333" in line and "50.00 %" in line
    assert "certificate: " in out and "status: solved" in out


def test_solve_json(capsys, tmp_path):
    """The contract's keys; wins of (.1, .3, .6) have the winner (.6, .3, .1), each the win it takes no part in."""
    path = tmp_path / "game.csv"
    path.write_text(CYCLE)
    code, out, _ = call(capsys, "solve", path, "--json")
    result = json.loads(out)
    assert code == 0 and out.count("\n") == 1
    assert set(result) >= {"policy", "support", "exploitability", "duality_gap", "method", "status"}
    assert result["policy"] == pytest.approx({"rock": 0.6, "paper": 0.3, "scissors": 0.1}, abs=1e-9)
    assert list(result["policy"]) == ["rock", "paper", "scissors"]
    assert sorted(result["support"]) == ["paper", "rock", "scissors"]
    assert 0 <= result["exploitability"] < 1e-9
    assert result["duality_gap"] == pytest.approx(2 * result["exploitability"], abs=1e-15)
    assert isinstance(result["method"], str) and result["status"].startswith("solved")


def test_solve_win_rates_from_a_file(capsys, tmp_path):
    """0.5 on the diagonal makes it win rates: the same game as payoffs, P = (1 + A) / 2."""
    path = tmp_path / "rates.csv"
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows(rock_paper_scissors(0.1, 0.3, 0.6).preferences)
    code, out, _ = call(capsys, "solve", path, "--json")
    assert code == 0
    assert list(json.loads(out)["policy"].values()) == pytest.approx([0.6, 0.3, 0.1], abs=1e-9)


def test_an_existing_path_wins_over_a_name(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "blotto").write_text(CYCLE)
    assert set(json.loads(call(capsys, "solve", "blotto", "--json")[1])["policy"]) == {"rock", "paper", "scissors"}


def test_falling_short_is_exit_code_1(capsys):
    """No float64 solver certifies 1e-30: the status says so and the certificate is printed all the same."""
    code, out, _ = call(capsys, "solve", "blotto", "--tol", "1e-30", "--json")
    result = json.loads(out)
    assert code == 1
    assert 1e-30 < result["exploitability"] < 1e-6
    assert not result["status"].startswith("solved")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("0,1\n1,0\n", r"payoff is not skew-symmetric: A\[0, 1\] \+ A\[1, 0\] = 2"),
        ("0.5,0.9\n0.2,0.5\n", r"P\[0, 1\] \+ P\[1, 0\] = 1.1, expected 1"),
        ("0,1,2\n-1,0,3\n-2,-3\n", "line 3: expected 3 numbers for the 3 rows of a square matrix, got 2"),
        ("0,1\n-1,zero\n", "line 2: column 2 is not a number: 'zero'"),
        ("", "the file is empty"),
        ("0,nan\nnan,0\n", r"not finite at \[0, 1\]"),
    ],
)
def test_solve_bad_files(content, message, capsys, tmp_path):
    """One line that names the file, and the line in it where there is one."""
    path = tmp_path / "game.csv"
    path.write_text(content)
    err = refused(capsys, "solve", path)
    assert err.startswith("rebel-pref solve: ") and str(path) in err
    assert re.search(message, err), err


def test_solve_missing_file_and_unknown_name(capsys, tmp_path):
    assert f"no such file: {tmp_path}/none.csv" in refused(capsys, "solve", tmp_path / "none.csv")
    err = refused(capsys, "solve", "chess")
    assert "no game is called 'chess'" in err and "blotto" in err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["solve"], "game"),
        (["solve", "blotto", "--tolerance", "1"], "tolerance"),
        (["solve", "blotto", "--metho", "lp"], "metho"),
        (["solve", "blotto", "--tol", "small"], "small"),
        (["solve", "blotto", "--method", "magic"], "magic"),
        (["train"], "say first what to train: a recipe (blotto"),
        (["train", "checkers"], "no file and no recipe is called 'checkers'; recipes: blotto"),
        (["train", "blotto", "--self_play.round", "3"], "self_play.round"),
        (["train", "blotto", "--seed", "one"], "one"),
        (["train", "blotto", "--self_play.pool.weights", "magic"], "magic"),
        (["evaluate"], "models"),
        (["evaluate", "./no-such-model"], "no such folder: ./no-such-model"),
        (["evaluate", "x", "--recipe", "checkers"], "no file and no recipe is called 'checkers'"),
    ],
)
def test_bad_arguments(argv, message, capsys):
    """What is wrong, in one line that starts with the command."""
    err = refused(capsys, *argv)
    assert err.startswith(f"rebel-pref {argv[0]}: ") and message in err


# train.


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"self_play": {"rouns": 3}}, "rouns"),
        ({"self_play": {"sampling": {"completions_per_prompt": 1}}}, "completions_per_prompt must be at least 2"),
        ({"self_play": {"algorithm": {"name": "rebbel"}}}, "'rebbel'; known algorithms: rebel"),
        ({"game": {"name": "chess"}}, "chess"),
        ({"seed": "one"}, "one"),
    ],
)
def test_train_bad_settings_in_a_file(settings, message, capsys, tmp_path):
    """Refused before anything is trained or written."""
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(settings))
    err = refused(capsys, "train", path, "--out", tmp_path / "out")
    assert message in err
    assert not (tmp_path / "out").exists()


def test_print_config_can_be_fed_back(capsys, tmp_path):
    """`train blotto --print_config` is YAML with every setting; from a file it prints itself again."""

    def printed(*argv):
        with pytest.raises(SystemExit) as stopped:
            main(["train", *map(str, argv), "--print_config"])
        assert stopped.value.code in (0, None)
        return capsys.readouterr().out

    first = printed("blotto", "--seed", "7", "--self_play.rounds", "12")
    settings = yaml.safe_load(first)
    assert settings["seed"] == 7 and settings["self_play"]["rounds"] == 12
    assert settings["game"]["name"] == "blotto" and "step_size" in settings["self_play"]["algorithm"]
    path = tmp_path / "again.yaml"
    path.write_text(first)
    assert yaml.safe_load(printed(path)) == settings


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A whole run with tiny numbers: 3 words, a 16-wide model, 20 fitting steps, 4 rounds."""
    out = tmp_path_factory.mktemp("runs") / "tiny"
    code = main(["train", *TINY, "--out", str(out)])
    measured = json.loads((out / "summary.json").read_text())["exploitability"]
    assert code == (0 if measured["last"] < measured["start"] else 1)  # 1: ran, but fell short of its start
    return out


def test_a_run_leaves_what_the_contract_says(run_folder):
    """Every file, and summary.json's keys; numbers on the payoff scale, between 0 and 1."""
    for name in ("config.yaml", "metrics.jsonl", "samples.jsonl", "report.html", "summary.json"):
        assert (run_folder / name).stat().st_size > 0, name
    assert list((run_folder / "figures").glob("*.png")) and list((run_folder / "checkpoints").iterdir())
    summary = json.loads((run_folder / "summary.json").read_text())
    assert {"exploitability", "completions", "queries", "seconds", "seed", "versions"} <= set(summary)
    measured = summary["exploitability"]
    assert set(measured) == {"start", "bradley_terry", "last", "magnet", "average"}
    assert all(0 < value <= 1 for value in measured.values())
    config = yaml.safe_load((run_folder / "config.yaml").read_text())
    sampling, rounds = config["self_play"]["sampling"], config["self_play"]["rounds"]
    assert rounds == 4
    assert summary["completions"] == rounds * sampling["completions_per_prompt"]  # One prompt.
    assert summary["queries"] > 0 and summary["seed"] == 0 and summary["seconds"] > 0
    assert {"python", "numpy", "torch"} <= set(summary["versions"])


def test_the_logs_of_a_run(run_folder):
    """A line a round, the last with the summary's number; samples are pairs of texts with a preference."""
    metrics = [json.loads(line) for line in (run_folder / "metrics.jsonl").read_text().splitlines()]
    summary = json.loads((run_folder / "summary.json").read_text())
    assert [line["round"] for line in metrics] == [0, 1, 2, 3, 4]
    assert metrics[0]["exploitability"] == pytest.approx(summary["exploitability"]["start"], abs=1e-9)
    assert metrics[-1]["exploitability"] == pytest.approx(summary["exploitability"]["last"], abs=1e-9)
    assert metrics[-1]["queries"] == summary["queries"]
    samples = [json.loads(line) for line in (run_folder / "samples.jsonl").read_text().splitlines()]
    assert samples and all(line["prompt"] == "throw>" and 0 <= line["preference"] <= 1 for line in samples)
    assert "Rock-paper-scissors" in (run_folder / "report.html").read_text()


def test_the_model_of_a_run_loads_and_samples(run_folder):
    """With AutoModelForCausalLM alone, and as a policy; it is not the start."""
    model, start = (AutoModelForCausalLM.from_pretrained(run_folder / name) for name in ("model", "start"))
    pairs = zip(model.parameters(), start.parameters(), strict=True)
    assert any(not torch.equal(a, b) for a, b in pairs)
    policy = LanguageModelPolicy.from_pretrained(str(run_folder / "model"), max_new_tokens=10)
    drawn = policy.sample(["throw>"], 20, [np.random.default_rng(0)])
    assert len(drawn.texts) == 20 and all(set(text) <= set("throw>rockpaperscissors<unk><pad>") for text in drawn.texts)
    with torch.no_grad():
        assert (policy.log_probs(drawn) < 0).all()


def test_evaluate_agrees_with_the_summary(run_folder, capsys):
    """Exact enumeration of the saved model gives the run's own last number, and the start's."""
    summary = json.loads((run_folder / "summary.json").read_text())["exploitability"]
    models = [str(run_folder / "model"), str(run_folder / "start")]
    code, out, _ = call(capsys, "evaluate", *models, "--recipe", "rock-paper-scissors", "--json")
    result = json.loads(out)
    assert code == 0 and list(result) == models
    for name, key in zip(models, ("last", "start"), strict=True):
        assert result[name]["exploitability"] == pytest.approx(summary[key], abs=1e-6)
        assert result[name]["duality_gap"] == pytest.approx(2 * summary[key], abs=2e-6)
        assert 0 < result[name]["legal"] <= 1
    rates = np.array([result[name]["win_rates"] for name in models])
    np.testing.assert_allclose(rates + rates.T, 1.0, atol=1e-12)
    code, out, _ = call(capsys, "evaluate", *models, "--recipe", "rock-paper-scissors")
    assert code == 0 and f"{summary['last']:.4f}" in out and "Win rate of the row" in out


def test_resuming_a_finished_run_reproduces_its_numbers(run_folder, tmp_path, capsys):
    """No round is trained again: same summary but for the seconds, same logs, same model to the byte."""
    out = tmp_path / "again"
    shutil.copytree(run_folder, out)
    assert call(capsys, "train", *TINY, "--out", out, "--resume", "true")[0] < 2
    before, after = (json.loads((folder / "summary.json").read_text()) for folder in (run_folder, out))
    for summary in (before, after):
        del summary["seconds"]
    assert before == after
    for name in ("metrics.jsonl", "samples.jsonl", "model/model.safetensors", "bradley_terry/metrics.jsonl"):
        assert (out / name).read_bytes() == (run_folder / name).read_bytes(), name


def test_another_setting_is_not_resumed(run_folder, tmp_path, capsys):
    """The message names the setting; the finished run's summary stays."""
    out = tmp_path / "other"
    shutil.copytree(run_folder, out)
    summary = (out / "summary.json").read_bytes()
    code, _, err = call(capsys, "train", *TINY, "--out", out, "--resume", "true", "--self_play.rounds", "5")
    assert code == 2
    assert "rounds = 4, now 5" in err.splitlines()[-1]
    assert (out / "summary.json").read_bytes() == summary


def test_a_run_is_not_overwritten_unasked(run_folder, tmp_path, capsys):
    """Neither a run nor somebody's other files; with --overwrite a run goes, whole."""
    out = tmp_path / "run"
    shutil.copytree(run_folder, out)
    code, _, err = call(capsys, "train", *TINY, "--out", out)
    assert code == 2 and "holds a run: --resume true goes on with it, --overwrite true deletes it" in err
    assert (out / "model" / "model.safetensors").exists()
    other = tmp_path / "mine"
    (other / "start").mkdir(parents=True)
    code, _, err = call(capsys, "train", *TINY, "--out", other, "--overwrite", "true")
    assert code == 2 and "is not empty and holds no run" in err and (other / "start").exists()
    (out / "left.txt").write_text("of the old run")
    assert call(capsys, "train", *TINY, "--out", out, "--overwrite", "true")[0] < 2
    assert not (out / "left.txt").exists() and (out / "model" / "model.safetensors").exists()


def test_every_option_is_described(capsys):
    """No setting of `train` is without a sentence: a line of help that opens with its type has none."""
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    words = " ".join(capsys.readouterr().out.split())
    bare = re.findall(r"(--[a-z_.]+)(?: \{[^}]*\}| \[[^\]]*\]| [A-Z_]+)? \(type:", words)
    assert not bare


def test_another_game_is_not_resumed(run_folder, tmp_path, capsys):
    """Settings outside the trainer count too, and the refused run's own config.yaml stays as it was."""
    out = tmp_path / "game"
    shutil.copytree(run_folder, out)
    kept = (out / "config.yaml").read_bytes()
    code, _, err = call(capsys, "train", *TINY, "--out", out, "--resume", "true", "--preferences.flip", "0.2")
    assert code == 2
    assert "preferences.flip = 0.1, now 0.2" in err.splitlines()[-1]
    assert (out / "config.yaml").read_bytes() == kept


def test_the_true_judge_as_oracle_in_training(tmp_path, capsys):
    """No votes, no preference model, no contrast: only the game and the trainer; the folder is the one asked for."""
    out = tmp_path / "deep" / "judge"
    code, text, _ = call(capsys, "train", *TINY, "--out", out, "--oracle", "judge", "--self_play.rounds", "2")
    assert "Against the true judge" in text
    summary = json.loads((out / "summary.json").read_text())
    assert code == (0 if summary["exploitability"]["last"] < summary["exploitability"]["start"] else 1)
    assert set(summary["exploitability"]) == {"start", "last", "magnet", "average"}
    assert summary["oracle"] == "judge" and not os.path.exists(out / "preference_model")


def test_an_output_folder_that_is_a_file(tmp_path, capsys):
    path = tmp_path / "taken"
    path.write_text("mine")
    assert f"the run's folder {path} is a file" in refused(capsys, "train", *TINY, "--out", path)
    assert path.read_text() == "mine"
