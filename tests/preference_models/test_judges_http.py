"""Judges over HTTP, against a real server: what is asked, what is kept, and what a misbehaving server can do."""

import itertools
import logging
import os
import random
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from judge_server import QUESTION, completion, judge_server, letter

import preference_models as pm
from preference_models import judges
from preference_models.judges import (
    Budget,
    ChatJudge,
    Delivery,
    JsonAnswer,
    JudgeRefused,
    LetterAnswer,
    LogprobAnswer,
    Shown,
)
from preference_models.judges.cache import AnswerCache
from preference_models.judges.limits import Pace, Purse
from preference_models.judges.transport import retry_after_seconds
from rebel_pref.preferences import PreferenceOracle
from rebel_pref.selfplay.judging import judge_new
from rebel_pref.selfplay.pool import PromptPool

QUICK = Delivery(timeout=5.0, first_wait=0.0, longest_wait=1.0)
WORDS = [f"move {i}" for i in range(5)]


def circle(prompt, first, second):
    """Of five moves each beats the next two: a cycle. In the prompt "mirror" it is the other way round."""
    ahead = (int(second[5:]) - int(first[5:])) % 5
    payoff = 0 if ahead == 0 else 1 if ahead <= 2 else -1
    return -payoff if prompt == "mirror" else payoff


def honest(body):
    return letter(body, circle)


TRUTH = np.array([[0.5 + 0.5 * circle("", one, other) for other in WORDS] for one in WORDS])


def test_a_cycle_is_judged_in_both_orders():
    """5 responses are 10 pairs: 20 questions, each once; P + P.T = 1 to the bit; opponents see the same answers."""
    with judge_server(honest) as server, ChatJudge(server.url, "m", delivery=QUICK) as judge:
        assert isinstance(judge, PreferenceOracle)
        answer = judge.prefer(["plain", "mirror"], [WORDS, WORDS])
        assert np.array_equal(answer[0], TRUTH) and np.array_equal(answer[1], 1 - TRUTH)
        assert len(server.requests) == judge.counts.requests == judge.counts.questions == 40
        assert set(server.asked.values()) == {1}
        path, headers, body = server.requests[0]
        assert path == "/v1/chat/completions" and "Authorization" not in headers
        assert body["model"] == "m" and body["temperature"] == 0.0 and body["max_tokens"] == 16
        against = judge.prefer(["plain"], [WORDS[:2]], [WORDS])
        assert np.array_equal(against[0], TRUTH[:2])  # equal texts are 1/2, and not asked about
        assert len(server.requests) == 40 + 2 * 7  # pairs {0,1}, {0,2..4}, {1,2..4}


def test_position_bias_of_verdicts_becomes_a_tie_and_of_logits_vanishes():
    """A judge that always says A prefers nobody. Logits f = s + b with b = 1: (f(y,y') - f(y',y))/2 = s."""
    with judge_server(lambda body: completion("A")) as server, ChatJudge(server.url, "m", delivery=QUICK) as judge:
        assert np.array_equal(judge.prefer(["p"], [["x", "y"]])[0], np.full((2, 2), 0.5))

    def tilted(body):
        text = body["messages"][0]["content"]
        logit = (0.7 if text.index("move 0") < text.index("move 1") else -0.7) + 1.0
        a = -np.log1p(np.exp(-logit))
        tokens = [{"token": "A", "logprob": a}, {"token": "B", "logprob": a - logit}]
        return completion("A", finish="length", logprobs={"content": [{"token": "A", "top_logprobs": tokens}]})

    with (
        judge_server(tilted) as server,
        ChatJudge(server.url, "m", answer=LogprobAnswer(), delivery=QUICK) as judge,
    ):
        answer = judge.prefer(["p"], [["move 0", "move 1"]])[0]
        assert answer[0, 1] == pytest.approx(1 / (1 + np.exp(-0.7))) and answer[0, 1] + answer[1, 0] == 1.0
        assert server.requests[0][2]["top_logprobs"] == 20 and server.requests[0][2]["max_tokens"] == 1


