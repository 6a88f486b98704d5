"""Responses that share one reading of their prompt come out as if each had read it alone."""

import pytest
import torch
from model_zoo import PROMPTS, RESPONSES, causal, hybrid

import preference_models as pm
from preference_models import packing, serving
from preference_models.heads import pool
from preference_models.text import pad_id, prompt_ids, response_ids

TOLERANCE = 1e-5  # Of embeddings of size 1, in float32: another order of the same sums.


def pack(tokenizer, prompts, responses, **options):
    heads, tails = prompt_ids(tokenizer, prompts), [response_ids(tokenizer, texts) for texts in responses]
    return packing.pack([*heads], [[*own] for own in tails], pad=pad_id(tokenizer), **options)


def apart(model, prompts=PROMPTS, responses=RESPONSES):
    return serving.embed_texts(model, prompts, responses, share_prompt=False)


def together(model, prompts=PROMPTS, responses=RESPONSES, **options):
    return serving.embed_texts(model, prompts, responses, share_prompt=True, **options)


def assert_equal_embeddings(ours, theirs):
    for name in ("scores", "left", "right"):
        torch.testing.assert_close(getattr(ours, name), getattr(theirs, name), atol=TOLERANCE, rtol=TOLERANCE)


@pytest.mark.parametrize("kind", sorted(packing.SHARING_BACKBONES))
def test_sharing_is_separate_encoding(kind):
    """On every backbone that is listed: positions, mask and gate are those of each text alone."""
    model = causal(kind)
    assert packing.can_share_prompt(model.backbone)
    assert_equal_embeddings(together(model), apart(model))
    logits = model.preference_logits(PROMPTS, RESPONSES)
    assert torch.equal(logits, -logits.mT)


@pytest.mark.parametrize("pooling", ["mean", "last"])
@pytest.mark.parametrize("batch_size", [2, 256])
def test_either_pooling_and_any_batch(pooling, batch_size):
    model = causal(pooling=pooling)
    assert_equal_embeddings(together(model, batch_size=batch_size), apart(model))


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_a_pack_may_be_longer_than_a_text_may_be(implementation):
    """20 responses of 30 tokens to a prompt of 40: a pack of 640 tokens on 96 positions, cut where it is told to be."""
    model = causal()
    model.backbone.set_attn_implementation(implementation)
    prompts, responses = ["p" * 39], [[chr(97 + k) * 29 for k in range(20)]]
    whole = pack(model.tokenizer, prompts, responses)
    cut = pack(model.tokenizer, prompts, responses, max_tokens=200)
    assert whole.input_ids.shape == (1, 640) and cut.input_ids.shape == (4, 190)
    assert whole.position_ids.max() == cut.position_ids.max() == 69
    model.eval()
    with torch.no_grad():
        expected = apart(model, prompts, responses).select(torch.tensor(0))
        assert_equal_embeddings(model.encode_packed(whole), expected)
        assert_equal_embeddings(model.encode_packed(cut), expected)


def test_mask_by_hand():
    """Prompt "a<eos>", responses "<eos>" and "b<eos>": the second response sees the prompt and itself."""
    packed = pack(pm.character_tokenizer("ab"), ["a", ""], [["", "b"], ["a"]])
    assert packed.segments.tolist() == [[0, 0, 1, 2, 2], [0, 1, 1, -1, -1]]
    assert packed.position_ids.tolist() == [[0, 1, 2, 2, 3], [0, 1, 2, 0, 0]]
    assert packed.spans.tolist() == [[0, 2, 3], [0, 3, 5], [1, 1, 3]] and packed.prompt_of.tolist() == [0, 0, 1]
    assert packed.prompt_spans.tolist() == [[0, 0, 2], [1, 0, 1]]
    assert packed.visible()[0, 0].int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 0, 1, 0],
        [1, 1, 0, 1, 1],
    ]
    assert packed.visible().any(-1).all()  # nobody sees nothing: a softmax over nothing is NaN


def test_gradients_are_those_of_separate_encoding():
    model = causal().eval()
    packed = pack(model.tokenizer, PROMPTS, RESPONSES)
    texts = pm.tokenize(
        model.tokenizer, [x for x in PROMPTS for _ in range(5)], [text for texts in RESPONSES for text in texts]
    )
    gradients = []
    for embeddings in (
        model.encode_packed(packed),
        model.encode(texts, pm.tokenize(model.tokenizer, PROMPTS), packed.prompt_of),
    ):
        model.zero_grad()
        pm.pair_logits(embeddings, torch.arange(0, 14), torch.arange(1, 15)).sin().sum().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    torch.testing.assert_close(*gradients, atol=1e-4, rtol=1e-4)


def test_what_cannot_be_shared_says_so_and_is_read_apart():
    """An encoder's prompt sees the response; a window, or an attention without a mask, is not what a pack computes."""
    encoder = hybrid()
    with pytest.raises(ValueError, match="a bert backbone cannot share a prompt"):
        together(encoder)
    assert torch.equal(encoder.embed(PROMPTS, RESPONSES).left, apart(encoder).left)
    windowed, flash = causal("mistral"), causal()
    windowed.backbone.config.sliding_window = 8
    flash.backbone.config._attn_implementation = "flash_attention_2"
    assert not packing.can_share_prompt(windowed.backbone) and not packing.can_share_prompt(flash.backbone)


def test_what_does_not_fit_is_named():
    model = causal()
    with pytest.raises(ValueError, match="does not fit the model's 96"):
        together(model, ["p" * 90], [["x" * 10]])


def test_pooling_by_hand():
    hidden, mask = torch.arange(8.0).reshape(1, 4, 2), torch.tensor([[0, 1, 1, 0]])
    assert pool(hidden, mask, "mean").tolist() == [[3.0, 4.0]] and pool(hidden, mask, "last").tolist() == [[4.0, 5.0]]
    assert pool(hidden, torch.tensor([[1, 0, 0, 0]]), "last").tolist() == [[0.0, 1.0]]
