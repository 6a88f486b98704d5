"""Preferences that are known: a table as an oracle, for tests and for games between known strategies."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from safetensors.numpy import load_file, save_file
from torch import Tensor

from preference_models.serving import check_texts, complementary
from rebel_pref.preferences import FloatArray, check_preferences

__all__ = ["TabularPreferenceModel"]


class TabularPreferenceModel:
    """Win probabilities of n responses against each other, the same for every prompt.

    Parameters
    ----------
    matrix : [n, n] win probabilities, P + P^T = 1; NaN where nobody has judged (on both sides of the diagonal).
    labels : the n responses, all different.

    Attributes
    ----------
    matrix : float64 [n, n], read-only; its lower triangle is 1 - the upper one and its diagonal 1/2.
    labels : tuple of n strings.
    """

    def __init__(self, matrix: ArrayLike, labels: Sequence[str]) -> None:
        given = np.asarray(matrix, dtype=np.float64)
        if given.ndim != 2 or given.shape[0] != given.shape[1]:
            raise ValueError(f"expected a square matrix of win probabilities, got shape {given.shape}")
        missing = np.isnan(given)
        if (missing != missing.T).any():
            i, j = np.argwhere(missing != missing.T)[0]
            raise ValueError(f"P[{i}, {j}] and P[{j}, {i}] must both be judged or both be NaN, got one of each")
        checked = check_preferences(np.where(missing, 0.5, given))
        self.labels = tuple(labels)
        if len(self.labels) != len(checked) or len(set(self.labels)) != len(self.labels):
            raise ValueError(f"expected {len(checked)} different labels, got {len(self.labels)}: {self.labels[:8]}")
        table = complementary(np.where(missing, np.nan, checked))
        np.fill_diagonal(table, 0.5)
        table.flags.writeable = False
        self.matrix: FloatArray = table
        self._row = {label: i for i, label in enumerate(self.labels)}

    def prefer(
        self,
        prompts: Sequence[str],
        responses: Sequence[Sequence[str]],
        opponents: Sequence[Sequence[str]] | None = None,
    ) -> FloatArray:
        """Win probabilities, float64 [B, K, K or M]; the prompts do not matter.

        See :meth:`rebel_pref.preferences.PreferenceOracle.prefer`.

        Raises
        ------
        ValueError
            For a response that is not among the labels.
        """
        check_texts(prompts, responses, opponents)
        ours = self._rows(responses)
        theirs = ours if opponents is None else self._rows(opponents)
        return np.asarray(self.matrix[ours[:, :, None], theirs[:, None, :]])

    def preference_logits(self, prompts: Sequence[str], responses: Sequence[Sequence[str]]) -> Tensor:
        """Logits, float64 [B, K, K], infinite where a win is certain; skew-symmetric to the last bit."""
        share = torch.from_numpy(self.prefer(prompts, responses)).log()
        return share - share.mT

    def save_pretrained(self, directory: str | os.PathLike[str]) -> None:
        """Write ``model.safetensors`` (the matrix) and ``config.json`` (the labels)."""
        folder = Path(directory)
        folder.mkdir(parents=True, exist_ok=True)
        save_file({"matrix": self.matrix}, folder / "model.safetensors")
        config = {"model_type": "tabular_preference", "labels": self.labels}
        text = json.dumps(config, ensure_ascii=False, indent=1) + "\n"
        (folder / "config.json").write_text(text, encoding="utf-8")

    @classmethod
    def from_pretrained(cls, directory: str | os.PathLike[str]) -> TabularPreferenceModel:
        """Load what :meth:`save_pretrained` wrote."""
        folder = Path(directory)
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if config.get("model_type") != "tabular_preference":
            raise ValueError(
                f"{folder / 'config.json'}: expected model_type tabular_preference, got {config.get('model_type')!r}; "
                "load other models with their own class or with AutoModel"
            )
        return cls(load_file(folder / "model.safetensors")["matrix"], config["labels"])

    def _rows(self, texts: Sequence[Sequence[str]]) -> NDArray[np.int64]:
        unknown = sorted({text for row in texts for text in row} - self._row.keys())
        if unknown:
            raise ValueError(
                f"unknown response {unknown[0]!r}; the table knows {', '.join(map(repr, self.labels[:20]))}"
            )
        return np.array([[self._row[text] for text in row] for row in texts])
