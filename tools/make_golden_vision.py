"""Makes tests/golden/<name>/: tiny random models that see, and what transformers makes of images.

    python tools/make_golden_vision.py [name ...]

Needs torch and transformers. Each folder gets config.json and model.safetensors as transformers
saves them (in f16), and golden.npz:

    grids           rows and columns of patches of each tile
    patches         the pixels of all tiles' patches, by (row, column, channel)
    positions       the embeddings of their positions, where the family has a table of them
    patch_positions row and column of each patch, where the tower rotates by them
    token_positions time, row and column of each token of the prompt, where the decoder does
    states          the tower's states of them, behind its last norm
    features        the image features, as they enter the decoder
    input_ids       a prompt with images among its text, whose image tokens are as many
    logits          at every position
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
from transformers.vision_utils import get_vision_window_index

GOLDEN = Path(__file__).resolve().parent.parent / "tests" / "golden"

IMAGE = 7
"""The image token of every tiny vocabulary."""

LFM2 = {
    "model_type": "lfm2",
    "vocab_size": 320,
    "hidden_size": 64,
    "intermediate_size": 64,
    "block_auto_adjust_ff_dim": False,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 512,
    "norm_eps": 1e-5,
    "conv_L_cache": 3,
    "rope_theta": 1000000.0,
    "layer_types": ["conv", "full_attention"],
}

LLAMA = {
    "model_type": "llama",
    "vocab_size": 320,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
}

CONFIGS: dict[str, dict[str, Any]] = {
    # Heads of 24, a feed-forward size and patches that fill no groups, and so get zeros.
    "lfm2_vl": {
        "model_type": "lfm2_vl",
        "text_config": LFM2,
        "vision_config": {
            "model_type": "siglip2_vision_model",
            "hidden_size": 48,
            "intermediate_size": 72,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_patches": 16,
            "patch_size": 4,
            "vision_use_head": False,
        },
        "image_token_id": IMAGE,
        "projector_hidden_size": 80,
        "downsample_factor": 2,
    },
    # A head of its own; tiles of 8 by 8 patches, more than the table of positions has.
    "smolvlm": {
        "model_type": "smolvlm",
        "text_config": LLAMA,
        "vision_config": {
            "model_type": "smolvlm_vision",
            "hidden_size": 64,
            "intermediate_size": 96,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 20,
            "patch_size": 4,
        },
        "image_token_id": IMAGE,
        "scale_factor": 4,
        "tie_word_embeddings": False,
    },
    # Nine features of an image, each the mean of four states; a layer with a window.
    "gemma3": {
        "model_type": "gemma3",
        "text_config": {
            "model_type": "gemma3_text",
            "vocab_size": 320,
            "hidden_size": 64,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 32,
            "max_position_embeddings": 512,
            "rms_norm_eps": 1e-6,
            "query_pre_attn_scalar": 48,
            "sliding_window": 7,
            "sliding_window_pattern": 2,
            "rope_theta": 1000000.0,
            "rope_local_base_freq": 10000.0,
        },
        "vision_config": {
            "model_type": "siglip_vision_model",
            "hidden_size": 64,
            "intermediate_size": 96,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 24,
            "patch_size": 4,
            "vision_use_head": False,
        },
        "image_token_index": IMAGE,
        "boi_token_index": 8,
        "eoi_token_index": 9,
        "mm_tokens_per_image": 9,
        "tie_word_embeddings": True,
    },
}

QWEN2 = LLAMA | {
    "model_type": "qwen2_vl_text",
    "head_dim": None,
    "hidden_size": 64,
    "rms_norm_eps": 1e-6,
    "use_sliding_window": False,
    "rope_theta": None,
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 10000.0,
        "mrope_section": [4, 6, 6],
    },
}
del QWEN2["head_dim"], QWEN2["rope_theta"]

# The order of keys is that of the objects' sizes: two heads of 24, of which the quarters rotate.
CONFIGS["qwen2_vl"] = {
    "model_type": "qwen2_vl",
    "text_config": QWEN2,
    "vision_config": {
        "model_type": "qwen2_vl_vision",
        "depth": 2,
        "embed_dim": 48,
        "hidden_size": 64,
        "mlp_ratio": 2,
        "num_heads": 2,
        "patch_size": 4,
    },
    "image_token_id": IMAGE,
    "video_token_id": 10,
    "vision_start_token_id": 8,
    "vision_end_token_id": 9,
    "tie_word_embeddings": True,
}
QWEN_TOWER = {
    "depth": 3,
    "hidden_size": 48,
    "intermediate_size": 72,
    "num_heads": 2,
    "patch_size": 4,
    "out_hidden_size": 64,
}
# Windows of two by two squares, which the grids do not fill; the second layer sees the whole image.
CONFIGS["qwen2_5_vl"] = CONFIGS["qwen2_vl"] | {
    "model_type": "qwen2_5_vl",
    "text_config": QWEN2 | {"model_type": "qwen2_5_vl_text"},
    "vision_config": QWEN_TOWER
    | {
        "model_type": "qwen2_5_vl_vision",
        "window_size": 16,
        "fullatt_block_indexes": [1],
    },
}
# The states of the first layer enter the decoder behind its first layer.
CONFIGS["qwen3_vl"] = CONFIGS["qwen2_vl"] | {
    "model_type": "qwen3_vl",
    "text_config": QWEN2 | {"model_type": "qwen3_vl_text", "head_dim": 32},
    "vision_config": QWEN_TOWER
    | {
        "model_type": "qwen3_vl_vision",
        "num_position_embeddings": 16,
        "deepstack_visual_indexes": [0, 1],
    },
}

# Rows and columns of the tiles of each image; as many images as there are lists.
GRIDS: dict[str, list[tuple[int, int]]] = {
    "lfm2_vl": [(6, 4), (2, 10), (4, 4)],
    "smolvlm": [(8, 8), (8, 8)],
    "gemma3": [(6, 6), (6, 6)],
    "qwen2_vl": [(4, 6), (8, 2)],
    "qwen2_5_vl": [(6, 10), (8, 2), (2, 4)],
    "qwen3_vl": [(4, 6), (8, 2)],
}


def randomize(model: torch.nn.Module, seed: int) -> None:
    """Weights of a size at which every part matters, rounded to f16."""
    generator = torch.Generator().manual_seed(seed)
    gemma = model.config.model_type == "gemma3"
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if name.endswith("bias"):
                value = 0.3 * noise
            elif parameter.ndim == 1:
                # Gemma's norms multiply with 1 + w.
                own = gemma and "vision" not in name
                value = 0.2 * noise + (0 if own else 1)
            elif "embed_tokens" in name or "position" in name:
                value = (0.05 if gemma and "embed_tokens" in name else 0.3) * noise
            else:
                value = 1.5 * noise / parameter.shape[1:].numel() ** 0.5
            parameter.copy_(value.half().float())


def vision_inputs(name: str, config: dict[str, Any], patches: list[np.ndarray]) -> dict[str, Any]:
    """The patches of each tile in the shape in which transformers takes them."""
    side = config["vision_config"]["patch_size"]
    if config["model_type"] == "smolvlm":
        return {"pixel_values": torch.from_numpy(pictures(GRIDS[name], patches, side))[None]}
    if config["model_type"] == "gemma3":
        return {"pixel_values": torch.from_numpy(pictures(GRIDS[name], patches, side))}
    if config["model_type"].startswith("qwen"):
        whole = np.concatenate(patches).reshape(-1, side, side, 3).transpose(0, 3, 1, 2)
        twice = np.repeat(whole[:, :, None], 2, axis=2)  # a still image is shown twice
        return {
            "pixel_values": torch.from_numpy(twice.reshape(len(twice), -1)),
            "image_grid_thw": torch.tensor([(1, *grid) for grid in GRIDS[name]]),
        }
    longest = max(map(len, patches))
    padded = np.zeros((len(patches), longest, patches[0].shape[1]), np.float32)
    mask = np.zeros((len(patches), longest), np.int64)
    for row, (place, tile) in enumerate(zip(padded, patches, strict=True)):
        place[: len(tile)] = tile
        mask[row, : len(tile)] = 1
    return {
        "pixel_values": torch.from_numpy(padded),
        "pixel_attention_mask": torch.from_numpy(mask),
        "spatial_shapes": torch.tensor(GRIDS[name]),
    }


def pictures(grids: list[tuple[int, int]], patches: list[np.ndarray], side: int) -> np.ndarray:
    """Tiles of one size, [tiles, channels, height, width], from their patches."""
    (rows, cols), count = grids[0], len(grids)
    whole = np.stack(patches).reshape(count, rows, cols, side, side, 3)
    return whole.transpose(0, 5, 1, 3, 2, 4).reshape(count, 3, rows * side, cols * side)


class Qwen:
    """What happens inside of Qwen's towers and decoders."""

    def __init__(self, model: torch.nn.Module, grids: list[tuple[int, int]]) -> None:
        self.kept: dict[str, torch.Tensor] = {}
        self.grids, self.window = grids, getattr(model.config.vision_config, "window_size", 0)
        self.patch = model.config.vision_config.patch_size
        visual, text = model.model.visual, model.model.language_model
        norm = getattr(visual.merger, "ln_q", None) or visual.merger.norm
        visual.patch_embed.register_forward_hook(self._keep("product"))
        visual.blocks[0].register_forward_pre_hook(self._keep_input("first"))
        norm.register_forward_hook(self._keep("states"))
        visual.rotary_pos_emb.register_forward_pre_hook(self._keep_input("grid", 1))
        text.rotary_emb.register_forward_pre_hook(self._keep_input("turns", 1))

    def _keep(self, name: str) -> Any:
        def hook(module: torch.nn.Module, given: Any, output: torch.Tensor) -> None:
            self.kept[name] = output

        return hook

    def _keep_input(self, name: str, index: int = 0) -> Any:
        def hook(module: torch.nn.Module, given: Any) -> None:
            self.kept[name] = given[index]

        return hook

    def arrays(self) -> dict[str, np.ndarray]:
        kept = {name: value.detach() for name, value in self.kept.items()}
        if self.window:  # squares lie in the order of the windows
            grids = torch.tensor([(1, *grid) for grid in self.grids])
            order, _ = get_vision_window_index(grids, 2, self.window, self.patch)
            for key in ("first", "states"):
                squares = kept[key].unflatten(0, (-1, 4))
                kept[key] = squares[torch.argsort(order)].flatten(0, 1)
        return {
            "positions": (kept["first"] - kept["product"]).numpy(),
            "states": kept["states"].numpy(),
            "patch_positions": kept["grid"].numpy().astype(np.int32),
            "token_positions": kept["turns"][:, 0].T.numpy().astype(np.int32),
        }


