"""Token sequences: of any lengths end to end, and padded to one length for a forward pass."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["TextBatch", "TokenLists", "join", "padded"]


@dataclass(frozen=True, eq=False)
class TextBatch:
    """N token sequences, padded on the right (as :func:`join` does) or on the left.

    Attributes
    ----------
    input_ids : int64 [N, L]
    attention_mask : int64 [N, L], 1 on tokens, 0 on padding.
    pool_mask : int64 [N, L], 1 on the tokens whose hidden states are looked at; at least one a row.
    """

    input_ids: Tensor
    attention_mask: Tensor
    pool_mask: Tensor

    def __len__(self) -> int:
        return len(self.input_ids)

    def right_padded(self) -> TextBatch:
        """The same sequences with the padding on the right; no copy of a row changes where it is there already."""
        order = torch.argsort(self.attention_mask, dim=1, descending=True, stable=True)
        return TextBatch(*(rows.gather(1, order) for rows in (self.input_ids, self.attention_mask, self.pool_mask)))

    def to(self, device: torch.device | str) -> TextBatch:
        """The same batch on another device."""
        return TextBatch(self.input_ids.to(device), self.attention_mask.to(device), self.pool_mask.to(device))


@dataclass(frozen=True, eq=False)
class TokenLists:
    """N token sequences of any lengths, end to end: what a data set keeps, without padding.

    Attributes
    ----------
    ids : int32 [sum of lengths].
    start : int64 [N + 1], where each begins, and the end.
    """

    ids: Tensor
    start: Tensor

    @classmethod
    def of(cls, lists: Iterable[Sequence[int]]) -> TokenLists:
        """From lists, one after the other.

        Raises
        ------
        ValueError
            If there are none, or one of them is empty: a model has nothing to look at.
        """
        ids, start = array("i"), [0]
        for one in lists:
            ids.extend(one)
            if len(ids) == start[-1]:
                raise ValueError(f"text {len(start) - 1} comes to no token at all; expected one at least")
            start.append(len(ids))
        if len(start) == 1:
            raise ValueError("expected at least one text, got none")
        return cls(torch.frombuffer(ids, dtype=torch.int32), torch.tensor(start))

    def to(self, device: torch.device | str) -> TokenLists:
        """The same sequences on another device."""
        return TokenLists(self.ids.to(device), self.start.to(device))

    def __len__(self) -> int:
        return len(self.start) - 1

    @property
    def lengths(self) -> Tensor:
        """int64 [N]."""
        return self.start.diff()

    def at(self, rows: Tensor, place: Tensor) -> Tensor:
        """Tokens [n, L] of sequences `rows` [n] at places [n, L]; any token where there is no such place."""
        return self.ids[(self.start[rows].unsqueeze(1) + place).clamp(0, len(self.ids) - 1)].long()

    def __getitem__(self, row: int) -> list[int]:
        """A sequence as a list."""
        if not -len(self) <= row < len(self):
            raise IndexError(f"expected a row below {len(self)}, got {row}")
        row %= len(self)
        found: list[int] = self.ids[self.start[row] : self.start[row + 1]].tolist()
        return found

    def lists(self, rows: Tensor) -> list[list[int]]:
        """Sequences as lists."""
        bounds = zip(self.start[rows].tolist(), self.start[rows + 1].tolist(), strict=True)
        return [self.ids[begin:end].tolist() for begin, end in bounds]


def padded(ids: Sequence[Sequence[int]], *, pad: int = 0) -> TextBatch:
    """N rows of token ids, padded on the right, pooled over all of them."""
    return join(TokenLists.of(ids), torch.arange(len(ids)), None, None, pad=pad)


def join(
    heads: TokenLists, head_of: Tensor, tails: TokenLists | None, tail_of: Tensor | None, *, pad: int
) -> TextBatch:
    """N rows, head and tail, padded on the right, pooled over the tail; over the head where there are no tails.

    Parameters
    ----------
    head_of, tail_of : int64 [N], which head and which tail.
    """
    first = heads.lengths[head_of].unsqueeze(1)
    total = first if tails is None else first + tails.lengths[tail_of].unsqueeze(1)
    place = torch.arange(int(total.max()), device=first.device)
    inside, in_head = place < total, place < first
    input_ids = heads.at(head_of, place.expand(len(first), -1))
    if tails is not None:
        assert tail_of is not None
        input_ids = torch.where(in_head, input_ids, tails.at(tail_of, place - first))
    pooled = inside if tails is None else inside & ~in_head
    return TextBatch(input_ids.masked_fill(~inside, pad), inside.long(), pooled.long())
