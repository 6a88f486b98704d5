"""Policies that the trainer can move: language models and, for theory and tests, tables."""

from rebel_pref.policies.language_model import LanguageModelPolicy
from rebel_pref.policies.policy import Policy, Rollouts
from rebel_pref.policies.supervised import SupervisedConfig, fit_supervised
from rebel_pref.policies.tabular import TabularPolicy
from rebel_pref.policies.tiny import tiny_language_model

__all__ = [
    "LanguageModelPolicy",
    "Policy",
    "Rollouts",
    "SupervisedConfig",
    "TabularPolicy",
    "fit_supervised",
    "tiny_language_model",
]
