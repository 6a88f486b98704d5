"""A language model behind an OpenAI-compatible endpoint, as a judge."""

from __future__ import annotations

import collections
import logging
import os
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from preference_models.judges.answers import AnswerReader, LetterAnswer
from preference_models.judges.cache import AnswerCache, content_key
from preference_models.judges.limits import Budget, Purse
from preference_models.judges.orders import Shown, prefer_in_both_orders
from preference_models.judges.templates import check_template, fill_template
from preference_models.judges.transport import ChatTransport, Delivery, Failure, Reply
from rebel_pref.preferences import FloatArray

__all__ = ["ChatJudge", "JudgeCounts"]

logger = logging.getLogger(__name__)

NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class JudgeCounts:
    """What became of the questions (two a pair) that were put to a judge since it was made.

    Attributes
    ----------
    questions : ``cached + answered + unreadable + failed + over_budget``.
    cached : answered from the cache.
    answered : answered by the endpoint.
    unreadable : the answers held no verdict.
    failed : retries exhausted, or an error that no retry mends.
    over_budget : not asked (any more) because the budget was spent.
    requests : HTTP requests sent, retries included.
    cost : in the unit of the budget's prices.
    """

    questions: int = 0
    cached: int = 0
    answered: int = 0
    unreadable: int = 0
    failed: int = 0
    over_budget: int = 0
    requests: int = 0
    cost: float = 0.0

    def __str__(self) -> str:
        missing = self.unreadable + self.failed + self.over_budget
        return (
            f"{self.questions} questions: {self.cached} from the cache, {self.answered} answered in {self.requests} "
            f"requests at a cost of {self.cost:.4g}, {missing} missing ({self.unreadable} unreadable, {self.failed} "
            f"failed, {self.over_budget} over the budget)"
        )