def test_own_template_system_message_and_json():
    with judge_server(lambda body: completion('{"why": "longer", "pick": "B"}')) as server:
        answer = JsonAnswer(key="pick")
        judge = ChatJudge(
            server.url, "m", answer=answer, template="{second}|{prompt}|{first} {x}", system="Be fair.",
            temperature=None, seed=3, extra={"max_tokens": None, "max_completion_tokens": 9}, delivery=QUICK,
        )  # fmt: skip
        assert judge.judge_as_shown([Shown("{first}", "{prompt}", "b")]).tolist() == [0.0]
        assert server.requests[0][2] == {
            "model": "m",
            "messages": [
                {"role": "system", "content": "Be fair."},
                {"role": "user", "content": "b|{first}|{prompt} {x}"},
            ],
            "seed": 3,
            "response_format": {"type": "json_object"},
            "max_completion_tokens": 9,
        }
        judge.close()


@pytest.mark.parametrize(
    "fault",
    ["rate 0.01", "status 500", "status 503", "garbage 0", "garbage 1", "garbage 2", "garbage 3", "garbage 4", "cut",
     "half", "slow 0.6", "say", "say D", "say A or B"],
)  # fmt: skip
def test_one_fault_a_question_is_survived(fault):
    delivery = Delivery(timeout=0.3, first_wait=0.0, longest_wait=1.0, attempts=20)
    first_time = lambda body, times: fault if times == 1 else None  # noqa: E731
    with judge_server(honest, first_time) as server, ChatJudge(server.url, "m", delivery=delivery) as judge:
        assert np.array_equal(judge.prefer(["p"], [WORDS[:3]])[0], TRUTH[:3, :3])
        assert judge.counts.answered == 6 and judge.counts.requests == len(server.requests) >= 12


@pytest.mark.parametrize(
    ("fault", "kind", "requests"),
    [("status 500", "failed", 3), ("garbage 0", "failed", 3), ("cut", "failed", 3), ("say A or B", "unreadable", 2),
     ("say", "unreadable", 2), ("status 400", "failed", 1), ("status 403", "failed", 1), ("rate 1000", "failed", 1)],
)  # fmt: skip
def test_a_lasting_fault_is_missing_counted_and_logged(fault, kind, requests, caplog):
    """The fault strikes one order of one pair: the pair is missing, the others are right."""

    def one_order(body, times):
        return fault if "[Response A]\nmove 0\n\n[Response B]\nmove 1" in body["messages"][0]["content"] else None

    delivery = Delivery(timeout=5.0, first_wait=0.0, longest_wait=1.0, attempts=3)
    with judge_server(honest, one_order) as server, ChatJudge(server.url, "m", delivery=delivery) as judge:
        with caplog.at_level(logging.WARNING):
            answer = judge.prefer(["p"], [WORDS[:3]])[0]
        expected = TRUTH[:3, :3].copy()
        expected[0, 1] = expected[1, 0] = np.nan
        assert np.array_equal(answer, expected, equal_nan=True)
        assert getattr(judge.counts, kind) == 1 and judge.counts.answered == 5 and len(server.requests) == 5 + requests
    assert f"1 of 6 questions have no verdict: 1 {kind}" in caplog.text


def test_nothing_listening_is_missing():
    with judge_server(honest) as server:
        url = server.url
    with ChatJudge(url, "m", delivery=Delivery(attempts=2, first_wait=0.0)) as judge:
        assert np.isnan(judge.prefer(["p"], [["a", "b"]])[0, 0, 1]) and judge.counts.failed == 2


def test_retry_after_is_honoured_by_everyone():
    """After "wait 0.2 s" no request starts for 0.2 s, whoever was told; the jitter alone would not wait."""
    starts = []

    def fault(body, times):
        starts.append(time.monotonic())
        return "rate 0.2" if len(starts) == 1 else None

    delivery = Delivery(concurrency=1, first_wait=0.0, longest_wait=1.0)
    with judge_server(honest, fault) as server, ChatJudge(server.url, "m", delivery=delivery) as judge:
        assert np.array_equal(judge.prefer(["p"], [WORDS[:2]])[0], TRUTH[:2, :2])
    assert starts[1] - starts[0] >= 0.19 and len(starts) == 3


