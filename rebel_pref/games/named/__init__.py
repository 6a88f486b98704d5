"""Named games, each generated from its definition."""

from rebel_pref.games.named.allocations import blotto, blotto_allocations, colonel_lotto
from rebel_pref.games.named.catalogue import GAMES, named_game
from rebel_pref.games.named.classics import cycle_game, lizard_spock, morra, penney, rock_paper_scissors
from rebel_pref.games.named.dice import EFRON_DICE, GRIME_DICE, MIWIN_DICE, dice_game
from rebel_pref.games.named.families import (
    bradley_terry_game,
    dense_game,
    disc_game,
    factored_disc_game,
    hybrid_game,
    mixed_game,
    points_game,
    random_game,
)
from rebel_pref.games.named.poker import both_seats_game, kuhn_poker, kuhn_poker_seats
from rebel_pref.games.named.voting import majority_game, mcgarvey_game, mcgarvey_rankings

__all__ = [
    "EFRON_DICE",
    "GAMES",
    "GRIME_DICE",
    "MIWIN_DICE",
    "blotto",
    "blotto_allocations",
    "both_seats_game",
    "bradley_terry_game",
    "colonel_lotto",
    "cycle_game",
    "dense_game",
    "dice_game",
    "disc_game",
    "factored_disc_game",
    "hybrid_game",
    "kuhn_poker",
    "kuhn_poker_seats",
    "lizard_spock",
    "majority_game",
    "mcgarvey_game",
    "mcgarvey_rankings",
    "mixed_game",
    "morra",
    "named_game",
    "penney",
    "points_game",
    "random_game",
    "rock_paper_scissors",
]
