"""What a judge may spend: requests a minute, requests in all, money in all."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Budget", "Pace", "Purse"]


@dataclass(frozen=True)
class Budget:
    """The most that one judge object may spend; when it is spent the rest of the comparisons is missing.

    Attributes
    ----------
    max_requests : HTTP requests, retries included.
    max_cost : in the unit of the prices. Never exceeded if the prices are right: the most that a request can cost
        (a token a byte of the question, and every token of the answer) is set aside before it is sent.
    price_in, price_out : of a million tokens of the question and of the answer.
    """

    max_requests: int | None = None
    max_cost: float | None = None
    price_in: float = 0.0
    price_out: float = 0.0

    def __post_init__(self) -> None:
        if self.max_requests is not None and self.max_requests < 0:
            raise ValueError(f"max_requests must not be negative, got {self.max_requests}")
        for name in ("max_cost", "price_in", "price_out"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0.0):
                raise ValueError(f"{name} must be finite and not negative, got {value}")
        if self.max_cost is not None and self.price_in == self.price_out == 0.0:
            raise ValueError("max_cost needs price_in or price_out, the price of a million tokens; both are 0")

    def cost(self, tokens_in: float, tokens_out: float) -> float:
        """The price of a request."""
        return (tokens_in * self.price_in + tokens_out * self.price_out) / 1e6


class Purse:
    """A budget being spent by several threads."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.requests = 0
        self.cost = 0.0
        self._reserved: list[float] = []
        self._paid = threading.Condition()

    def wait(self, most: float, check: Callable[[], None]) -> bool:
        """Return True when there may be room for a request that costs at most `most`, False where there is none.

        Requests under way may cost less than was set aside for them: these are waited for.

        Parameters
        ----------
        check : called now and then while waiting; may raise to give up.
        """
        with self._paid:
            while not self._has_room(most):
                spent = self.budget.max_requests is not None and self.requests >= self.budget.max_requests
                dear = self.budget.max_cost is not None and self.cost + most > self.budget.max_cost
                if spent or dear or not self._reserved:
                    return False
                self._paid.wait(0.1)
                check()
            return True

    def take(self, most: float) -> bool:
        """Set aside one request that costs at most `most`; False where there is no room for it now."""
        with self._paid:
            if not self._has_room(most):
                return False
            self.requests += 1
            self._reserved.append(most)
            return True

    def _has_room(self, most: float) -> bool:
        requests, cost = self.budget.max_requests, self.budget.max_cost
        return (requests is None or self.requests < requests) and (
            cost is None or self.cost + sum(self._reserved) + most <= cost
        )

    def pay(self, most: float, actual: float) -> None:
        """The request that `most` was set aside for has cost `actual`."""
        with self._paid:
            self._reserved.remove(most)
            self.cost += actual
            self._paid.notify_all()


class Pace:
    """Spaces the requests of several threads evenly, and holds all of them back when the server asks for it.

    Parameters
    ----------
    per_minute : most requests a minute; None for as many as come.
    clock : seconds, never running back.
    """

    def __init__(self, per_minute: float | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        if per_minute is not None and not per_minute > 0.0:
            raise ValueError(f"requests_per_minute must be positive, got {per_minute}")
        self._spacing = 0.0 if per_minute is None else 60.0 / per_minute
        self._clock = clock
        self._next = -math.inf
        self._lock = threading.Lock()

    def wait(self, sleep: Callable[[float], object]) -> None:
        """Return when the next request may go; `sleep` is given seconds and may raise to give up."""
        while True:
            with self._lock:
                now = self._clock()
                if now >= self._next:
                    self._next = now + self._spacing
                    return
                left = self._next - now
            sleep(left)

    def hold(self, seconds: float) -> None:
        """Let nothing go for `seconds` from now."""
        with self._lock:
            self._next = max(self._next, self._clock() + seconds)
