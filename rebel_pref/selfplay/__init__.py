"""Self-play fine-tuning, one file an arrow.

rollouts -> judging -> targets -> step -> magnet -> evaluation -> checkpoints
"""

from rebel_pref.selfplay.config import (
    AlgorithmConfig,
    OptimizationConfig,
    PoolConfig,
    SamplingConfig,
    SelfPlayConfig,
)
from rebel_pref.selfplay.evaluation import Evaluator, TextGameEvaluator, enumerate_policy
from rebel_pref.selfplay.trainer import SelfPlayTrainer

__all__ = [
    "AlgorithmConfig",
    "Evaluator",
    "OptimizationConfig",
    "PoolConfig",
    "SamplingConfig",
    "SelfPlayConfig",
    "SelfPlayTrainer",
    "TextGameEvaluator",
    "enumerate_policy",
]