class ChatJudge:
    """An LLM judge over HTTP, as a :class:`~rebel_pref.preferences.PreferenceOracle`.

    Every pair is asked about in both orders and averaged (:func:`prefer_in_both_orders`). What cannot be had, after
    retries or within the budget, is NaN, counted in :attr:`counts` and logged.

    Only verdicts are cached, each as it comes: a question that failed or whose answer was unreadable is asked again
    the next time. The key of the cache is the content (model, template, system message, reader, sampling, prompt,
    first, second) and not the URL, so that a server may move; two servers that give different models one name need
    two cache files.

    Parameters
    ----------
    base_url : of any OpenAI-compatible API, such as ``http://localhost:8000/v1``.
    model : the name that the endpoint knows the model by.
    api_key_variable : name of the environment variable that holds the key; None sends none.
    answer : how the verdict is asked for and read: :class:`LetterAnswer`, :class:`JsonAnswer`,
        :class:`LogprobAnswer`, or your own :class:`AnswerReader`.
    template : the question, with {prompt}, {first} and {second} in it; None for the reader's own.
    system : a system message; None sends none.
    temperature, seed : of sampling; None leaves them to the server.
    extra : further fields of the request; None as a value takes a field out.
    delivery : concurrency, rate, timeout, retries.
    budget : the most to spend.
    cache : path of the SQLite file of answers; None keeps none.

    Raises
    ------
    ValueError
        For a template without its fields, a URL that is none, a key's variable that is not set, or a budget of money
        without a bound on an answer.
    JudgeRefused
        From ``prefer``, if the endpoint refuses the key, the model or the URL; answers that came before are cached.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        api_key_variable: str | None = None,
        answer: AnswerReader = LetterAnswer(),  # noqa: B008 (frozen)
        template: str | None = None,
        system: str | None = None,
        temperature: float | None = 0.0,
        seed: int | None = None,
        extra: Mapping[str, Any] = NOTHING,
        delivery: Delivery = Delivery(),  # noqa: B008 (frozen)
        budget: Budget = Budget(),  # noqa: B008 (frozen)
        cache: str | os.PathLike[str] | None = None,
    ) -> None:
        if cache is not None and type(answer).__repr__ is object.__repr__:
            raise ValueError(
                f"{type(answer).__name__} has no repr that says what it does, and the cache tells readers apart by "
                "their repr; make it a dataclass"
            )
        self.model = model
        self.template = check_template(answer.template() if template is None else template)
        self._answer, self._system = answer, system
        sampling = {"temperature": temperature, "seed": seed, **answer.request(), **extra}
        self._sampling = {name: value for name, value in sampling.items() if value is not None}
        limit = self._sampling.get("max_tokens") or self._sampling.get("max_completion_tokens") or 0
        if budget.max_cost is not None and budget.price_out > 0.0 and limit <= 0:
            raise ValueError(
                "max_cost needs a positive max_tokens or max_completion_tokens in the request (extra), a bound on what "
                f"an answer can cost; the request has {limit or 'neither'}"
            )
        self._delivery = delivery
        self._purse = Purse(budget)
        self._transport = ChatTransport(base_url, api_key_variable, delivery, self._purse)
        self._cache = None if cache is None else AnswerCache(cache)
        self._counts = JudgeCounts()
        self._lock = threading.Lock()

    @property
    def gives_logits(self) -> bool:
        """Whether the answers are logits (averaged as such) or verdicts."""
        return self._answer.gives_logits

    @property
    def counts(self) -> JudgeCounts:
        """What became of all questions so far."""
        return replace(self._counts, requests=self._purse.requests, cost=self._purse.cost)

    def prefer(
        self,
        prompts: Sequence[str],
        responses: Sequence[Sequence[str]],
        opponents: Sequence[Sequence[str]] | None = None,
    ) -> FloatArray:
        """Win probabilities, float64 [B, K, K or M], NaN where an answer is missing in either order.

        See :meth:`rebel_pref.preferences.PreferenceOracle.prefer`.
        """
        return prefer_in_both_orders(self, prompts, responses, opponents)

    def judge_as_shown(self, shown: Sequence[Shown]) -> FloatArray:
        """The verdict on each comparison in the order shown, float64 [N]; see :class:`OrderedJudge`."""
        keys = {view: self._key(view) for view in shown}
        known = {} if self._cache is None else self._cache.get(list(keys.values()))
        values = {view: known[key] for view, key in keys.items() if key in known}
        cached = len(values)
        missing: collections.Counter[str] = collections.Counter()
        reasons: dict[str, str] = {}
        try:
            self._ask_all([view for view in keys if view not in values], keys, values, missing, reasons)
        finally:
            self._count(cached, len(values) - cached, missing)
        if missing:
            logger.warning(
                "%s: %d of %d questions have no verdict: %s",
                self.model,
                missing.total(),
                len(keys),
                "; ".join(f"{count} {kind} (the first: {reasons[kind]})" for kind, count in sorted(missing.items())),
            )
        return np.array([values.get(view, np.nan) for view in shown], dtype=np.float64)

    def close(self) -> None:
        """Close connections and cache; also happens when the judge goes."""
        self._transport.close()
        if self._cache is not None:
            self._cache.close()

    def __enter__(self) -> ChatJudge:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask_all(
        self,
        todo: Sequence[Shown],
        keys: Mapping[Shown, str],
        values: dict[Shown, float],
        missing: collections.Counter[str],
        reasons: dict[str, str],
    ) -> None:
        """Ask the endpoint about `todo`; what comes goes into `values`, what does not into `missing` and `reasons`."""
        if not todo:
            return
        stop = threading.Event()
        pool = ThreadPoolExecutor(min(self._delivery.concurrency, len(todo)), thread_name_prefix="judge")
        asked: dict[Future[Reply | Failure], Shown] = {}
        try:
            asked.update((pool.submit(self._ask, view, keys[view], stop), view) for view in todo)
            for future in as_completed(asked):
                future.result()
        finally:
            # On an error or an interrupt: nothing new is sent, and waits end.
            stop.set()
            pool.shutdown(cancel_futures=True)
            for future, view in asked.items():
                if future.cancelled() or future.exception() is not None:
                    continue
                outcome = future.result()
                if isinstance(outcome, Reply):
                    values[view] = outcome.value
                elif outcome.kind != "stopped":
                    missing[outcome.kind] += 1
                    reasons.setdefault(outcome.kind, outcome.reason)

    def _ask(self, view: Shown, key: str, stop: threading.Event) -> Reply | Failure:
        """One question; its answer is on disk before anything else happens to it."""
        outcome = self._transport.ask(self._body(view), self._answer.read, stop)
        if self._cache is not None and isinstance(outcome, Reply):
            self._cache.put(key, outcome.value, outcome.text)
        return outcome

    def _body(self, view: Shown) -> dict[str, Any]:
        messages = [] if self._system is None else [{"role": "system", "content": self._system}]
        messages.append({"role": "user", "content": fill_template(self.template, view)})
        return {"model": self.model, "messages": messages, **self._sampling}

    def _key(self, view: Shown) -> str:
        judge = {"model": self.model, "template": self.template, "system": self._system, "sampling": self._sampling}
        return content_key({"format": 1, **judge, "answer": repr(self._answer), **view._asdict()})

    def _count(self, cached: int, answered: int, missing: collections.Counter[str]) -> None:
        with self._lock:
            old = self._counts
            self._counts = replace(
                old,
                questions=old.questions + cached + answered + missing.total(),
                cached=old.cached + cached,
                answered=old.answered + answered,
                **{kind: getattr(old, kind) + count for kind, count in missing.items()},
            )
