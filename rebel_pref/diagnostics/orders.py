"""Orders and cycles in evidence: the order that contradicts it least, the cycle that is hardest to break."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rebel_pref.preferences import FloatArray

__all__ = ["best_order", "evidence", "strongest_cycle"]

_EXACT = 10
_RESTARTS = 10


def evidence(wins: FloatArray, losses: FloatArray) -> FloatArray:
    """Likelihood ratio against a fair coin, ``2 [w log(2w/N) + l log(2l/N)]``, in favour of the winner; [...].

    0 where the first did not win more often: what it costs, in deviance, to rank the first below the second.
    """
    from scipy.special import xlogy

    total = np.where(wins + losses > 0, wins + losses, 1.0)
    ratio = 2.0 * (xlogy(wins, 2.0 * wins / total) + xlogy(losses, 2.0 * losses / total))
    return np.where(wins > losses, np.maximum(ratio, 0.0), 0.0)


def best_order(cost: FloatArray) -> tuple[NDArray[np.int64], float]:
    """The order [n], best first, that contradicts `cost` [n, n] least, and what it costs.

    ``cost[i, j] >= 0`` is paid where j stands before i (the linear ordering problem: the lightest feedback arc set).
    Up to 10 items by dynamic programming over subsets, exact (Held & Karp 1962; Lawler 1964). Beyond that one item
    at a time moves to its best place until none gains, from the order by net evidence and from ten others; the best
    of these may miss the optimum.
    """
    order = _exact_order(cost) if len(cost) <= _EXACT else _moved_order(cost)
    return order, float(np.tril(cost[np.ix_(order, order)]).sum())


def strongest_cycle(strength: FloatArray) -> tuple[float, tuple[int, ...]]:
    """The largest s so that some cycle has only links of at least s, and the shortest such cycle; (0, ()) without.

    Widest paths by Floyd and Warshall's recursion (Schulze 2011, section 2.3): the widest path from an action to
    itself is its strongest cycle.

    Parameters
    ----------
    strength : [n, n], 0 where there is no link; at most one of ``strength[i, j]`` and ``strength[j, i]`` is positive.
    """
    widest = strength.copy()
    for middle in range(len(strength)):
        np.maximum(widest, np.minimum(widest[:, middle, None], widest[None, middle, :]), out=widest)
    through = np.diagonal(widest)
    largest = float(through.max(initial=0.0))
    if largest == 0.0:
        return 0.0, ()
    linked = strength >= largest
    cycles = [_shortest_cycle(linked, int(start)) for start in np.flatnonzero(through == largest)]
    return largest, min(cycles, key=len)


def _shortest_cycle(linked: NDArray[np.bool_], start: int) -> tuple[int, ...]:
    """Breadth first from an action on a cycle, until it comes back."""
    came_from = {start: start}
    frontier = [start]
    while frontier:
        following: list[int] = []
        for action in frontier:
            if linked[action, start]:
                path = [action]
                while path[-1] != start:
                    path.append(came_from[path[-1]])
                return tuple(reversed(path))
            for target in np.flatnonzero(linked[action]).tolist():
                if target not in came_from:
                    came_from[target] = action
                    following.append(target)
        frontier = following
    raise ValueError(f"action {start} is on no cycle")


def _exact_order(cost: FloatArray) -> NDArray[np.int64]:
    size = len(cost)
    subsets = np.arange(2**size)
    member = (subsets[:, None] >> np.arange(size)) & 1
    after = cost @ member.T  # after[i, S]: what it costs to place i right after the items of S.
    best = np.full(2**size, np.inf)
    best[0] = 0.0
    held = member.sum(1)
    for level in range(size):
        for item in range(size):
            before = subsets[(held == level) & (member[:, item] == 0)]
            larger = before | (1 << item)
            best[larger] = np.minimum(best[larger], best[before] + after[item, before])
    order = np.empty(size, dtype=np.int64)
    left = 2**size - 1
    for place in reversed(range(size)):
        items = [item for item in range(size) if left >> item & 1]
        order[place] = min(items, key=lambda item: best[left ^ 1 << item] + after[item, left ^ 1 << item])
        left ^= 1 << int(order[place])
    return order


def _moved_order(cost: FloatArray) -> NDArray[np.int64]:
    balance = cost - cost.T
    rng = np.random.default_rng(0)
    starts = [np.argsort(-balance.sum(1), kind="stable"), *(rng.permutation(len(cost)) for _ in range(_RESTARTS))]
    orders = [_climb(balance, start) for start in starts]
    return min(orders, key=lambda order: float(np.tril(cost[np.ix_(order, order)]).sum()))


def _climb(balance: FloatArray, order: NDArray[np.int64]) -> NDArray[np.int64]:
    """Moves one item at a time to its best place until none gains; ``balance = cost - cost.T``."""
    noise = 1e-9 * balance.max(initial=0.0)
    moved = True
    while moved:
        moved = False
        for item in range(len(balance)):
            now = int(np.flatnonzero(order == item)[0])
            others = np.delete(order, now)
            # Relative cost of the item in front of all others, behind the first, behind the second, ...
            price = np.concatenate([[0.0], np.cumsum(balance[item, others])])
            target = int(price.argmin())
            if price[target] < price[now] - noise:
                order = np.insert(others, target, item)
                moved = True
    return order
