"""A language model as a policy: its log-probabilities are exact, and they describe what it samples."""

import copy
import inspect
import itertools
import json

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from tokenizers import Regex, Tokenizer, decoders
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from rebel_pref.policies import LanguageModelPolicy, Rollouts

PROMPTS = ("a", "abbab", "ba")
TEXTS = (("a", "bb"), ("", "abba", "b"), ("bab",))
END = 0
ARCHITECTURES = ("llama", "gpt2", "qwen2")


def two_symbols():
    """A tokenizer of three tokens: <eos> (0), "a" (1) and "b" (2)."""
    inner = Tokenizer(WordLevel({"<eos>": END, "a": 1, "b": 2}, unk_token="<eos>"))
    inner.pre_tokenizer = Split(Regex(r"[\s\S]"), behavior="isolated")
    inner.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<eos>", clean_up_tokenization_spaces=False)


def make_model(architecture="llama", *, positions=64, dropout=0.0, seed=0, spread=0.3):
    """Tiny and untrained, with weights large enough (`spread`) for distributions far from uniform."""
    common = {"vocab_size": 3, "bos_token_id": None, "eos_token_id": END, "pad_token_id": None}
    rope = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": positions,
        "initializer_range": spread,
    }
    torch.manual_seed(seed)
    match architecture:
        case "llama":
            return LlamaForCausalLM(LlamaConfig(**common, **rope))
        case "qwen2":
            return Qwen2ForCausalLM(Qwen2Config(**common, **rope))
    size = {"n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": positions, "initializer_range": spread}
    noise = {name: dropout for name in ("resid_pdrop", "embd_pdrop", "attn_pdrop")}
    return GPT2LMHeadModel(GPT2Config(**common, **size, **noise))


def make_policy(architecture="llama", *, max_new_tokens=4, temperature=0.7, **kwargs):
    model = make_model(architecture, **kwargs)
    return LanguageModelPolicy(model, two_symbols(), max_new_tokens=max_new_tokens, temperature=temperature)


def plain_log_probs(policy, rollouts):
    """One row at a time: the model on prompt and response in one piece, no cache, no padding, no batch."""
    result = []
    for b, tokens in zip(rollouts.prompt_index, rollouts.tokens, strict=True):
        prompt = policy.tokenizer(rollouts.prompts[b])["input_ids"]
        logits = policy.model(input_ids=torch.tensor([[*prompt, *tokens]])).logits[0].float()
        steps = torch.log_softmax(logits[len(prompt) - 1 : -1] / policy.temperature, dim=-1)
        result.append(steps[torch.arange(len(tokens)), torch.tensor(tokens)].sum())
    return torch.stack(result)


def every_response(max_new_tokens):
    """All 2^T + 2^T - 1 token sequences that can be sampled: ended by <eos>, or cut after T tokens."""
    ended = [(*row, END) for length in range(max_new_tokens) for row in itertools.product((1, 2), repeat=length)]
    return ended + list(itertools.product((1, 2), repeat=max_new_tokens))


def rollouts_of(prompt, tokens):
    return Rollouts((prompt,), (0,) * len(tokens), tuple("?" for _ in tokens), tuple(tokens))


def generators(count, seed=0):
    return [np.random.default_rng([seed, i]) for i in range(count)]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_log_probs_equal_the_plain_forward(architecture):
    """Prompts of 1, 5 and 2 tokens share a left-padded batch, responses of 1 to 5 tokens a right-padded one.

    At temperature 0.7; at 1.0 the same sums are elsewhere, so the temperature is really in them.
    """
    policy = make_policy(architecture)
    rollouts = policy.encode(PROMPTS, TEXTS)
    with torch.no_grad():
        ours, plain = policy.log_probs(rollouts), plain_log_probs(policy, rollouts)
        policy.temperature = 1.0
        other = plain_log_probs(policy, rollouts)
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, plain, atol=2e-5, rtol=0)
    assert (ours - other).abs().min() > 1e-3