class Positions:
    """What a tower adds to the products of its patches, in the order of its tiles."""

    def __init__(self, tower: torch.nn.Module) -> None:
        self.product = self.whole = torch.zeros(0)
        embeddings = tower.embeddings
        embeddings.patch_embedding.register_forward_hook(self._product)
        embeddings.register_forward_hook(self._whole)

    def _product(self, module: torch.nn.Module, given: Any, output: torch.Tensor) -> None:
        # A convolution's result is [tiles, width, rows, cols].
        self.product = output.flatten(2).transpose(1, 2) if output.ndim == 4 else output

    def _whole(self, module: torch.nn.Module, given: Any, output: torch.Tensor) -> None:
        self.whole = output

    def of(self, tiles: list[np.ndarray]) -> torch.Tensor:
        added = self.whole - self.product
        return torch.cat([rows[: len(tile)] for rows, tile in zip(added, tiles, strict=True)])


def make(name: str) -> None:
    """Write tests/golden/<name>."""
    raw = CONFIGS[name]
    config = transformers.AutoConfig.for_model(**raw)
    config._attn_implementation = "eager"
    model: Any = transformers.AutoModelForImageTextToText.from_config(config, dtype=torch.float32)
    model.eval()
    randomize(model, 5)
    rng = np.random.default_rng(5)
    vision = raw["vision_config"]
    pixels = 3 * vision["patch_size"] ** 2
    grids = GRIDS[name]
    factor = raw.get("downsample_factor") or raw.get("scale_factor", 2)
    patches = [rng.uniform(-1, 1, (rows * cols, pixels)).astype(np.float32) for rows, cols in grids]
    given = vision_inputs(name, raw, patches)
    qwen = Qwen(model, grids) if name.startswith("qwen") else None
    if qwen is None:
        tower = getattr(model.model, "vision_tower", None) or model.model.vision_model
        positions = Positions(tower)
    with torch.no_grad():
        seen = model.model.get_image_features(**given, return_dict=True)
        features = torch.cat([each.flatten(0, -2) for each in seen.pooler_output])
        deep = [torch.cat(list(each)) for each in getattr(seen, "deepstack_features", ())]
        features = torch.cat([features, *deep], dim=1)
        counts = [rows * cols // factor**2 for rows, cols in grids]
        ids: list[int] = []
        for count in counts:
            ids += [*rng.integers(11, raw["text_config"]["vocab_size"], 5), *[IMAGE] * count]
        ids += [*rng.integers(11, raw["text_config"]["vocab_size"], 6)]
        prompt = torch.tensor([ids])
        if name == "gemma3":  # image tokens of one tile see each other
            given["token_type_ids"] = (prompt == IMAGE).int()
        if qwen is not None:
            given["mm_token_type_ids"] = (prompt == IMAGE).int()
        logits = model(input_ids=prompt, **given, use_cache=False).logits[0]
    if qwen is not None:
        inside = qwen.arrays()
    else:
        states = [
            rows[: len(tile)] for rows, tile in zip(seen.last_hidden_state, patches, strict=True)
        ]
        inside = {"positions": positions.of(patches).numpy(), "states": torch.cat(states).numpy()}
    folder = GOLDEN / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(raw, indent=2) + "\n")
    tensors = {key: value.half().contiguous() for key, value in model.state_dict().items()}
    if raw.get("tie_word_embeddings", True):
        del tensors["lm_head.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)
    np.savez_compressed(
        folder / "golden.npz",
        grids=np.array(grids, np.int32),
        patches=np.concatenate(patches),
        **inside,
        features=features.numpy(),
        input_ids=np.array(ids, np.int32),
        logits=logits.numpy(),
    )
    size = sum(file.stat().st_size for file in folder.iterdir())
    print(f"{name}: {len(tensors)} tensors, {size // 1024} KB")


if __name__ == "__main__":
    for chosen in sys.argv[1:] or CONFIGS:
        make(chosen)
