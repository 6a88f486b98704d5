"""What `rebel-pref train` reads: one frozen dataclass, from a recipe, a YAML file and flags."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Literal

from preference_models.training import FitConfig
from rebel_pref.games import BLOTTO_PROMPTS, TextGame, blotto_text, rock_paper_scissors_text
from rebel_pref.policies.supervised import SupervisedConfig
from rebel_pref.selfplay.config import SelfPlayConfig

__all__ = ["GameConfig", "PreferenceConfig", "StartConfig", "TrainConfig", "recipe_path", "recipes"]


@dataclass(frozen=True)
class GameConfig:
    """The text game.

    Attributes
    ----------
    name
        "blotto" or "rock-paper-scissors".
    soldiers
        of blotto, soldiers of each side.
    prompts
        of blotto, field values joined by colons, one entry a prompt.
    payoffs
        of rock-paper-scissors: paper over rock, rock over scissors, scissors over paper.
    """

    name: Literal["blotto", "rock-paper-scissors"] = "blotto"
    soldiers: int = 10
    prompts: tuple[str, ...] = BLOTTO_PROMPTS
    payoffs: tuple[float, float, float] = (0.1, 0.3, 0.6)

    def build(self) -> TextGame:
        """The game that these settings name."""
        if self.name == "blotto":
            return blotto_text(self.soldiers, self.prompts)
        return rock_paper_scissors_text(*self.payoffs)


@dataclass(frozen=True)
class StartConfig:
    """The starting model where `model` is not given: a small Llama, supervised on uniform legal completions.

    Attributes
    ----------
    hidden_size
        width.
    layers
        transformer layers.
    heads
        attention heads.
    max_new_tokens
        longest response; 0 takes the longest legal completion and two tokens more.
    temperature
        of the policy itself.
    trust_remote_code
        run code that comes with a model from a hub.
    supervised
        how it is supervised.
    """

    hidden_size: int = 64
    layers: int = 2
    heads: int = 4
    max_new_tokens: int = 0
    temperature: float = 1.0
    trust_remote_code: bool = False
    supervised: SupervisedConfig = field(default_factory=SupervisedConfig)


@dataclass(frozen=True)
class PreferenceConfig:
    """The comparisons and the models fitted to them.

    Attributes
    ----------
    votes
        comparisons drawn from the noisy judge on uniform legal completions.
    illegal_votes
        further comparisons of a legal with an illegal completion.
    warm_samples
        completions of each prompt that the start writes to find illegal ones.
    near_misses
        further illegal candidates: legal completions with a character or two changed.
    warm_temperature
        factor on the start's temperature for those.
    flip
        probability that a vote is wrong.
    held_out
        share of the distinct pairs kept from the fit; 0 keeps none, for games of so few pairs that each counts.
    num_discs
        cyclic components of the hybrid model.
    hidden_size
        width of both encoders.
    hybrid
        fit of the hybrid model; a label_noise of 0 takes `flip`.
    bradley_terry
        fit of the Bradley-Terry model; a label_noise of 0 takes `flip`.
    """

    votes: int = 50000
    illegal_votes: int = 10000
    warm_samples: int = 512
    near_misses: int = 64
    warm_temperature: float = 1.2
    flip: float = 0.1
    held_out: float = 0.1
    num_discs: int = 8
    hidden_size: int = 32
    hybrid: FitConfig = field(default_factory=FitConfig)
    bradley_terry: FitConfig = field(default_factory=FitConfig)


@dataclass(frozen=True)
class TrainConfig:
    """A run, from comparisons to a certified policy.

    Attributes
    ----------
    out
        folder of the run; empty takes runs/ and the recipe's name.
    seed
        of every random stream.
    threads
        threads of torch on a CPU.
    model
        folder or hub id of a causal language model to start from, in place of a small one built here.
    oracle
        "fitted", the hybrid model, or "judge", the true judge in its place (for comparison).
    contrast
        run the same trainer on the Bradley-Terry scores too.
    overwrite
        start anew in a folder that holds a run, which is deleted.
    resume
        go on from the last checkpoint in `out`.
    game
        the text game.
    start
        the starting model.
    preferences
        comparisons and preference models.
    self_play
        the trainer.
    """

    out: str = ""
    seed: int = 0
    threads: int = 2
    model: str | None = None
    oracle: Literal["fitted", "judge"] = "fitted"
    contrast: bool = True
    overwrite: bool = False
    resume: bool = False
    game: GameConfig = field(default_factory=GameConfig)
    start: StartConfig = field(default_factory=StartConfig)
    preferences: PreferenceConfig = field(default_factory=PreferenceConfig)
    self_play: SelfPlayConfig = field(default_factory=SelfPlayConfig)


def recipes() -> list[str]:
    """Names of the packaged recipes."""
    return sorted(entry.name.removesuffix(".yaml") for entry in _folder().iterdir() if entry.name.endswith(".yaml"))


def recipe_path(name: str) -> Path:
    """A YAML file as it is, or the packaged recipe of that name.

    Raises
    ------
    FileNotFoundError
        That lists the recipes there are.
    """
    if Path(name).is_file():
        return Path(name)
    if name in recipes():
        return Path(str(_folder() / f"{name}.yaml"))
    raise FileNotFoundError(f"no file and no recipe is called {name!r}; recipes: {', '.join(recipes())}")


def _folder() -> Path:
    return Path(str(files("rebel_pref") / "recipes"))
