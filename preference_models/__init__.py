"""Preference models: who wins between two responses to a prompt, cycles included.

Every model is a preference oracle (``prefer``) and a Hugging Face model (``save_pretrained``), its logits are
skew-symmetric to the last bit, and K responses cost K encodes.
"""

from preference_models.bradley_terry import BradleyTerryConfig, BradleyTerryModel
from preference_models.comparisons import (
    Comparisons,
    ask,
    draw_comparisons,
    draw_votes,
    perturb,
    split_held_out_pairs,
)
from preference_models.heads import ResponseEmbeddings, pair_logits, preference_logits
from preference_models.hybrid import HybridPreferenceConfig, HybridPreferenceModel
from preference_models.serving import PreferenceModel
from preference_models.small import small_backbone, small_bradley_terry_model, small_hybrid_model
from preference_models.text import TextBatch, character_tokenizer, tokenize
from preference_models.training import FitConfig, FitReport, fit_preference_model, logistic_loss

__all__ = [
    "BradleyTerryConfig",
    "BradleyTerryModel",
    "Comparisons",
    "FitConfig",
    "FitReport",
    "HybridPreferenceConfig",
    "HybridPreferenceModel",
    "PreferenceModel",
    "ResponseEmbeddings",
    "TextBatch",
    "ask",
    "character_tokenizer",
    "draw_comparisons",
    "draw_votes",
    "fit_preference_model",
    "logistic_loss",
    "pair_logits",
    "perturb",
    "preference_logits",
    "small_backbone",
    "small_bradley_terry_model",
    "small_hybrid_model",
    "split_held_out_pairs",
    "tokenize",
]
