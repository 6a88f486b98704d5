"""Every model keeps the laws of a preference: one suite, run on each of them."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from model_zoo import EMBEDDING_MODELS, MODELS, ORACLES, PROMPTS, RESPONSES, SAVED, backbone_config, hybrid, logits_of
from transformers import AutoConfig, AutoModel, AutoTokenizer

import preference_models as pm
from preference_models import heads, serving
from preference_models.text import TextBatch, tokenize_pairs
from rebel_pref.preferences import PreferenceOracle, check_preferences


@pytest.fixture(params=MODELS)
def model(request):
    return MODELS[request.param]()


@pytest.fixture(params=SAVED)
def saved_model(request):
    return SAVED[request.param]()


@pytest.fixture(params=EMBEDDING_MODELS)
def embedding_model(request):
    return EMBEDDING_MODELS[request.param]()


@pytest.fixture(params=ORACLES)
def oracle(request):
    return ORACLES[request.param]()


def test_logits_are_skew_symmetric_to_the_last_bit(saved_model):
    logits = logits_of(saved_model)
    table = isinstance(saved_model, pm.TabularPreferenceModel)
    assert logits.shape == (3, 5, 5) and logits.dtype == (torch.float64 if table else torch.float32)
    assert torch.equal(logits, -logits.mT)
    assert not torch.diagonal(logits, dim1=1, dim2=2).any()
    assert logits.abs().max() > 0.01


def test_logits_stay_skew_symmetric_under_bfloat16_autocast(model):
    """The backbone runs in bfloat16, the heads and the products of coordinates do not."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = logits_of(model)
    assert logits.dtype == torch.float32 and torch.equal(logits, -logits.mT)
    assert not torch.diagonal(logits, dim1=1, dim2=2).any()
    assert (logits != logits.bfloat16()).any() or logits.isinf().any()


def test_compare_flips_to_the_last_bit_and_agrees_with_the_matrix(model):
    """Row by row, with gradients (where votes are not counted); each way round in its own batch."""
    model.eval()
    first, second = torch.triu_indices(5, 5, 1)
    names = [RESPONSES[0][i] for i in first], [RESPONSES[0][j] for j in second]
    prompts = [PROMPTS[0]] * len(first)
    there, back = model.compare(prompts, *names), model.compare(prompts, *names[::-1])
    assert torch.equal(there, -back)
    assert there.requires_grad == (getattr(model.config, "vote", "soft") == "soft")
    torch.testing.assert_close(there.detach(), logits_of(model)[0, first, second], atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="as many first and second"):
        model.compare(["a", "b"], ["x"], ["y"])


def test_pair_logits_flip_to_the_last_bit_and_agree_with_the_matrix(embedding_model):
    model = embedding_model
    embeddings = model.embed(PROMPTS, RESPONSES)
    first, second = torch.triu_indices(5, 5)
    logits = pm.preference_logits(embeddings)
    for b in range(3):
        row = embeddings.select(torch.tensor(b))
        pairs = pm.pair_logits(row, first, second)
        assert torch.equal(pairs, -pm.pair_logits(row, second, first))
        torch.testing.assert_close(pairs, logits[b, first, second], atol=1e-5, rtol=1e-5)


@settings(max_examples=30, deadline=None)
@given(
    K=st.integers(1, 40),
    D=st.integers(0, 9),
    B=st.integers(1, 3),
    scale=st.sampled_from([1e-6, 1.0, 1e4]),
    seed=st.integers(0, 2**31 - 1),
)
def test_skewness_does_not_depend_on_shapes_or_sizes(K, D, B, scale, seed):
    generator = torch.Generator().manual_seed(seed)
    scores, left, right = (torch.randn(B, K, n, generator=generator) * scale for n in (1, D, D))
    logits = pm.preference_logits(pm.ResponseEmbeddings(scores.squeeze(-1), left, right))
    assert torch.equal(logits, -logits.mT)
    preferences = serving.preferences_from_logits(logits, symmetric=True)
    assert (preferences + preferences.swapaxes(1, 2) == 1).all()


