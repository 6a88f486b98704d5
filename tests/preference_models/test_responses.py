"""Many responses: each is read once, in passes of bounded size, and comes back in its place."""

import pytest
import torch
from model_zoo import causal, hybrid
from transformers import BertConfig, MPNetConfig, RobertaConfig

import preference_models as pm
from preference_models import markers, packing, responses, text
from preference_models.heads import ResponseEmbeddings
from preference_models.responses import TokenizedResponses

TEXTS = [(f"prompt {n % 4}" * (1 + n % 3), "abcdefgh"[: n % 7] * 2) for n in (5, 0, 9, 2, 7, 11, 4, 1, 8, 3)]


def sizes_of_passes(model):
    """Rows and padded tokens of each forward pass of the backbone from here on."""
    sizes = []
    model.backbone.register_forward_pre_hook(
        lambda module, args, kwargs: sizes.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    return sizes


@pytest.mark.parametrize("share_prompt", [False, True])
@pytest.mark.parametrize(("batch_size", "max_tokens"), [(256, 65536), (3, 65536), (256, 60), (1, 1)])
def test_any_passes_give_the_same_embeddings_in_order(share_prompt, batch_size, max_tokens):
    model = causal().eval()
    texts = TokenizedResponses(model, TEXTS, share_prompt=share_prompt)
    with torch.no_grad():
        expected = texts.encode(model, torch.arange(len(TEXTS)))
        found = texts.encode_all(model, batch_size=batch_size, max_tokens=max_tokens)
    assert isinstance(found, ResponseEmbeddings)
    for name in ("scores", "left", "right"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), atol=1e-5, rtol=1e-5)


def test_passes_keep_to_their_budget():
    """A bound on rows, one on padded tokens; a text that is longer than the budget goes alone."""
    model = hybrid(num_discs=0).eval()
    texts = TokenizedResponses(model, TEXTS)
    longest = int(texts.lengths.max())
    sizes = sizes_of_passes(model)
    with torch.no_grad():
        texts.encode_all(model, batch_size=3)
        assert sum(rows for rows, _ in sizes) == len(TEXTS) and max(rows for rows, _ in sizes) == 3
        sizes.clear()
        texts.encode_all(model, max_tokens=longest + 5)
        assert max(rows * tokens for rows, tokens in sizes) <= longest + 5 and len(sizes) < len(TEXTS)
        sizes.clear()
        texts.encode_all(model, max_tokens=1)
    assert [rows for rows, _ in sizes] == [1] * len(TEXTS)


def test_shared_prompts_are_read_once_in_a_pass():
    model = causal().eval()
    sizes = sizes_of_passes(model)
    with torch.no_grad():
        TokenizedResponses(model, TEXTS, share_prompt=True).encode_all(model)
        assert sizes == [(len({prompt for prompt, _ in TEXTS}), sizes[0][1])]
        sizes.clear()
        TokenizedResponses(model, TEXTS, share_prompt=False).encode_all(model)
    assert sum(rows for rows, _ in sizes) == len(TEXTS) + len({prompt for prompt, _ in TEXTS})


def test_shared_passes_keep_to_their_budget(monkeypatch):
    """Counted with the prompt's repetition in every pack and with padding to the longest of them."""
    monkeypatch.setitem(packing.pack.__kwdefaults__, "max_tokens", 60)
    monkeypatch.setattr(responses, "PACK_TOKENS", 60)
    model = causal().eval()
    texts = [("p" * 40, f"{n:08d}") for n in range(20)] + [(f"{n}", "short") for n in range(9)]
    tokenized = TokenizedResponses(model, texts, share_prompt=True)
    sizes = sizes_of_passes(model)
    with torch.no_grad():
        tokenized.encode_all(model, max_tokens=150)
    assert max(rows * tokens for rows, tokens in sizes) <= 150 and len(sizes) < len(texts)


def test_a_prompt_that_fills_its_packs_is_not_shared(monkeypatch):
    """It would be read again in the next one."""
    texts = [("p" * 80, "x" * 8 + str(n)) for n in range(6)]
    assert TokenizedResponses(causal(), texts).share_prompt
    monkeypatch.setattr(responses, "PACK_TOKENS", 85)
    assert not TokenizedResponses(causal(num_discs=0), texts).share_prompt


def test_a_text_that_does_not_fit_is_named():
    with pytest.raises(ValueError, match=r"text of 98 tokens does not fit the model's 96: prompt 'q'"):
        TokenizedResponses(causal(), [("p", "short"), ("q", "x" * 95)])


@pytest.mark.parametrize("make", [BertConfig, RobertaConfig, MPNetConfig])
def test_a_text_of_every_position_fits_and_one_more_token_does_not(make):
    """RoBERTa and its kin count from the position behind padding's, which leaves fewer than they have."""
    tokenizer = pm.character_tokenizer()
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = make(vocab_size=len(tokenizer), max_position_embeddings=34, **size)
    model = pm.BradleyTerryModel(pm.BradleyTerryConfig(backbone_config=config), tokenizer)
    longest = responses.max_length(model)
    assert longest == (34 if make is BertConfig else 32)  # The padding's number is 1.
    model.embed(["prompt"], [["x" * (longest - 8)]])
    with pytest.raises(ValueError, match=f"{longest + 1} tokens does not fit the model's {longest}"):
        model.embed(["prompt"], [["x" * (longest - 7)]])


def test_only_a_gate_reads_prompts_alone():
    """Without one there is nothing to put together."""
    for model, count in ((hybrid(), 2), (hybrid(num_discs=0), 1)):
        sizes = sizes_of_passes(model.eval())
        model.embed(["p"], [["a", "b"]])
        assert len(sizes) == count


def test_many_texts_are_tokenized_in_parts(monkeypatch):
    """As they would be at once, in their order."""
    tokenizer, texts = pm.character_tokenizer(), [chr(97 + n % 26) * (n % 5) for n in range(23)]
    whole = text.response_ids(tokenizer, texts)
    monkeypatch.setattr(markers, "AT_ONCE", 4)
    parts = text.response_ids(tokenizer, iter(texts))
    assert torch.equal(parts.ids, whole.ids) and torch.equal(parts.start, whole.start) and len(parts) == 23
    assert parts[-1] == whole[22] and [*parts] == whole.lists(torch.arange(23))
    with pytest.raises(ValueError, match="at least one text, got none"):
        text.response_ids(tokenizer, [])