def test_responses_of_one_token_need_no_second_pass():
    """Only the end-of-sequence token: log pi comes from the prompt's last logits alone."""
    policy = make_policy()
    rollouts = policy.encode(PROMPTS, [[""], [""], [""]])
    assert rollouts.tokens == ((END,),) * 3
    torch.testing.assert_close(policy.log_probs(rollouts), plain_log_probs(policy, rollouts), atol=2e-5, rtol=0)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_probabilities_of_all_strings_sum_to_one(architecture):
    """Two symbols and T = 4: 15 ended and 16 cut sequences are everything that can happen.

    Without the end-of-sequence token in the sum, or with cut strings left out, this is far from 1.
    """
    policy = make_policy(architecture)
    responses = every_response(4)
    assert len(responses) == 31
    for prompt in PROMPTS:
        with torch.no_grad():
            mass = policy.log_probs(rollouts_of(prompt, responses)).double().exp()
        assert mass.sum() == pytest.approx(1.0, abs=1e-5)
        assert mass[:15].sum() < 1 - 1e-4


def test_samples_follow_the_log_probabilities():
    """Chi-square over all 31 responses, 4000 draws; the same model at another temperature is rejected."""
    policy, responses, count = make_policy(), every_response(4), 4000
    drawn = policy.sample(["ba"], count, generators(1))
    place = {row: i for i, row in enumerate(responses)}
    observed = np.bincount([place[row] for row in drawn.tokens], minlength=len(responses))

    def p_value():
        with torch.no_grad():
            expected = policy.log_probs(rollouts_of("ba", responses)).double().exp().numpy()
        common = expected * count >= 5  # The usual rule; the rest is one cell.
        cells = [np.append(x[common], x[~common].sum()) for x in (observed, expected * count)]
        return chisquare(cells[0], cells[1] * count / cells[1].sum()).pvalue

    assert p_value() > 0.01
    policy.temperature = 1.0
    assert p_value() < 1e-6


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_samples_do_not_depend_on_the_batch(architecture):
    """The same generator for a prompt gives the same responses, sampled with others, in any order, or alone."""
    policy = make_policy(architecture)
    together = policy.sample(PROMPTS, 5, generators(3))
    assert together.prompt_index == tuple(np.repeat(range(3), 5))
    assert len(set(together.tokens)) > 3
    backwards = policy.sample(PROMPTS[::-1], 5, generators(3)[::-1])
    assert backwards.tokens == together.tokens[10:] + together.tokens[5:10] + together.tokens[:5]
    for b, prompt in enumerate(PROMPTS):
        alone = policy.sample([prompt], 5, [generators(3)[b]])
        assert alone.tokens == together.tokens[5 * b : 5 * b + 5]
        assert alone.texts == together.texts[5 * b : 5 * b + 5]


def test_responses_end_at_the_end_of_sequence_token_or_at_the_limit():
    """<eos> only as the last token, at most T tokens, and <eos> is in the tokens but not in the text."""
    policy = make_policy()
    drawn = policy.sample(PROMPTS, 50, generators(3))
    ended = [row[-1] == END for row in drawn.tokens]
    assert any(ended) and not all(ended)
    for row, text in zip(drawn.tokens, drawn.texts, strict=True):
        assert END not in row[:-1] and 1 <= len(row) <= 4
        assert row[-1] == END or len(row) == 4
        assert text == "".join({1: "a", 2: "b"}[token] for token in row if token != END)


