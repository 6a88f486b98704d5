"""Games played in text: the prompt picks a matrix game, the completion is an action, by its label.

Small enough to enumerate, so the exploitability of a language model is exact. Text that is no action
of the prompt's game is illegal: it loses to every legal completion and ties with other illegal text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from rebel_pref.games.game import PreferenceGame
from rebel_pref.games.named import blotto, rock_paper_scissors
from rebel_pref.preferences import FloatArray, preferences_from_payoffs

__all__ = ["BLOTTO_PROMPTS", "TextGame", "blotto_text", "rock_paper_scissors_text"]

BLOTTO_PROMPTS = ("1:1:1", "1:1:2", "1:2:2", "1:2:3", "2:3:4", "1:3:3", "3:4:6", "2:2:3")


@dataclass(frozen=True, eq=False)
class TextGame:
    """One matrix game a prompt. It is its own preference oracle (the true judge).

    Attributes
    ----------
    prompts : B distinct strings.
    games : B games; the labels of game b are the legal completions of prompt b.
    """

    prompts: tuple[str, ...]
    games: tuple[PreferenceGame, ...]

    def __post_init__(self) -> None:
        if not self.prompts or len(self.prompts) != len(self.games):
            raise ValueError(f"expected one game a prompt, got {len(self.prompts)} prompts, {len(self.games)} games")
        if len(set(self.prompts)) != len(self.prompts):
            raise ValueError(f"prompts must be distinct, got {self.prompts}")

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {prompt: b for b, prompt in enumerate(self.prompts)}

    @cached_property
    def _actions(self) -> tuple[dict[str, int], ...]:
        return tuple({label: i for i, label in enumerate(game.labels)} for game in self.games)

    @cached_property
    def _payoffs(self) -> tuple[FloatArray, ...]:
        """Payoffs [n + 1, n + 1] with one more action, the last: any illegal text."""
        extended = []
        for game in self.games:
            table = np.zeros((len(game) + 1, len(game) + 1))
            table[:-1, :-1] = game.payoff
            table[:-1, -1], table[-1, :-1] = 1.0, -1.0
            extended.append(table)
        return tuple(extended)

    def game(self, prompt: str) -> PreferenceGame:
        """The matrix game of a prompt."""
        return self.games[self._row(prompt)]

    def is_legal(self, prompt: str, response: str) -> bool:
        """Whether `response` is an action of the prompt's game, to the letter."""
        return response in self._actions[self._row(prompt)]

    def prefer(
        self,
        prompts: Sequence[str],
        responses: Sequence[Sequence[str]],
        opponents: Sequence[Sequence[str]] | None = None,
    ) -> FloatArray:
        """True win probabilities [B, K, M] in {0, 1/2, 1} for games of wins and losses."""
        rivals = responses if opponents is None else opponents
        tables = []
        for prompt, ours, theirs in zip(prompts, responses, rivals, strict=True):
            b = self._row(prompt)
            action, illegal = self._actions[b], len(self.games[b])
            rows = [action.get(text, illegal) for text in ours]
            columns = [action.get(text, illegal) for text in theirs]
            tables.append(self._payoffs[b][np.ix_(rows, columns)])
        return np.asarray(preferences_from_payoffs(np.stack(tables)))

    def exploitability(self, policies: Sequence[ArrayLike]) -> float:
        """Mean over prompts of ``max_y (A pi)(y)``, payoff scale.

        Parameters
        ----------
        policies : B arrays [n_b], probability of each legal completion in the order of
            ``games[b].labels``; what is missing to 1 is taken as illegal text.
        """
        return float(np.mean(self.exploitability_per_prompt(policies)))

    def exploitability_per_prompt(self, policies: Sequence[ArrayLike]) -> FloatArray:
        """``max_y (A pi)(y)`` of each prompt [B], payoff scale."""
        if len(policies) != len(self.games):
            raise ValueError(f"expected {len(self.games)} policies, one a prompt, got {len(policies)}")
        worst = []
        for table, policy in zip(self._payoffs, policies, strict=True):
            legal = np.asarray(policy, dtype=np.float64)
            if legal.shape != (len(table) - 1,):
                raise ValueError(f"expected a policy of shape {(len(table) - 1,)}, got {legal.shape}")
            if not np.isfinite(legal).all() or legal.min() < -1e-9 or legal.sum() > 1.0 + 1e-6:
                raise ValueError(
                    f"expected probabilities that sum to at most 1, got entries from {legal.min():.3g} with sum "
                    f"{legal.sum():.8g}"
                )
            full = np.append(legal, max(0.0, 1.0 - float(legal.sum())))
            worst.append((table @ full).max())
        return np.asarray(worst)

    def _row(self, prompt: str) -> int:
        if prompt not in self._rows:
            raise ValueError(f"unknown prompt {prompt!r}; this game has {', '.join(map(repr, self.prompts))}")
        return self._rows[prompt]


def blotto_text(soldiers: int = 10, prompts: Sequence[str] = BLOTTO_PROMPTS) -> TextGame:
    """Colonel Blotto as text: prompt "1:2:3>" names the field values, completion "3 4 3" the allocation.

    Parameters
    ----------
    soldiers : soldiers of each side.
    prompts : field values joined by colons, one entry a prompt; every entry of any number of fields.
    """
    values = []
    for prompt in prompts:
        try:
            values.append(tuple(int(part) for part in prompt.split(":")))
        except ValueError:
            raise ValueError(f"expected field values joined by colons such as '1:2:3', got {prompt!r}") from None
    return TextGame(tuple(f"{prompt}>" for prompt in prompts), tuple(blotto(soldiers, v) for v in values))


def rock_paper_scissors_text(
    paper_over_rock: float = 0.1, rock_over_scissors: float = 0.3, scissors_over_paper: float = 0.6
) -> TextGame:
    """Weighted rock-paper-scissors in words: prompt "throw>", minimax winner (.6, .3, .1) by default."""
    return TextGame(("throw>",), (rock_paper_scissors(paper_over_rock, rock_over_scissors, scissors_over_paper),))