def test_a_busy_server_that_answers_others_is_not_given_up():
    """It takes every third request; with 3 attempts and 8 threads somebody would run out of them."""
    count = itertools.count()
    busy = lambda body, times: None if next(count) % 3 == 0 else "rate 0.01"  # noqa: E731
    delivery = Delivery(first_wait=0.0, longest_wait=1.0, attempts=3)
    with judge_server(honest, busy) as server, ChatJudge(server.url, "m", delivery=delivery) as judge:
        assert np.array_equal(judge.prefer(["plain", "mirror"], [WORDS, WORDS]), np.stack([TRUTH, 1 - TRUTH]))
        hopeless = lambda body, times: "rate 0.01" if "A]\nmove 0" in body["messages"][0]["content"] else None  # noqa: E731
        server.fault = hopeless  # Nor is a question asked for ever that alone is put off.
        before, others = len(server.requests), [Shown(f"{n}", "move 1", "move 2") for n in range(90)]
        answers = judge.judge_as_shown([Shown("p", "move 0", "move 1"), *others])
        assert np.isnan(answers[0]) and (answers[1:] == 1.0).all()
        assert judge.counts.failed == 1 and 3 < len(server.requests) - before - 90 <= 60
        server.fault = lambda body, times: "rate 0.01"  # One that answers nobody is.
        assert np.isnan(judge.prefer(["p"], [WORDS[:2]])[0, 0, 1]) and judge.counts.failed == 3


def test_who_waits_for_money_waits_for_the_server_as_well():
    """Told to come back later, nobody asks before that, not even who had been waiting for money."""
    starts = []

    def fault(body, times):
        starts.append(time.monotonic())
        if len(starts) == 1:
            time.sleep(0.2)  # The other is waiting for money by now.
            return "rate 0.4"
        return None

    # Room for what one request may cost at a time.
    budget = Budget(max_cost=0.008, price_in=1.0, price_out=300.0)
    delivery = Delivery(concurrency=2, first_wait=0.0, longest_wait=1.0)
    with judge_server(honest, fault) as server, ChatJudge(server.url, "m", delivery=delivery, budget=budget) as judge:
        judge.judge_as_shown([Shown("p", "move 1", "move 2"), Shown("p", "move 2", "move 1")])
        assert judge.counts.answered == 2
    assert len(starts) == 3 and starts[1] - starts[0] >= 0.55


def test_waits_double():
    """Uniform on a range that doubles with each failure, up to the longest."""
    delivery = Delivery(attempts=5, first_wait=0.001, longest_wait=0.004)
    down, ranges = (lambda body, times: "status 500"), []
    with judge_server(honest, down) as server, ChatJudge(server.url, "m", delivery=delivery) as judge:
        judge._transport._random.uniform = lambda low, high: ranges.append((low, high)) or 0.0
        judge.judge_as_shown([Shown("p", "move 0", "move 1")])
    assert ranges[:4] == [(0.0, 0.001), (0.0, 0.002), (0.0, 0.004), (0.0, 0.004)]


def test_threads_that_share_a_judge_wait_for_its_connections():
    """Longer than the timeout, which is about the server."""
    delivery = Delivery(concurrency=1, timeout=0.35, attempts=1)
    with judge_server(honest, lambda body, times: "slow 0.1") as server:
        with ChatJudge(server.url, "m", delivery=delivery) as judge, ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(lambda row: judge.prefer([f"p{row}"], [WORDS[:3]])[0], range(6)))
            assert judge.counts.answered == judge.counts.requests == 36
        assert all(np.array_equal(answer, TRUTH[:3, :3]) for answer in answers)


def test_half_a_character_in_an_answer_is_kept_as_it_can_be(tmp_path):
    """Servers that count in halves cut there; the verdict is whole."""
    reply = lambda body: completion("<think>\ud83d</think>A")  # noqa: E731
    with judge_server(reply) as server, ChatJudge(server.url, "m", cache=tmp_path / "a") as judge:
        assert judge.judge_as_shown([Shown("p", "a", "b")]).tolist() == [1.0]
        assert judge.judge_as_shown([Shown("p", "a", "b")]).tolist() == [1.0] and judge.counts.cached == 1


