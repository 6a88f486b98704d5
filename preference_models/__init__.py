"""Preference models: who wins between two responses to a prompt, cycles included.

Every model is a preference oracle (``prefer``) and a Hugging Face model (``save_pretrained``), and its logits are
skew-symmetric to the last bit. K responses cost K encodes where a model embeds them: all but the cross-encoder do.
"""

from preference_models.bradley_terry import BradleyTerryConfig, BradleyTerryModel
from preference_models.calibration import Calibration, fit_temperature
from preference_models.comparisons import (
    TextComparisons,
    ask,
    draw_comparisons,
    draw_votes,
    near_misses,
)
from preference_models.cross_encoder import CrossEncoderPreferenceConfig, CrossEncoderPreferenceModel
from preference_models.data import load_comparisons
from preference_models.disc import DiscPreferenceConfig, DiscPreferenceModel
from preference_models.evaluation import EvaluationReport, evaluate
from preference_models.heads import ResponseEmbeddings, pair_logits, preference_logits
from preference_models.hybrid import HybridPreferenceConfig, HybridPreferenceModel
from preference_models.interop import as_pairwise_judge, group_win_rates
from preference_models.losses import logistic_loss
from preference_models.majority import MajorityPreferenceConfig, MajorityPreferenceModel, majority_of
from preference_models.selection import Selection, choose_discs
from preference_models.small import (
    small_backbone,
    small_bradley_terry_model,
    small_cross_encoder_model,
    small_disc_model,
    small_hybrid_model,
    small_majority_model,
)
from preference_models.splits import split_held_out
from preference_models.tabular import TabularPreferenceConfig, TabularPreferenceModel
from preference_models.text import character_tokenizer, tokenize
from preference_models.token_lists import TextBatch
from preference_models.training import FitConfig, FitReport, fit_preference_model

__all__ = [
    "BradleyTerryConfig",
    "BradleyTerryModel",
    "Calibration",
    "CrossEncoderPreferenceConfig",
    "CrossEncoderPreferenceModel",
    "DiscPreferenceConfig",
    "DiscPreferenceModel",
    "EvaluationReport",
    "FitConfig",
    "FitReport",
    "HybridPreferenceConfig",
    "HybridPreferenceModel",
    "MajorityPreferenceConfig",
    "MajorityPreferenceModel",
    "ResponseEmbeddings",
    "Selection",
    "TabularPreferenceConfig",
    "TabularPreferenceModel",
    "TextBatch",
    "TextComparisons",
    "as_pairwise_judge",
    "ask",
    "character_tokenizer",
    "choose_discs",
    "draw_comparisons",
    "draw_votes",
    "evaluate",
    "fit_preference_model",
    "fit_temperature",
    "group_win_rates",
    "load_comparisons",
    "logistic_loss",
    "majority_of",
    "near_misses",
    "pair_logits",
    "preference_logits",
    "small_backbone",
    "small_bradley_terry_model",
    "small_cross_encoder_model",
    "small_disc_model",
    "small_hybrid_model",
    "small_majority_model",
    "split_held_out",
    "tokenize",
]