def test_dropout_is_off():
    """GPT-2 with dropout 0.5, handed over in training mode: two calls agree with each other and without dropout."""
    model = make_model("gpt2", dropout=0.5).train()
    policy = LanguageModelPolicy(model, two_symbols(), max_new_tokens=4)
    quiet = make_policy("gpt2", temperature=1.0)
    rollouts = policy.encode(PROMPTS, TEXTS)
    first = policy.log_probs(rollouts)
    assert first.requires_grad
    assert torch.equal(first, policy.log_probs(rollouts))
    assert torch.equal(first, quiet.log_probs(rollouts))
    assert policy.sample(PROMPTS, 5, generators(3)) == quiet.sample(PROMPTS, 5, generators(3))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_gradients_flow_through_the_shared_prompt(architecture):
    """d/dtheta sum_i c_i log pi(y_i): what the prompt's shared keys and values carry back, against plain rows."""
    policy = make_policy(architecture)
    rollouts = policy.encode(PROMPTS, TEXTS)
    weights = torch.linspace(-1.0, 2.0, len(rollouts))
    (weights * policy.log_probs(rollouts)).sum().backward()
    ours = {name: parameter.grad.clone() for name, parameter in policy.model.named_parameters()}
    policy.model.zero_grad()
    (weights * plain_log_probs(policy, rollouts)).sum().backward()
    for name, parameter in policy.model.named_parameters():
        scale = float(parameter.grad.abs().max())
        torch.testing.assert_close(ours[name], parameter.grad, atol=1e-5 * max(1.0, scale), rtol=0, msg=name)
    assert max(float(gradient.abs().max()) for gradient in ours.values()) > 0.1


def test_passes_are_split_without_changing_the_result():
    """Six responses in one pass, and one by one (max_batch_tokens = 1)."""
    policy = make_policy()
    rollouts = policy.encode(PROMPTS, TEXTS)
    passes = []
    policy.model.register_forward_pre_hook(lambda *_: passes.append(1))
    with torch.no_grad():
        whole = policy.log_probs(rollouts)
        once = len(passes)
        policy.max_batch_tokens = 1
        split = policy.log_probs(rollouts)
    assert once == 2  # The prompts, then the responses.
    assert len(passes) - once == 6 + 5  # One response is the end of sequence alone.
    # Other shapes add up in another order: a few units in the last place of float32, 6e-8 each, of sums of some nats.
    torch.testing.assert_close(whole, split, atol=2e-6, rtol=1e-6)


@pytest.mark.parametrize(
    ("limit", "expected"),
    [(100, [[0, 1, 2, 3]]), (6, [[0, 1], [2], [3]]), (1, [[0], [1], [2], [3]]), (9, [[0, 1], [2, 3]])],
)
def test_microbatches(limit, expected):
    """Lengths 3, 1, 4, 2: a part costs its longest row times its rows, a row alone is always allowed.

    6: 3 x 2 = 6 fits, a third row of 4 makes 4 x 3 = 12; 4 x 2 = 8 > 6. 9: 12 > 9, then 4 x 2 = 8 fits.
    """
    tokens = tuple((1,) * length for length in (3, 1, 4, 2))
    assert list(Rollouts(("p",), (0,) * 4, ("",) * 4, tokens).microbatches(limit)) == expected


def test_rows_taken_keep_their_prompts():
    """Prompts that no row answers are dropped, and the rest keep their order."""
    rollouts = Rollouts(("p", "q", "r"), (0, 0, 2, 1), ("w", "x", "y", "z"), ((1,), (2,), (3,), (4,)))
    assert rollouts.take([2, 1]) == Rollouts(("p", "r"), (1, 0), ("y", "x"), ((3,), (2,)))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_saved_policies_load_to_the_bit(architecture, tmp_path):
    """`save` writes what AutoModelForCausalLM and AutoTokenizer read, in safetensors; same log-probs, same draws."""
    policy = make_policy(architecture)
    policy.save(tmp_path)
    assert (tmp_path / "model.safetensors").exists() and not list(tmp_path.glob("*.bin"))
    again = LanguageModelPolicy.from_pretrained(str(tmp_path), max_new_tokens=4, temperature=0.7)
    rollouts = policy.encode(PROMPTS, TEXTS)
    assert again.encode(PROMPTS, TEXTS) == rollouts
    assert torch.equal(policy.log_probs(rollouts), again.log_probs(rollouts))
    assert again.sample(PROMPTS, 5, generators(3)) == policy.sample(PROMPTS, 5, generators(3))
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert torch.equal(model.get_input_embeddings().weight, policy.model.get_input_embeddings().weight)
    assert AutoTokenizer.from_pretrained(tmp_path).eos_token_id == END


