"""Pairwise models of other projects, read from a folder on this machine: ``config.json``, safetensors and a tokenizer.

Each reader gives a preference oracle. Nothing is downloaded, no code of a checkpoint runs, pickles are refused, and a
checkpoint of another layout is an error that names what is missing and what is there.
"""

from preference_models.adapters.gpm import GeneralPreferenceOracle, load_gpm
from preference_models.adapters.pairrm import PairRM, PairRMNames, load_pairrm
from preference_models.adapters.rlhflow import RLHFLOW_TEMPLATE, load_rlhflow, rlhflow_prompt

__all__ = [
    "RLHFLOW_TEMPLATE",
    "GeneralPreferenceOracle",
    "PairRM",
    "PairRMNames",
    "load_gpm",
    "load_pairrm",
    "load_rlhflow",
    "rlhflow_prompt",
]
