"""The command line: one module a command, imported only when it is asked for."""

from __future__ import annotations

import gc
import importlib
import os
import sys
from collections.abc import Sequence

__all__ = ["COMMANDS", "main"]

COMMANDS = {
    "solve": "minimax winner of a matrix game, from a CSV file or by name",
    "diagnose": "how intransitive a game is, and whether its comparisons show more than chance",
    "rank": "a leaderboard from comparisons that does not assume an order, with intervals and a page",
    "fit": "a preference model from comparisons, and whether they needed more than Bradley-Terry",
    "train": "self-play fine-tuning of a language model, from a recipe or a YAML file",
    "evaluate": "how exploitable saved models are on a text game",
    "theory": "check every theorem that the library stands on, and draw it",
    "demo": "the main job, end to end: train blotto into runs/demo",
}

EXAMPLES = """\
examples:
  rebel-pref solve rock-paper-scissors
  rebel-pref solve win_rates.csv --json
  rebel-pref diagnose votes.csv --bootstrap 1000
  rebel-pref rank verdicts.csv --group prompt --html leaderboard.html
  rebel-pref train blotto --seed 1 --out runs/seed1
  rebel-pref evaluate runs/seed1/model --recipe blotto

exit codes: 0 done, 1 ran but fell short, 2 bad input (REBEL_PREF_TRACEBACK=1 shows where)"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code (0 done, 1 fell short, 2 bad input)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_help())
        return 0 if arguments else 2
    if arguments[0] == "--version":
        from rebel_pref import __version__

        print(f"rebel-pref {__version__}")
        return 0
    command, rest = arguments[0], arguments[1:]
    if command not in COMMANDS:
        print(f"rebel-pref: no command is called {command!r}; commands: {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    from jsonargparse import ArgumentError

    # Numbers too large, and files nested too deeply, where no reader has said it better.
    bad_input = (ArgumentError, ValueError, OSError, OverflowError, MemoryError, RecursionError)
    try:
        module = importlib.import_module(f"rebel_pref.cli.{command}")
        code = int(module.run(rest))
        _leave_processes()
        return code
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] in ("rebel_pref", "preference_models"):
            raise
        message = f"{command} needs the package {error.name}: pip install 'rebel_pref[llm]'"
    except BrokenPipeError:  # The reader (head, less) has what it wanted.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except FloatingPointError as error:  # It ran, and left the numbers that can be trusted.
        print(f"rebel-pref {command}: {_one_line(error)}", file=sys.stderr)
        return 1
    except bad_input as error:
        if os.environ.get("REBEL_PREF_TRACEBACK"):
            raise
        message = _one_line(error)
    print(f"rebel-pref {command}: {message}", file=sys.stderr)
    return 2


def _leave_processes() -> None:
    """End the process group of a command that several processes ran: its threads may not outlive the interpreter.

    What holds the group, models above all, has to be gone by then. After an error nobody waits for the others.
    """
    torch = sys.modules.get("torch")
    if torch is not None and torch.distributed.is_available() and torch.distributed.is_initialized():
        gc.collect()
        torch.distributed.destroy_process_group()


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [
        "usage: rebel-pref COMMAND [options]",
        "",
        "Solve general-preference (intransitive) games.",
        "",
        "commands:",
    ]
    lines += [f"  {name:<{width}}  {text}" for name, text in COMMANDS.items()]
    return "\n".join([*lines, "", "rebel-pref COMMAND --help lists a command's options.", "", EXAMPLES])


def _one_line(error: Exception) -> str:
    """The message that matters: jsonargparse nests its own over several lines."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines) or type(error).__name__
