"""Makes tests/golden/positions.npz and processors.json with transformers, torch and torchvision.

    python tools/make_golden_processors.py

Of each array of pixels it keeps its shape, mean and deviation, and a few values here and there.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import interpolate

# torchvision's wheel asks for two ops that the CPU build of torch beside it does not have.
LIBRARY = torch.library.Library("torchvision", "DEF")
LIBRARY.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
LIBRARY.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

from transformers.models.siglip2.modeling_siglip2 import Siglip2VisionEmbeddings  # noqa: E402

GOLDEN = Path(__file__).resolve().parents[1] / "tests" / "golden"
GRIDS = ((1, 1), (3, 5), (16, 16), (32, 32), (7, 40), (2, 125), (125, 1), (24, 42))


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


if __name__ == "__main__":
    positions()
