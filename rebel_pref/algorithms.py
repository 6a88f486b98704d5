"""The algorithms: every self-play update in the family is one row of weights.

    log pi_next(y) = sum_r anchor[r] log pi_r(y) + sum_o payoff[o] (A pi_o)(y) + const,   sum_r anchor[r] = 1

so a paper is an :class:`Update` (two for extragradient), and the same row gives the NumPy solver its next
policy and the language-model trainer its regression target. Two units: `step_size` eta in nats per unit
payoff, `regularization` tau in payoff per nat; payoffs are ``A = 2 P - 1``.

What does not fit this form (regret matching, linear programs, fictitious play, sigmoid DPO, PPO) is a solver
or a baseline of its own, never a flag on a row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

__all__ = [
    "ALGORITHMS",
    "Algorithm",
    "EMAMagnet",
    "FixedMagnet",
    "MagnetRule",
    "Opponent",
    "Policy",
    "ResetMagnet",
    "Update",
    "comal",
    "egpo",
    "inpo",
    "log_target",
    "magnetic_rebel",
    "make_algorithm",
    "nash_md",
    "online_ipo",
    "optimistic_magnetic_rebel",
    "optimistic_rebel",
    "proximal_rebel",
    "rebel",
    "scalar_rebel",
    "sppo",
    "weighted_sum",
]

Policy = Literal["current", "previous", "magnet"]
"""current pi_t (frozen, made the rollouts), previous pi_{t-1}, magnet (what the KL term pulls towards)."""

Opponent = Literal["current", "previous", "mixture", "lookahead", "next", "reward"]
"""Whom a response plays: a policy above; "mixture", the normalised anchor of the same row (a sequence-level
geometric mixture); "lookahead", the result of the stage before; "next", the policy being solved for (implicit
step); "reward", no opponent: a scalar reward in the place of the payoff."""

Residual = Literal["pairwise", "pointwise"]


@dataclass(frozen=True)
class Update:
    """One row: weights on log-policies (they sum to 1) and weights on payoffs (nats per unit payoff)."""

    anchor: Mapping[Policy, float]
    payoff: Mapping[Opponent, float]

    def __post_init__(self) -> None:
        for policy in self.anchor:
            if policy not in get_args(Policy):
                raise ValueError(f"unknown policy {policy!r} in an anchor; known: {', '.join(get_args(Policy))}")
        for opponent in self.payoff:
            if opponent not in get_args(Opponent):
                raise ValueError(f"unknown opponent {opponent!r}; known: {', '.join(get_args(Opponent))}")
        if abs(sum(self.anchor.values()) - 1.0) > 1e-12:
            raise ValueError(f"anchor weights must sum to 1, got {dict(self.anchor)}")
        if "next" in self.payoff and len(self.payoff) > 1:
            raise ValueError("an implicit row has the opponent 'next' alone")


@dataclass(frozen=True)
class FixedMagnet:
    """The magnet stays the reference: the iterates approach the equilibrium regularised towards it."""


@dataclass(frozen=True)
class EMAMagnet:
    """``log magnet <- (1 - rate) log magnet + rate log pi`` after every round (weights of a network: the same)."""

    rate: float

    def __post_init__(self) -> None:
        if not 0.0 < self.rate <= 1.0:
            raise ValueError(f"magnet rate must lie in (0, 1], got {self.rate}")


@dataclass(frozen=True)
class ResetMagnet:
    """The magnet becomes the current policy after every `every` rounds."""

    every: int

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(f"a magnet is reset every m >= 1 rounds, got {self.every}")


MagnetRule = FixedMagnet | EMAMagnet | ResetMagnet


@dataclass(frozen=True)
class Algorithm:
    """A named self-play update: its stages, how the regression reads them, and its magnet rule."""

    name: str
    stages: tuple[Update, ...]
    step_size: float
    regularization: float = 0.0
    residual: Residual = "pairwise"
    magnet: MagnetRule = field(default_factory=FixedMagnet)
    source: str = ""

    def at(self, number: int) -> Algorithm:
        """The row of round `number`: always this one. See :class:`rebel_pref.schedules.Schedule`."""
        return self

    def with_magnet(self, magnet: MagnetRule) -> Algorithm:
        """The same row with another magnet rule."""
        if not self.uses("magnet"):
            raise ValueError(f"{self.name} has no magnet in its row, so a magnet rule would do nothing")
        return replace(self, magnet=magnet)

    def uses(self, policy: str) -> bool:
        """Whether any stage needs this policy, as an anchor or as an opponent."""
        return any(
            policy in stage.anchor or policy in stage.payoff or (policy == "magnet" and "mixture" in stage.payoff)
            for stage in self.stages
        )


def weighted_sum(weights: Mapping[Any, float], values: Mapping[Any, Any]) -> Any:
    """``sum_k weights[k] * values[k]`` over the keys of `weights`, with nothing but ``*`` and ``+``."""
    total: Any = None
    for name, weight in weights.items():
        term = weight * values[name]
        total = term if total is None else total + term
    return total


def log_target(update: Update, log_probs: Mapping[str, Any], payoffs: Mapping[str, Any]) -> Any:
    """Log-probability, up to a constant, that one update assigns to each response.

    Parameters
    ----------
    log_probs : arrays [..., n], by policy name; only those in ``update.anchor`` are read.
    payoffs : arrays [..., n] of ``(A pi_o)(y)``, by opponent name; only those in ``update.payoff`` are read.

    Returns
    -------
    array [..., n] of the type that came in.
    """
    return weighted_sum(update.anchor, log_probs) + weighted_sum(update.payoff, payoffs)


def rebel(step_size: float) -> Algorithm:
    """REBEL in self-play; in a table Hedge = natural policy gradient. The **average** iterate converges.

    Source: Gao et al. 2024, arXiv:2404.16767.
    """
    _check(step_size)
    row = Update({"current": 1.0}, {"current": step_size})
    return Algorithm("rebel", (row,), step_size, source="arXiv:2404.16767")


def optimistic_rebel(step_size: float) -> Algorithm:
    """Optimistic Hedge: twice this payoff less the one before (taken as 0 in the first round).

    Source: ONPO, arXiv:2502.16852. The gap of the average falls like 1/T for ``step_size <= 1/(2 max|A|)``.
    """
    _check(step_size)
    row = Update({"current": 1.0}, {"current": 2.0 * step_size, "previous": -step_size})
    return Algorithm("optimistic_rebel", (row,), step_size, source="arXiv:2502.16852")


def magnetic_rebel(step_size: float, regularization: float, *, magnet: MagnetRule | None = None) -> Algorithm:
    """Magnetic mirror descent as a regression, in the implicit-KL form.

    Converges to the equilibrium regularised towards a fixed magnet if ``step_size <= tau / max|A|^2``;
    a moving magnet removes the bias. Source: Sokota et al. 2022, arXiv:2206.05825.
    """
    _check(step_size, regularization)
    row = Update(_implicit_anchor(step_size, regularization), {"current": _implicit_step(step_size, regularization)})
    return Algorithm(
        "magnetic_rebel", (row,), step_size, regularization, "pairwise", magnet or FixedMagnet(), "arXiv:2206.05825"
    )


def optimistic_magnetic_rebel(
    step_size: float, regularization: float, *, magnet: MagnetRule | None = None
) -> Algorithm:
    """Optimism with a magnet: the row of :func:`magnetic_rebel`, playing twice this payoff less the one before.

    With a moving magnet its last iterate is measured to come to a winner of the game itself, at one payoff evaluation a
    round; no proof of that is published. Source: arXiv:2206.05825 with the payoffs of arXiv:2502.16852.
    """
    _check(step_size, regularization)
    step = _implicit_step(step_size, regularization)
    row = Update(_implicit_anchor(step_size, regularization), {"current": 2.0 * step, "previous": -step})
    return Algorithm(
        "optimistic_magnetic_rebel",
        (row,),
        step_size,
        regularization,
        "pairwise",
        magnet or FixedMagnet(),
        "arXiv:2206.05825",
    )


def proximal_rebel(step_size: float, regularization: float, *, magnet: MagnetRule | None = None) -> Algorithm:
    """The proximal-point step: the opponent is the **next** policy, solved for on the known payoffs.

    One regularised game with a single solution for any step size
    (:func:`rebel_pref.proximal.proximal_step`); contracts towards the regularised equilibrium by
    ``1 / (1 + eta tau)`` in KL without a bound on eta. With ``regularization=0`` and step size 1/tau' this
    is the exact outer step of COMAL, arXiv:2410.23223.
    """
    _check(step_size, regularization)
    row = Update(_implicit_anchor(step_size, regularization), {"next": _implicit_step(step_size, regularization)})
    return Algorithm(
        "proximal_rebel", (row,), step_size, regularization, "pairwise", magnet or FixedMagnet(), "arXiv:2410.23223"
    )


def inpo(step_size: float, regularization: float, *, magnet: MagnetRule | None = None) -> Algorithm:
    """Online mirror descent of the regularised game, explicit KL.

    At step ``eta / (1 + eta tau)`` this **is** fixed-magnet :func:`magnetic_rebel` at step eta.
    Source: Zhang et al. 2024, arXiv:2407.00617; theirs to ours: eta = 1/(2 eta_paper), tau = 2 tau_paper.
    """
    _check(step_size, regularization, explicit=True)
    row = Update(_explicit_anchor(step_size, regularization), {"current": step_size})
    return Algorithm("inpo", (row,), step_size, regularization, "pairwise", magnet or FixedMagnet(), "arXiv:2407.00617")


def nash_md(step_size: float, regularization: float, *, magnet: MagnetRule | None = None) -> Algorithm:
    """Nash mirror descent: the opponent is the geometric mixture of current and magnet.

    At a constant step its fixed point is **not** the regularised equilibrium: there the mixture is the
    equilibrium at ``tau / (1 - eta tau)``. Source: Munos et al. 2023, arXiv:2312.00886; ours = (eta/2, 2 tau).
    """
    _check(step_size, regularization, explicit=True)
    row = Update(_explicit_anchor(step_size, regularization), {"mixture": step_size})
    return Algorithm(
        "nash_md", (row,), step_size, regularization, "pairwise", magnet or FixedMagnet(), "arXiv:2312.00886"
    )


def egpo(step_size: float, regularization: float, *, magnet: MagnetRule | None = None) -> Algorithm:
    """Extragradient: an INPO stage gives a lookahead, the second stage plays against it from the same anchors.

    Source: Zhou et al. 2025, arXiv:2503.08942; theirs to ours: eta / 2, tau = 2 beta.
    """
    _check(step_size, regularization, explicit=True)
    anchor = _explicit_anchor(step_size, regularization)
    stages = (Update(anchor, {"current": step_size}), Update(anchor, {"lookahead": step_size}))
    return Algorithm("egpo", stages, step_size, regularization, "pairwise", magnet or FixedMagnet(), "arXiv:2503.08942")


def sppo(step_size: float) -> Algorithm:
    """SPPO: the target of each response on its own, log Z dropped; O(eta^3) away from :func:`rebel`.

    Source: Wu et al. 2024, arXiv:2405.00675; theirs to ours: eta = 1 / (2 beta).
    """
    _check(step_size)
    row = Update({"current": 1.0}, {"current": step_size})
    return Algorithm("sppo", (row,), step_size, 0.0, "pointwise", source="arXiv:2405.00675")


def online_ipo(regularization: float) -> Algorithm:
    """Online IPO fitted exactly each round: the logit response to the current policy.

    Diverges for small tau (rock-paper-scissors: tau < 0.577); the published method takes gradient steps,
    that is the row of :func:`inpo`. Source: Calandriello et al. 2024, arXiv:2403.08635; tau = 2 tau_IPO.
    """
    if not 0.0 < regularization < float("inf"):
        raise ValueError(f"online_ipo needs a finite regularization > 0, got {regularization}")
    row = Update({"magnet": 1.0}, {"current": 1.0 / regularization})
    return Algorithm("online_ipo", (row,), 1.0 / regularization, regularization, source="arXiv:2403.08635")


def comal(inner: Algorithm, *, every: int) -> Algorithm:
    """COMAL: run `inner` (a row with a magnet) until its regularised game is solved, then reset the magnet.

    `every` is the number of inner rounds taken as solved. With :func:`proximal_rebel` at
    ``regularization=0`` the inner game is solved exactly in one step and no reset is needed.
    Source: Liu et al. 2024, arXiv:2410.23223.
    """
    return replace(inner.with_magnet(ResetMagnet(every)), name=f"comal({inner.name})", source="arXiv:2410.23223")


def scalar_rebel(step_size: float) -> Algorithm:
    """REBEL for a scalar reward r(x, y): the payoff does not depend on an opponent. arXiv:2404.16767, eq. 1."""
    _check(step_size)
    row = Update({"current": 1.0}, {"reward": step_size})
    return Algorithm("scalar_rebel", (row,), step_size, source="arXiv:2404.16767")


ALGORITHMS = {
    "rebel": rebel,
    "optimistic_rebel": optimistic_rebel,
    "magnetic_rebel": magnetic_rebel,
    "optimistic_magnetic_rebel": optimistic_magnetic_rebel,
    "proximal_rebel": proximal_rebel,
    "inpo": inpo,
    "nash_md": nash_md,
    "egpo": egpo,
    "sppo": sppo,
    "online_ipo": online_ipo,
}
"""Rows that a configuration file can name; `comal` and `scalar_rebel` take more than two numbers' meaning."""