def test_strange_shapes_are_missing_or_charged_in_full():
    """Numbers beyond floats, a list for a word, a date beyond the calendar: none ends the call."""
    strange = {
        "move 0": completion("A", finish=["stop"]),
        "move 1": {**completion("A"), "usage": {"prompt_tokens": 10**400, "completion_tokens": 1}},
    }

    def reply(body):
        return strange[QUESTION.search(body["messages"][-1]["content"])[2]]

    with (
        judge_server(reply) as server,
        ChatJudge(server.url, "m", delivery=QUICK) as judge,
    ):
        assert judge.judge_as_shown([Shown("p", f"move {i}", "x") for i in range(2)]).tolist() == [1.0, 1.0]
    assert retry_after_seconds("Wed, 21 Oct 99999999999999999999 07:28:00 GMT") == 0.0


def test_what_came_before_a_refusal_is_counted(tmp_path):
    """Cached, paid for, and in the counts."""
    asked = itertools.count()
    refused = lambda body, times: "status 404" if next(asked) == 20 else None  # noqa: E731
    with (
        judge_server(honest, refused) as server,
        ChatJudge(server.url, "m", delivery=QUICK, cache=tmp_path / "a") as judge,
    ):
        with pytest.raises(JudgeRefused):
            judge.prefer(["plain", "mirror"], [WORDS, WORDS])
        with AnswerCache(tmp_path / "a") as cache:
            assert judge.counts.answered == judge.counts.questions == len(cache) >= 20


def test_no_more_requests_at_a_time_than_allowed():
    with judge_server(honest, lambda body, times: "slow 0.01") as server:
        with ChatJudge(server.url, "m", delivery=Delivery(concurrency=3)) as judge:
            judge.prefer(["p"], [WORDS])
        assert 1 <= server.busiest <= 3


def test_pace_spaces_requests_evenly():
    """120 a minute are half a second apart, and a hold moves everybody: by a clock that only sleeping advances."""
    now, went = [0.0], []
    pace = Pace(120.0, clock=lambda: now[0])

    def sleep(seconds):
        now[0] += seconds

    for _ in range(3):
        pace.wait(sleep)
        went.append(now[0])
    pace.hold(10.0)
    for _ in range(2):
        pace.wait(sleep)
        went.append(now[0])
    assert went == [0.0, 0.5, 1.0, 11.0, 11.5]


def test_a_refused_key_ends_the_call_and_is_not_told(monkeypatch, caplog, tmp_path):
    """The server quotes the key in its answer; no error, log, object or file of ours does."""
    monkeypatch.setenv("JUDGE_KEY", "sk-secret")
    with judge_server(honest, lambda body, times: "status 401") as server:
        judge = ChatJudge(server.url, "m", api_key_variable="JUDGE_KEY", delivery=QUICK, cache=tmp_path / "c")
        with caplog.at_level(logging.DEBUG), pytest.raises(JudgeRefused, match=r"401 .*JUDGE_KEY") as caught:
            judge.prefer(["p"], [WORDS])
        assert server.requests[0][1]["Authorization"] == "Bearer sk-secret"
        server.fault = lambda body, times: "status 400"
        with caplog.at_level(logging.DEBUG):
            assert np.isnan(judge.prefer(["p"], [WORDS])[0, 0, 1])
        server.fault, server.reply = (lambda body, times: None), (lambda body: completion("Verdict: sk-secret\nA"))
        assert judge.prefer(["p"], [WORDS])[0, 0, 1] == 0.5
        judge.close()
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"Verdict: ***" in stored and b"sk-secret" not in stored
    assert "sk-secret" not in caplog.text + str(caught.value) + repr(vars(judge)) + repr(vars(judge._transport))


def test_budget_of_requests():
    """21 requests buy 10 pairs and one order of the next; the rest is missing, and said to be."""
    with judge_server(honest) as server:
        delivery = Delivery(concurrency=1)
        with ChatJudge(server.url, "m", delivery=delivery, budget=Budget(max_requests=21)) as judge:
            answer = judge.prefer(["plain", "mirror"], [WORDS, WORDS])
        assert np.array_equal(answer[0], TRUTH) and np.isnan(answer[1]).sum() == 20
        assert (
            len(server.requests) == 21 and judge.counts.over_budget == 19 and "19 over the budget" in str(judge.counts)
        )


