"""Makes tests/golden/<name>/: tiny random checkpoints, and what transformers computes with them.

    python tools/make_golden.py [name ...]

"yarn" makes tests/golden/yarn.json, what transformers makes of YaRN's settings.

Needs torch and transformers, which the test suite does not. Each folder gets config.json and
model.safetensors (a Hugging Face checkpoint), and golden.npz:

    input_ids          the prompt
    rows               the positions whose node values are kept
    node/<node name>   the value of each node of our unfused graph at those positions
    logits             at every position
    greedy             the continuation that transformers chooses

Weights are stored in f16, and are what they say: f32 arithmetic on f16-exact numbers. So the same
folder tests f32, and f16 weights without a rounding of their own.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from safetensors.torch import save_file
from transformers.activations import GELUTanh, SiLUActivation
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.gemma3 import modeling_gemma3
from transformers.models.granite import modeling_granite
from transformers.models.lfm2 import modeling_lfm2
from transformers.models.llama import modeling_llama
from transformers.models.phi3 import modeling_phi3
from transformers.models.qwen2 import modeling_qwen2
from transformers.models.qwen3 import modeling_qwen3
from transformers.models.smollm3 import modeling_smollm3

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "golden"
sys.path.insert(0, str(ROOT / "python"))

from cactus.models.base import load_architecture  # noqa: E402

ROOMS = (
    *(modeling_llama, modeling_lfm2, modeling_qwen2, modeling_qwen3),
    *(modeling_smollm3, modeling_gemma3, modeling_granite, modeling_phi3),
)
ACTIVATIONS = {SiLUActivation: "silu", GELUTanh: "gelu"}
ACTIVATING = (".act_fn", ".activation_fn")

PROMPT, KEPT, CONTINUATION = 40, (0, 1, 2, 9, 38, 39), 16

COMMON = {"hidden_size": 64, "initializer_range": 0.02, "bos_token_id": 1, "eos_token_id": 2}

CONFIGS: dict[str, dict[str, Any]] = {
    # Old spelling of the rotary settings, tied head, heads of 16.
    "llama": {
        "model_type": "llama",
        "vocab_size": 256,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": True,
    },
    # New spelling with Llama 3's stretched frequencies, a head of its own, a vocabulary that fills
    # no whole tile, heads of 32 whose total width is not the hidden size.
    "llama_untied": {
        "model_type": "llama",
        "vocab_size": 300,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 1,
        "head_dim": 32,
        "max_position_embeddings": 512,
        "rms_norm_eps": 1e-6,
        "rope_parameters": {
            "rope_type": "llama3",
            "rope_theta": 500000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        },
        "tie_word_embeddings": False,
    },
    # Both kinds of layers, each after the other, and a feed-forward size that is adjusted to 64.
    "lfm2": {
        "model_type": "lfm2",
        "vocab_size": 256,
        "intermediate_size": 72,
        "block_auto_adjust_ff_dim": True,
        "block_multiple_of": 32,
        "block_ffn_dim_multiplier": 1.0,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 512,
        "norm_eps": 1e-5,
        "conv_L_cache": 3,
        "conv_bias": False,
        "layer_types": ["conv", "full_attention", "conv"],
        "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0},
        "tie_word_embeddings": True,
    },
    # Heads of 32 whose total width is not the hidden size, with norms; tied head.
    "qwen3": {
        "model_type": "qwen3",
        "vocab_size": 256,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "max_position_embeddings": 512,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1000000.0,
        "tie_word_embeddings": True,
    },
    # YaRN: some pairs of a head keep their speed, some are mixed, some are slowed.
    "qwen3_yarn": {
        "model_type": "qwen3",
        "vocab_size": 256,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 32,
        "max_position_embeddings": 128,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "rope_scaling": {
            "rope_type": "yarn",
            "factor": 4.0,
            "original_max_position_embeddings": 128,
            "beta_fast": 16.0,
        },
        "tie_word_embeddings": True,
    },
    # A bias on queries, keys and values, a head of its own, and a window in the second layer.
    "qwen2": {
        "model_type": "qwen2",
        "vocab_size": 256,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 512,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1000000.0,
        "use_sliding_window": True,
        "sliding_window": 11,
        "max_window_layers": 1,
        "tie_word_embeddings": False,
    },
    # The second layer knows no positions.
    "smollm3": {
        "model_type": "smollm3",
        "vocab_size": 256,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "rms_norm_eps": 1e-6,
        "rope_theta": 5000000.0,
        "no_rope_layers": [1, 0],
        "pad_token_id": 0,
        "tie_word_embeddings": True,
    },
    # A layer with a window and one without, which rotate differently; scores not scaled by the
    # size of a head.
    "gemma3_text": {
        "model_type": "gemma3_text",
        "vocab_size": 256,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 32,
        "max_position_embeddings": 512,
        "rms_norm_eps": 1e-6,
        "hidden_activation": "gelu_pytorch_tanh",
        "query_pre_attn_scalar": 48,
        "sliding_window": 9,
        "sliding_window_pattern": 2,
        "rope_theta": 1000000.0,
        "rope_local_base_freq": 10000.0,
        "tie_word_embeddings": True,
    },
    # Each factor is a number of its own.
    "granite": {
        "model_type": "granite",
        "vocab_size": 256,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "embedding_multiplier": 3.0,
        "attention_multiplier": 0.2,
        "residual_multiplier": 0.7,
        "logits_scaling": 1.5,
        "tie_word_embeddings": True,
    },
    # Three quarters of each head rotate, with LongRoPE's factors, and rows see a window.
    "phi3": {
        "model_type": "phi3",
        "vocab_size": 256,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 512,
        "original_max_position_embeddings": 128,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "partial_rotary_factor": 0.75,
        "rope_scaling": {
            "type": "longrope",
            "short_factor": [1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8, 1.9, 2.0, 2.5],
            "long_factor": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0],
        },
        "sliding_window": 21,
        "pad_token_id": 0,
        "tie_word_embeddings": False,
    },
}
for _config in CONFIGS.values():
    _config.update(COMMON)


def randomize(model: torch.nn.Module, seed: int) -> None:
    """Weights of a size at which every part matters, rounded to f16."""
    generator = torch.Generator().manual_seed(seed)
    gemma = model.config.model_type == "gemma3_text"
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if name.endswith(".bias"):
                value = 0.5 * noise
            elif parameter.ndim == 1:
                # Gemma's norms multiply with 1 + w.
                value = 0.2 * noise + (0.8 if gemma else 1)
            elif "embed_tokens" in name:
                # Embeddings that Gemma multiplies with 8 must leave the layers something to say.
                value = (0.05 if gemma else 0.15) * noise
            else:
                value = 2 * noise / parameter.shape[1:].numel() ** 0.5
            parameter.copy_(value.half().float())


class Recorder:
    """Collects values under our node names while the model runs."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.values: dict[str, torch.Tensor] = {}
        self.path: list[str] = [""]
        self.config = model.config
        names = [name for name, _ in model.named_modules()]
        self.sandwich = any(name.endswith(".pre_feedforward_layernorm") for name in names)
        for name, module in model.named_modules():
            module.register_forward_pre_hook(self._entering(name), with_kwargs=True)
            module.register_forward_hook(self._leaving(name))

    def put(self, name: str, value: torch.Tensor) -> None:
        if value.ndim == 4 and value.shape[1] != PROMPT:
            value = value.transpose(1, 2)  # heads first
        self.values[name] = value.detach().reshape(PROMPT, -1)

    def here(self, name: str) -> str:
        """Our name for something that happens inside the module that is running."""
        return f"{self.path[-1]}.{name}"

    def scaled(self, name: str, output: torch.Tensor) -> None:
        """Granite multiplies between its modules; we divide before the head, it does after."""
        if not hasattr(self.config, "residual_multiplier"):
            return
        layer = name.rpartition(".")[0].rpartition(".")[0]
        if name.endswith(".o_proj"):
            self.put(f"{layer}.scale", output * self.config.residual_multiplier)
        elif name.endswith(".down_proj"):
            self.put(f"{layer}.scale_2", output * self.config.residual_multiplier)
        elif name == "model.embed_tokens":
            self.put("model.scale", output * self.config.embedding_multiplier)
        elif name == "model.norm":
            self.put("model.scale_2", output / self.config.logits_scaling)
        elif name == "lm_head":
            self.put(name, output / self.config.logits_scaling)

    def _entering(self, name: str) -> Any:
        parent, _, last = name.rpartition(".")
        # Values that no module returns are the input of the module that comes next.
        input_names = {
            ("pre_feedforward_layernorm" if self.sandwich else "post_attention_layernorm"): "add",
            "ffn_norm": "add",
            "o_proj": "attention",
            "out_proj": "mul_2" if parent.endswith(".conv") else "attention",
            "down_proj": "mul",
            "w2": "mul",
            "norm": "output_rows",
            "embedding_norm": "output_rows",
        }

        def hook(module: torch.nn.Module, args: Any, kwargs: Any) -> None:
            self.path.append(name)
            if last in input_names:
                self.put(f"{parent}.{input_names[last]}", args[0])

        return hook

    def _leaving(self, name: str) -> Any:
        def hook(module: torch.nn.Module, args: Any, output: Any) -> None:
            self.path.pop()
            if isinstance(output, torch.Tensor):
                self.put(name, output)
                if hasattr(module, "embed_scale"):
                    self.put(name, torch.nn.functional.embedding(args[0], module.weight))
                    self.put("model.scale", output)
                if name.endswith(ACTIVATING):
                    self.put(f"{name.rpartition('.')[0]}.{ACTIVATIONS[type(module)]}", output)
                self.scaled(name, output)
                if name.rpartition(".")[2].isdigit():
                    self.put(f"{name}.add_2", output)
                parts = {"in_proj": 3, "gate_up_proj": 2}.get(name.rpartition(".")[2], 0)
                for i, part in enumerate(output.chunk(parts, dim=-1) if parts else ()):
                    self.put(f"{name.rpartition('.')[0]}.split_{i}", part)

        return hook

    @contextmanager
    def patched(self, room: Any, function: str, record: Any) -> Iterator[None]:
        """Call ``record(arguments, result)`` whenever ``room.function`` runs."""
        original = getattr(room, function)

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            result = original(*args, **kwargs)
            record(args, result)
            return result

        setattr(room, function, wrapped)
        try:
            yield
        finally:
            setattr(room, function, original)

    def run(self, model: torch.nn.Module, ids: torch.Tensor) -> torch.Tensor:
        """The logits; everything else is in ``values`` afterwards."""

        def rope(args: Any, result: Any) -> None:
            for name, value in zip(("q_rope", "k_rope"), result, strict=True):
                self.put(self.here(name), value)

        def conv(args: Any, result: torch.Tensor) -> None:
            self.put(self.here("mul"), args[0].transpose(1, 2))
            self.put(self.here("conv"), result.transpose(1, 2))

        def silu(args: Any, result: torch.Tensor) -> None:
            if not self.path[-1].endswith(ACTIVATING):
                self.put(self.here("silu"), result)

        with torch.no_grad(), ExitStack() as stack:
            for room in ROOMS:
                stack.enter_context(self.patched(room, "apply_rotary_pos_emb", rope))
            stack.enter_context(self.patched(modeling_lfm2, "causal_conv1d_fn", conv))
            stack.enter_context(self.patched(torch.nn.functional, "silu", silu))
            return model(ids, use_cache=False).logits[0]


