"""What every model with a backbone has: one vector a text, a tokenizer beside the weights."""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_MASKED_LM_MAPPING,
    AutoConfig,
    AutoModel,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers import initialization as init
from transformers.configuration_utils import SubConfigSpec

from preference_models import heads, packing, serving
from preference_models.chat import has_chat_template
from preference_models.heads import Embeddings
from preference_models.packing import PackedBatch
from preference_models.token_lists import TextBatch
from rebel_pref.preferences import FloatArray

__all__ = ["EmbeddingModel", "PairwiseConfig", "PairwiseModel", "is_causal"]

ALIGNMENT = 64  # Bytes; where torch puts what it allocates.


def is_causal(backbone_config: PreTrainedConfig) -> bool:
    """Whether tokens of this backbone see only what stands before them (Llama: yes, BERT: no)."""
    if getattr(backbone_config, "is_decoder", False):
        return True
    kind = type(backbone_config)
    # BERT is in both tables: it may be told to be a decoder.
    return kind in MODEL_FOR_CAUSAL_LM_MAPPING and kind not in MODEL_FOR_MASKED_LM_MAPPING


class PairwiseConfig(PreTrainedConfig):
    """Settings that all models share.

    Attributes
    ----------
    backbone_config : configuration of any Hugging Face model with ``last_hidden_state`` and ``hidden_size``.
    pooling : "mean" of the hidden states of a response and its end, or "last", the hidden state of its end. None
        chooses by the backbone: "last" for a causal one, of whose tokens only the last has read the whole response.
    temperature : logits are divided by it. It calibrates: the sign of a logit, and what is skew, stay as they are.
    chat : whether texts are read in the tokenizer's chat template (:mod:`preference_models.chat`), as a language model
        that was tuned on chats expects, rather than as "prompt <eos> response <eos>".
    """

    model_type = "pairwise_preference"
    sub_configs_defaults: ClassVar[dict[str, Any]] = {
        "backbone_config": SubConfigSpec(config_class=AutoConfig, model_type="bert")
    }

    backbone_config: dict[str, Any] | PreTrainedConfig | None = None
    pooling: str | None = None
    temperature: float = 1.0
    chat: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        """Build the backbone's configuration from its dictionary, choose the pooling, refuse what makes no sense."""
        if isinstance(self.backbone_config, PreTrainedConfig):
            # A nested configuration is told anew how to attend: the one that a loaded backbone still reads may not be.
            self.backbone_config = copy.deepcopy(self.backbone_config)
        super().__post_init__(**kwargs)
        if self.pooling is None:
            self.pooling = "last" if is_causal(self.backbone_config) else "mean"
        if self.pooling not in ("mean", "last"):
            raise ValueError(f'pooling must be "mean", "last" or None, got {self.pooling!r}')
        if not 0.0 < self.temperature < math.inf:
            raise ValueError(f"temperature must be positive and finite, got {self.temperature}")


