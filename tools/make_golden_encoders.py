"""Makes tests/golden/<name>/: tiny random text encoders, and what transformers computes with them.

    python tools/make_golden_encoders.py [name ...]

Needs torch and transformers. Each folder gets config.json and model.safetensors as such checkpoints
are published (f16, with parts that are not run), and golden.npz:

    input_ids          a text; of a cross-encoder a pair
    states             the last hidden states of every position
    score              of a cross-encoder: its logit for the pair
    embedding          of a model with dense layers: what they make of the mean of the states
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from safetensors.torch import save_file

GOLDEN = Path(__file__).resolve().parent.parent / "tests" / "golden"

LENGTH, CLS, SEP = 40, 2, 3

SIZES = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
}

CONFIGS: dict[str, dict[str, Any]] = {
    "bert": {"model_type": "bert", "type_vocab_size": 2, "layer_norm_eps": 1e-12},
    # The second part of a pair has a type of its own.
    "bert_ranker": {
        "architectures": ["BertForSequenceClassification"],
        "model_type": "bert",
        "type_vocab_size": 2,
        "layer_norm_eps": 1e-12,
        "num_labels": 1,
        "sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"},
    },
    # Positions begin behind the row of the padding.
    "xlm_roberta": {
        "model_type": "xlm-roberta",
        "type_vocab_size": 1,
        "layer_norm_eps": 1e-5,
        "pad_token_id": 1,
    },
    "xlm_roberta_ranker": {
        "architectures": ["XLMRobertaForSequenceClassification"],
        "model_type": "xlm-roberta",
        "type_vocab_size": 1,
        "layer_norm_eps": 1e-5,
        "pad_token_id": 1,
        "num_labels": 1,
    },
    "nomic_bert": {
        "model_type": "nomic_bert",
        "type_vocab_size": 2,
        "layer_norm_eps": 1e-12,
        "rope_theta": 1000.0,
    },
    # The second and third layer see four positions to each side; no layer norm has a bias.
    "modernbert": {
        "model_type": "modernbert",
        "num_hidden_layers": 4,
        "local_attention": 8,
        "global_attn_every_n_layers": 3,
        "norm_eps": 1e-5,
        "global_rope_theta": 160000.0,
        "local_rope_theta": 10000.0,
        "hidden_activation": "gelu",
    },
    "modernbert_ranker": {
        "architectures": ["ModernBertForSequenceClassification"],
        "model_type": "modernbert",
        "local_attention": 8,
        "global_attn_every_n_layers": 2,
        "norm_eps": 1e-5,
        "global_rope_theta": 160000.0,
        "local_rope_theta": 10000.0,
        "hidden_activation": "gelu",
        "classifier_pooling": "mean",
        "classifier_bias": True,
        "num_labels": 1,
    },
    "qwen3_embedding": {
        "model_type": "qwen3",
        "num_key_value_heads": 1,
        "head_dim": 32,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1000000.0,
        "tie_word_embeddings": True,
    },
    # Tokens of one layer see five positions to each side, those of the other one all.
    "embeddinggemma": {
        "model_type": "gemma3_text",
        "num_key_value_heads": 1,
        "head_dim": 32,
        "num_attention_heads": 2,
        "rms_norm_eps": 1e-6,
        "hidden_activation": "gelu_pytorch_tanh",
        "query_pre_attn_scalar": 48,
        "sliding_window": 10,
        "layer_types": ["sliding_attention", "full_attention"],
        "rope_theta": 1000000.0,
        "rope_local_base_freq": 10000.0,
        "use_bidirectional_attention": True,
        "tie_word_embeddings": True,
    },
}

PREFIXES = {"bert_ranker": "bert.", "xlm_roberta_ranker": "roberta.", "modernbert_ranker": "model."}

ST = "sentence_transformers.models."
MODULES = {
    "bert": ["Transformer", "Pooling", "Normalize"],
    "qwen3_embedding": ["Transformer", "Pooling", "Normalize"],
    "embeddinggemma": ["Transformer", "Pooling", "Dense", "Dense", "Normalize"],
}


def randomize(model: torch.nn.Module, seed: int) -> None:
    """Weights of a size at which every part matters, rounded to f16."""
    generator = torch.Generator().manual_seed(seed)
    gemma = model.config.model_type == "gemma3_text"
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if name.endswith(".bias"):
                value = 0.3 * noise
            elif parameter.ndim == 1:
                value = 0.2 * noise + (0 if gemma else 1)
            elif "embed" in name:
                value = (0.05 if gemma else 0.5) * noise
            else:
                value = 1.5 * noise / parameter.shape[1] ** 0.5
            parameter.copy_(value.half().float())


def published(state: dict[str, torch.Tensor], config: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Nomic's tensors as its own code names them; those of others as they are."""
    if config["model_type"] != "nomic_bert":
        return state
    made = {}
    for layer in range(config["num_hidden_layers"]):
        parts = [state.pop(f"layers.{layer}.self_attn.{part}_proj.weight") for part in "qkv"]
        made[f"encoder.layers.{layer}.attn.Wqkv.weight"] = torch.cat(parts)
    for name, value in state.items():
        for old, new in (
            ("layers.", "encoder.layers."),
            ("embeddings.LayerNorm", "emb_ln"),
            ("self_attn.o_proj", "attn.out_proj"),
            ("up_proj", "fc11"),
            ("gate_proj", "fc12"),
            ("down_proj", "fc2"),
            ("post_attention_layernorm", "norm1"),
            ("post_mlp_layernorm", "norm2"),
        ):
            name = name.replace(old, new)
        made[name] = value
    return made


