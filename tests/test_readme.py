"""The README's examples run as they stand."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)


def run(code, capsys):
    scope = {}
    exec(compile(code, str(README), "exec"), scope)
    return scope, capsys.readouterr().out


def test_there_are_two_examples():
    """A matrix game and a language model, and both stay short."""
    assert [sum(bool(line.strip()) for line in code.splitlines()) for code in EXAMPLES] == [8, 14]


def test_matrix_example(capsys):
    """The comments of the example say what it prints."""
    scope, printed = run(EXAMPLES[0], capsys)
    assert printed.startswith("{'rock': 0.6, 'paper': 0.3, 'scissors': 0.1}\n")
    assert "wins 55.00 % against it" in printed
    assert scope["winner"].certificate.exploitability < 1e-16
    assert scope["learned"].certificate.exploitability < 0.01


def test_language_model_example(capsys):
    """Self-play ends closer to the minimax winner than it began, and than a pure policy could be."""
    pytest.importorskip("torch")
    scope, _ = run(EXAMPLES[1], capsys)
    game, evaluator = scope["game"], scope["evaluator"]
    rock, paper, scissors = evaluator.last[0]
    assert rock > paper > scissors
    assert game.exploitability(evaluator.last) < 0.06
