"""One small model of every class, and what the suite asks of them."""

import torch
from transformers import AutoConfig

import preference_models as pm

PROMPTS = ("1:2:3>", "pick one", "")
RESPONSES = (
    ("3 4 3", "10 0 0", "", "a rather longer answer", "<eos>"),
    ("yes", "no", "no", "maybe", "YES"),
    ("0", "1", "2", "3", "\n"),
)


def with_gates(model, seed=7):
    """Gates that differ between prompts (they start equal)."""
    if getattr(model, "gate", None) is not None:
        with torch.no_grad():
            shape = model.gate.weight.shape
            model.gate.weight.copy_(torch.randn(shape, generator=torch.Generator().manual_seed(seed)))
    return model


def hybrid(seed=0, num_discs=3):
    return with_gates(pm.small_hybrid_model(num_discs=num_discs, hidden=16, layers=1, seed=seed))


def backbone_config(kind, **changes):
    """A tiny configuration of any causal kind, over the characters of :func:`character_tokenizer`."""
    tokens = {"vocab_size": len(pm.character_tokenizer()), "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 2}
    if kind in ("gpt2", "gpt_bigcode"):
        sizes = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 96}
    elif kind == "opt":
        sizes = {"hidden_size": 16, "word_embed_proj_dim": 16, "ffn_dim": 32, "num_hidden_layers": 2,
                 "num_attention_heads": 2, "max_position_embeddings": 96}  # fmt: skip
    else:
        sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
                 "num_key_value_heads": 1, "head_dim": 8, "max_position_embeddings": 96}  # fmt: skip
    if kind in ("mistral", "mixtral", "starcoder2", "phi3"):
        sizes["sliding_window"] = None
    return AutoConfig.for_model(kind, **tokens, **sizes, **changes)


def causal(kind="llama", seed=0, pooling=None, num_discs=3):
    """A hybrid on a causal backbone."""
    config = pm.HybridPreferenceConfig(backbone_config=backbone_config(kind), num_discs=num_discs, pooling=pooling)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return with_gates(pm.HybridPreferenceModel(config, pm.character_tokenizer()))


def cooled():
    """A hybrid that was calibrated."""
    model = hybrid()
    model.config.temperature = 1.7
    return model


EMBEDDING_MODELS = {
    "hybrid": hybrid,
    "hybrid without discs": lambda: hybrid(num_discs=0),
    "hybrid, calibrated": cooled,
    "hybrid on a causal backbone": causal,
    "bradley-terry": lambda: pm.small_bradley_terry_model(hidden=16, layers=1),
    "discs": lambda: with_gates(pm.small_disc_model(num_discs=3, hidden=16, layers=1)),
    "majority, soft": lambda: pm.small_majority_model(hidden=16, layers=1),
    "majority, hard": lambda: pm.small_majority_model(hidden=16, layers=1, vote="hard"),
}
MODELS = {**EMBEDDING_MODELS, "cross-encoder": lambda: pm.small_cross_encoder_model(hidden=16, layers=1)}


def table(unjudged=True):
    """Every response of :data:`RESPONSES` in one table, a pair of them unjudged or none."""
    labels = sorted({text for texts in RESPONSES for text in texts})
    strength = torch.linspace(-2, 2, len(labels)).double()
    matrix = torch.sigmoid(torch.sin(3 * (strength[:, None] - strength))).numpy()
    if unjudged:
        matrix[0, 1] = matrix[1, 0] = float("nan")
    return pm.TabularPreferenceModel.from_matrix(matrix, labels)


# Every class that is saved and loaded; a table has no network, and what is asked of tokens is not asked of it.
SAVED = {**MODELS, "table": lambda: table(unjudged=False)}
ORACLES = {
    **MODELS,
    "table": table,
    "majority of three": lambda: pm.majority_of([hybrid(0), hybrid(1), table()], [2, 1, 1]),
    "hard majority of three": lambda: pm.majority_of([hybrid(0), hybrid(1), table()], vote="hard"),
}


def logits_of(model, prompts=PROMPTS, responses=RESPONSES):
    """Logits [B, K, K] of a model of either kind."""
    if hasattr(model, "embed"):
        return model.preference_logits(prompts, responses)
    return model.preference_logits(prompts, responses)
