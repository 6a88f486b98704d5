"""One question over HTTP, asked until it is answered or given up."""

from __future__ import annotations

import datetime
import email.utils
import json
import math
import os
import random
import threading
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx2
import tenacity

from preference_models.judges.answers import UnreadableAnswer
from preference_models.judges.limits import Pace, Purse

__all__ = ["ChatTransport", "Delivery", "Failure", "JudgeRefused", "Reply", "retry_after_seconds"]

REFUSALS = {401, 402, 404, 405}
"""The key, the account, the URL or the model is wrong: no comparison will ever be answered. So is any redirect."""

TRANSIENT = {408, 409, 425, 429}
"""Worth another try, like every status of 500 and more. Other errors are about this one question."""


PATIENCE = 20
"""Times `attempts`, for a question that a busy server puts off."""


class JudgeRefused(RuntimeError):
    """The endpoint takes no question at all, as it is set up: wrong URL, model or key."""


@dataclass(frozen=True)
class Delivery:
    """How patiently a question is delivered.

    Attributes
    ----------
    concurrency : most requests under way at a time.
    requests_per_minute : most requests started a minute, evenly spaced; None for no limit.
    timeout : seconds to wait for a connection, and for the answer to begin or go on.
    attempts : most requests for one question while the server or the network fails. Where "too many requests" (429)
        comes from a server that has answered others meanwhile, the count begins anew, for twenty times as many in all.
    answer_attempts : most answers to one question that hold no verdict.
    first_wait, longest_wait : seconds. Before retry n the wait is uniform on [0, min(longest_wait, first_wait 2^(n-1))]
        and, where the server names a time (``Retry-After``), no shorter than that, for all questions; a server that
        asks for more than `longest_wait` is not asked again about this one.
    """

    concurrency: int = 8
    requests_per_minute: float | None = None
    timeout: float = 60.0
    attempts: int = 6
    answer_attempts: int = 2
    first_wait: float = 1.0
    longest_wait: float = 120.0

    def __post_init__(self) -> None:
        for name in ("concurrency", "attempts", "answer_attempts"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("requests_per_minute", "timeout"):
            value = getattr(self, name)
            if value is not None and not value > 0.0:
                raise ValueError(f"{name} must be positive, got {value}")
        if not 0.0 <= self.first_wait <= self.longest_wait < math.inf:
            raise ValueError(
                f"expected 0 <= first_wait <= longest_wait, got {self.first_wait} and {self.longest_wait} seconds"
            )


@dataclass(frozen=True)
class Reply:
    """A verdict (a logit or a win probability) and the text it was read from."""

    value: float
    text: str


@dataclass(frozen=True)
class Failure:
    """Why there is no verdict. `kind` is ``unreadable``, ``failed``, ``over_budget`` or ``stopped``."""

    kind: str
    reason: str


class _Transient(Exception):
    """The server or the network failed."""


class _Busy(_Transient):
    """The server has more to do than it can."""


class _Hopeless(Exception):
    """This question will not be answered."""


class _OverBudget(Exception):
    """There is no money left for this question."""


class _Stopped(Exception):
    """Somebody else's question has ended the whole call."""


class ChatTransport:
    """Sends chat-completion requests; shared by threads.

    Parameters
    ----------
    base_url : up to and without ``/chat/completions``.
    api_key_variable : name of the environment variable with the key. It is read for every request, and neither kept
        nor written anywhere.
    """

    def __init__(self, base_url: str, api_key_variable: str | None, delivery: Delivery, purse: Purse) -> None:
        try:
            url = httpx2.URL(base_url)
        except (httpx2.InvalidURL, TypeError) as error:
            raise ValueError(f"base_url must be http(s)://host/path: {error}") from None
        if url.scheme not in {"http", "https"} or not url.host or url.query or url.fragment or url.userinfo:
            raise ValueError(
                f"base_url must be http(s)://host/path without credentials and query, got scheme {url.scheme!r} and "
                f"host {url.host!r}; name the key's environment variable in api_key_variable"
            )
        self._url = base_url.rstrip("/") + "/chat/completions"
        self._variable = api_key_variable
        self._key()
        self._delivery, self._purse = delivery, purse
        self._pace = Pace(delivery.requests_per_minute)
        # Waits are not worth a number of anyone else's random stream.
        self._random = random.Random()
        self._lock = threading.Lock()
        self._answered = 0
        self._client: httpx2.Client | None = None
        self._finalizer: Callable[[], Any] | None = None

    def ask(
        self, body: Mapping[str, Any], read: Callable[[Mapping[str, Any]], float], stop: threading.Event
    ) -> Reply | Failure:
        """Ask until `read` finds a verdict in ``choices[0]``, or there is no hope, no patience or no money left.

        Raises
        ------
        JudgeRefused
            If the endpoint takes no question as it is set up.
        """
        payload = json.dumps(body).encode("ascii")
        unreadable, failures, busy, seen = 0, 0, 0, self._answered

        def enough(state: tenacity.RetryCallState) -> bool:
            nonlocal unreadable, failures, busy, seen
            error = state.outcome.exception() if state.outcome else None
            if isinstance(error, UnreadableAnswer):
                unreadable += 1
                return unreadable >= self._delivery.answer_attempts
            # A server that is busy with our other questions will come to this one, or never: it may be too long.
            busy += isinstance(error, _Busy)
            failures = 0 if isinstance(error, _Busy) and self._answered > seen else failures + 1
            seen = self._answered
            return failures >= self._delivery.attempts or busy >= PATIENCE * self._delivery.attempts

        def pause(state: tenacity.RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            if not isinstance(error, _Transient):
                return 0.0  # the server is well; its answer was not
            doublings = min(failures, 64)  # This failure is not counted yet.
            most = min(self._delivery.first_wait * 2.0**doublings, self._delivery.longest_wait)
            return self._random.uniform(0.0, most)

        def sleep(seconds: float) -> None:
            if stop.wait(seconds):
                raise _Stopped

        retrying = tenacity.Retrying(
            stop=enough,
            wait=pause,
            sleep=sleep,
            retry=tenacity.retry_if_exception_type((_Transient, UnreadableAnswer)),
            reraise=True,
        )
        longest = (body.get("max_tokens") or body.get("max_completion_tokens") or 0) * (body.get("n") or 1)
        most = self._purse.budget.cost(len(payload), float(longest))
        try:
            return retrying(self._once, payload, most, read, sleep)
        except UnreadableAnswer as error:
            return Failure("unreadable", str(error))
        except (_Transient, _Hopeless) as error:
            return Failure("failed", str(error))
        except _OverBudget:
            return Failure("over_budget", "the budget is spent")
        except _Stopped:
            return Failure("stopped", "the call has ended")

    def close(self) -> None:
        """Close the connections; also happens when the object goes."""
        with self._lock:
            if self._finalizer is not None:
                self._finalizer()
            self._client = self._finalizer = None

    def _once(
        self,
        payload: bytes,
        most: float,
        read: Callable[[Mapping[str, Any]], float],
        sleep: Callable[[float], None],
    ) -> Reply:
        """One request."""
        while True:
            # Money first: who waited for it waits for the pace anew, and for what the server has asked meanwhile.
            if not self._purse.wait(most, lambda: sleep(0.0)):
                raise _OverBudget
            self._pace.wait(sleep)
            sleep(0.0)
            if self._purse.take(most):
                break
        cost = most  # what came to nothing on the way may have been answered, and billed, at the other end
        try:
            try:
                response = self._open_client().post(self._url, content=payload, headers=self._headers())
            except httpx2.HTTPError as error:
                raise _Transient(f"{type(error).__name__}: {self._hide(str(error))}") from None
            if response.status_code != 200:
                cost = 0.0
                self._raise_for_status(response)
            try:
                answer = json.loads(response.content)
                choice = answer["choices"][0]
                choice.get("message")
            except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
                raise _Transient(f"not a chat completion: {self._hide(response.text[:80])!r}") from None
            cost = self._cost(answer.get("usage"), most)
        finally:
            self._purse.pay(most, cost)
        try:
            value = float(read(choice))
        except UnreadableAnswer as error:
            raise UnreadableAnswer(self._hide(str(error))) from None
        if math.isnan(value):
            raise UnreadableAnswer("the verdict is not a number")
        with self._lock:
            self._answered += 1
        message = choice.get("message")
        content = message.get("content") if isinstance(message, Mapping) else None
        return Reply(value, self._hide(content) if isinstance(content, str) else "")

    def _raise_for_status(self, response: httpx2.Response) -> None:
        status, excerpt = response.status_code, self._hide(response.text[:200])
        if status in REFUSALS or 300 <= status < 400:
            raise JudgeRefused(
                f"{self._url} answered {status} ({excerpt}): check base_url, model and the key in "
                f"{self._variable or 'api_key_variable (none is named)'}"
            )
        if status not in TRANSIENT and status < 500:
            raise _Hopeless(f"status {status}: {excerpt}")
        after = retry_after_seconds(response.headers.get("retry-after"))
        if after > self._delivery.longest_wait:
            raise _Hopeless(f"status {status}, and asked to wait {after:.0f} s, more than longest_wait")
        if after > 0.0:
            self._pace.hold(after)  # for every question, this one included
        raise (_Busy if status == 429 else _Transient)(f"status {status}: {excerpt}")

    def _cost(self, usage: Any, most: float) -> float:
        """What the server says it took; the most it can have cost where it does not say."""
        try:
            tokens = float(usage["prompt_tokens"]), float(usage["completion_tokens"])
        except (KeyError, TypeError, ValueError, OverflowError):
            return most
        return self._purse.budget.cost(*tokens) if all(0.0 <= n < math.inf for n in tokens) else most

    def _key(self) -> str | None:
        if self._variable is None:
            return None
        key = os.environ.get(self._variable, "").strip()
        if not key:
            raise ValueError(f"the environment variable {self._variable!r}, which should hold the API key, is not set")
        if not (key.isascii() and key.isprintable()):
            raise ValueError(f"the key in {self._variable!r} has characters that no HTTP header may hold")
        return key

    def _headers(self) -> dict[str, str]:
        key = self._key()
        return {"Content-Type": "application/json"} | ({} if key is None else {"Authorization": f"Bearer {key}"})

    def _hide(self, text: str) -> str:
        """`text` without the key, should a server or an error quote it."""
        key = self._key()
        return text if key is None else text.replace(key, "***")

    def _open_client(self) -> httpx2.Client:
        with self._lock:
            if self._client is None:
                most = self._delivery.concurrency
                limits = httpx2.Limits(max_connections=most, max_keepalive_connections=most)
                # Callers that share a judge wait for each other's connections, which is no failure of anybody.
                timeout = httpx2.Timeout(self._delivery.timeout, pool=None)
                self._client = httpx2.Client(timeout=timeout, limits=limits)
                self._finalizer = weakref.finalize(self, self._client.close)
            return self._client


def retry_after_seconds(header: str | None, *, now: datetime.datetime | None = None) -> float:
    """Seconds that a ``Retry-After`` header asks for, as a number or as a date; 0 where it says nothing sensible."""
    if header is None:
        return 0.0
    try:
        seconds = float(header)
    except ValueError:
        try:
            date = email.utils.parsedate_to_datetime(header)
        except (ValueError, OverflowError):
            return 0.0
        if date.tzinfo is None:
            date = date.replace(tzinfo=datetime.UTC)
        seconds = (date - (now or datetime.datetime.now(datetime.UTC))).total_seconds()
    return max(seconds, 0.0) if math.isfinite(seconds) else 0.0
