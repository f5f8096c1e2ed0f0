"""Makes tests/golden/<name>/: tiny random dual encoders, and the vectors that transformers makes.

    python tools/make_golden_dual.py [name ...]

Needs torch and transformers. Each folder gets config.json, preprocessor_config.json and
model.safetensors (in f16), and golden.npz:

    image           8-bit pixels [rows, cols, 3], of the size that the model takes
    states          the tower's states behind its last norm; CLIP's first one is that of the class
    image_vector    of length 1
    input_ids       a text, filled up where the model wants that
    text_vector     of length 1
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import torch
import transformers
from make_golden_vision import GOLDEN, pictures, randomize
from safetensors.torch import save_file

PATCH, ROWS, COLS, WORDS = 4, 4, 6, 16

SIZES = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
TEXT = SIZES | {"vocab_size": 320, "max_position_embeddings": WORDS}
TOWER = SIZES | {"patch_size": PATCH, "hidden_size": 48, "image_size": 24}
HALVES = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5], "rescale_factor": 1 / 255}
SQUARE = {"height": 24, "width": 24}

CONFIGS: dict[str, dict[str, Any]] = {
    "clip": {
        "model_type": "clip",
        "projection_dim": 40,
        "text_config": TEXT
        | {"bos_token_id": 318, "eos_token_id": 319, "hidden_act": "quick_gelu"},
        "vision_config": TOWER | {"hidden_act": "quick_gelu"},
    },
    "siglip": {
        "model_type": "siglip",
        "text_config": TEXT | {"projection_size": 48, "pad_token_id": 1},
        "vision_config": TOWER,
    },
    "siglip2": {
        "model_type": "siglip2",
        "text_config": TEXT | {"projection_size": 48, "pad_token_id": 0},
        "vision_config": {key: each for key, each in TOWER.items() if key != "image_size"}
        | {"num_patches": 16},
    },
}

PROCESSORS: dict[str, dict[str, Any]] = {
    "clip": HALVES | {"size": {"shortest_edge": 24}, "crop_size": SQUARE, "do_center_crop": True},
    "siglip": HALVES | {"size": SQUARE},
    "siglip2": HALVES | {"patch_size": PATCH, "max_num_patches": ROWS * COLS},
}


def make(name: str) -> None:
    """Write tests/golden/<name>."""
    raw = CONFIGS[name]
    config = transformers.AutoConfig.for_model(**raw)
    config._attn_implementation = "eager"
    model: Any = transformers.AutoModel.from_config(config, dtype=torch.float32).eval()
    randomize(model, 3)
    rng = np.random.default_rng(3)
    rows, cols = (ROWS, COLS) if name == "siglip2" else (6, 6)
    image = rng.integers(0, 256, (rows * PATCH, cols * PATCH, 3), np.uint8)
    pixels = (image.astype(np.float32) / 255 - 0.5) / 0.5
    grid = pixels.reshape(rows, PATCH, cols, PATCH, 3).swapaxes(1, 2)
    patches = np.ascontiguousarray(grid).reshape(rows * cols, -1)
    given: dict[str, Any] = {}
    if name == "siglip2":
        given["pixel_values"] = torch.from_numpy(patches)[None]
        given["pixel_attention_mask"] = torch.ones(1, rows * cols, dtype=torch.int64)
        given["spatial_shapes"] = torch.tensor([[rows, cols]])
    else:
        given["pixel_values"] = torch.from_numpy(pictures([(rows, cols)], [patches], PATCH))
    ids = rng.integers(5, 300, 9)
    if name == "clip":
        ids[0], ids[-1] = 318, 319
    else:
        pad = raw["text_config"]["pad_token_id"]
        ids = np.concatenate([ids, np.full(WORDS - len(ids), pad)])
    with torch.no_grad():
        found = model(input_ids=torch.from_numpy(ids)[None], **given)
        states = found.vision_model_output.last_hidden_state
        if name == "clip":
            states = model.vision_model.post_layernorm(states)
    folder = GOLDEN / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(raw, indent=2) + "\n")
    written = json.dumps(PROCESSORS[name] | {"resample": 3}, indent=2) + "\n"
    (folder / "preprocessor_config.json").write_text(written)
    tensors = {key: value.half().contiguous() for key, value in model.state_dict().items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)
    np.savez_compressed(
        folder / "golden.npz",
        image=image,
        states=states[0].numpy(),
        image_vector=found.image_embeds[0].numpy(),
        input_ids=ids.astype(np.int32),
        text_vector=found.text_embeds[0].numpy(),
    )
    size = sum(file.stat().st_size for file in folder.iterdir())
    print(f"{name}: {len(tensors)} tensors, {size // 1024} KB")


if __name__ == "__main__":
    for chosen in sys.argv[1:] or CONFIGS:
        make(chosen)