def test_code_of_a_checkpoint_does_not_run_unasked(tmp_path):
    """trust_remote_code is off by default: a folder whose code leaves a file behind when imported does not."""
    assert inspect.signature(LanguageModelPolicy.from_pretrained).parameters["trust_remote_code"].default is False
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    auto_map = {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "made-up", "auto_map": auto_map}))
    with pytest.raises(ValueError, match="trust_remote_code"):
        LanguageModelPolicy.from_pretrained(str(tmp_path), max_new_tokens=4)
    assert not (tmp_path / "ran").exists()


def test_half_precision_is_summed_in_float32():
    """bfloat16 weights, 60 tokens: the sum equals the float64 sum over the very logits that the model gave.

    Summing bfloat16 log-probabilities in bfloat16 (spacing 1/4 between 32 and 64) is off by a visible amount.
    """
    policy = make_policy(max_new_tokens=60, positions=128)
    policy.model.to(torch.bfloat16)
    logits = []
    policy.model.register_forward_hook(lambda module, args, output: logits.append(output.logits))
    tokens = tuple(1 + (i * i // 3) % 2 for i in range(60))
    with torch.no_grad():
        ours = policy.log_probs(rollouts_of("ab", [tokens]))
    assert ours.dtype == torch.float32
    assert logits[0].dtype == torch.bfloat16
    steps = torch.cat([logits[0][:, -1:], logits[1]], dim=1)[0]
    chosen = torch.log_softmax(steps.double() / 0.7, dim=-1)[torch.arange(60), torch.tensor(tokens)]
    assert float(ours) == pytest.approx(float(chosen.sum()), abs=1e-3)
    rough = torch.zeros((), dtype=torch.bfloat16)
    for value in chosen.to(torch.bfloat16):
        rough = rough + value
    assert abs(float(rough) - float(chosen.sum())) > 0.05


def test_frozen_copies_share_nothing():
    """Moving the policy leaves a frozen copy where it was, and the copy takes no gradients."""
    policy = make_policy()
    rollouts = policy.encode(PROMPTS, TEXTS)
    twin, before = policy.frozen_copy(), policy.log_probs(rollouts).detach()
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter.mul_(1.5)
    assert torch.equal(twin.log_probs(rollouts), before)
    assert not torch.allclose(policy.log_probs(rollouts), before)
    assert not twin.log_probs(rollouts).requires_grad
    assert (twin.max_new_tokens, twin.temperature) == (4, 0.7)


def test_no_end_of_sequence_token():
    tokenizer = copy.deepcopy(two_symbols())
    tokenizer.eos_token = None
    with pytest.raises(ValueError, match=r"no end-of-sequence token.*set eos_token"):
        LanguageModelPolicy(make_model(), tokenizer, max_new_tokens=4)


@pytest.mark.parametrize(("max_new_tokens", "temperature"), [(0, 1.0), (4, 0.0), (4, -1.0), (4, float("nan"))])
def test_impossible_numbers(max_new_tokens, temperature):
    with pytest.raises(ValueError, match="expected max_new_tokens >= 1 and temperature > 0, got"):
        make_policy(max_new_tokens=max_new_tokens, temperature=temperature)


def test_prompts_that_do_not_fit():
    """8 positions, 4 new tokens: 4 prompt tokens fit, 5 do not, and the message names the prompt."""
    policy = make_policy(positions=8)
    policy.sample(["abba"], 2, generators(1))
    with pytest.raises(ValueError, match=r"prompt 'abbab' has 5 tokens.*8 positions"):
        policy.sample(["a", "abbab"], 2, generators(2))


def test_empty_prompts():
    with pytest.raises(ValueError, match="empty prompt"):
        make_policy().sample([""], 2, generators(1))
