"""Makes tests/golden/positions.npz and processors.json with transformers, torch and torchvision.

    python tools/make_golden_processors.py     # with a Pillow before 13

Pillow 13 chooses by the size which of its two passes over an image comes first; before, and here,
rows are scaled first, as torchvision does. The results are at most one level apart.

Of each tile it keeps mean, deviation, and a few values here and there. Where the reference scales
with torchvision (LFM2-VL has no other), there are two rows: with its scaling, and with Pillow's in
its place.
"""

from __future__ import annotations

import importlib
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch.nn.functional import interpolate

# torchvision's wheel asks for two ops that the CPU build of torch beside it does not have.
LIBRARY = torch.library.Library("torchvision", "DEF")
LIBRARY.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
LIBRARY.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

from transformers.image_processing_backends import TorchvisionBackend  # noqa: E402
from transformers.image_transforms import convert_to_rgb  # noqa: E402
from transformers.models.siglip2.modeling_siglip2 import Siglip2VisionEmbeddings  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.images.samples import samples  # noqa: E402
from tests.vision.processors.families import FAMILIES, digest, images_of, kept, shown  # noqa: E402

GOLDEN = ROOT / "tests" / "golden"
GRIDS = ((1, 1), (3, 5), (16, 16), (32, 32), (7, 40), (2, 125), (125, 1), (24, 42))

IMAGE_CLASSES = {
    "lfm2_vl": ("lfm2_vl.image_processing_lfm2_vl", "Lfm2VlImageProcessor"),
    "smolvlm": ("smolvlm.image_processing_pil_smolvlm", "SmolVLMImageProcessorPil"),
    "idefics3": ("idefics3.image_processing_pil_idefics3", "Idefics3ImageProcessorPil"),
    "qwen2_vl": ("qwen2_vl.image_processing_pil_qwen2_vl", "Qwen2VLImageProcessorPil"),
    "qwen3_vl": ("qwen2_vl.image_processing_pil_qwen2_vl", "Qwen2VLImageProcessorPil"),
    "gemma3": ("gemma3.image_processing_pil_gemma3", "Gemma3ImageProcessorPil"),
    "clip": ("clip.image_processing_pil_clip", "CLIPImageProcessorPil"),
    "siglip": ("siglip.image_processing_pil_siglip", "SiglipImageProcessorPil"),
    "siglip2": ("siglip2.image_processing_pil_siglip2", "Siglip2ImageProcessorPil"),
}
TEXT_CLASSES = {
    "lfm2_vl": ("lfm2_vl.processing_lfm2_vl", "Lfm2VlProcessor"),
    "smolvlm": ("smolvlm.processing_smolvlm", "SmolVLMProcessor"),
    "idefics3": ("idefics3.processing_idefics3", "Idefics3Processor"),
    "qwen2_vl": ("qwen2_vl.processing_qwen2_vl", "Qwen2VLProcessor"),
    "qwen3_vl": ("qwen2_vl.processing_qwen2_vl", "Qwen2VLProcessor"),
    "gemma3": ("gemma3.processing_gemma3", "Gemma3Processor"),
}
WORDS = {
    "lfm2_vl": {
        "image_token": "<image>",
        "image_start_token": "<|image_start|>",
        "image_end_token": "<|image_end|>",
        "image_thumbnail_token": "<|img_thumbnail|>",
    },
    "qwen2_vl": {"image_token": "<|image_pad|>"},
    "qwen3_vl": {"image_token": "<|image_pad|>"},
    "gemma3": {
        "full_image_sequence": "\n\n<start_of_image>"
        + "<image_soft_token>" * 16
        + "<end_of_image>\n\n"
    },
}
_TILED = {"image_token": "<image>", "fake_image_token": "<fake_token_around_image>"}
WORDS["smolvlm"] = {**_TILED, "global_image_token": "<global-img>", "image_seq_len": 16}
WORDS["idefics3"] = {**_TILED, "global_image_tag": "<global-img>", "image_seq_len": 169}


def positions() -> None:
    """Torch's bilinear, antialiased interpolation of a 16 x 16 table."""
    table = np.random.default_rng(0).normal(0, 0.5, (16, 16, 4)).astype(np.float32)
    grid = torch.from_numpy(table).permute(2, 0, 1)[None]
    made = {"table": table}
    for rows, cols in GRIDS:
        if cols == 1:  # torch repeats one row here; transformers has a formula of its own
            shape = torch.tensor([[rows, cols]])
            out = Siglip2VisionEmbeddings.resize_positional_embeddings(
                torch.from_numpy(table), shape, rows * cols
            )
        else:
            out = interpolate(grid, (rows, cols), mode="bilinear", antialias=True)
            out = out.permute(0, 2, 3, 1)
        made[f"{rows}x{cols}"] = out.reshape(rows * cols, 4).numpy()
    np.savez_compressed(GOLDEN / "positions.npz", **made)


