"""`rebel-pref diagnose`: what it prints for people and for programs, and its exit codes."""

import json

import pytest
from calling import caller

from rebel_pref.cli import COMMANDS, main
from rebel_pref.cli import diagnose as command
from rebel_pref.diagnostics import diagnose

COUNTS = "name,[red]rock,paper,scissors\n[red]rock,0,30,72\npaper,70,0,28\nscissors,28,72,0\n"


@pytest.fixture
def counts(tmp_path):
    path = tmp_path / "counts.csv"
    path.write_text(COUNTS)
    return path


call = caller("diagnose")


def test_counts_are_tested(capsys, counts):
    """Labels are printed as they are; the sentence, every section, and what the brackets are."""
    code, out, err = call(capsys, counts, "--bootstrap", 99)
    assert (code, err) == (0, "")
    assert "These comparisons reject every transitive model (p = 0.0" in out
    assert "[red]rock > scissors > paper > [red]rock" in out
    for heading in ("Comparisons", "Triads", "Sets of winners", "Null tests", "Sample size"):
        assert f"\n{heading}" in out
    assert "[low, high]: 95 % of 99 bootstrap replicates." in out
    assert "Bradley-Terry: deviance" in out


def test_a_named_game_is_exact(capsys):
    code, out, _ = call(capsys, "rock-paper-scissors")
    assert code == 0
    assert "These payoffs are exact, so there is nothing to test: 1 of 1 decided triads is cyclic" in out
    assert "Null tests" not in out and "bootstrap" not in out


def test_json_is_the_diagnosis(capsys, counts):
    code, out, _ = call(capsys, counts, "--bootstrap", 99, "--seed", 3, "--level", 0.9, "--flow", "payoff", "--json")
    assert code == 0
    told = json.loads(out)
    assert told["settings"] == {"bootstrap": 99, "level": 0.9, "seed": 3, "flow": "payoff"}
    game = command.open_game(str(counts))
    again = diagnose(game, bootstrap=99, seed=3, level=0.9, flow="payoff")
    assert told == json.loads(json.dumps(again.as_dict()))


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["nowhere.csv"], "no such file: nowhere.csv"),
        (["no-such-game"], "known games: "),
        (["rock-paper-scissors", "--bootstrap", "10"], "bootstrap must be 0 (no tests) or at least 59"),
        (["rock-paper-scissors", "--level", "2"], "expected a level between 0 and 1, got 2.0"),
        (["rock-paper-scissors", "--flow", "curl"], "known flows: auto, log-odds, payoff"),
        (["rock-paper-scissors", "--bootstrap", "many"], "many"),
    ],
)
def test_bad_input_is_one_line(capsys, argv, message):
    code, out, err = call(capsys, *argv)
    assert (code, out) == (2, "")
    assert message in err and err.count("\n") == 1


def test_help_and_the_list_of_commands(capsys):
    assert "diagnose" in COMMANDS
    with pytest.raises(SystemExit) as stop:
        main(["diagnose", "--help"])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    assert all(option in out for option in ("--bootstrap N", "--seed N", "--level X", "--flow NAME", "--json"))


def test_a_winner_that_fell_short_is_exit_code_1(capsys, monkeypatch):
    """The numbers are printed, and what they rest on is said."""
    from dataclasses import replace

    real = diagnose

    def fallen_short(*arguments, **options):
        return replace(real(*arguments, **options), status="fell short: exploitability 0.1")

    monkeypatch.setattr(command, "diagnose", fallen_short)
    code, out, _ = call(capsys, "rock-paper-scissors")
    assert code == 1
    assert "minimax winner: fell short: exploitability 0.1" in out
    assert json.loads(call(capsys, "rock-paper-scissors", "--json")[1])["status"].startswith("fell short")


def test_a_terminal_sees_a_bar_on_standard_error(capsys, monkeypatch, counts):
    """And nothing of it on standard output."""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    code, out, err = call(capsys, counts, "--bootstrap", 99, "--json")
    assert code == 0
    assert "replicates" in err
    json.loads(out)
