"""Golden models that see as two GGUF files, the way llama.cpp's converter writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from cactus.models.base import load_architecture
from tests.models import golden, vision
from tests.weights.converter import write_gguf

KINDS = {"gemma3": "gemma3", "lfm2_vl": "lfm2", "smolvlm": "idefics3"}
"""What the projector of a golden checkpoint is called."""

WORDS = {"gemma3": "<image_soft_token>", "lfm2_vl": "<image>", "smolvlm": "<image>"}


def write_text(name: str, seen: vision.Golden, home: Path) -> Path:
    """The file of the language model."""
    raw = json.loads((golden.FOLDER / name / "config.json").read_text())
    text = raw["text_config"] | {"tie_word_embeddings": raw.get("tie_word_embeddings", True)}
    folder = home / "text"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(text))
    own = {key: value for key, value in seen.tensors.items() if key.startswith(("model.", "lm_"))}
    nothing = np.zeros(0, np.float32)
    checkpoint = golden.Golden(
        *(name, folder, load_architecture(text), own),
        *([], np.zeros(0, np.int32), {}, nothing, []),
    )
    path = home / "model-F32.gguf"
    write_gguf(path, checkpoint, "F32", words={raw_token(raw): WORDS[name]})
    return path


def raw_token(raw: dict[str, Any]) -> int:
    return int(raw.get("image_token_id", raw.get("image_token_index")))


def write_mmproj(
    name: str, seen: vision.Golden, path: Path, *, swapped: bool = False, width: int = 0
) -> Path:
    """The file of tower and projector; `swapped`: with two names as the first converters had them.

    `width`: what it says the language model's width is.
    """
    raw = json.loads((golden.FOLDER / name / "config.json").read_text())
    tower = raw["vision_config"]
    writer = gguf.GGUFWriter(path, "clip")
    writer.add_type("mmproj")
    writer.add_clip_has_vision_encoder(True)
    writer.add_clip_projector_type(KINDS[name])
    writer.add_vision_projection_dim(width or raw["text_config"]["hidden_size"])
    side = tower.get("image_size") or tower["patch_size"] * int(tower["num_patches"] ** 0.5)
    writer.add_vision_image_size(side)
    writer.add_vision_patch_size(tower["patch_size"])
    writer.add_vision_embedding_length(tower["hidden_size"])
    writer.add_vision_feed_forward_length(tower["intermediate_size"])
    writer.add_vision_block_count(tower["num_hidden_layers"])
    writer.add_vision_head_count(tower["num_attention_heads"])
    writer.add_vision_attention_layernorm_eps(1e-6)
    writer.add_vision_image_mean([0.5, 0.5, 0.5])
    writer.add_vision_image_std([0.5, 0.5, 0.5])
    writer.add_vision_use_gelu(True)
    factor = raw.get("downsample_factor") or raw.get("scale_factor", 2)
    writer.add_vision_projector_scale_factor(factor)
    for key, value in golden.read_tensors(golden.FOLDER / name / "model.safetensors").items():
        if "language_model" in key or "text_model" in key or key.startswith("lm_head"):
            continue
        stored = _name(key)
        value = value.astype(np.float32)
        if stored == "v.patch_embd.weight" and value.ndim == 2:
            patch = tower["patch_size"]
            value = value.reshape(-1, patch, patch, 3).transpose(0, 3, 1, 2)
        if stored == "mm.soft_emb_norm.weight":
            value = value + 1
        if swapped and ".ffn_" in stored:
            up, down = ".ffn_up.", ".ffn_down."
            stored = stored.replace(up, ".x.").replace(down, up).replace(".x.", down)
        writer.add_tensor(stored, np.ascontiguousarray(value))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


_NAMES = {
    "embeddings.patch_embedding": "v.patch_embd",
    "embeddings.position_embedding": "v.position_embd",
    "post_layernorm": "v.post_ln",
    "multi_modal_projector.layer_norm": "mm.input_norm",
    "multi_modal_projector.linear_1": "mm.1",
    "multi_modal_projector.linear_2": "mm.2",
    "connector.modality_projection.proj": "mm.model.fc",
    "mm_soft_emb_norm": "mm.soft_emb_norm",
    "layer_norm1": "ln1",
    "layer_norm2": "ln2",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.out_proj": "attn_out",
    "mlp.fc1": "ffn_up",
    "mlp.fc2": "ffn_down",
}


def _name(key: str) -> str:
    if key.endswith("mm_input_projection_weight"):
        return "mm.input_projection.weight"
    place, _, last = key.rpartition(".")
    found = next(theirs for ours, theirs in _NAMES.items() if place.endswith(ours))
    layer = place.partition("encoder.layers.")[2].partition(".")[0]
    return f"v.blk.{layer}.{found}.{last}" if layer else f"{found}.{last}"