def test_budget_of_money_is_never_exceeded(tmp_path):
    """A question is 100 tokens in and 1 out: at 10 and 30 a million it costs 1.03e-3; 8 threads ask at a time."""
    budget = Budget(max_cost=0.03, price_in=10.0, price_out=30.0)
    with judge_server(honest) as server, ChatJudge(server.url, "m", budget=budget) as judge:
        answer = judge.prefer(["plain", "mirror"], [WORDS, WORDS])
        counts = judge.counts
        assert counts.cost == pytest.approx(1.03e-3 * counts.answered) and 0 < counts.cost <= 0.03
        assert counts.answered + counts.over_budget == 40 and counts.over_budget > 0
        # What is set aside for requests under way (some 6e-3 each) comes back: no money is left over for another.
        assert counts.cost > 0.03 - 8e-3
        known = ~np.isnan(answer)
        assert np.array_equal(answer[known], np.stack([TRUTH, 1 - TRUTH])[known])
        # Without usage in the answer, the most that it can have cost is charged.
        server.reply = lambda body: completion("A", usage=False)
        with ChatJudge(server.url, "m", budget=Budget(max_cost=1.0, price_out=1e6 / 16)) as dear:
            assert np.isnan(dear.prefer(["p"], [["a", "b"]])[0, 0, 1]) and dear.counts.cost == 1.0
        # Of each of several answers.
        with ChatJudge(server.url, "m", budget=Budget(max_cost=9.0, price_out=1e6 / 16), extra={"n": 3}) as many:
            assert many.judge_as_shown([Shown("p", "a", "b")]).tolist() == [1.0] and many.counts.cost == 3.0


def test_purse_holds_under_threads():
    purse = Purse(Budget(max_requests=2, max_cost=1.0, price_in=1.0))
    assert purse.take(0.6) and not purse.take(1.1)
    # There is room for .6 if what is under way costs less than was set aside for it.
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(purse.wait, 0.6, lambda: None)
        assert not purse.take(0.6)
        purse.pay(0.6, 0.1)
        assert waiting.result(timeout=10) and purse.take(0.6)
    assert not purse.take(0.0) and not purse.wait(0.0, lambda: None) and purse.requests == 2 and purse.cost == 0.1
    dear = Purse(Budget(max_cost=1.0, price_in=1.0))
    assert dear.take(0.6) and not dear.wait(1.1, lambda: None)
    with pytest.raises(KeyError):  # whoever waits can be called away
        dear.wait(0.6, {}.popitem)
    dear.pay(0.6, 0.5)
    assert not dear.wait(0.6, lambda: None)


def test_second_run_asks_nothing(tmp_path):
    with judge_server(honest) as server:
        first = ChatJudge(server.url, "m", cache=tmp_path / "cache" / "a.db", delivery=QUICK)
        second = ChatJudge(server.url, "m", cache=tmp_path / "cache" / "a.db", delivery=QUICK)  # at the same time
        answer = first.prefer(["plain"], [WORDS])
        before = len(server.requests)
        assert np.array_equal(second.prefer(["plain"], [WORDS[::-1]])[0], answer[0, ::-1, ::-1])
        assert len(server.requests) == before and second.counts.cached == second.counts.questions == 20
        assert second.counts.requests == 0
        # Whatever the answer may depend on is in the key.
        others = [
            ChatJudge(server.url, "n", cache=tmp_path / "cache" / "a.db"),
            ChatJudge(server.url, "m", cache=tmp_path / "cache" / "a.db", temperature=1.0),
            ChatJudge(server.url, "m", cache=tmp_path / "cache" / "a.db", system="Be kind."),
            ChatJudge(server.url, "m", cache=tmp_path / "cache" / "a.db", answer=LetterAnswer(ties=False)),
            ChatJudge(server.url, "m", cache=tmp_path / "cache" / "a.db", template=first.template + " "),
        ]
        for judge in others:
            judge.prefer(["plain"], [WORDS[:2]])
            assert judge.counts.cached == 0 and judge.counts.requests == 2
        for judge in [first, second, *others]:
            judge.close()


