"""The published config.json of Whisper's sizes, and a tokenizer with its steering tokens."""

from __future__ import annotations

from typing import Any

from published_models import Published

_CODES = """
    en zh de es ru ko fr ja pt tr pl ca nl ar sv it id hi fi vi he uk el ms cs ro da hu ta no th
    ur hr bg lt la mi ml cy sk te fa lv bn sr az sl kn et mk br eu is hy ne mn bs kk sq sw gl mr
    pa si km sn yo so af oc ka be tg sd gu am yi lo uz fo ht ps tk nn mt sa lb my bo tl mg as tt
    haw ln ha ba jw su yue
"""
LANGUAGES = _CODES.split()
"""In the order of their ids; the last one is known to large-v3 and turbo alone."""

TIMES = 1501


def _whisper(
    name: str, parameters: int, width: int, layers: int, heads: int, **others: Any
) -> Published:
    config = {
        "architectures": ["WhisperForConditionalGeneration"],
        "model_type": "whisper",
        "activation_function": "gelu",
        "d_model": width,
        "encoder_layers": layers,
        "encoder_attention_heads": heads,
        "encoder_ffn_dim": 4 * width,
        "decoder_layers": layers,
        "decoder_attention_heads": heads,
        "decoder_ffn_dim": 4 * width,
        "is_encoder_decoder": True,
        "max_source_positions": 1500,
        "max_target_positions": 448,
        "num_mel_bins": 80,
        "scale_embedding": False,
        "tie_word_embeddings": True,
        "torch_dtype": "float16",
        "vocab_size": 51_865,
        **others,
    }
    end = first_special(config)
    ids = {"bos_token_id": end, "eos_token_id": end, "pad_token_id": end}
    config |= ids | {"decoder_start_token_id": end + 1}
    return Published(f"openai/whisper-{name}", parameters, config)


def first_special(config: dict[str, Any]) -> int:
    """The id of <|endoftext|>: all text lies before it, all that steers behind."""
    return 50_256 if config["vocab_size"] == 51_864 else 50_257


_ENGLISH = {"vocab_size": 51_864}
_V3 = {"num_mel_bins": 128, "vocab_size": 51_866}

WHISPERS = (
    _whisper("tiny", 37_760_640, 384, 4, 6),
    _whisper("tiny.en", 37_760_256, 384, 4, 6, **_ENGLISH),
    _whisper("base", 72_593_920, 512, 6, 8),
    _whisper("base.en", 72_593_408, 512, 6, 8, **_ENGLISH),
    _whisper("small", 241_734_912, 768, 12, 12),
    _whisper("small.en", 241_734_144, 768, 12, 12, **_ENGLISH),
    _whisper("medium", 763_857_920, 1024, 24, 16),
    _whisper("medium.en", 763_856_896, 1024, 24, 16, **_ENGLISH),
    _whisper("large-v2", 1_543_304_960, 1280, 32, 20),
    _whisper("large-v3", 1_543_490_560, 1280, 32, 20, **_V3),
    _whisper("large-v3-turbo", 808_878_080, 1280, 32, 20, decoder_layers=4, **_V3),
)


def tiny_whisper(config: dict[str, Any]) -> dict[str, Any]:
    """The same vocabulary and spectrogram with two layers of width 64."""
    small = dict(config)
    for side in ("encoder", "decoder"):
        small |= {f"{side}_layers": 2, f"{side}_attention_heads": 2, f"{side}_ffn_dim": 96}
    return small | {"d_model": 64}


def steering(config: dict[str, Any]) -> list[str]:
    """What follows the text in the vocabulary, in the order of its ids."""
    count = config["vocab_size"] - TIMES - first_special(config) - 8
    tasks = ("translate", "transcribe", "startoflm", "startofprev")
    return [
        "<|endoftext|>",
        "<|startoftranscript|>",
        *(f"<|{code}|>" for code in LANGUAGES[:count]),
        *(f"<|{name}|>" for name in tasks),
        "<|nospeech|>",
        "<|notimestamps|>",
        *(f"<|{0.02 * number:.2f}|>" for number in range(TIMES)),
    ]


def generation(config: dict[str, Any]) -> dict[str, Any]:
    """generation_config.json."""
    ids = {text: first_special(config) + at for at, text in enumerate(steering(config))}
    codes = [f"<|{code}|>" for code in LANGUAGES if f"<|{code}|>" in ids]
    multilingual = config["vocab_size"] > 51_864
    return {
        "bos_token_id": config["bos_token_id"],
        "eos_token_id": config["eos_token_id"],
        "pad_token_id": config["pad_token_id"],
        "decoder_start_token_id": config["decoder_start_token_id"],
        "begin_suppress_tokens": [220, config["eos_token_id"]],
        "suppress_tokens": [1, 2, 7],
        "is_multilingual": multilingual,
        "max_initial_timestamp_index": 50,
        "max_length": config["max_target_positions"],
        "no_timestamps_token_id": ids["<|notimestamps|>"],
        "prev_sot_token_id": ids["<|startofprev|>"],
        **({"lang_to_id": {each: ids[each] for each in codes}} if multilingual else {}),
    }
