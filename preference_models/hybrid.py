"""The default model: a scalar score plus cyclic discs gated by the prompt."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerFast
from transformers import initialization as init
from transformers.configuration_utils import SubConfigSpec

from preference_models import heads, serving
from preference_models.heads import ResponseEmbeddings
from preference_models.text import TextBatch
from rebel_pref.preferences import FloatArray

__all__ = ["HybridPreferenceConfig", "HybridPreferenceModel"]


class HybridPreferenceConfig(PreTrainedConfig):
    """Settings of a :class:`HybridPreferenceModel`.

    Attributes
    ----------
    backbone_config : configuration of any Hugging Face model with ``last_hidden_state`` and ``hidden_size``.
    num_discs : number of discs; 0 is Bradley-Terry.
    """

    model_type = "hybrid_preference"
    sub_configs_defaults: ClassVar[dict[str, Any]] = {
        "backbone_config": SubConfigSpec(config_class=AutoConfig, model_type="bert")
    }

    backbone_config: dict[str, Any] | PreTrainedConfig | None = None
    num_discs: int = 4


class HybridPreferenceModel(PreTrainedModel):
    """``s(y, y') = r(y) - r(y') + sum_l lambda_l(x) (a_l(y) b_l(y') - b_l(y) a_l(y'))``, see :mod:`heads`.

    The backbone reads "prompt <eos> response <eos>" once for each response and the prompt alone once for
    each prompt; hidden states are averaged over the response. The gate ``lambda`` is D times a softmax, so
    it is non-negative and sums to D, and it sees the prompt alone: two responses share it to the last bit.

    It is a preference oracle: ``prefer`` takes text, with the tokenizer that is saved beside the weights.
    """

    config_class = HybridPreferenceConfig
    base_model_prefix = "backbone"

    def __init__(self, config: HybridPreferenceConfig, tokenizer: PreTrainedTokenizerFast | None = None) -> None:
        super().__init__(config)
        if config.num_discs < 0:
            raise ValueError(f"num_discs must be 0 (Bradley-Terry) or more, got {config.num_discs}")
        self.tokenizer = tokenizer
        self.backbone = AutoModel.from_config(config.backbone_config)
        width = self.backbone.config.hidden_size
        self.score = nn.Linear(width, 1, bias=False)
        if config.num_discs > 0:
            self.discs = nn.Linear(width, 2 * config.num_discs, bias=False)
            self.gate = nn.Linear(width, config.num_discs, bias=False)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if module is self.score:
            init.normal_(module.weight, std=1 / math.sqrt(module.weight.shape[1]))
        elif self.config.num_discs > 0 and module is self.discs:
            # Unit-size coordinates: discs enter as products, and products of tiny numbers have tiny gradients.
            init.normal_(module.weight, std=1 / math.sqrt(module.weight.shape[1]))
        elif self.config.num_discs > 0 and module is self.gate:
            init.zeros_(module.weight)  # every gate starts at 1

    def forward(self, responses: TextBatch, prompts: TextBatch, prompt_of: Tensor) -> ResponseEmbeddings:
        """Same as :meth:`encode`."""
        hidden = heads.mean_pool(self.backbone, responses)
        scores = heads.float32_linear(self.score, hidden).squeeze(-1)
        discs = self.config.num_discs
        if discs == 0:
            nothing = scores.new_zeros(len(scores), 0)
            return ResponseEmbeddings(scores, nothing, nothing)
        left, right = torch.split(heads.float32_linear(self.discs, hidden), discs, dim=-1)
        asked = heads.mean_pool(self.backbone, prompts)
        gate = discs * torch.softmax(heads.float32_linear(self.gate, asked), dim=-1)
        return ResponseEmbeddings(scores, gate[prompt_of] * left, right)

    def encode(self, responses: TextBatch, prompts: TextBatch, prompt_of: Tensor) -> ResponseEmbeddings:
        """Embed N responses.

        Parameters
        ----------
        responses : N sequences "prompt <eos> response <eos>", pooled over the response.
        prompts : B sequences "prompt <eos>".
        prompt_of : int64 [N], the row of `prompts` that each response answers.

        Returns
        -------
        embeddings [N], float32.
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


AutoConfig.register(HybridPreferenceConfig.model_type, HybridPreferenceConfig)
AutoModel.register(HybridPreferenceConfig, HybridPreferenceModel)
