"""Games with two different seats as symmetric games: play both seats. Kuhn's poker."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations, product

import numpy as np
from numpy.typing import ArrayLike

from rebel_pref.games.game import PreferenceGame
from rebel_pref.games.named.sizes import check_actions
from rebel_pref.preferences import FloatArray

__all__ = ["both_seats_game", "kuhn_poker", "kuhn_poker_seats"]

_CARDS = ("J", "Q", "K")
_PASS, _BET = "p", "b"
_Plan = dict[tuple[int, str], str]


def both_seats_game(
    payoff: ArrayLike, *, first_labels: Sequence[str] | None = None, second_labels: Sequence[str] | None = None
) -> PreferenceGame:
    """Any zero-sum game of two seats made symmetric: an action is a plan for either seat, seats are drawn by a coin.

    ``A[(a, b), (c, d)] = (E[a, d] - E[c, b]) / 2``, with pairs in row-major order. If p is a minimax winner, its
    marginals x, y over first and second plans are optimal in their seats, and the reverse. Exploitability is half
    of ``max_a E[a, y] - min_b E[x, b]``. Source: von Neumann, in Gale, Kuhn and Tucker 1950.

    Parameters
    ----------
    payoff : E [m, k], payoff of the first seat's plan a against the second seat's plan b.
    first_labels, second_labels : m and k names; an action is called "first / second".
    """
    array = np.asarray(payoff, dtype=np.float64)
    if array.ndim != 2 or array.size == 0:
        raise ValueError(f"expected payoffs of shape [first plans, second plans], got {array.shape}")
    size = check_actions(array.size)
    first = [str(a) for a in range(array.shape[0])] if first_labels is None else list(first_labels)
    second = [str(b) for b in range(array.shape[1])] if second_labels is None else list(second_labels)
    if (len(first), len(second)) != array.shape:
        raise ValueError(f"expected {array.shape[0]} and {array.shape[1]} labels, got {len(first)} and {len(second)}")
    averaged = 0.5 * (array[:, None, None, :] - array.T[None, :, :, None])
    return PreferenceGame.from_payoffs(
        averaged.reshape(size, size), labels=[f"{one} / {two}" for one, two in product(first, second)]
    )


def kuhn_poker_seats() -> tuple[FloatArray, tuple[str, ...], tuple[str, ...]]:
    """Kuhn poker in reduced normal form: what the first seat wins with each plan, in chips a hand.

    Each puts in a chip and gets one of three cards, J < Q < K. The first may check or bet a chip, after a check the
    second may; who faces a bet folds or calls. A plan says what to do with each card, and leaves out what its own
    earlier choices rule out: the first seat's "bet", "check-fold" and "check-call" make 3^3 = 27 plans, the second
    seat's answers to a check and to a bet ("check-fold", ..., "bet-call") 4^3 = 64. The value is -1/18. Source: Kuhn
    1950.

    Returns
    -------
    E [27, 64], mean over the 6 deals; labels of the 27 rows and of the 64 columns, "J bet, Q check-fold, K check-call".
    """
    plans = [_plans(seat) for seat in (0, 1)]
    deals = list(permutations(range(len(_CARDS)), 2))
    total = np.array([[sum(_gain(deal, first, second) for deal in deals) for second in plans[1]] for first in plans[0]])
    labels = [tuple(_label(plan) for plan in plans[seat]) for seat in (0, 1)]
    return total / len(deals), labels[0], labels[1]


def kuhn_poker() -> PreferenceGame:
    """The game of whole Kuhn poker players, who play both seats equally often: 27 x 64 = 1728 pairs of plans.

    Payoffs are chips a hand. See :func:`kuhn_poker_seats` for rules and plans, :func:`both_seats_game` for what a
    winner is. Source: Kuhn 1950.
    """
    payoff, first, second = kuhn_poker_seats()
    return both_seats_game(payoff, first_labels=first, second_labels=second)


def _is_over(history: str) -> bool:
    # Two checks, or any answer to a bet.
    return history == _PASS + _PASS or _BET in history[:-1]


def _plans(seat: int) -> list[_Plan]:
    """Every pure plan of a seat: the action at (card, history), for the histories the plan itself can reach."""
    with_one_card = _plans_from("", seat)
    return [
        {(card, history): act for card, part in enumerate(parts) for history, act in part.items()}
        for parts in product(with_one_card, repeat=len(_CARDS))
    ]


def _plans_from(history: str, seat: int) -> list[dict[str, str]]:
    """Plans with one card, from a history on: choose at own turns, be ready for everything at the other's."""
    if _is_over(history):
        return [{}]
    passed, bet = (_plans_from(history + act, seat) for act in (_PASS, _BET))
    if len(history) % 2 == seat:
        return [{history: act, **rest} for act, rests in ((_PASS, passed), (_BET, bet)) for rest in rests]
    return [{**one, **two} for one, two in product(passed, bet)]


def _gain(deal: tuple[int, ...], first: _Plan, second: _Plan) -> int:
    """Chips that the first seat wins in one hand."""
    history = ""
    while not _is_over(history):
        mover = len(history) % 2
        history += (first, second)[mover][deal[mover], history]
    if history.endswith(_BET + _PASS):
        folded = (len(history) - 1) % 2
        return 1 if folded == 1 else -1
    return (1 + history.count(_BET) // 2) * (1 if deal[0] > deal[1] else -1)


def _label(plan: _Plan) -> str:
    words: list[list[str]] = [[] for _ in _CARDS]
    for (card, history), act in plan.items():
        words[card].append(
            {_PASS: "fold", _BET: "call"}[act] if _BET in history else {_PASS: "check", _BET: "bet"}[act]
        )
    return ", ".join(f"{name} {'-'.join(acts)}" for name, acts in zip(_CARDS, words, strict=True))
