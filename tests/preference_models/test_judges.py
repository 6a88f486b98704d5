"""Judges without a network: reading answers, local models, position bias."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

import preference_models as pm
from preference_models.judges import (
    JsonAnswer,
    LetterAnswer,
    LocalJudge,
    LogprobAnswer,
    PositionBias,
    Shown,
    UnreadableAnswer,
    position_bias,
    position_bias_of_answers,
)
from preference_models.judges.answers import letter_logit
from preference_models.judges.orders import prefer_in_both_orders
from preference_models.judges.templates import default_template, fill_template
from preference_models.judges.transport import retry_after_seconds
from rebel_pref.preferences import FunctionOracle, PreferenceOracle

TEXT = st.text(max_size=6)


def said(content, finish="stop"):
    return {"message": {"role": "assistant", "content": content}, "finish_reason": finish}


# Reading answers


@pytest.mark.parametrize(
    ("content", "verdict"),
    [("A", 1.0), (" B\n", 0.0), ("C", 0.5), ("**A**", 1.0), ("[[B]]", 0.0), ("(A).", 1.0), ("Answer: B", 0.0),
     ("Final verdict: [[A]]", 1.0), ("The better response is B.", 0.0), ("Response A", 1.0), ("Verdict: A\nA", 1.0),
     ("A sees more than B.\nB is shorter.\nVerdict: A", 1.0), ("<think>B? No.\nB</think>\nA", 1.0)],
)  # fmt: skip
def test_letters_that_are_read(content, verdict):
    assert LetterAnswer().read(said(content)) == verdict


@pytest.mark.parametrize(
    "content",
    ["", "  ", "D", "AB", "A B", "A or B", "A/B", "A, B", "A\nB", "B\n\nFinal: A", "A is worse than B", "not A", "a",
     "A?", "!A", "A good answer would be longer", "I", "Neither", "Answer:", "Answer: A because B",
     "A\nIt sees what B does not.", None, 7, ["A"]],
)  # fmt: skip
def test_what_is_no_letter_is_not_read(content):
    with pytest.raises(UnreadableAnswer):
        LetterAnswer().read(said(content))


def test_unfinished_answers_and_ties_not_offered_are_not_read():
    for choice in (said("A", "length"), said("A", "content_filter"), {}, {"message": "A"}):
        with pytest.raises(UnreadableAnswer):
            LetterAnswer().read(choice)
    for reader, content in ((LetterAnswer(ties=False), "C"), (JsonAnswer(ties=False), '{"winner": "C"}')):
        with pytest.raises(UnreadableAnswer, match="expected A or B, got 'C'"):
            reader.read(said(content))
    with pytest.raises(ValueError, match="for one token use LogprobAnswer"):
        LetterAnswer(max_tokens=1)


@pytest.mark.parametrize(
    ("content", "verdict"),
    [('{"winner": "A"}', 1.0), ('```json\n{"winner": "B", "why": "A rambles"}\n```', 0.0), ('{"winner": " C "}', 0.5)],
)
def test_json_that_is_read(content, verdict):
    assert JsonAnswer().read(said(content)) == verdict


@pytest.mark.parametrize(
    "content",
    ["A", "{}", '{"winner": "D"}', '{"winner": "AB"}', '{"winner": ["A"]}', '{"winner": true}', '["A"]',
     '{"winner": "A"', '{"winner": "A", "winner": "B"}',
     '{"winner": "A"} {"winner": "B"}', "[" * 100000, '{"loser": "A"}'],
)  # fmt: skip
def test_json_that_is_no_verdict_is_not_read(content):
    with pytest.raises(UnreadableAnswer):
        JsonAnswer().read(said(content))


FIELDS = st.sampled_from(["message", "content", "winner", "logprobs", "top_logprobs", "token", "logprob"])
NESTED = st.recursive(
    st.none() | st.booleans() | st.floats() | st.just(10**400) | st.text("ABC"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=4),
    max_leaves=8,
)


def test_a_fence_that_does_not_end_takes_no_time():
    """Servers in JSON mode may fall into writing white space."""
    with pytest.raises(UnreadableAnswer):
        JsonAnswer().read(said("```" + "\n" * 100_000 + "A"))
    assert JsonAnswer().read(said("```json\n\n" + " " * 100_000 + '{"winner": "A"}\n```')) == 1.0


@given(st.text() | st.text("ABC \n.*:ai") | NESTED)
@settings(max_examples=150, deadline=None)
def test_any_answer_is_a_verdict_or_unreadable(content):
    """Nothing that a server says raises anything else."""
    choices = [said(content), *([content] if isinstance(content, dict) else []), {"logprobs": content}]
    choices += [{**said("A"), "finish_reason": content}, listed(A=content)]
    for reader in (LetterAnswer(), JsonAnswer(), LogprobAnswer(ties=True)):
        for choice in choices:
            try:
                value = reader.read(choice)
            except UnreadableAnswer:
                continue
            assert not math.isnan(value) and (reader.gives_logits or value in {0.0, 0.5, 1.0})


def listed(**logprobs):
    tokens = [{"token": token.replace("_", " "), "logprob": value} for token, value in logprobs.items()]
    return {"logprobs": {"content": [{"token": "A", "top_logprobs": tokens}]}, "finish_reason": "length"}


def test_log_probabilities_become_a_logit():
    """Spellings add up: .3 + .2 against .25 is log 2. A tie of .2 counts half: (.3 + .1) / (.5 + .1)."""
    log = math.log
    assert LogprobAnswer().read(listed(A=log(0.3), _A=log(0.2), B=log(0.25))) == pytest.approx(log(2))
    three = listed(A=log(0.3), B=log(0.5), C=log(0.2))
    assert LogprobAnswer(ties=True).read(three) == pytest.approx(log(0.4 / 0.6))
    # A letter that is not listed is at most as likely as the last one that is.
    assert LogprobAnswer().read(listed(A=log(0.9), x=log(0.01))) == pytest.approx(log(90))
    # And than what is left, which a server that lists one token leaves no doubt about: no tie.
    assert LogprobAnswer().read(listed(A=log(0.99))) == pytest.approx(log(99))
    assert LogprobAnswer(ties=True).read(listed(B=log(0.99))) == pytest.approx(log(0.015 / 0.995))
    assert LogprobAnswer().read(listed(A=0.0)) == pytest.approx(log(1e6))


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (said("A"), "where a server gives none, use LetterAnswer"),
        (listed(), "expected log-probabilities"),
        (listed(A=math.nan, B=0.0), "expected log-probabilities"),
        (listed(A=1.0, B=0.0), "expected log-probabilities"),
        (listed(I=-0.1, A=-3.0, B=-4.0), "the letters have probability 0.0681"),
        (listed(I=-0.1), "the letters have probability 0,"),
    ],
)
def test_log_probabilities_that_say_nothing(choice, message):
    with pytest.raises(UnreadableAnswer, match=message):
        LogprobAnswer().read(choice)


@given(st.floats(-50, 0), st.floats(-50, 0), st.floats(-50, 0) | st.just(-math.inf))
def test_letter_logit_turns_with_the_letters(a, b, tie):
    assert letter_logit(a, b, tie) == -letter_logit(b, a, tie)
    assert letter_logit(a, b, -math.inf) == pytest.approx(a - b)
    assert abs(letter_logit(a, b, tie)) <= abs(a - b) + 1e-9  # a tie draws towards 1/2


@given(TEXT, TEXT, TEXT)
def test_templates_are_filled_in_one_pass(prompt, first, second):
    shown = Shown(prompt + "{second}", first + "{prompt}", second + "{x}{")
    assert fill_template("<{prompt}|{first}|{second}|{y}>", shown) == f"<{shown[0]}|{shown[1]}|{shown[2]}|{{y}}>"


def test_retry_after_as_number_and_as_date():
    from datetime import UTC, datetime

    now = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
    assert retry_after_seconds("1.5") == 1.5
    assert retry_after_seconds("Thu, 01 Jan 2026 12:00:30 GMT", now=now) == 30.0
    for nonsense in (None, "", "soon", "-3", "nan", "inf", "Thu, 01 Jan 2026 11:00:00 GMT"):
        assert retry_after_seconds(nonsense, now=now) == 0.0


# Both orders


class Raw:
    """A judge by a function, in the order shown."""

    def __init__(self, compare, gives_logits):
        self.compare, self.gives_logits, self.asked = compare, gives_logits, []

    def judge_as_shown(self, shown):
        self.asked += shown
        return np.array([self.compare(*view) for view in shown], dtype=np.float64)

    def prefer(self, prompts, responses, opponents=None):
        return prefer_in_both_orders(self, prompts, responses, opponents)


@given(st.lists(TEXT, min_size=1, max_size=5), st.booleans(), st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_both_orders_make_complementary_preferences(texts, logits, seed):
    """Whatever the judge says, P + P.T = 1 to the bit or both are NaN; each order of a distinct pair is asked once."""
    rng = np.random.default_rng(seed)
    answers = {}

    def compare(*view):
        value = rng.normal(scale=10) if logits else rng.random()
        return answers.setdefault(view, np.nan if rng.random() < 0.2 else value)

    judge = Raw(compare, logits)
    answer = judge.prefer(["p"], [texts])[0]
    missing = np.isnan(answer)
    assert np.array_equal(missing, missing.T) and (answer + answer.T)[~missing].tolist() == [1.0] * (~missing).sum()
    count = len(set(texts))
    assert len(judge.asked) == len(set(judge.asked)) == count * (count - 1)
    assert np.array_equal(judge.prefer(["p"], [texts], [texts])[0], answer, equal_nan=True)
    for i, one in enumerate(texts):
        for j, other in enumerate(texts):
            if one == other:
                assert answer[i, j] == 0.5
            else:
                there, back = answers["p", one, other], answers["p", other, one]
                expected = 1 / (1 + math.exp((back - there) / 2)) if logits else (there + 1 - back) / 2
                assert answer[i, j] == pytest.approx(expected, nan_ok=True)


# Position bias


def test_position_bias_of_a_known_judge():
    """f = s + b: over three pairs b = 1, 2, 3, mean 2, standard error 1/sqrt(3); |s| < b flips, larger does not."""
    s, b = {"ax": 0.5, "bx": 5.0, "cx": -9.0}, {"ax": 1.0, "bx": 2.0, "cx": 3.0}

    def logit(prompt, first, second):
        pair = "".join(sorted(first + second))
        return (s[pair] if first < second else -s[pair]) + b[pair]

    report = position_bias(Raw(logit, True), ["p"] * 4, ["a", "b", "x", "x"], ["x", "x", "c", "a"])
    assert (report.scale, report.pairs, report.missing, report.tie_share) == ("logit", 3, 0, 0.0)
    assert report.flip_rate == pytest.approx(1 / 3)
    assert report.bias == pytest.approx(2.0) and report.standard_error == pytest.approx(1 / math.sqrt(3))
    assert str(report).startswith("3 pairs in both orders, 0 missing: winner flips with the order in 33.3%")


def test_position_bias_counts_ties_and_missing():
    """Payoffs: (1, -1) agrees, (1, 1) flips, (0, 1) is half a tie, NaN is missing. b = 0, 1, 1/2."""
    report = position_bias_of_answers([1, 1, 0, np.nan], [-1, 1, 1, 1], scale="payoff")
    assert report == PositionBias("payoff", 4, 1, 0.5, 0.5, 0.5 / math.sqrt(3), 1 / 6)
    empty = position_bias_of_answers([np.nan], [0.0], scale="payoff")
    assert empty.missing == 1 and math.isnan(empty.bias) and math.isnan(empty.flip_rate) and "1 missing" in str(empty)


def test_position_bias_of_any_oracle():
    """A function that gives the first response .8: payoff .6 in both orders, so b = .6 and everything flips."""
    report = position_bias(FunctionOracle(lambda prompt, first, second: 0.8), ["p", "p"], ["a", "a"], ["b", "c"])
    assert report.bias == pytest.approx(0.6) and report.flip_rate == 1.0 and report.standard_error == 0.0
    fair = position_bias(Raw(lambda *view: 0.8, False), ["p"], ["a"], ["b"])
    assert fair.bias == pytest.approx(0.6)
    with pytest.raises(ValueError, match="at least one pair"):
        position_bias(Raw(lambda *view: 0.8, False), [], [], [])
    with pytest.raises(ValueError, match="same length"):
        position_bias_of_answers([1.0], [1.0, 0.0], scale="logit")
    with pytest.raises(ValueError, match="'logit' or 'payoff'"):
        position_bias_of_answers([1.0], [1.0], scale="probability")


# A local model

CHAT = (
    "{% for m in messages %}<unk>{{ m['role'] }}:{{ m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '\\n>' }}{% endif %}"
)


def tiny(kind="llama", positions=1024):
    tokenizer = pm.character_tokenizer()
    size = {"vocab_size": len(tokenizer), "pad_token_id": 0, "bos_token_id": None, "eos_token_id": 2}
    torch.manual_seed(0)
    if kind == "gpt2":
        model = GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=1, n_head=2, n_positions=positions, **size))
    else:
        model = LlamaForCausalLM(
            LlamaConfig(
                hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
                num_key_value_heads=2, max_position_embeddings=positions, **size,
            )
        )  # fmt: skip
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4.0)  # so that what is read makes a difference
    return model, tokenizer


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("chat", [False, True])
def test_local_logits_are_those_of_one_question_alone(kind, ties, chat):
    """Batches, padding, order and chosen positions change nothing: compared with single unpadded passes."""
    model, tokenizer = tiny(kind)
    if chat:
        tokenizer.chat_template = CHAT
    judge = LocalJudge(model, tokenizer, ties=ties, batch_size=3)
    texts = ["a", "bb<unk>", "ccc ccc ccc", "a longer one: {first}", "a"]
    shown = [Shown("p", one, other) for one in texts for other in texts]
    found = judge.judge_as_shown(shown)
    model.eval()
    ids = {letter: tokenizer.convert_tokens_to_ids(letter) for letter in "ABC"}
    for view, value in zip(shown, found, strict=True):
        # The character tokenizer has no special tokens in these texts but the template's own <unk>.
        body = tokenizer(fill_template(default_template(ties=ties), view), split_special_tokens=True)["input_ids"]
        if chat:
            body = [1, *tokenizer("user:")["input_ids"], *body, *tokenizer("\n>")["input_ids"]]
        with torch.no_grad():
            p = torch.softmax(model(torch.tensor([body])).logits[0, -1], 0).double()
        half = p[ids["C"]] / 2 if ties else 0.0
        assert value == pytest.approx(float(torch.log((p[ids["A"]] + half) / (p[ids["B"]] + half))), abs=2e-4)
    answer = judge.prefer(["p"], [texts])[0]
    assert np.array_equal(answer + answer.T, np.ones((5, 5))) and answer[0, 4] == 0.5
    one, other = found[1], found[5]  # (texts[0], texts[1]) and back
    assert answer[0, 1] == pytest.approx(1 / (1 + math.exp((other - one) / 2)))
    assert isinstance(judge, PreferenceOracle) and len(set(np.round(found, 6))) > 10


def test_special_tokens_in_a_response_are_plain_text():
    """With "<eos>" written out in a response the model reads five characters, not the end of the sequence."""
    model, tokenizer = tiny()
    judge = LocalJudge(model, tokenizer)
    (ids,) = judge._token_ids([Shown("p", "<eos>", "b")])
    assert tokenizer.eos_token_id not in ids


def test_questions_that_do_not_fit_are_missing_and_logged(caplog):
    model, tokenizer = tiny(positions=400)
    judge = LocalJudge(model, tokenizer)
    answer = judge.prefer(["p"], [["a", "b", "c" * 300]])[0]
    assert np.isnan(answer[:2, 2]).all() and np.isnan(answer[2, :2]).all() and 0 < answer[0, 1] < 1
    assert "4 of 6 questions are longer than the model's 400 tokens" in caplog.text
    assert pm.ask(judge, ["p"], ["a"], ["b"])[0] == answer[0, 1]
    assert judge.judge_as_shown([]).shape == (0,)


def test_a_saved_model_judges_the_same(tmp_path):
    model, tokenizer = tiny()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    one = LocalJudge(model, tokenizer).prefer(["p"], [["a", "b"]])
    assert np.array_equal(LocalJudge.from_pretrained(tmp_path).prefer(["p"], [["a", "b"]]), one)
    assert model.training  # the mode it came in


def test_bad_local_judges_are_named():
    model, _ = tiny()
    with pytest.raises(ValueError, match="letter 'A' is not one token"):
        LocalJudge(model, pm.character_tokenizer("abc"))
    with pytest.raises(ValueError, match="batch_size"):
        LocalJudge(model, pm.character_tokenizer(), batch_size=0)
    with pytest.raises(ValueError, match=r"lacks \{prompt\}"):
        LocalJudge(model, pm.character_tokenizer(), template="{first}{second}")
    tokenizer = pm.character_tokenizer()
    tokenizer.chat_template = "{{ messages[0]['content'] }}{{ messages[0]['content'] }}"
    with pytest.raises(ValueError, match="does not write messages of user once each"):
        LocalJudge(model, tokenizer)


def test_the_key_of_json_is_in_the_question():
    assert json.dumps("pick") in JsonAnswer(key="pick").template() and "{prompt}" in JsonAnswer().template()
