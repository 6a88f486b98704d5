"""Preferences that are known: a table as an oracle, for tests and for games between known strategies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel

from rebel_pref.preferences import FloatArray, check_preferences, check_texts, complementary

__all__ = ["TabularPreferenceConfig", "TabularPreferenceModel"]


class TabularPreferenceConfig(PreTrainedConfig):
    """Settings of a :class:`TabularPreferenceModel`.

    Attributes
    ----------
    labels : the n responses, all different.
    """

    model_type = "tabular_preference"

    labels: Sequence[str] = ()

    def __post_init__(self, **kwargs: Any) -> None:
        """Refuse labels that come twice."""
        super().__post_init__(**kwargs)
        self.labels = tuple(self.labels)
        if len(set(self.labels)) < len(self.labels):
            raise ValueError(
                f"expected {len(self.labels)} different labels, got {len(set(self.labels))}: {self.labels[:8]}"
            )

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """Settings as they were saved; refuses those of another model, which have no labels."""
        kind = config_dict.get("model_type", cls.model_type)
        if kind != cls.model_type:
            raise ValueError(
                f"expected model_type {cls.model_type}, got {kind!r}; load other models with their own class or with "
                "AutoModel"
            )
        return super().from_dict(config_dict, **kwargs)


class TabularPreferenceModel(PreTrainedModel):
    """Win probabilities of n responses against each other, the same for every prompt.

    Made by :meth:`from_matrix`; saved and loaded like every Hugging Face model. What is known stays known: the table
    is not trained, and keeps float64 whatever the model is cast to (``half()``, ``dtype=torch.bfloat16``).

    Parameters
    ----------
    config : the labels.
    matrix : [n, n] win probabilities, see :meth:`from_matrix`; None where nobody has judged anything yet.

    Attributes
    ----------
    table : float64 [n, n], :attr:`matrix` as the one parameter.
    """

    config_class = TabularPreferenceConfig

    def __init__(self, config: TabularPreferenceConfig, matrix: ArrayLike | None = None) -> None:
        super().__init__(config)
        count = len(self.labels)
        table = torch.full((count, count), torch.nan, dtype=torch.float64).fill_diagonal_(0.5)
        if matrix is not None:
            checked = _checked(matrix)
            if len(checked) != count:
                raise ValueError(f"expected {len(checked)} different labels, got {count}: {self.labels[:8]}")
            table = torch.from_numpy(checked)
        self.table = nn.Parameter(table, requires_grad=False)
        self._row = {label: i for i, label in enumerate(self.labels)}
        self.post_init()

    @classmethod
    def from_matrix(cls, matrix: ArrayLike, labels: Sequence[str]) -> Self:
        """A model out of its table.

        Parameters
        ----------
        matrix : [n, n] win probabilities, P + P^T = 1; NaN where nobody has judged (on both sides of the diagonal).
        labels : the n responses, all different.
        """
        return cls(TabularPreferenceConfig(labels=tuple(labels)), matrix)

    @property
    def labels(self) -> tuple[str, ...]:
        """The n responses."""
        return tuple(self.config.labels)

    @property
    def matrix(self) -> FloatArray:
        """The table, float64 [n, n], read-only; its lower triangle is 1 - the upper one and its diagonal 1/2."""
        matrix: FloatArray = self.table.detach().cpu().numpy()
        matrix.flags.writeable = False
        return matrix

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

    def preference_logits(
        self,
        prompts: Sequence[str],
        responses: Sequence[Sequence[str]],
        opponents: Sequence[Sequence[str]] | None = None,
    ) -> Tensor:
        """Logits, float64 [B, K, K or M], infinite where a win is certain; skew-symmetric to the last bit."""
        share = torch.from_numpy(self.prefer(prompts, responses, opponents)).to(self.device)
        if opponents is None:
            return share.log() - share.log().mT
        return share.log() - torch.log1p(-share)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> Any:
        """Load what :meth:`save_pretrained` wrote, to the last bit; options as in transformers, but for the dtype.

        Raises
        ------
        ValueError
            If the files are those of another model, hold no table, or one that is no table of win probabilities.
        """
        kwargs.setdefault("use_safetensors", True)
        kwargs.pop("torch_dtype", None)
        asked = kwargs.pop("output_loading_info", False)
        kwargs |= {"dtype": torch.float64, "output_loading_info": True}
        model, info = super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)
        if info["missing_keys"]:
            raise ValueError(
                f"expected a tensor 'table' in the weights of {str(pretrained_model_name_or_path)!r}, got "
                f"{sorted(info['unexpected_keys'])}; save the model again, TabularPreferenceModel.from_matrix makes it"
            )
        model.table = nn.Parameter(torch.from_numpy(_checked(model.matrix)).to(model.device), requires_grad=False)
        return (model, info) if asked else model

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        def move(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        applied: Self = super()._apply(move, recurse)
        return applied

    def _rows(self, texts: Sequence[Sequence[str]]) -> NDArray[np.int64]:
        unknown = sorted({text for row in texts for text in row} - self._row.keys())
        if unknown:
            raise ValueError(
                f"unknown response {unknown[0]!r}; the table knows {', '.join(map(repr, self.labels[:20]))}"
            )
        return np.array([[self._row[text] for text in row] for row in texts])


def _checked(matrix: ArrayLike) -> FloatArray:
    """A table of its own, exactly complementary; or say what is wrong with the one given."""
    given = np.asarray(matrix, dtype=np.float64)
    if given.ndim != 2 or given.shape[0] != given.shape[1]:
        raise ValueError(f"expected a square matrix of win probabilities, got shape {given.shape}")
    missing = np.isnan(given)
    if (missing != missing.T).any():
        i, j = np.argwhere(missing != missing.T)[0]
        raise ValueError(f"P[{i}, {j}] and P[{j}, {i}] must both be judged or both be NaN, got one of each")
    checked = check_preferences(np.where(missing, 0.5, given))
    table = complementary(np.where(missing, np.nan, checked))
    np.fill_diagonal(table, 0.5)
    return table


AutoConfig.register(TabularPreferenceConfig.model_type, TabularPreferenceConfig)
AutoModel.register(TabularPreferenceConfig, TabularPreferenceModel)