def test_preferences_are_preferences(oracle):
    """P + P^T = 1 to the last bit, 1/2 on the diagonal, NaN on both sides or on neither."""
    preferences = oracle.prefer(PROMPTS, RESPONSES)
    assert isinstance(oracle, PreferenceOracle)
    assert preferences.dtype == np.float64 and preferences.shape == (3, 5, 5)
    missing = np.isnan(preferences)
    assert (missing == missing.swapaxes(1, 2)).all()
    assert (preferences + preferences.swapaxes(1, 2) == 1)[~missing].all()
    assert (np.diagonal(preferences, axis1=1, axis2=2) == 0.5).all()
    check_preferences(np.where(missing, 0.5, preferences), tolerance=0)


def test_preferences_are_the_sigmoid_of_the_logits(saved_model):
    expected = torch.sigmoid(logits_of(saved_model).double())
    np.testing.assert_allclose(saved_model.prefer(PROMPTS, RESPONSES), expected.numpy(), atol=1e-12)


def test_opponents_may_be_others_and_of_another_number(oracle):
    square = oracle.prefer(PROMPTS, RESPONSES)
    against = oracle.prefer(PROMPTS, RESPONSES, [texts[1:3] for texts in RESPONSES])
    assert against.shape == (3, 5, 2)
    np.testing.assert_allclose(against, square[:, :, 1:3], atol=1e-6)


def test_order_of_responses_and_of_prompts_does_not_matter(oracle):
    square = oracle.prefer(PROMPTS, RESPONSES)
    order = [3, 0, 4, 1, 2]
    shuffled = oracle.prefer(PROMPTS[::-1], [[texts[i] for i in order] for texts in RESPONSES[::-1]])
    np.testing.assert_allclose(shuffled, square[::-1][:, order][:, :, order], atol=1e-6)


def test_company_in_the_batch_does_not_matter(oracle):
    """Alone, a prompt is padded less and its texts fall into other batches: the same up to 1e-6."""
    together = oracle.prefer(PROMPTS, RESPONSES)
    for b in range(3):
        np.testing.assert_allclose(oracle.prefer(PROMPTS[b : b + 1], RESPONSES[b : b + 1])[0], together[b], atol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 2, 7])
def test_the_split_into_batches_does_not_matter(embedding_model, batch_size):
    together = embedding_model.prefer(PROMPTS, RESPONSES)
    split = serving.embed_texts(embedding_model, PROMPTS, RESPONSES, batch_size=batch_size)
    np.testing.assert_allclose(embedding_model.prefer_embedded(split), together, atol=1e-6)


def test_evaluation_is_deterministic(oracle):
    np.testing.assert_array_equal(oracle.prefer(PROMPTS, RESPONSES), oracle.prefer(PROMPTS, RESPONSES))


def left_padded(batch, extra=0):
    """The same rows with their padding (and `extra` tokens more of it) on the left."""
    rows, masks = [], batch.attention_mask
    for one in (batch.input_ids, batch.attention_mask, batch.pool_mask):
        widened = torch.nn.functional.pad(one, (0, extra))
        ends = [torch.roll(row, int(widened.shape[1] - mask.sum())) for row, mask in zip(widened, masks, strict=True)]
        rows.append(torch.stack(ends))
    return TextBatch(*rows)