def test_many_may_open_a_new_cache_at_once(tmp_path):
    """Eight connections to a file that is not there yet, all at the same moment: nobody is turned away."""
    for attempt in range(5):
        together = threading.Barrier(8)

        def work(row, path=tmp_path / f"{attempt}", together=together):
            together.wait()
            with AnswerCache(path) as cache:
                cache.put(f"{row}", float(row), "A")
                cache.put("all", 1.0, f"{row}")

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(8)))
        with AnswerCache(tmp_path / f"{attempt}") as cache:
            assert len(cache) == 9 and cache.get([f"{row}" for row in range(9)]) == {f"{i}": float(i) for i in range(8)}


def test_an_interrupt_ends_the_waiting_and_keeps_what_came(tmp_path):
    """An error in one answer stops the retries of the others, which would have gone on for minutes."""

    class Breaks(LetterAnswer):
        def read(self, choice):
            if choice["message"]["content"] == "B":
                raise KeyboardInterrupt
            return super().read(choice)

    kept, interrupts = Shown("p", "move 0", "move 1"), Shown("p", "move 1", "move 0")
    busy = [Shown("busy", "move 0", f"move {i}") for i in range(1, 5)]
    down = lambda body, times: "status 503" if "[Prompt]\nbusy" in body["messages"][0]["content"] else None  # noqa: E731
    delivery = Delivery(concurrency=2, attempts=1000, first_wait=60.0, longest_wait=120.0)
    with (
        judge_server(honest, down) as server,
        ChatJudge(server.url, "m", answer=Breaks(), delivery=delivery, cache=tmp_path / "a") as judge,
    ):
        with pytest.raises(KeyboardInterrupt):
            judge.judge_as_shown([busy[0], kept, interrupts, *busy[1:]])
        server.fault = lambda body, times: None
        assert judge.judge_as_shown([kept]).tolist() == [1.0] and judge.counts.cached == 1


def test_without_the_extra_the_others_are_there(monkeypatch):
    """No tenacity: local judges are there, and a judge over HTTP says what to install."""
    monkeypatch.setitem(sys.modules, "tenacity", None)
    for name in ("chat", "transport", "cache"):
        monkeypatch.delitem(sys.modules, f"preference_models.judges.{name}")
        monkeypatch.delattr(judges, name)
    assert judges.LocalJudge and judges.position_bias
    with pytest.raises(ModuleNotFoundError, match=r"ChatJudge needs tenacity: pip install 'rebel_pref\[judges\]'"):
        assert judges.ChatJudge
    with pytest.raises(AttributeError, match="no attribute 'ChatJury'"):
        assert judges.ChatJury


def test_readers_that_ask_alike_and_read_differently_do_not_share_answers(tmp_path):
    with judge_server(honest) as server:
        template = "[Prompt]\n{prompt}\n\n[Response A]\n{first}\n\n[Response B]\n{second}\n\n[Question]"
        for ties in (True, False):
            reader = LetterAnswer(ties=ties)
            with ChatJudge(server.url, "m", answer=reader, template=template, cache=tmp_path / "a") as judge:
                judge.prefer(["p"], [WORDS[:2]])
                assert judge.counts.cached == 0


def test_unreadable_answers_are_asked_again_next_time(tmp_path):
    with (
        judge_server(honest, lambda body, times: "say hm") as server,
        ChatJudge(server.url, "m", cache=tmp_path / "a", delivery=QUICK) as judge,
    ):
        assert np.isnan(judge.prefer(["p"], [WORDS])[0]).sum() == 20
        server.fault = lambda body, times: None
        assert np.array_equal(judge.prefer(["p"], [WORDS])[0], TRUTH)
        assert judge.counts.cached == 0 and judge.counts.unreadable == 20 and judge.counts.answered == 20


FAULTS = ["slow 0.3", "rate 0.005", "status 500", "status 502", *(f"garbage {i}" for i in range(5)), "say", "say D",
          "say A or B", "say A B", "cut", "half"]  # fmt: skip