def load_class(table: dict[str, tuple[str, str]], kind: str) -> Any:
    module, name = table[kind]
    return getattr(importlib.import_module(f"transformers.models.{module}"), name)


def opened(name: str, data: bytes) -> NDArray[np.uint8]:
    """An image as the reference opens it; of 16 bits, which it makes white, the higher eight."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    if name == "16-bit":
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return convert_to_rgb(image, return_numpy=True)


def pillow_resize(self: Any, image: Any, size: Any, resample: Any = None, **_: Any) -> Any:
    """TorchvisionBackend.resize with Pillow's scaling."""
    scaled = []
    for each in image:
        old = Image.fromarray(each.permute(1, 2, 0).numpy())
        scaled.append(np.array(old.resize((size.width, size.height), resample)))
    return torch.stack([torch.from_numpy(each).permute(2, 0, 1) for each in scaled])


def square_patches(pixels: NDArray[np.float32], patch: int) -> NDArray[np.float32]:
    """[channels, height, width] as patches in the order row, column, channel."""
    channels, height, width = pixels.shape
    cut = pixels.reshape(channels, height // patch, patch, width // patch, patch)
    return cut.transpose(1, 3, 2, 4, 0).reshape(-1, patch * patch * channels)


def tiles_of(kind: str, patch: int, out: Any) -> list[tuple[list[int], NDArray[np.float32]]]:
    """Grid and patches of each tile of an image processor's output."""
    values = np.asarray(out["pixel_values"])
    if "spatial_shapes" in out:
        shapes = np.asarray(out["spatial_shapes"]).tolist()
        found = []
        masks = np.asarray(out["pixel_attention_mask"])
        for shape, each, mask in zip(shapes, values, masks, strict=True):
            count = shape[0] * shape[1]
            assert mask.sum() == count and not np.any(each[count:])
            found.append((shape, each[:count]))
        return found
    if kind.startswith("qwen"):
        _, rows, cols = np.asarray(out["image_grid_thw"])[0].tolist()
        frames = values.reshape(rows * cols, 3, 2, patch, patch)
        assert np.array_equal(frames[:, :, 0], frames[:, :, 1])
        return [([rows, cols], frames[:, :, 0].transpose(0, 2, 3, 1).reshape(rows * cols, -1))]
    values = values.reshape(-1, *values.shape[-3:])
    side = values.shape[-1] // patch
    return [([values.shape[-2] // patch, side], square_patches(each, patch)) for each in values]


def text_of(kind: str, processor: Any, out: Any) -> str:
    if kind not in TEXT_CLASSES:
        return ""
    made = object.__new__(load_class(TEXT_CLASSES, kind))
    vars(made).update(WORDS[kind], image_processor=processor)
    return made.replace_image_token(out, 0, use_image_special_tokens=True)


def one(kind: str, patch: int, processor: Any, image: NDArray[np.uint8]) -> dict[str, Any]:
    more = {} if kind not in ("lfm2_vl", "smolvlm", "idefics3") else {"return_row_col_info": True}
    tensors = "pt" if kind == "lfm2_vl" else "np"
    out = processor(
        images=[image], return_tensors=tensors, input_data_format="channels_last", **more
    )
    tiles = tiles_of(kind, patch, out)
    text = text_of(kind, processor, out)
    return {
        "grids": [shape for shape, _ in tiles],
        "text": digest(text),
        "tiles": [shown(tiles[index][1]) for index in kept(len(tiles))],
    }


def processors() -> None:
    images = {name: opened(name, data) for name, data in samples().items()}
    made: dict[str, dict[str, Any]] = {}
    torchvision = TorchvisionBackend.resize
    for family, (config, settings, _) in FAMILIES.items():
        kind = config["model_type"]
        patch = settings.get("patch_size") or config.get("vision_config", {}).get("patch_size")
        patch = patch or (14 if kind == "qwen2_vl" else 16)
        processor = load_class(IMAGE_CLASSES, kind)(**settings)
        rows = {family: pillow_resize}
        if kind == "lfm2_vl":
            rows[f"{family} torchvision"] = torchvision
        for name, resize in rows.items():
            TorchvisionBackend.resize = resize
            made[name] = {
                key: one(kind, patch, processor, images[key]) for key in images_of(family)
            }
            print(name, len(made[name]))
    lines = [
        f'"{family}": {{\n'
        + ",\n".join(f'"{name}": {json.dumps(row)}' for name, row in rows.items())
        + "\n}"
        for family, rows in made.items()
    ]
    (GOLDEN / "processors.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    positions()
    processors()
