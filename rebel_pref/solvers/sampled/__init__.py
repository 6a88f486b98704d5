"""Games that can only be sampled: learn a policy from duels, then certify it with fresh ones."""

from rebel_pref.solvers.sampled.allocation import allocate
from rebel_pref.solvers.sampled.race import Race
from rebel_pref.solvers.sampled.solve import certify_by_duels, solve_by_duels
from rebel_pref.solvers.sampled.tally import DuelBatch, DuelTally, Estimate, play_duels

__all__ = ["DuelBatch", "DuelTally", "Estimate", "Race", "allocate", "certify_by_duels", "play_duels", "solve_by_duels"]
