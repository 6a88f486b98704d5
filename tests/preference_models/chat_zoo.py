"""Tokenizers of the kinds that language models have, trained here on a few words, and templates of known models."""

from functools import cache

from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE, Unigram
from tokenizers.trainers import BpeTrainer, UnigramTrainer
from transformers import PreTrainedTokenizerFast

import preference_models as pm

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA_2 = (
    "{% for m in messages %}{% if m.role == 'user' %}{{ bos_token + '[INST] ' + m.content | trim + ' [/INST]' }}"
    "{% else %}{{ ' ' + m.content | trim + ' ' + eos_token }}{% endif %}{% endfor %}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ '[INST] ' + m.content + '[/INST]' }}"
    "{% else %}{{ ' ' + m.content | trim + eos_token }}{% endif %}{% endfor %}"
)
ZEPHYR = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content + eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
LLAMA_3 = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n"
    "{{ m.content | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% for m in messages %}<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n"
    "{{ m.content | trim }}<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
SMOLLM_3 = CHATML.replace("m.content", "m.content.replace('/no_think', '')")
QWEN_3 = (  # A last answer has a thought, its own or an empty one; earlier ones lose theirs.
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% set said = m.content.split('</think>')[-1].lstrip('\n') if m.role == 'assistant' else m.content %}"
    "{% if m.role == 'assistant' and loop.last %}{% set thought = m.content.split('</think>')[0].split('<think>')[-1]"
    " if '</think>' in m.content else '' %}<think>\n{{ thought.strip('\n') }}\n</think>\n\n{% endif %}"
    "{{ said }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
GLM = (  # Earlier answers have an empty thought, the last its own.
    "{% for m in messages %}<|{{ m.role }}|>\n{% if m.role == 'assistant' %}"
    "{% set thought = m.content.split('</think>')[0].split('<think>')[-1] if '</think>' in m.content else '' %}"
    "<think>{{ thought.strip() if loop.last else '' }}</think>\n{{ m.content.split('</think>')[-1].strip() }}"
    "{% else %}{{ m.content }}{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think></think>\n{% endif %}{% endif %}"
)
DEEPSEEK = (  # An answer is opened with a thought, which is cut off it afterwards.
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ '<|User|>' + m.content }}{% else %}"
    "{{ '<|Assistant|>' + m.content.split('</think>')[-1] + eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|Assistant|><think>\n{% endif %}"
)

TEMPLATES = {
    "chatml": CHATML,
    "llama_2": LLAMA_2,
    "mistral": MISTRAL,
    "zephyr": ZEPHYR,
    "llama_3": LLAMA_3,
    "gemma": GEMMA,
    "qwen_3": QWEN_3,
    "deepseek": DEEPSEEK,
    "glm": GLM,
}
SPECIAL = ("<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>",
           "<start_of_turn>", "<end_of_turn>", "<|eos_of_another|>")  # fmt: skip
ORDINARY = ("[INST]", "[/INST]", "<|User|>", "<|Assistant|>", "<think>", "</think>", "<tool>")
"""Added as ordinary tokens, which no option of a tokenizer splits."""

CORPUS = (
    "why is the answer so short? because the question was.",
    "a longer answer, with [brackets], <angles> and |bars|",
    "user assistant system model user assistant INST think",
    "yes no yes no\nthe end\n\nthe answer\n\n\nthe end",
)


def character_chats(template=CHATML):
    """One token a character."""
    tokenizer = pm.character_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<bos>", "<|im_start|>", "<|im_end|>"]})
    tokenizer.chat_template = template
    return tokenizer


@cache
def _trained(kind):
    """Of the kinds of Llama 2 (two ways to write it down), of DeBERTa, of Llama 3 and of GPT-2."""
    if kind == "unigram":
        tokenizer = Tokenizer(Unigram())
        tokenizer.normalizer = normalizers.NFKC()
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        # As DeBERTa and T5 have them: special tokens are pieces of the vocabulary, too.
        trainer = UnigramTrainer(
            vocab_size=150, special_tokens=["<unk>", *SPECIAL], unk_token="<unk>", show_progress=False
        )
    else:
        tokenizer = Tokenizer(BPE(byte_fallback=kind in ("prepend", "first"), fuse_unk=True))
        trainer = BpeTrainer(vocab_size=600, show_progress=False, initial_alphabet=[*map(chr, range(33, 127))])
        if kind == "prepend":
            tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        elif kind == "first":
            tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
        else:
            words = r"\s*[\r\n]+| ?[^\s\w]+[\r\n]*| ?\w+|\s+"
            if kind == "gpt_2":
                words = r" ?\w+| ?[^\s\w]+|\s+(?!\S)|\s+"
            tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
                [
                    pre_tokenizers.Split(Regex(words), "isolated"),
                    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
                ]
            )
            tokenizer.decoder = decoders.ByteLevel()
            trainer = BpeTrainer(
                vocab_size=600, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
            )
    tokenizer.train_from_iterator(CORPUS * 4, trainer)
    return tokenizer.to_str()


KINDS = ("prepend", "first", "unigram", "bytes", "gpt_2")


def trained_tokenizer(kind, template=None):
    """A subword tokenizer with the marks of every template here: some special, some added as ordinary tokens."""
    backend = Tokenizer.from_str(_trained(kind))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, clean_up_tokenization_spaces=False)
    names = {"bos_token": "<s>", "eos_token": "</s>", "additional_special_tokens": list(SPECIAL[2:])}
    tokenizer.add_special_tokens(names)
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in ORDINARY])
    tokenizer.chat_template = None if template is None else TEMPLATES[template]
    return tokenizer
