"""A causal language model in this process as a judge: the logits of the letters as the next token."""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from preference_models.chat import ChatTemplate, has_chat_template
from preference_models.judges.orders import Shown, prefer_in_both_orders
from preference_models.judges.reading import read_by_length
from preference_models.judges.templates import LETTERS, check_template, default_template, fill_template
from preference_models.markers import Markers, beginning, encode
from preference_models.messages import plain_text
from rebel_pref.preferences import FloatArray

__all__ = ["LocalJudge"]

logger = logging.getLogger(__name__)

LEAST_SHARE = 0.01
"""Of the probability of the next token, below which letters are no answer."""


class LocalJudge:
    """Ask a causal language model which letter comes next, in both orders, and average the logits.

    With ties, half of the probability of C goes to either side. Log-probabilities of the spellings of a letter that
    are one token (with and without a space before it) are added up.

    The question is wrapped in the tokenizer's chat template where it has one; a model that thinks first is told not to.
    A warning is logged where the letters have next to no probability. Texts are plain text: special tokens
    that are written out in a response are not obeyed. A question longer than the model can read is missing (NaN),
    counted in the log, and never cut.

    Parameters
    ----------
    model, tokenizer : of the same vocabulary. The model is used as it is: its device, its precision, its adapters.
    ties : whether C (a tie) is offered.
    template : the question, with {prompt}, {first} and {second} in it; None for the default.
    write_prompt : what stands for {prompt}; a chat of several messages is "role: content", one a paragraph, unless told
        otherwise.
    batch_size : most questions a forward pass.

    Raises
    ------
    ValueError
        For a template without its fields, a chat template without the question, or a tokenizer in which a letter is
        not one token.
    """

    gives_logits = True

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        ties: bool = False,
        template: str | None = None,
        write_prompt: Callable[[str], str] = plain_text,
        batch_size: int = 16,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        self.model, self.tokenizer = model, tokenizer
        self.template = check_template(default_template(ties=ties) if template is None else template)
        self.write_prompt, self.batch_size = write_prompt, batch_size
        self._chat = ChatTemplate(tokenizer) if has_chat_template(tokenizer) else None
        before = {"", "\n"}
        if self._chat is not None:
            question = [{"role": "user", "content": self.template}]
            before.add(self._chat.write(question, opened=True, thought=False).rpartition(self.template.strip())[2])
        self._letters = [_spellings(tokenizer, letter, before) for letter in LETTERS[: 3 if ties else 2]]
        self._limit: int | None = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        self._chooses = "logits_to_keep" in inspect.signature(model.forward).parameters

    @classmethod
    def from_pretrained(
        cls,
        directory: str | os.PathLike[str],
        *,
        ties: bool = False,
        template: str | None = None,
        batch_size: int = 16,
        device: str | torch.device = "cpu",
        dtype: torch.dtype | None = None,
    ) -> LocalJudge:
        """Load model and tokenizer from a directory or the local cache: safetensors, no code from it, no download."""
        model = AutoModelForCausalLM.from_pretrained(
            directory, dtype=dtype, use_safetensors=True, trust_remote_code=False, local_files_only=True
        )
        tokenizer = AutoTokenizer.from_pretrained(directory, trust_remote_code=False, local_files_only=True)
        return cls(model.to(device), tokenizer, ties=ties, template=template, batch_size=batch_size)

    def prefer(
        self,
        prompts: Sequence[str],
        responses: Sequence[Sequence[str]],
        opponents: Sequence[Sequence[str]] | None = None,
    ) -> FloatArray:
        """Win probabilities, float64 [B, K, K or M], NaN where a question did not fit.

        See :meth:`rebel_pref.preferences.PreferenceOracle.prefer`.
        """
        return prefer_in_both_orders(self, prompts, responses, opponents)

    def judge_as_shown(self, shown: Sequence[Shown]) -> FloatArray:
        """Logits that the first response wins, in the order shown, float64 [N]; see :class:`OrderedJudge`."""
        distinct = list(dict.fromkeys(shown))
        ids = self._token_ids(distinct)
        shares: list[Tensor] = []
        read = partial(self._logits, shares=shares)
        values = read_by_length(self.model, read, ids, name="questions", limit=self._limit, batch_size=self.batch_size)
        if shares and (share := float(torch.cat(shares).mean())) < LEAST_SHARE:
            logger.warning(
                "the letters have %.2g of the probability of the next token (a mean over questions): the model answers "
                "otherwise, and its verdicts mean little; change the template, or judge with another model",
                share,
            )
        place = {view: row for row, view in enumerate(distinct)}
        return np.array([values[place[view]] for view in shown], dtype=np.float64)

    def _logits(self, tokens: Tensor, mask: Tensor, *, shares: list[Tensor]) -> Tensor:
        """Logits of n questions, float32 [n], of token ids [n, L] that are padded on the right.

        Parameters
        ----------
        shares : what the letters have of the probability of the next token goes here, [n].
        """
        device, lengths = self.model.device, mask.sum(1)
        # The logits of a whole vocabulary at every position would not fit; a batch by length has few ends.
        ends, which = torch.unique(lengths - 1, return_inverse=True)
        keep: dict[str, Any] = {"logits_to_keep": ends.to(device)} if self._chooses else {}
        logits = self.model(input_ids=tokens.to(device), attention_mask=mask.to(device), **keep).logits
        columns = (which if self._chooses else lengths - 1).to(device)
        last = logits[torch.arange(len(tokens), device=device), columns].float()
        letters = torch.stack([last[:, spellings].logsumexp(-1) for spellings in self._letters], -1)
        shares.append((letters.logsumexp(-1) - last.logsumexp(-1)).exp())
        first, second = letters[:, 0], letters[:, 1]
        if letters.shape[1] == 3:
            half = letters[:, 2] - np.log(2.0)
            first, second = torch.logaddexp(first, half), torch.logaddexp(second, half)
        return torch.where(torch.isfinite(first - second), first - second, torch.nan)

    def _token_ids(self, shown: Sequence[Shown]) -> list[list[int]]:
        questions = (fill_template(self.template, view, self.write_prompt) for view in shown)
        if self._chat is not None:
            chats = ([{"role": "user", "content": question}] for question in questions)
            return list(self._chat.ids(self._chat.write(chat, opened=True, thought=False) for chat in chats))
        begin = beginning(self.tokenizer)
        cut = map(Markers(self.tokenizer).cut, questions)
        return [[*begin, *ids] for ids in encode(self.tokenizer, cut, plain=True)]


def _spellings(tokenizer: PreTrainedTokenizerBase, letter: str, before: Iterable[str]) -> list[int]:
    """Ids of the tokens that are this letter behind one of these texts, with and without a space before it."""
    texts = (letter, f" {letter}")
    spelled = [ids for text in before for ids in encode(tokenizer, texts, behind=text)]
    found = {ids[0] for ids in spelled if len(ids) == 1 and tokenizer.decode(ids).strip() == letter}
    if not found - {tokenizer.unk_token_id}:
        raise ValueError(
            f"the letter {letter!r} is not one token of {type(tokenizer).__name__}; judge with another model"
        )
    return sorted(found - {tokenizer.unk_token_id})
