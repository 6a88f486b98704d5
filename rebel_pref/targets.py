"""From a row of weights to numbers: the log-ratio that one stage asks of each response.

The tabular solver and the language-model trainer both call :func:`regression_target`. A table passes every
action with ``log_weights = log pi_t`` and takes the target as its next policy; a trainer passes the judged
responses of a prompt with whatever weights stand for pi_t, and regresses on the target.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from array_api_compat import array_namespace

from rebel_pref.algorithms import Update, log_target, weighted_sum
from rebel_pref.payoffs import normalized_weights, opponent_payoffs
from rebel_pref.proximal import proximal_step

__all__ = ["StageTarget", "regression_target"]


@dataclass(frozen=True)
class StageTarget:
    """What one stage asks for.

    Attributes
    ----------
    log_ratio : [..., K], target of ``log pi_next(y) - log pi_t(y)`` in nats, up to a constant.
    payoffs : [..., K] by opponent name, ``(A pi_o)(y)`` as estimated.
    kl_certificate : [...] in nats, how exactly an implicit row was solved; None for explicit rows.
    """

    log_ratio: Any
    payoffs: Mapping[str, Any]
    kl_certificate: Any | None = None


def regression_target(
    update: Update,
    log_weights: Any,
    log_probs: Mapping[str, Any],
    payoffs: Any,
    *,
    mask: Any | None = None,
    rewards: Any | None = None,
    columns: Any | None = None,
) -> StageTarget:
    """Evaluate one row on the judged responses of a prompt.

    Parameters
    ----------
    update : the row.
    log_weights : [..., K] ([..., M] with `columns`), log of the weights that stand for pi_t on these responses, up to
        a constant: log pi_t in a table, 0 for i.i.d. draws, log of pool weights otherwise. An opponent other than the
        current policy is reached by reweighting with ``log pi_o - log pi_t``: only ratios enter.
    log_probs : [..., K] by policy name; "current" always, "magnet" and "lookahead" where the row names them.
        "previous" is absent in the first round, where its payoff counts as 0.
    payoffs : [..., K, K], skew-symmetric, no NaN (see :func:`rebel_pref.payoffs.drop_unjudged`).
    mask : bool, as `log_weights`; false for padding.
    rewards : [..., K], for rows whose opponent is "reward".
    columns : int [..., M], where the opponents are M of the K responses, repeats allowed: which response stands in each
        column of `payoffs`, then [..., K, M]. Two judgements of one pair, once each way, are averaged where the
        implicit row needs a game among the opponents.
    """
    xp = array_namespace(log_weights, payoffs)
    current = log_probs["current"]
    theirs = log_probs
    if columns is not None:
        theirs = {name: xp.take_along_axis(value, columns, axis=-1) for name, value in log_probs.items()}
    estimated: dict[str, Any] = {}
    certificate = None
    for opponent, weight in update.payoff.items():
        if opponent == "reward":
            if rewards is None:
                raise ValueError("this row regresses a scalar reward: pass rewards [..., K]")
            estimated[opponent] = rewards
        elif opponent == "next":
            base = log_weights + weighted_sum(update.anchor, theirs) - theirs["current"]
            among = payoffs
            if columns is not None:
                square = xp.take_along_axis(payoffs, columns[..., :, None], axis=-2)
                among = 0.5 * (square - xp.moveaxis(square, -1, -2))
            solved = proximal_step(base, among, weight, mask=mask)
            estimated[opponent] = opponent_payoffs(payoffs, solved.policy)
            certificate = solved.kl_certificate
        elif opponent == "previous" and "previous" not in log_probs:
            estimated[opponent] = xp.zeros_like(current)
        else:
            rival = weighted_sum(update.anchor, theirs) if opponent == "mixture" else theirs[opponent]
            weights = normalized_weights(log_weights + rival - theirs["current"], mask)
            estimated[opponent] = opponent_payoffs(payoffs, weights)
    return StageTarget(log_target(update, log_probs, estimated) - current, estimated, certificate)