def published_config(config: dict[str, Any]) -> dict[str, Any]:
    """Nomic's config as its own code reads it."""
    if config["model_type"] != "nomic_bert":
        return config
    return {
        "model_type": "nomic_bert",
        "n_embd": config["hidden_size"],
        "n_inner": config["intermediate_size"],
        "n_layer": config["num_hidden_layers"],
        "n_head": config["num_attention_heads"],
        "n_positions": config["max_position_embeddings"],
        "layer_norm_epsilon": config["layer_norm_eps"],
        "rotary_emb_base": config["rope_theta"],
        "rotary_emb_fraction": 1.0,
        "rotary_emb_interleaved": False,
        "activation_function": "swiglu",
        "qkv_proj_bias": False,
        "mlp_fc1_bias": False,
        "prenorm": False,
        "causal": False,
        "type_vocab_size": config["type_vocab_size"],
        "vocab_size": config["vocab_size"],
    }


def write_modules(name: str, folder: Path, dense: list[torch.nn.Linear]) -> None:
    """modules.json and the folders of the modules, as sentence-transformers saves them."""
    listed, number = [], 0
    for index, kind in enumerate(MODULES[name]):
        path = "" if index == 0 else f"{index}_{kind}"
        listed.append({"idx": index, "name": str(index), "path": path, "type": ST + kind})
        place = folder / path
        place.mkdir(exist_ok=True)
        if kind == "Pooling":
            last = name == "qwen3_embedding"
            pooling = {
                "word_embedding_dimension": SIZES["hidden_size"],
                "pooling_mode_mean_tokens": not last,
                "pooling_mode_lasttoken": last,
            }
            (place / "config.json").write_text(json.dumps(pooling) + "\n")
        if kind == "Dense":
            layer = dense[number]
            number += 1
            described = {
                "in_features": layer.in_features,
                "out_features": layer.out_features,
                "bias": layer.bias is not None,
                "activation_function": "torch.nn.modules.linear.Identity",
            }
            (place / "config.json").write_text(json.dumps(described) + "\n")
            state = {f"linear.{key}": value.half() for key, value in layer.state_dict().items()}
            save_file(state, place / "model.safetensors", metadata={"format": "pt"})
    (folder / "modules.json").write_text(json.dumps(listed, indent=1) + "\n")


def make(name: str) -> None:
    """Write tests/golden/<name>."""
    raw = SIZES | CONFIGS[name]
    ranks = "num_labels" in raw
    config = transformers.AutoConfig.for_model(
        **{key: value for key, value in raw.items() if key != "sentence_transformers"}
    )
    config._attn_implementation = "eager"
    factory = transformers.AutoModelForSequenceClassification if ranks else transformers.AutoModel
    model = factory.from_config(config, dtype=torch.float32).eval()
    randomize(model, 7)
    ids = np.random.default_rng(7).integers(5, raw["vocab_size"], LENGTH)
    ids[0], ids[-1] = CLS, SEP
    types = np.zeros(LENGTH, np.int64)
    if ranks:
        ids[15] = SEP
        if raw["model_type"] == "xlm-roberta":
            ids[16] = SEP  # it ends the first part twice
        types[16:] = 1
    given: dict[str, torch.Tensor] = {"input_ids": torch.from_numpy(ids[None])}
    if raw["model_type"] == "bert":
        given["token_type_ids"] = torch.from_numpy(types[None])
    arrays: dict[str, np.ndarray] = {"input_ids": ids.astype(np.int32)}
    base = getattr(model, model.base_model_prefix) if ranks else model
    with torch.no_grad():
        states = base(**given).last_hidden_state[0]
        if ranks:
            arrays["score"] = model(**given).logits[0].numpy()
    arrays["states"] = states.numpy()
    dense: list[torch.nn.Linear] = []
    if name == "embeddinggemma":
        dense = [torch.nn.Linear(32, 48, bias=False), torch.nn.Linear(48, 24, bias=False)]
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            vector = states.mean(0)
            for layer in dense:
                values = torch.randn(layer.weight.shape, generator=generator)
                layer.weight.copy_(values.half().float())
                vector = layer(vector)
        arrays["embedding"] = torch.nn.functional.normalize(vector, dim=0).detach().numpy()

    folder = GOLDEN / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(published_config(raw), indent=2) + "\n")
    state = published(dict(model.state_dict()), raw)
    tensors = {
        key: value.half().contiguous() for key, value in state.items() if value.is_floating_point()
    }
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)
    if name in MODULES:
        write_modules(name, folder, dense)
    np.savez_compressed(folder / "golden.npz", **arrays)
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    print(f"{name}: {len(tensors)} tensors, {size // 1024} KB, {sorted(tensors)[:2]}")


if __name__ == "__main__":
    for chosen in sys.argv[1:] or CONFIGS:
        make(chosen)
