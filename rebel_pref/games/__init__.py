"""Preference games: a payoff matrix with labels, named examples, and games played in text."""

from rebel_pref.games.batch import GameBatch
from rebel_pref.games.comparisons import Comparisons
from rebel_pref.games.duels import DuelOracle
from rebel_pref.games.factored import FactoredGame, MatvecGame
from rebel_pref.games.game import Game, PreferenceGame
from rebel_pref.games.named import GAMES, blotto, blotto_allocations, named_game, rock_paper_scissors
from rebel_pref.games.text import (
    BLOTTO_PROMPTS,
    TextGame,
    blotto_text,
    rock_paper_scissors_text,
)

__all__ = [
    "BLOTTO_PROMPTS",
    "GAMES",
    "Comparisons",
    "DuelOracle",
    "FactoredGame",
    "Game",
    "GameBatch",
    "MatvecGame",
    "PreferenceGame",
    "TextGame",
    "blotto",
    "blotto_allocations",
    "blotto_text",
    "named_game",
    "rock_paper_scissors",
    "rock_paper_scissors_text",
]
