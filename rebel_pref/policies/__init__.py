"""Policies that the trainer can move (language models and tables), and parametric ones for theory."""

from typing import TYPE_CHECKING, Any

from rebel_pref.policies.parametric import (
    LogLinearPolicy,
    NetworkPolicy,
    ParametricPolicy,
    fit_adam,
    fit_least_squares,
    gauss_newton_step,
    natural_gradient_step,
    regression_loss,
)
from rebel_pref.policies.policy import Policy, Rollouts
from rebel_pref.policies.supervised import SupervisedConfig, fit_supervised
from rebel_pref.policies.tabular import TabularPolicy

if TYPE_CHECKING:
    from rebel_pref.policies.language_model import LanguageModelPolicy
    from rebel_pref.policies.tiny import tiny_language_model

__all__ = [
    "LanguageModelPolicy",
    "LogLinearPolicy",
    "NetworkPolicy",
    "ParametricPolicy",
    "Policy",
    "Rollouts",
    "SupervisedConfig",
    "TabularPolicy",
    "fit_adam",
    "fit_least_squares",
    "fit_supervised",
    "gauss_newton_step",
    "natural_gradient_step",
    "regression_loss",
    "tiny_language_model",
]


def __getattr__(name: str) -> Any:
    # Transformers takes seconds to import, and tables and parametric policies do without it.
    if name == "LanguageModelPolicy":
        from rebel_pref.policies.language_model import LanguageModelPolicy

        return LanguageModelPolicy
    if name == "tiny_language_model":
        from rebel_pref.policies.tiny import tiny_language_model

        return tiny_language_model
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