def test_padding_on_either_side_and_of_any_length_does_not_matter(model):
    """On the left as on the right to the bit; more of it changes the tiling of sums, and less than 1e-5."""
    model.eval()
    prompts, first, second = ["ab", "ab", "a longer one"], ["x", "a long response", ""], ["yes", "no", "maybe"]
    if hasattr(model, "encode"):
        asked = pm.tokenize(model.tokenizer, ["ab", "a longer one"])
        batch = pm.tokenize(model.tokenizer, prompts, first)

        def read(texts, alone):
            return heads.preference_logits(model.encode(texts, alone, torch.tensor([0, 0, 1])))
    else:
        asked, batch = None, tokenize_pairs(model.tokenizer, prompts, first, second)

        def read(texts, alone):
            return model(texts)

    with torch.no_grad():
        plain = read(batch, asked)
        turned = read(left_padded(batch), asked and left_padded(asked))
        longer = read(left_padded(batch, extra=9), asked and left_padded(asked, extra=3))
    assert left_padded(batch).attention_mask[0, 0] == 0
    assert torch.equal(turned, plain)
    torch.testing.assert_close(longer, plain, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "backend"),
    [
        ("hybrid", "aot_eager"),
        ("majority, soft", "aot_eager"),
        pytest.param("hybrid", "inductor", marks=pytest.mark.slow),
        pytest.param("majority, soft", "inductor", marks=pytest.mark.slow),
    ],
)
def test_skewness_survives_the_compiler(name, backend):
    """The compiler fuses, and recomputes what it fuses: what is subtracted has to come out the same both times."""
    embeddings = EMBEDDING_MODELS[name]().embed(PROMPTS, RESPONSES)
    compiled = torch.compile(heads.preference_logits, backend=backend)
    logits = compiled(embeddings)
    assert torch.equal(logits, -logits.mT)
    torch.testing.assert_close(logits, heads.preference_logits(embeddings), atol=1e-5, rtol=1e-5)


def test_gate_is_of_the_prompt_alone_non_negative_and_sums_to_the_number_of_discs():
    model = hybrid()
    prompts = pm.tokenize(model.tokenizer, ["ab", "a longer prompt"])
    texts = pm.tokenize(model.tokenizer, ["ab", "ab", "a longer prompt"], ["x", "a long response, much padded", "y"])
    with torch.no_grad():
        model.discs.weight[:3] = torch.eye(16)[0]
        gated = model.encode(texts, prompts, torch.tensor([0, 0, 1])).left
        # Now a_l is the same for every disc l, and ratios of the gated coordinates are those of the gate.
        gates = gated / gated.sum(-1, keepdim=True) * 3
    torch.testing.assert_close(gates[0], gates[1], atol=1e-5, rtol=1e-5)
    assert (gates >= 0).all() and (gates[0] - gates[2]).abs().max() > 1e-3


def test_no_discs_is_exactly_bradley_terry():
    """Same seed, same weights, same bits."""
    plain, reduced = (
        pm.small_bradley_terry_model(hidden=16, seed=3),
        pm.small_hybrid_model(num_discs=0, hidden=16, seed=3),
    )
    assert plain.state_dict().keys() == reduced.state_dict().keys()
    assert (plain.prefer(PROMPTS, RESPONSES) == reduced.prefer(PROMPTS, RESPONSES)).all()
    scores = plain.embed(PROMPTS, RESPONSES).scores
    expected = scores.unsqueeze(-1) - scores.unsqueeze(-2)
    torch.testing.assert_close(plain.preference_logits(PROMPTS, RESPONSES), expected)


def test_save_and_load_to_the_bit(saved_model, tmp_path):
    model = saved_model
    model.save_pretrained(tmp_path)
    reads = hasattr(model, "tokenizer")
    assert (tmp_path / "model.safetensors").exists() and (tmp_path / "tokenizer.json").exists() == reads
    expected = logits_of(model)
    for loaded in (type(model).from_pretrained(tmp_path), AutoModel.from_pretrained(tmp_path)):
        assert type(loaded) is type(model) and not loaded.training and loaded.device == model.device
        assert torch.equal(logits_of(loaded), expected)
        assert not reads or loaded.config.pooling == model.config.pooling
    assert AutoConfig.from_pretrained(tmp_path).model_type == model.config.model_type


