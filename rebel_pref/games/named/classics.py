"""Small games that everybody knows: rock-paper-scissors and its larger kin, Morra, Penney's game."""

from __future__ import annotations

from itertools import product

import numpy as np

from rebel_pref.games.game import PreferenceGame
from rebel_pref.games.named.sizes import check_actions

__all__ = ["cycle_game", "lizard_spock", "morra", "penney", "rock_paper_scissors"]

_LIZARD_SPOCK_WINS = (
    ("rock", "scissors"),
    ("rock", "lizard"),
    ("paper", "rock"),
    ("paper", "Spock"),
    ("scissors", "paper"),
    ("scissors", "lizard"),
    ("lizard", "paper"),
    ("lizard", "Spock"),
    ("Spock", "rock"),
    ("Spock", "scissors"),
)


def rock_paper_scissors(
    paper_over_rock: float = 1.0, rock_over_scissors: float = 1.0, scissors_over_paper: float = 1.0
) -> PreferenceGame:
    """Rock, paper, scissors with a payoff for each of the three wins.

    The minimax winner gives each action the weight of the win it takes no part in, normalised:
    rock : paper : scissors = scissors_over_paper : rock_over_scissors : paper_over_rock.

    >>> rock_paper_scissors().payoff[1, 0]          # paper beats rock
    np.float64(1.0)
    """
    a, b, c = paper_over_rock, rock_over_scissors, scissors_over_paper
    payoff = [[0.0, -a, b], [a, 0.0, -c], [-b, c, 0.0]]
    return PreferenceGame.from_payoffs(payoff, labels=("rock", "paper", "scissors"))


def lizard_spock() -> PreferenceGame:
    """Rock, paper, scissors, lizard, Spock: each of the five beats two of the others.

    Rock crushes scissors and lizard, paper covers rock and disproves Spock, scissors cut paper and decapitate
    lizard, lizard eats paper and poisons Spock, Spock vaporises rock and smashes scissors. Uniform is the only
    minimax winner. Source: Kass and Bryla; uniqueness: Fisher and Ryan 1992.
    """
    labels = ("rock", "paper", "scissors", "lizard", "Spock")
    payoff = np.zeros((5, 5))
    for winner, loser in _LIZARD_SPOCK_WINS:
        payoff[labels.index(winner), labels.index(loser)] = 1.0
    return PreferenceGame.from_payoffs(payoff - payoff.T, labels=labels)


def cycle_game(actions: int = 5) -> PreferenceGame:
    """Rock-paper-scissors on an odd number of actions: i beats j if ``(i - j) mod n`` is odd.

    Every action beats half of the others, so uniform wins, and only uniform: a tournament has one minimax
    winner. Three actions are rock, paper, scissors. Source: Fisher and Ryan 1992.
    """
    if actions % 2 == 0:
        raise ValueError(f"expected an odd number of actions, of which each beats half of the others, got {actions}")
    numbers = np.arange(check_actions(actions))
    step = (numbers[:, None] - numbers[None, :]) % actions
    return PreferenceGame.from_payoffs(np.where(step % 2 == 1, 1.0, -1.0) * (step > 0))


def morra(fingers: int = 2) -> PreferenceGame:
    """Morra: both show 1 to `fingers` fingers and call how many the other shows.

    Who alone calls right wins as many points as fingers are shown; else nobody wins. Payoffs are points. With two
    fingers the minimax winners are the mixtures of "show 1 call 2" with a share in [4/7, 3/5] and "show 2 call 1".
    Source: Dantzig 1963.
    """
    check_actions(fingers**2 if fingers > 0 else 0)
    plays = np.array(list(product(range(1, fingers + 1), repeat=2)))
    shown, called = plays.T
    right = (called[:, None] == shown[None, :]).astype(np.float64)
    payoff = (right - right.T) * (shown[:, None] + shown[None, :])
    return PreferenceGame.from_payoffs(payoff, labels=[f"show {show} call {call}" for show, call in plays])


def penney(length: int = 3) -> PreferenceGame:
    """Penney's game: each names a sequence of coin tosses, and a coin is tossed until one of them comes up.

    The same sequence is a tie. With Conway's leading numbers ``L(x, y) = sum 2^(s - 1)`` over the s in 1..length
    for which the last s tosses of x are the first s of y, x comes before y with odds
    ``L(y, y) - L(y, x) : L(x, x) - L(x, y)``. Source: Penney 1969; Conway's rule in Gardner 1974.

    Parameters
    ----------
    length : tosses of a sequence; there are 2^length sequences.

    >>> game = penney()
    >>> float(game.preferences[game.labels.index("THH"), game.labels.index("HHH")])
    0.875
    """
    if length < 1:
        raise ValueError(f"expected sequences of at least one toss, got length {length}")
    # Of 64 tosses there are too many sequences already, and 2^length of a slip of the pen fills the memory itself.
    sequences = np.arange(check_actions(2 ** min(length, 64)))
    leading = np.zeros((len(sequences), len(sequences)))
    for overlap in range(1, length + 1):
        tails, heads = sequences & (2**overlap - 1), sequences >> (length - overlap)
        leading += 2.0 ** (overlap - 1) * (tails[:, None] == heads[None, :])
    odds = np.diagonal(leading)[None, :] - leading.T
    np.fill_diagonal(odds, 1.0)  # 0 : 0 against itself, a tie
    labels = ["".join("HT"[toss == "1"] for toss in f"{number:0{length}b}") for number in range(2**length)]
    return PreferenceGame.from_payoffs((odds - odds.T) / (odds + odds.T), labels=labels)
