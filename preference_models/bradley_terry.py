"""The transitive baseline: one score a response, ``s(y, y') = r(y) - r(y')``. It cannot express a cycle."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerFast
from transformers import initialization as init
from transformers.configuration_utils import SubConfigSpec

from preference_models import heads, serving
from preference_models.heads import ResponseEmbeddings
from preference_models.text import TextBatch
from rebel_pref.preferences import FloatArray

__all__ = ["BradleyTerryConfig", "BradleyTerryModel"]


class BradleyTerryConfig(PreTrainedConfig):
    """Settings of a :class:`BradleyTerryModel`.

    Attributes
    ----------
    backbone_config : configuration of any Hugging Face model with ``last_hidden_state`` and ``hidden_size``.
    """

    model_type = "bradley_terry_preference"
    sub_configs_defaults: ClassVar[dict[str, Any]] = {
        "backbone_config": SubConfigSpec(config_class=AutoConfig, model_type="bert")
    }

    backbone_config: dict[str, Any] | PreTrainedConfig | None = None


class BradleyTerryModel(PreTrainedModel):
    """``P(y > y' | x) = sigmoid(r(x, y) - r(x, y'))``: a reward model, behind the interface of the hybrid.

    The score has no bias: differences would not see it. Source: Bradley and Terry 1952.
    """

    config_class = BradleyTerryConfig
    base_model_prefix = "backbone"

    def __init__(self, config: BradleyTerryConfig, tokenizer: PreTrainedTokenizerFast | None = None) -> None:
        super().__init__(config)
        self.tokenizer = tokenizer
        self.backbone = AutoModel.from_config(config.backbone_config)
        self.score = nn.Linear(self.backbone.config.hidden_size, 1, bias=False)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if module is self.score:
            init.normal_(module.weight, std=1 / math.sqrt(module.weight.shape[1]))

    def forward(self, responses: TextBatch, prompts: TextBatch | None, prompt_of: Tensor | None) -> ResponseEmbeddings:
        """Same as :meth:`encode`."""
        del prompts, prompt_of  # Only a gate reads the prompt alone.
        scores = heads.float32_linear(self.score, heads.mean_pool(self.backbone, responses)).squeeze(-1)
        nothing = scores.new_zeros(len(scores), 0)
        return ResponseEmbeddings(scores, nothing, nothing)

    def encode(
        self, responses: TextBatch, prompts: TextBatch | None = None, prompt_of: Tensor | None = None
    ) -> ResponseEmbeddings:
        """Embed N responses: `scores` [N] and no discs. Prompts and their rows are not used.

        Parameters
        ----------
        responses : N sequences "prompt <eos> response <eos>", pooled over the response.
        """
        embeddings: ResponseEmbeddings = self(responses, prompts, prompt_of)
        return embeddings

    def preference_logits(self, ours: ResponseEmbeddings, theirs: ResponseEmbeddings | None = None) -> Tensor:
        """Logits [..., K, K or M] of embeddings [..., K]; see :func:`heads.preference_logits`."""
        return heads.preference_logits(ours, theirs)

    def pair_logits(self, embeddings: ResponseEmbeddings, first: Tensor, second: Tensor) -> Tensor:
        """Logits [P] of chosen pairs of flat embeddings [N]; see :func:`heads.pair_logits`."""
        return heads.pair_logits(embeddings, first, second)

    def embed(self, prompts: Sequence[str], responses: Sequence[Sequence[str]]) -> ResponseEmbeddings:
        """Embed B prompts with K responses each, [B, K], once; for :meth:`prefer_embedded`."""
        return serving.embed_texts(self, prompts, responses)

    def prefer_embedded(self, ours: ResponseEmbeddings, theirs: ResponseEmbeddings | None = None) -> FloatArray:
        """Win probabilities, float64 [B, K, K or M], of embeddings."""
        return serving.prefer_embedded(ours, theirs)

    def prefer(
        self,
        prompts: Sequence[str],
        responses: Sequence[Sequence[str]],
        opponents: Sequence[Sequence[str]] | None = None,
    ) -> FloatArray:
        """Win probabilities, float64 [B, K, K or M]; ``P + P.T == 1`` to the last bit without `opponents`.

        See :meth:`rebel_pref.preferences.PreferenceOracle.prefer`.
        """
        theirs = None if opponents is None else self.embed(prompts, opponents)
        return self.prefer_embedded(self.embed(prompts, responses), theirs)

    def save_pretrained(self, save_directory: str | os.PathLike[str], **kwargs: Any) -> None:
        """Save configuration, weights (safetensors) and, beside them, the tokenizer."""
        super().save_pretrained(save_directory, **kwargs)
        if self.tokenizer is not None:
            self.tokenizer.save_pretrained(save_directory)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> Any:
        """Load what :meth:`save_pretrained` wrote, tokenizer included; options as in transformers."""
        kwargs.setdefault("use_safetensors", True)
        loaded = super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        model.tokenizer = serving.load_tokenizer(pretrained_model_name_or_path)
        return loaded


AutoConfig.register(BradleyTerryConfig.model_type, BradleyTerryConfig)
AutoModel.register(BradleyTerryConfig, BradleyTerryModel)