class PairwiseModel(PreTrainedModel):
    """A backbone that reads texts, with the tokenizer that is saved beside the weights.

    With :class:`EmbeddingModel` the base classes of this package: :class:`transformers.PreTrainedModel` asks for
    inheritance, and its models share their constructor, saving and loading. What they do with a vector is in functions,
    :mod:`heads`.

    LoRA (extra ``lora``): ``model.add_adapter(peft.LoraConfig(target_modules=["q_proj", "v_proj"],
    modules_to_save=["score", "discs", "gate"]))`` freezes all but the adapters and the heads that it names;
    ``save_pretrained`` then writes those alone, and ``from_pretrained`` of that directory finds the base model by the
    name it was loaded under.

    Parameters
    ----------
    tokenizer : needed to read text; saved and loaded with the model.
    backbone : a model with weights (:class:`transformers.AutoModel`), which must fit ``config.backbone_config``;
        None means random weights.
    """

    config_class = PairwiseConfig
    base_model_prefix = "backbone"
    _supports_sdpa = True  # The backbone decides for itself.

    def __init__(
        self,
        config: PairwiseConfig,
        tokenizer: PreTrainedTokenizerFast | None = None,
        backbone: PreTrainedModel | None = None,
    ) -> None:
        super().__init__(config)
        self.tokenizer = tokenizer
        self.backbone = AutoModel.from_config(config.backbone_config) if backbone is None else backbone
        self.add_heads(self.backbone.config.hidden_size)
        self.post_init()

    def add_heads(self, width: int) -> None:
        """Make the layers on top of a backbone of this width; called once, by the constructor."""
        raise NotImplementedError

    def preference_logits(
        self,
        prompts: Sequence[str],
        responses: Sequence[Sequence[str]],
        opponents: Sequence[Sequence[str]] | None = None,
    ) -> Tensor:
        """Logits [B, K, K or M], in evaluation mode; skew-symmetric to the last bit without `opponents`."""
        raise NotImplementedError

    def prefer(
        self,
        prompts: Sequence[str],
        responses: Sequence[Sequence[str]],
        opponents: Sequence[Sequence[str]] | None = None,
    ) -> FloatArray:
        """Win probabilities, float64 [B, K, K or M]; ``P + P.T == 1`` to the last bit without `opponents`.

        See :meth:`rebel_pref.preferences.PreferenceOracle.prefer`.
        """
        logits = self.preference_logits(prompts, responses, opponents)
        return serving.preferences_from_logits(logits, symmetric=opponents is None)

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        for name, layer in self.named_children():
            if module is not layer or not isinstance(module, nn.Linear):
                continue
            if name == "gate":
                init.zeros_(module.weight)  # every gate starts at 1
            else:
                # Unit-size outputs: coordinates enter as products, and products of tiny numbers have tiny gradients.
                init.normal_(module.weight, std=1 / math.sqrt(module.weight.shape[1]))

    def pool(self, batch: TextBatch) -> Tensor:
        """One vector a text, float32 [N, hidden]. Padding on the left reads like padding on the right, bit for bit."""
        batch = batch.right_padded()
        return heads.pool(heads.hidden_states(self.backbone, batch), batch.pool_mask, self.config.pooling)

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
        for parameter in model.parameters():
            # Weights lie in the file's memory map as its header happens to end, and CPU kernels sum unaligned memory
            # in another order: without a copy a loaded model may differ from the saved one in the last bit.
            if parameter.device.type == "cpu" and parameter.data_ptr() % ALIGNMENT != 0:
                parameter.data = parameter.data.clone()
        return loaded

    @classmethod
    def from_backbone(cls, directory: str | os.PathLike[str], **settings: Any) -> Self:
        """Start a model, in float32 and with random heads, from the weights and the tokenizer of a language model.

        ``HybridPreferenceModel.from_backbone(path, num_discs=2, pooling="mean")``. Pretrained weights want a smaller
        learning rate than :class:`FitConfig` has for models from scratch: 2e-5, or 2e-4 for adapters.

        Parameters
        ----------
        directory : of an encoder or a causal language model in safetensors; its language-model head is left out.
        settings : of the model's configuration. `chat` is on where the tokenizer has a chat template.

        Raises
        ------
        ValueError
            If a file of weights is not whole, the tokenizer has more tokens than the model, or the model is an
            encoder-decoder.
        """
        if AutoConfig.from_pretrained(directory, trust_remote_code=False).is_encoder_decoder:
            raise ValueError(f"{directory} has an encoder and a decoder; give an encoder or a causal language model")
        try:
            # In single precision whatever the file holds: small steps of an optimiser round away in half.
            backbone = AutoModel.from_pretrained(
                directory, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
            )
        except SafetensorError as error:
            raise ValueError(f"the weights in {directory} are not whole ({error}); copy them again") from error
        tokenizer = serving.load_tokenizer(directory)
        rows = backbone.get_input_embeddings().num_embeddings
        if tokenizer is not None and len(tokenizer) > rows:
            raise ValueError(
                f"the tokenizer in {directory} has {len(tokenizer)} tokens and the model {rows} embeddings; take a "
                "model and a tokenizer that belong together"
            )
        settings = {"chat": has_chat_template(tokenizer), **settings}
        return cls(cls.config_class(backbone_config=backbone.config, **settings), tokenizer, backbone)


