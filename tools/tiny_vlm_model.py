"""The shape of the model that train_tiny_vlm.py trains, and its tokenizer."""

from __future__ import annotations

from typing import Any

from tiny_vlm_data import READ, WORDS, Questions
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

SPECIAL = (
    *("<|pad|>", "<|startoftext|>", "<|endoftext|>", "<|im_start|>", "<|im_end|>"),
    *("<image>", "<|image_start|>", "<|image_end|>", "<|img_thumbnail|>"),
    *(f"<|img_row_{row}_col_{column}|>" for row in range(1, 5) for column in range(1, 5)),
)
VOCABULARY = 448

CHAT_TEMPLATE = (
    "{{- bos_token -}}"
    "{%- for message in messages -%}"
    "{{- '<|im_start|>' + message['role'] + '\\n' -}}"
    "{%- if message['content'] is string -%}{{- message['content'] -}}"
    "{%- else -%}{%- for part in message['content'] -%}"
    "{%- if part['type'] == 'image' -%}{{- '<image>' -}}"
    "{%- elif part['type'] == 'text' -%}{{- part['text'] -}}{%- endif -%}"
    "{%- endfor -%}{%- endif -%}"
    "{{- '<|im_end|>\\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
)


def configuration() -> dict[str, Any]:
    """config.json: widths are multiples of 32, heads of 32 columns."""
    ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 4}
    return {
        "image_token_id": SPECIAL.index("<image>"),
        "projector_hidden_size": 128,
        "downsample_factor": 2,
        "vision_config": {
            "model_type": "siglip2_vision_model",
            "hidden_size": 128,
            "intermediate_size": 256,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_patches": 64,
            "vision_use_head": False,
        },
        "text_config": {
            "model_type": "lfm2",
            "vocab_size": VOCABULARY,
            "hidden_size": 128,
            "intermediate_size": 256,
            "block_auto_adjust_ff_dim": False,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 2048,
            "layer_types": ["conv", "full_attention", "conv", "full_attention"],
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
            **ids,
        },
        **ids,
    }


def make_tokenizer(questions: Questions) -> Tokenizer:
    """A byte-level BPE that has learned the questions; digits stand alone."""
    tokenizer = Tokenizer(models.BPE())
    digits = pre_tokenizers.Digits(individual_digits=True)
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    special = [AddedToken(text, special=True, normalized=False) for text in SPECIAL]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    asked = [text for each in questions.asked for pair in each for text in pair]
    others = [*["user\n", "assistant\n", READ] * 10_000, *WORDS * 300]
    tokenizer.train_from_iterator([*asked, *others], trainer)
    if (found := tokenizer.get_vocab_size()) != VOCABULARY:
        raise ValueError(f"the tokenizer has {found} tokens, expected {VOCABULARY}")
    return tokenizer
