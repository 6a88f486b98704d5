"""rebel_pref: solve general-preference (intransitive) games, from a 3x3 matrix to language-model self-play.

    import rebel_pref as rp
    game = rp.games.rock_paper_scissors(.1, .3, .6)
    solution = rp.solve(game)
    print(solution.policy, solution.certificate)

Importing this package loads neither torch nor SciPy's optimizers. The trainer lives in
:mod:`rebel_pref.selfplay`, policies in :mod:`rebel_pref.policies`, pairwise models in :mod:`preference_models`.
"""

from rebel_pref import games
from rebel_pref.algorithms import (
    ALGORITHMS,
    Algorithm,
    EMAMagnet,
    FixedMagnet,
    ResetMagnet,
    Update,
    comal,
    egpo,
    inpo,
    magnetic_rebel,
    make_algorithm,
    nash_md,
    online_ipo,
    optimistic_magnetic_rebel,
    optimistic_rebel,
    proximal_rebel,
    rebel,
    scalar_rebel,
    sppo,
)
from rebel_pref.bootstrap import WinnerIntervals, bootstrap_winner
from rebel_pref.certificates import Certificate, certify, exploitability
from rebel_pref.diagnostics import Diagnosis, diagnose
from rebel_pref.games import (
    Comparisons,
    ContextualGame,
    DuelOracle,
    FactoredGame,
    GameBatch,
    MatvecGame,
    PreferenceGame,
    TextGame,
)
from rebel_pref.games.files import load_game, save_game
from rebel_pref.preferences import FunctionOracle, PreferenceOracle
from rebel_pref.proximal import ProximalStep, proximal_step, regularized_equilibrium
from rebel_pref.ranking import RankedItem, Ranking, rank
from rebel_pref.response_ranking import rank_responses
from rebel_pref.sampled_certificate import SampledCertificate
from rebel_pref.schedules import Schedule, annealed
from rebel_pref.solution import BatchSolution, ContextualSolution, Solution
from rebel_pref.solvers import (
    DoubleOracle,
    ExactPayoffs,
    FictitiousPlay,
    LearningCurve,
    OpponentPool,
    RegressionError,
    RegretMatching,
    SampledGroups,
    SampledOpponents,
    StepSuggestion,
    automatic_algorithm,
    learning_curve,
    self_play,
    solve,
    suggest_step,
)

__version__ = "0.1.0"

__all__ = [
    "ALGORITHMS",
    "Algorithm",
    "BatchSolution",
    "Certificate",
    "Comparisons",
    "ContextualGame",
    "ContextualSolution",
    "Diagnosis",
    "DoubleOracle",
    "DuelOracle",
    "EMAMagnet",
    "ExactPayoffs",
    "FactoredGame",
    "FictitiousPlay",
    "FixedMagnet",
    "FunctionOracle",
    "GameBatch",
    "LearningCurve",
    "MatvecGame",
    "OpponentPool",
    "PreferenceGame",
    "PreferenceOracle",
    "ProximalStep",
    "RankedItem",
    "Ranking",
    "RegressionError",
    "RegretMatching",
    "ResetMagnet",
    "SampledCertificate",
    "SampledGroups",
    "SampledOpponents",
    "Schedule",
    "Solution",
    "StepSuggestion",
    "TextGame",
    "Update",
    "WinnerIntervals",
    "annealed",
    "automatic_algorithm",
    "bootstrap_winner",
    "certify",
    "comal",
    "diagnose",
    "egpo",
    "exploitability",
    "games",
    "inpo",
    "learning_curve",
    "load_game",
    "magnetic_rebel",
    "make_algorithm",
    "nash_md",
    "online_ipo",
    "optimistic_magnetic_rebel",
    "optimistic_rebel",
    "proximal_rebel",
    "proximal_step",
    "rank",
    "rank_responses",
    "rebel",
    "regularized_equilibrium",
    "save_game",
    "scalar_rebel",
    "self_play",
    "solve",
    "sppo",
    "suggest_step",
]