_NO_MAGNET = ("rebel", "optimistic_rebel", "sppo")


def make_algorithm(
    name: str, *, step_size: float, regularization: float = 0.0, magnet: MagnetRule | None = None
) -> Algorithm:
    """Build a row from its name and two numbers, as a configuration file gives them.

    The step of `online_ipo` is 1 / regularization, so `step_size` must be that (or 0, which leaves it to the row).

    Raises
    ------
    ValueError
        For an unknown name, or a number or magnet rule that the row has no place for.
    """
    if name not in ALGORITHMS:
        raise ValueError(f"no algorithm is called {name!r}; known algorithms: {', '.join(ALGORITHMS)}")
    if name in _NO_MAGNET:
        if regularization:
            raise ValueError(f"{name} takes no regularization, got {regularization}; magnetic_rebel does")
        if magnet is not None and not isinstance(magnet, FixedMagnet):
            raise ValueError(f"{name} has no magnet in its row, got {magnet}; magnetic_rebel has")
        return {"rebel": rebel, "optimistic_rebel": optimistic_rebel, "sppo": sppo}[name](step_size)
    if name == "online_ipo":
        built = online_ipo(regularization)
        if step_size and abs(step_size - built.step_size) > 1e-9 * built.step_size:
            raise ValueError(
                f"online_ipo steps by 1 / regularization = {built.step_size:.6g}, got step_size = {step_size}; "
                "pass that value or 0, or take inpo, which has a step of its own"
            )
        return built if magnet is None else built.with_magnet(magnet)
    rows = {
        "magnetic_rebel": magnetic_rebel,
        "optimistic_magnetic_rebel": optimistic_magnetic_rebel,
        "proximal_rebel": proximal_rebel,
        "inpo": inpo,
        "nash_md": nash_md,
        "egpo": egpo,
    }
    return rows[name](step_size, regularization, magnet=magnet)


def _implicit_anchor(step_size: float, regularization: float) -> dict[Policy, float]:
    pull = step_size * regularization
    return {"current": 1.0 / (1.0 + pull), "magnet": pull / (1.0 + pull)}


def _implicit_step(step_size: float, regularization: float) -> float:
    return step_size / (1.0 + step_size * regularization)


def _explicit_anchor(step_size: float, regularization: float) -> dict[Policy, float]:
    pull = step_size * regularization
    return {"current": 1.0 - pull, "magnet": pull}


def _check(step_size: float, regularization: float = 0.0, *, explicit: bool = False) -> None:
    if not 0.0 < step_size < float("inf"):
        raise ValueError(f"step_size must be positive and finite, got {step_size}")
    if not 0.0 <= regularization < float("inf"):
        raise ValueError(f"regularization must be finite and not negative, got {regularization}")
    if explicit and step_size * regularization > 1.0:
        raise ValueError(
            f"step_size * regularization = {step_size * regularization:.3g} > 1 puts a negative weight on the current "
            "policy; lower one of them, or take magnetic_rebel, which has no such limit"
        )