def greedy(model: torch.nn.Module, ids: torch.Tensor) -> tuple[list[int], float]:
    """The continuation, made without a cache, and the smallest lead over a runner-up."""
    margin = float("inf")
    for _ in range(CONTINUATION):
        with torch.no_grad():
            best = model(ids, use_cache=False).logits[0, -1].topk(2)
        margin = min(margin, float(best.values[0] - best.values[1]))
        ids = torch.cat([ids, best.indices[None, :1]], dim=1)
    return ids[0, PROMPT:].tolist(), margin


def make(name: str) -> None:
    """Write tests/golden/<name>."""
    raw = CONFIGS[name]
    config = transformers.AutoConfig.for_model(**raw)
    config._attn_implementation = "eager"
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    wanted = [node.name for node in load_architecture(raw).build().nodes]

    for seed in range(100):
        randomize(model, seed)
        ids = torch.from_numpy(
            np.random.default_rng(seed).integers(3, raw["vocab_size"], (1, PROMPT))
        )
        continuation, margin = greedy(model, ids)
        # A choice decided by rounding would make the test of greedy tokens a lottery.
        if margin > 0.02 and len(set(continuation)) > 8:
            break
    else:
        raise SystemExit(f"{name}: no seed gives clear choices")

    recorder = Recorder(model)
    logits = recorder.run(model, ids)
    missing = [node for node in wanted if node not in recorder.values]
    if missing:
        raise SystemExit(f"{name}: transformers' values for {missing} were not found")

    folder = GOLDEN / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(raw, indent=2) + "\n")
    tensors = {key: value.half().contiguous() for key, value in model.state_dict().items()}
    if raw["tie_word_embeddings"]:
        del tensors["lm_head.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)
    arrays = {f"node/{node}": recorder.values[node][list(KEPT)].numpy() for node in wanted}
    np.savez_compressed(
        folder / "golden.npz",
        input_ids=ids[0].numpy().astype(np.int32),
        rows=np.array(KEPT, np.int32),
        logits=logits.numpy(),
        greedy=np.array(continuation, np.int32),
        **arrays,
    )
    size = sum(file.stat().st_size for file in folder.iterdir())
    print(f"{name}: seed {seed}, margin {margin:.3f}, {len(wanted)} nodes, {size // 1024} KB")


YARN: list[dict[str, Any]] = [
    {"factor": 4.0, "original_max_position_embeddings": 32768},
    {"factor": 4.0, "original_max_position_embeddings": 32768, "rope_theta": 1000000.0},
    {"factor": 40, "original_max_position_embeddings": 4096, "mscale": 1.0, "mscale_all_dim": 0.7},
    {"factor": 2.5, "original_max_position_embeddings": 100, "attention_factor": 0.9},
    {"factor": 8.0, "original_max_position_embeddings": 128, "beta_fast": 20, "beta_slow": 2.5},
    {"factor": 32.0, "original_max_position_embeddings": 4096, "truncate": False},
    {"factor": 16.0, "original_max_position_embeddings": 4, "mscale": 1.0},
    {"factor": 1.0, "original_max_position_embeddings": 2048},
]


def make_yarn() -> None:
    """Write tests/golden/yarn.json: frequencies and scales of YaRN's settings, for heads of 64."""
    cases = []
    for settings in YARN:
        config = transformers.LlamaConfig(
            **{"hidden_size": 128, "num_attention_heads": 2, "max_position_embeddings": 131072},
            rope_parameters={"rope_type": "yarn", "rope_theta": 10000.0} | settings,
        )
        frequencies, scale = ROPE_INIT_FUNCTIONS["yarn"](config)
        cases.append({"settings": settings, "inv_freq": frequencies.tolist(), "scale": scale})
    (GOLDEN / "yarn.json").write_text(json.dumps(cases) + "\n")


if __name__ == "__main__":
    for chosen in sys.argv[1:] or [*CONFIGS, "yarn"]:
        make_yarn() if chosen == "yarn" else make(chosen)
