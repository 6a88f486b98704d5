"""Proofs: the winner over the rationals, on the support that a float solver found."""

from __future__ import annotations

from fractions import Fraction
from math import lcm

import numpy as np

from rebel_pref.certificates import Certificate, prove, rational_payoffs
from rebel_pref.games.game import PreferenceGame
from rebel_pref.preferences import FloatArray
from rebel_pref.solvers.selection import clone_groups

__all__ = ["exact_certificate"]


def exact_certificate(game: PreferenceGame, policy: FloatArray) -> Certificate | None:
    """A proof that a winner has the support of `policy`, or None where the support is not that of a vertex.

    With T the support and R the actions that tie against it, ``A_RT p = 0, sum p = 1`` is solved over the rationals
    (fraction-free elimination, FLINT), and the certificate checks ``p > 0`` and ``A p <= 0`` on all n actions.
    Payoffs are read by :func:`rebel_pref.certificates.rational_payoffs`.

    Raises
    ------
    ValueError
        If python-flint is not installed.
    """
    try:
        from flint import fmpz_mat
    except ImportError:
        raise ValueError("exact=True needs python-flint: pip install 'rebel_pref[exact]'") from None
    played = np.flatnonzero(policy > 1e-9)
    # Clones are one unknown: what they play together is unique, how they share it is not.
    groups = clone_groups(game.payoff)[played]
    _, first, counts = np.unique(groups, return_index=True, return_counts=True)
    support = played[first]
    ties = np.flatnonzero(game.payoff @ policy > -1e-9 * game.scale)
    rows: list[list[int]] = [[1] * (len(support) + 1)]
    for row in game.payoff[np.ix_(ties, support)]:
        payoffs = rational_payoffs(row)
        common = lcm(*(payoff.denominator for payoff in payoffs))
        rows.append([*(int(payoff * common) for payoff in payoffs), 0])
    reduced, denominator, rank = fmpz_mat(rows).rref()
    if rank != len(support):
        return None  # More than one solution on this support, or none.
    shares = [Fraction(int(reduced[i, len(support)]), int(denominator)) for i in range(rank)]
    if any(int(reduced[i, i]) != int(denominator) for i in range(rank)) or min(shares) < 0:
        return None
    share_of = {int(groups[i]): share / int(n) for i, n, share in zip(first, counts, shares, strict=True)}
    exact_policy = {int(a): share_of[int(group)] for a, group in zip(played, groups, strict=True)}
    return prove(game, {action: share for action, share in exact_policy.items() if share > 0})