def test_mode_and_gradients_are_left_as_they_were(saved_model):
    saved_model.train()
    logits = logits_of(saved_model)
    assert saved_model.training and not logits.requires_grad


def test_gradients_reach_every_part():
    model = hybrid()
    prompts = pm.tokenize(model.tokenizer, ["a", "b"])
    texts = pm.tokenize(model.tokenizer, ["a", "a", "b", "b"], ["one", "two", "three", "four"])
    embeddings = model.encode(texts, prompts, torch.tensor([0, 0, 1, 1]))
    pm.pair_logits(embeddings, torch.tensor([0, 3]), torch.tensor([1, 2])).square().sum().backward()
    without = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    # The backbone's own pooler is not used, and a key bias shifts all scores of a softmax alike.
    assert {n for n in without if "pooler" not in n and "key.bias" not in n and "token_type" not in n} == set()


@pytest.mark.parametrize(
    ("kind", "pooling"),
    [("llama", "last"), ("qwen2", "last"), ("gpt2", "last"), ("bert", "mean")],
)
def test_any_backbone_will_do(kind, pooling):
    """A causal backbone is pooled at the last token, the only one that has read the response."""
    config = pm.HybridPreferenceConfig(backbone_config=backbone_config(kind), num_discs=2)
    model = pm.HybridPreferenceModel(config, pm.character_tokenizer())
    assert model.config.pooling == pooling
    check_preferences(model.prefer(PROMPTS, RESPONSES), tolerance=0)


def test_heads_stay_in_float32_under_a_bfloat16_backbone(model):
    expected = model.prefer(PROMPTS, RESPONSES)
    logits = logits_of(model.bfloat16())
    assert logits.dtype == torch.float32 and torch.equal(logits, -logits.mT)
    if getattr(model.config, "vote", "soft") != "hard":  # A hard vote may turn at the last digit.
        np.testing.assert_allclose(model.prefer(PROMPTS, RESPONSES), expected, atol=0.1)


def test_character_tokenizer(tmp_path):
    tokenizer = pm.character_tokenizer("abc\n")
    assert tokenizer("cab\nz")["input_ids"] == [5, 3, 4, 6, 1]
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert loaded.get_vocab() == tokenizer.get_vocab()
    assert (loaded.pad_token_id, loaded.unk_token_id, loaded.eos_token_id) == (0, 1, 2)
    assert loaded("cab\nz")["input_ids"] == [5, 3, 4, 6, 1] and loaded.decode([5, 3, 4, 6]) == "cab\n"


def test_special_tokens_in_a_text_are_plain_text():
    batch = pm.tokenize(pm.character_tokenizer(), ["p", "p"], ["<eos>", ""])
    assert batch.attention_mask.sum(1).tolist() == [1 + 1 + 5 + 1, 1 + 1 + 0 + 1]
    assert batch.pool_mask.sum(1).tolist() == [6, 1]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.prefer(["a", "b"], [["x", "y"]]), "expected one list of responses a prompt"),
        (lambda m: m.prefer(["a", "b"], [["x", "y"], ["x"]]), r"lists of lengths \[1, 2\]"),
        (lambda m: m.prefer(["a"], [[]]), r"lists of lengths \[0\]"),
        (lambda m: m.prefer(["a"], [["x" * 100]]), "does not fit the model's 64"),
        (lambda m: pm.small_hybrid_model(num_discs=-1), "num_discs must be 0"),
        (lambda m: pm.character_tokenizer(""), "at least one character"),
        (lambda m: pm.character_tokenizer(["ab"]), "single characters in the alphabet, got 'ab'"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(hybrid())


def test_a_model_without_a_tokenizer_loads_and_says_so(tmp_path):
    model = hybrid()
    model.tokenizer = None
    model.save_pretrained(tmp_path)
    loaded = pm.HybridPreferenceModel.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"set model\.tokenizer"):
        loaded.prefer(["a"], [["x", "y"]])
