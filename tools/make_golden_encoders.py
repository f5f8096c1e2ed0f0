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
    # Biases, a plain feed-forward and then four experts, of which each row asks two.
    "nomic_bert_moe": {
        "model_type": "nomic_bert",
        "type_vocab_size": 1,
        "layer_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "num_experts": 4,
        "moe_every_n_layers": 2,
        "moe_top_k": 2,
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
    gated = "num_experts" not in config
    experts = {key: config[key] for key in config if key == "num_experts" or "moe" in key}
    return experts | {
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
        "activation_function": "swiglu" if gated else "gelu",
        "qkv_proj_bias": not gated,
        "mlp_fc1_bias": not gated,
        "mlp_fc2_bias": not gated,
        "prenorm": False,
        "causal": False,
        "type_vocab_size": config["type_vocab_size"],
        "vocab_size": config["vocab_size"],
    }


class Mixture(torch.nn.Module):
    """Nomic's second version, which transformers lacks, by its paper and its published tensors."""

    def __init__(self, raw: dict[str, Any]) -> None:
        super().__init__()
        self.raw, self.config = raw, transformers.NomicBertConfig(**SIZES)
        width, inner, count = raw["hidden_size"], raw["intermediate_size"], raw["num_experts"]
        shapes: dict[str, tuple[int, ...]] = {
            "embeddings.word_embeddings.weight": (raw["vocab_size"], width),
            "embeddings.token_type_embeddings.weight": (1, width),
            "emb_ln.weight": (width,),
            "emb_ln.bias": (width,),
        }
        for layer in range(raw["num_hidden_layers"]):
            place = f"encoder.layers.{layer}."
            shapes |= {
                f"{place}attn.Wqkv.weight": (3 * width, width),
                f"{place}attn.Wqkv.bias": (3 * width,),
                f"{place}attn.out_proj.weight": (width, width),
                f"{place}attn.out_proj.bias": (width,),
            }
            shapes |= {
                f"{place}norm{n}.{part}": (width,) for n in "12" for part in ("weight", "bias")
            }
            if layer % 2:
                shapes |= {
                    f"{place}mlp.router.layer.weight": (count, width),
                    f"{place}mlp.experts.mlp.w1": (count * inner, width),
                    f"{place}mlp.experts.mlp.w2": (count * inner, width),
                    f"{place}mlp.experts.bias": (width,),
                }
            else:
                shapes |= {
                    f"{place}mlp.fc1.weight": (inner, width),
                    f"{place}mlp.fc1.bias": (inner,),
                    f"{place}mlp.fc2.weight": (width, inner),
                    f"{place}mlp.fc2.bias": (width,),
                }
        self.names = {name.replace(".", "|"): name for name in shapes}
        for key, name in self.names.items():
            self.register_parameter(key, torch.nn.Parameter(torch.zeros(shapes[name])))

    def forward(self, input_ids: torch.Tensor) -> Any:
        w = {name: getattr(self, key) for key, name in self.names.items()}
        raw, f = self.raw, torch.nn.functional
        width, heads = raw["hidden_size"], raw["num_attention_heads"]
        size, eps = width // heads, raw["layer_norm_eps"]

        def norm(x: torch.Tensor, name: str) -> torch.Tensor:
            return f.layer_norm(x, (width,), w[f"{name}.weight"], w[f"{name}.bias"], eps)

        x = w["embeddings.word_embeddings.weight"][input_ids[0]]
        x = norm(x + w["embeddings.token_type_embeddings.weight"][0], "emb_ln")
        turns = raw["rope_theta"] ** (-torch.arange(0, size, 2) / size)
        angles = torch.arange(len(x))[:, None] * turns
        cos, sin = angles.cos()[:, None], angles.sin()[:, None]

        def rotated(y: torch.Tensor) -> torch.Tensor:
            first, second = y.chunk(2, dim=-1)
            return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)

        for layer in range(raw["num_hidden_layers"]):
            place = f"encoder.layers.{layer}."
            qkv = f.linear(x, w[f"{place}attn.Wqkv.weight"], w[f"{place}attn.Wqkv.bias"])
            q, k, v = (part.reshape(len(x), heads, size) for part in qkv.chunk(3, dim=-1))
            scores = torch.einsum("ihd,jhd->hij", rotated(q), rotated(k)) / size**0.5
            y = torch.einsum("hij,jhd->ihd", scores.softmax(-1), v).reshape(len(x), width)
            y = f.linear(y, w[f"{place}attn.out_proj.weight"], w[f"{place}attn.out_proj.bias"])
            x = norm(x + y, f"{place}norm1")
            if layer % 2 == 0:
                y = f.gelu(f.linear(x, w[f"{place}mlp.fc1.weight"], w[f"{place}mlp.fc1.bias"]))
                y = f.linear(y, w[f"{place}mlp.fc2.weight"], w[f"{place}mlp.fc2.bias"])
            else:
                share = f.linear(x, w[f"{place}mlp.router.layer.weight"]).softmax(-1)
                top, chosen = share.topk(raw["moe_top_k"], dim=-1)
                first, second = (
                    w[f"{place}mlp.experts.mlp.{part}"].reshape(raw["num_experts"], -1, width)
                    for part in ("w1", "w2")
                )
                y = torch.zeros_like(x)
                for row in range(len(x)):
                    for c, e in zip(top[row], chosen[row], strict=True):
                        y[row] += c * (f.gelu(first[e] @ x[row]) @ second[e])
                y = y + w[f"{place}mlp.experts.bias"]
            x = norm(x + y, f"{place}norm2")
        return transformers.modeling_outputs.BaseModelOutput(last_hidden_state=x[None])


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
    mixed = "num_experts" in raw
    config = transformers.AutoConfig.for_model(
        **{key: value for key, value in raw.items() if key != "sentence_transformers"}
    )
    config._attn_implementation = "eager"
    factory = transformers.AutoModelForSequenceClassification if ranks else transformers.AutoModel
    model: Any = Mixture(raw) if mixed else factory.from_config(config, dtype=torch.float32)
    model.eval()
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
    state = dict(model.state_dict())
    if mixed:
        state = {model.names[key]: value for key, value in state.items()}
    else:
        state = published(state, raw)
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
