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


def test_there_are_three_examples():
    """A matrix game, a judge and a language model, and all stay short."""
    assert [sum(bool(line.strip()) for line in code.splitlines()) for code in EXAMPLES] == [8, 5, 14]


def test_matrix_example(capsys):
    """The comments of the example say what it prints."""
    scope, printed = run(EXAMPLES[0], capsys)
    assert printed.startswith("{'rock': 0.6, 'paper': 0.3, 'scissors': 0.1}\n")
    assert "wins 55.00 % against it" in printed
    assert scope["winner"].certificate.exploitability < 1e-16
    assert scope["learned"].certificate.exploitability < 0.01


def test_judge_example(capsys, tmp_path, monkeypatch):
    """Against a server that prefers longer answers; the second run asks nothing."""
    pytest.importorskip("httpx2")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(Path(__file__).with_name("preference_models"))
    from judge_server import judge_server, letter

    with judge_server(lambda body: letter(body, lambda prompt, first, second: len(first) - len(second))) as server:
        code = EXAMPLES[1].replace("http://localhost:8000/v1", server.url)
        _, first = run(code, capsys)
        _, second = run(code, capsys)
    assert first.startswith(
        "2: A count of ways, on a log scale. 6 questions: 0 from the cache, 6 answered in 6 requests"
    )
    assert "6 questions: 6 from the cache, 0 answered in 0 requests" in second


def test_language_model_example(capsys):
    """Self-play ends closer to the minimax winner than it began, and than a pure policy could be."""
    pytest.importorskip("torch")
    scope, _ = run(EXAMPLES[2], capsys)
    game, evaluator = scope["game"], scope["evaluator"]
    rock, paper, scissors = evaluator.last[0]
    assert rock > paper > scissors
    assert game.exploitability(evaluator.last) < 0.06