@pytest.mark.parametrize("seed", range(6))
def test_transient_faults_lose_nothing_and_invent_nothing(seed, tmp_path):
    """Up to 4 seeded faults a question and patience for more: all right, none missing; then nothing is asked."""
    rng = random.Random(seed)
    plan = lambda body, times: rng.choice(FAULTS) if times <= 4 and rng.random() < 0.5 else None  # noqa: E731
    patient = Delivery(timeout=0.25, first_wait=0.001, longest_wait=0.01, attempts=60, answer_attempts=60)
    with judge_server(honest, plan) as server:
        with ChatJudge(server.url, "m", cache=tmp_path / "a", delivery=patient) as judge:
            answer = judge.prefer(["plain", "mirror"], [WORDS, WORDS])
            assert np.array_equal(answer, [TRUTH, 1 - TRUTH])
            assert judge.counts.answered == judge.counts.questions == 40 < judge.counts.requests
        before = len(server.requests)
        with ChatJudge(server.url, "m", cache=tmp_path / "a", delivery=patient) as again:
            assert np.array_equal(again.prefer(["plain", "mirror"], [WORDS, WORDS]), answer)
            assert again.counts.cached == 40 and again.counts.requests == 0 and len(server.requests) == before


@pytest.mark.parametrize("seed", range(6))
def test_lasting_faults_lose_openly_and_invent_nothing(seed, tmp_path):
    """Half of all answers are faults and patience is short: each pair is right or NaN, and the counts say which."""
    rng = random.Random(100 + seed)
    plan = lambda body, times: rng.choice([*FAULTS[1:], "status 400"]) if rng.random() < 0.5 else None  # noqa: E731
    hasty = Delivery(timeout=5.0, first_wait=0.0, longest_wait=0.01, attempts=2, answer_attempts=1)
    with judge_server(honest, plan) as server:
        with ChatJudge(server.url, "m", cache=tmp_path / "a", delivery=hasty) as judge:
            answer = judge.prefer(["plain", "mirror"], [WORDS, WORDS])
            counts, known = judge.counts, ~np.isnan(answer)
            assert np.array_equal(answer[known], np.array([TRUTH, 1 - TRUTH])[known])
            missing = counts.unreadable + counts.failed
            assert counts.questions == 40 == counts.answered + missing and missing > 0
            # A missing pair lacks one order or both, and stands twice in the matrix.
            assert missing / 2 <= (~known).sum() / 2 <= missing
        server.fault = lambda body, times: None
        before = len(server.requests)
        with ChatJudge(server.url, "m", cache=tmp_path / "a", delivery=hasty) as again:
            assert np.array_equal(again.prefer(["plain", "mirror"], [WORDS, WORDS]), [TRUTH, 1 - TRUTH])
            assert len(server.requests) - before == missing == again.counts.requests
            assert again.counts.cached == counts.answered


def test_a_killed_process_keeps_its_answers(tmp_path):
    """A process that dies by SIGKILL in mid-call leaves every answer it had; the next asks for the others only."""
    script = f"""
import sys, types
for name in ("preference_models", "preference_models.judges"):  # without torch, which takes seconds to load
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [name.replace(".", "/")]
from preference_models.judges.chat import ChatJudge, Delivery
judge = ChatJudge(sys.argv[1], "m", cache={str(tmp_path / "a")!r}, delivery=Delivery(concurrency=1))
judge.prefer(["plain"], [{WORDS!r}])
"""
    answered = []

    def dies(body, times):
        answered.append(body)
        if len(answered) == 8:
            process[0].kill()
        return None

    process = []
    with judge_server(honest, dies) as server:
        process.append(
            subprocess.Popen(
                [sys.executable, "-c", script, server.url],
                cwd=Path(__file__).parents[2],
                env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            )
        )
        assert process[0].wait(timeout=60) == -9
        server.fault = lambda body, times: None
        before = len(server.requests)
        with ChatJudge(server.url, "m", cache=tmp_path / "a", delivery=QUICK) as judge:
            assert np.array_equal(judge.prefer(["plain"], [WORDS])[0], TRUTH)
            assert judge.counts.cached == 7 and len(server.requests) - before == 13


