"""A causal language model as a policy: shared-prompt sampling and exact sequence log-probabilities."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from rebel_pref.policies.policy import Rollouts

__all__ = ["LanguageModelPolicy", "ResponseScorer"]


class ResponseScorer(torch.nn.Module):
    """log pi(y | x) of responses, each prompt run once and its keys and values shared by its responses."""

    def __init__(self, model: torch.nn.Module, temperature: float) -> None:
        super().__init__()
        self.model = model
        self.temperature = temperature

    def forward(
        self,
        prompt_ids: torch.Tensor,
        prompt_mask: torch.Tensor,
        prompt_index: torch.Tensor,
        response_ids: torch.Tensor,
        response_mask: torch.Tensor,
    ) -> torch.Tensor:
        """Sum of token log-probabilities, the end-of-sequence token included.

        Parameters
        ----------
        prompt_ids, prompt_mask : [B, P], padded on the left.
        prompt_index : [N], which prompt each response answers.
        response_ids, response_mask : [N, T], padded on the right.

        Returns
        -------
        float32 [N], at the sampling temperature.
        """
        logits, cache = run_prompts(self.model, prompt_ids, prompt_mask)
        steps = [logits[prompt_index][:, None]]
        if response_ids.shape[1] > 1:
            cache.reorder_cache(prompt_index)
            context = prompt_mask[prompt_index]
            inputs = response_mask[:, :-1]
            positions = context.sum(-1, keepdim=True) + torch.arange(inputs.shape[1], device=context.device)
            output = self.model(
                input_ids=response_ids[:, :-1],
                attention_mask=torch.cat([context, inputs], dim=1),
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
            )
            steps.append(output.logits)
        # Float32 from here on: sums of half-precision log-probabilities are off by whole nats.
        log_probs = torch.log_softmax(torch.cat(steps, dim=1).float() / self.temperature, dim=-1)
        chosen = log_probs.gather(-1, response_ids[..., None])[..., 0]
        # Not a product: a token that the model rules out (-inf) may be what pads another row.
        return chosen.masked_fill(response_mask == 0, 0.0).sum(-1)


class LanguageModelPolicy:
    """Any Hugging Face causal language model with its tokenizer.

    The sampling distribution **is** the policy: one temperature, no top-p or top-k (they would make the
    sampled distribution another one than the log-probabilities describe), dropout off.

    Parameters
    ----------
    model, tokenizer : as transformers gives them; the tokenizer needs an end-of-sequence token.
    max_new_tokens : tokens of a response, the end-of-sequence token included; longer ones are cut.
    temperature : of the policy itself.
    max_batch_tokens : padded response tokens in one forward pass without gradients.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        max_new_tokens: int,
        temperature: float = 1.0,
        max_batch_tokens: int = 65536,
    ) -> None:
        if tokenizer.eos_token_id is None:
            raise ValueError("the tokenizer has no end-of-sequence token, so no response could ever end; set eos_token")
        if max_new_tokens < 1 or not temperature > 0.0:
            raise ValueError(
                f"expected max_new_tokens >= 1 and temperature > 0, got {max_new_tokens} and {temperature}"
            )
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.max_new_tokens = max_new_tokens
        self.temperature = temperature
        self.max_batch_tokens = max_batch_tokens
        self.module: torch.nn.Module = ResponseScorer(model, temperature)
        self._prompt_cache: dict[str, tuple[int, ...]] = {}

    @classmethod
    def from_pretrained(
        cls,
        path: str,
        *,
        max_new_tokens: int,
        temperature: float = 1.0,
        trust_remote_code: bool = False,
        dtype: torch.dtype = torch.float32,
    ) -> LanguageModelPolicy:
        """Load a checkpoint folder or a hub id; code that comes with a model runs only if the user says so.

        The weights are float32 unless `dtype` says otherwise, whatever the checkpoint holds: small steps
        round away in half precision, so the trainer refuses a half-precision learner.
        """
        model = AutoModelForCausalLM.from_pretrained(
            path, trust_remote_code=trust_remote_code, use_safetensors=True, dtype=dtype
        )
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=trust_remote_code)
        return cls(model, tokenizer, max_new_tokens=max_new_tokens, temperature=temperature)

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return torch.device(next(self.model.parameters()).device)

    @torch.no_grad()
    def sample(self, prompts: Sequence[str], count: int, rngs: Sequence[np.random.Generator]) -> Rollouts:
        """Draw `count` responses to each prompt; the prompt is run once for all of them.

        Each response draws its uniforms from the prompt's own generator, so what is sampled depends on
        neither the batch nor the number of processes. See :meth:`Policy.sample`.
        """
        index = torch.arange(len(prompts), device=self.device).repeat_interleave(count)
        uniforms = torch.from_numpy(np.concatenate([rng.random((count, self.max_new_tokens)) for rng in rngs]))
        uniforms = uniforms.to(self.device)
        prompt_ids, prompt_mask = self._pad_prompts(prompts, self.max_new_tokens)
        logits, cache = run_prompts(self.model, prompt_ids, prompt_mask)
        logits = logits[index]
        cache.reorder_cache(index)
        mask = prompt_mask[index]
        end = self.tokenizer.eos_token_id
        tokens: list[list[int]] = [[] for _ in range(len(index))]
        alive = torch.arange(len(index), device=self.device)
        for position in range(self.max_new_tokens):
            # Inverse CDF: one uniform a token. Float64, or a large vocabulary would lose its tail.
            cumulative = torch.softmax(logits.double() / self.temperature, dim=-1).cumsum(-1)
            threshold = uniforms[alive, position][:, None] * cumulative[:, -1:]
            drawn = torch.searchsorted(cumulative, threshold, right=True)[:, 0].clamp_(max=logits.shape[-1] - 1)
            for row, token in zip(alive.tolist(), drawn.tolist(), strict=True):
                tokens[row].append(token)
            going = drawn != end
            if position + 1 == self.max_new_tokens or not bool(going.any()):
                break
            if not bool(going.all()):
                kept = going.nonzero()[:, 0]
                alive, drawn, mask = alive[kept], drawn[kept], mask[kept]
                cache.reorder_cache(kept)
            mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
            output = self.model(
                input_ids=drawn[:, None],
                attention_mask=mask,
                position_ids=mask.sum(-1, keepdim=True) - 1,
                past_key_values=cache,
                use_cache=True,
            )
            logits = output.logits[:, -1]
        return Rollouts(
            tuple(prompts),
            tuple(index.tolist()),
            tuple(self._text(row) for row in tokens),
            tuple(tuple(row) for row in tokens),
        )

    def log_probs(self, rollouts: Rollouts) -> torch.Tensor:
        """log pi(y | x) in nats, float32 [N]. Without gradients in as many passes as `max_batch_tokens` asks."""
        if torch.is_grad_enabled():
            return self._score(self.module, rollouts)
        # The unwrapped scorer: processes need not make the same number of passes here.
        scorer = ResponseScorer(self.model, self.temperature)
        parts = [self._score(scorer, rollouts.take(rows)) for rows in rollouts.microbatches(self.max_batch_tokens)]
        return torch.cat(parts)

    def encode(self, prompts: Sequence[str], texts: Sequence[Sequence[str]]) -> Rollouts:
        """Tokenise given responses and end each with the end-of-sequence token.

        A text can have several tokenisations; this is the tokenizer's own, so its probability is a lower
        bound of the text's (exact for a character tokenizer).
        """
        index = tuple(b for b, group in enumerate(texts) for _ in group)
        flat = tuple(text for group in texts for text in group)
        end = int(self.tokenizer.eos_token_id)
        # Special tokens that are written out in a text are plain text.
        plain = {"add_special_tokens": False, "split_special_tokens": True}
        tokens = tuple((*self.tokenizer(text, **plain)["input_ids"], end) for text in flat)
        return Rollouts(tuple(prompts), index, flat, tokens)

    def frozen_copy(self) -> LanguageModelPolicy:
        """See :meth:`Policy.frozen_copy`."""
        twin = LanguageModelPolicy(
            copy.deepcopy(self.model),
            self.tokenizer,
            max_new_tokens=self.max_new_tokens,
            temperature=self.temperature,
            max_batch_tokens=self.max_batch_tokens,
        )
        twin.model.requires_grad_(False)
        return twin

    def save(self, folder: Path) -> None:
        """Write model and tokenizer in the Hugging Face format; AutoModelForCausalLM loads the folder."""
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

    def _score(self, scorer: torch.nn.Module, rollouts: Rollouts) -> torch.Tensor:
        longest = max(len(tokens) for tokens in rollouts.tokens)
        prompt_ids, prompt_mask = self._pad_prompts(rollouts.prompts, longest)
        ids = np.zeros((len(rollouts), longest), dtype=np.int64)
        mask = np.zeros((len(rollouts), longest), dtype=np.int64)
        for row, tokens in enumerate(rollouts.tokens):
            ids[row, : len(tokens)] = tokens
            mask[row, : len(tokens)] = 1
        result: torch.Tensor = scorer(
            prompt_ids,
            prompt_mask,
            torch.tensor(rollouts.prompt_index, device=self.device),
            torch.from_numpy(ids).to(self.device),
            torch.from_numpy(mask).to(self.device),
        )
        return result

    def _pad_prompts(self, prompts: Sequence[str], response_tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
        rows = [self._prompt_tokens(prompt) for prompt in prompts]
        longest = max(len(row) for row in rows)
        limit = getattr(self.model.config, "max_position_embeddings", None)
        if limit is not None and longest + response_tokens > limit:
            worst = max(range(len(rows)), key=lambda b: len(rows[b]))
            raise ValueError(
                f"prompt {prompts[worst][:60]!r} has {longest} tokens; {response_tokens} new ones make that more "
                f"than the model's {limit} positions: shorten it or lower max_new_tokens"
            )
        ids = torch.zeros(len(rows), longest, dtype=torch.long)
        mask = torch.zeros(len(rows), longest, dtype=torch.long)
        for b, row in enumerate(rows):
            ids[b, longest - len(row) :] = torch.tensor(row)
            mask[b, longest - len(row) :] = 1
        return ids.to(self.device), mask.to(self.device)

    def _prompt_tokens(self, prompt: str) -> tuple[int, ...]:
        if prompt not in self._prompt_cache:
            tokens = tuple(self.tokenizer(prompt)["input_ids"])
            if not tokens:
                raise ValueError("an empty prompt gives the model nothing to condition on; add a start token to it")
            self._prompt_cache[prompt] = tokens
        return self._prompt_cache[prompt]

    def _text(self, tokens: Sequence[int]) -> str:
        ended = tokens[:-1] if tokens and tokens[-1] == self.tokenizer.eos_token_id else tokens
        return str(self.tokenizer.decode(ended, clean_up_tokenization_spaces=False))


def run_prompts(model: torch.nn.Module, ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, Any]:
    """Run left-padded prompts [B, P] once; return the last position's logits [B, V] and the cache."""
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    output = model(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=True)
    return output.logits[:, -1], output.past_key_values
