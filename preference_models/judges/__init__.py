"""Judges: language models, behind an endpoint or in this process.

All are preference oracles; :func:`preference_models.majority_of` makes one of several. A language model is asked about
every pair in both orders, and its position bias is averaged away; what cannot be had is NaN. Judges over HTTP need the
extra ``judges``, and load it when first named.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from preference_models.judges.answers import (
    AnswerReader,
    JsonAnswer,
    LetterAnswer,
    LogprobAnswer,
    UnreadableAnswer,
)
from preference_models.judges.bias import PositionBias, position_bias, position_bias_of_answers
from preference_models.judges.limits import Budget
from preference_models.judges.local import LocalJudge
from preference_models.judges.orders import OrderedJudge, Shown

if TYPE_CHECKING:
    from preference_models.judges.chat import ChatJudge, JudgeCounts
    from preference_models.judges.transport import Delivery, JudgeRefused

__all__ = [
    "AnswerReader",
    "Budget",
    "ChatJudge",
    "Delivery",
    "JsonAnswer",
    "JudgeCounts",
    "JudgeRefused",
    "LetterAnswer",
    "LocalJudge",
    "LogprobAnswer",
    "OrderedJudge",
    "PositionBias",
    "Shown",
    "UnreadableAnswer",
    "position_bias",
    "position_bias_of_answers",
]


def __getattr__(name: str) -> Any:
    if name not in {"ChatJudge", "Delivery", "JudgeCounts", "JudgeRefused"}:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from preference_models.judges import chat, transport
    except ModuleNotFoundError as error:
        if error.name not in {"httpx2", "tenacity"}:
            raise
        raise ModuleNotFoundError(
            f"{name} needs {error.name}: pip install 'rebel_pref[judges]'", name=error.name
        ) from None
    return getattr(chat if name in {"ChatJudge", "JudgeCounts"} else transport, name)