def test_it_plugs_into_self_play_and_ask(tmp_path):
    """A pool that grows from 2 to 5 moves asks about 1 pair, then about the 9 others; `ask` finds them in the cache."""
    with judge_server(honest) as server, ChatJudge(server.url, "m", delivery=QUICK, cache=tmp_path / "a") as judge:
        pool = PromptPool()
        assert judge_new(judge, "p", pool, pool.add([(0,), (1,)], WORDS[:2])) == (1, 0)
        assert judge_new(judge, "p", pool, pool.add([(2,), (3,), (4,)], WORDS[2:])) == (9, 0)
        assert np.array_equal(pool.payoffs, 2 * TRUTH - 1) and len(server.requests) == 20
        votes = pm.ask(judge, ["p"] * 3, ["move 0", "move 1", "move 0"], ["move 1", "move 0", "move 0"])
        assert votes.tolist() == [1.0, 0.0, 0.5] and len(server.requests) == 20
        # One order that does not come leaves the pair out of the pool, and a later visit asks again.
        server.fault = lambda body, times: (
            "say hm" if "[Response A]\nmove 0" in body["messages"][0]["content"] else None
        )
        pool = PromptPool()
        assert judge_new(judge, "q", pool, pool.add([(0,), (1,)], WORDS[:2])) == (1, 1)
        server.fault = lambda body, times: None
        assert judge_new(judge, "q", pool, pool.add([(2,)], WORDS[2:3])) == (3, 0)
        assert np.array_equal(pool.payoffs, 2 * TRUTH[:3, :3] - 1)


@pytest.mark.parametrize(
    ("url", "options", "message"),
    [
        ("localhost:8000", {}, "base_url must be http"),
        ("http://[::1", {}, "base_url must be http"),
        ("http://me:pw@localhost/v1", {}, "without credentials"),
        ("http://localhost/v1?key=1", {}, "without credentials and query"),
        ("http://localhost/v1", {"template": "{prompt} {first}"}, r"lacks \{second\}"),
        ("http://localhost/v1", {"api_key_variable": "NO_SUCH_KEY"}, "'NO_SUCH_KEY'.* is not set"),
    ],
)
def test_bad_settings_are_named(url, options, message):
    with pytest.raises(ValueError, match=message) as caught:
        ChatJudge(url, "m", **options)
    assert "pw" not in str(caught.value)


def test_bad_limits_and_files_are_named(tmp_path):
    for options, message in [({"attempts": 0}, "attempts must be"), ({"timeout": 0.0}, "timeout must be positive"),
                             ({"first_wait": 2.0, "longest_wait": 1.0}, "first_wait <= longest_wait"),
                             ({"requests_per_minute": 0.0}, "requests_per_minute must be positive")]:  # fmt: skip
        with pytest.raises(ValueError, match=message):
            Delivery(**options)
    for options, message in [({"max_requests": -1}, "max_requests"), ({"max_cost": 1.0}, "needs price_in or price_out"),
                             ({"max_cost": np.nan, "price_in": 1.0}, "max_cost must be finite")]:  # fmt: skip
        with pytest.raises(ValueError, match=message):
            Budget(**options)
    (tmp_path / "text").write_text("not a database, and longer than a header of one, " * 9)
    with pytest.raises(ValueError, match="not a cache of judgements"):
        ChatJudge("http://localhost", "m", cache=tmp_path / "text")
    with ChatJudge("http://localhost", "m") as judge:
        with pytest.raises(ValueError, match="one list of responses a prompt"):
            judge.prefer(["p"], [["a"], ["b"]])
        with pytest.raises(ValueError, match="got a string in the place of a list"):
            judge.prefer(["p"], ["ab"])
    money = Budget(max_cost=1.0, price_out=1.0)
    with pytest.raises(ValueError, match=r"max_cost needs a positive max_tokens .* neither"):
        ChatJudge("http://localhost", "m", budget=money, extra={"max_tokens": None})
    with pytest.raises(ValueError, match="the request has -1"):
        ChatJudge("http://localhost", "m", budget=money, extra={"max_tokens": -1})
    ChatJudge("http://localhost", "m", budget=money, extra={"max_tokens": None, "max_completion_tokens": 9}).close()


def test_a_reader_without_a_repr_cannot_be_cached(tmp_path):
    class Mine(LetterAnswer):
        __repr__ = object.__repr__

    with pytest.raises(ValueError, match="make it a dataclass"):
        ChatJudge("http://localhost", "m", answer=Mine(), cache=tmp_path / "a")