class EmbeddingModel(PairwiseModel):
    """A model that embeds each response once and compares embeddings: K encodes for a K x K matrix."""

    @property
    def reads_prompt_alone(self) -> bool:
        """Whether :meth:`read` needs the vector of the prompt alone."""
        return False

    def read(self, hidden: Tensor, asked: Tensor | None, prompt_of: Tensor | None) -> Embeddings:
        """Embeddings [N] from vectors of the responses [N, width], and of the prompts [B, width] where needed."""
        raise NotImplementedError

    def forward(
        self, responses: TextBatch | PackedBatch, prompts: TextBatch | None = None, prompt_of: Tensor | None = None
    ) -> Embeddings:
        """Same as :meth:`encode` or :meth:`encode_packed`."""
        if isinstance(responses, PackedBatch):
            packing.check_shareable(self.backbone)
            return self.read(*packing.pooled(self.backbone, responses, self.config.pooling), responses.prompt_of)
        hidden = self.pool(responses)
        if not self.reads_prompt_alone:
            return self.read(hidden, None, None)
        if prompts is None or prompt_of is None:
            raise ValueError("the gate of this model reads the prompt alone: pass prompts and prompt_of")
        return self.read(hidden, self.pool(prompts), prompt_of)

    def encode(
        self, responses: TextBatch, prompts: TextBatch | None = None, prompt_of: Tensor | None = None
    ) -> Embeddings:
        """Embed N responses.

        Parameters
        ----------
        responses : N sequences "prompt <eos> response <eos>", pooled over the response.
        prompts : B sequences "prompt <eos>". Only a gate reads them; a model without one takes None.
        prompt_of : int64 [N], the row of `prompts` that each response answers.

        Returns
        -------
        embeddings [N], float32.
        """
        embeddings: Embeddings = self(responses, prompts, prompt_of)
        return embeddings

    def encode_packed(self, packed: PackedBatch) -> Embeddings:
        """Embed the N responses of a packed batch, every prompt read once; only on a backbone that allows it.

        Equal to :meth:`encode` up to rounding. See :mod:`packing` for which backbones and why.
        """
        embeddings: Embeddings = self(packed)
        return embeddings

    def preference_logits(
        self,
        prompts: Sequence[str],
        responses: Sequence[Sequence[str]],
        opponents: Sequence[Sequence[str]] | None = None,
    ) -> Tensor:
        """See :class:`PairwiseModel`; a response is read once."""
        theirs = None if opponents is None else self.embed(prompts, opponents)
        return heads.preference_logits(self.embed(prompts, responses), theirs)

    def embed(self, prompts: Sequence[str], responses: Sequence[Sequence[str]]) -> Any:
        """Embed B prompts with K responses each, [B, K], once.

        What is embedded is compared by :meth:`prefer_embedded`, :func:`heads.preference_logits` and
        :func:`heads.pair_logits` as often as you like.
        """
        return serving.embed_texts(self, prompts, responses)

    def prefer_embedded(self, ours: Embeddings, theirs: Embeddings | None = None) -> FloatArray:
        """Win probabilities, float64 [B, K, K or M], of embeddings."""
        return serving.prefer_embedded(ours, theirs)

    def compare(self, prompts: Sequence[str], first: Sequence[str], second: Sequence[str]) -> Tensor:
        """Logits [P] that `first` beats `second`, row by row, with gradients; a text that returns is read once."""
        return serving.compare_texts(self, prompts, first, second)
