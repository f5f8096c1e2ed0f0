"""Time a vision tower of SigLIP2's sizes with random weights: one tile of patches, or several.

    python benchmarks/tower.py                              base, 1,024 patches, INT8 and FP16
    python benchmarks/tower.py --tower so400m --patches 256 --tiles 4
    python benchmarks/tower.py --dtype q8 --isa amx --profile

TFLOP/s counts the multiplications and additions of the matrices and of attention. The share is of
what the unit that multiplies can do at most, as the native library measures it: bf16 products on
tier amx_bf16 and, of 16-bit weights, on avx512_bf16; elsewhere int8 dots (of 16-bit weights, f32
multiply-adds).
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from peaks import of_tower

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from cactus import nn  # noqa: E402
from cactus.engine.options import BF16_ISAS  # noqa: E402
from cactus.graph.plan import Plan, build, with_int8_activations  # noqa: E402
from cactus.graph.trace import trace  # noqa: E402
from cactus.native import Program, Row, available_isas, machine_peaks  # noqa: E402
from tests.native import programs  # noqa: E402


@dataclass(frozen=True)
class Size:
    """A tower: its layers, width, heads and columns of each (padded to 16), and inner width."""

    layers: int
    width: int
    heads: int
    head_dim: int
    inner: int

    def operations(self, patches: int) -> float:
        """Multiplications and additions for one tile."""
        columns = self.heads * self.head_dim
        matrices = self.width * (4 * columns + 2 * self.inner)
        attention = 2 * columns * patches
        return 2.0 * patches * (self.layers * (matrices + attention) + 768 * self.width)


SIZES = {
    "base": Size(12, 768, 12, 64, 3072),
    "so400m": Size(27, 1152, 16, 80, 4304),
    "tiny": Size(1, 64, 2, 32, 128),
}


class Layer(nn.Module):
    """Attention and a feed-forward layer, each behind a norm."""

    def __init__(self, size: Size) -> None:
        heads = (size.width, size.heads, size.heads, size.head_dim)
        self.attention = nn.Attention(*heads, None, qkv_bias=True, out_bias=True, reach=0)
        self.norm1, self.norm2 = nn.LayerNorm(size.width, 1e-6), nn.LayerNorm(size.width, 1e-6)
        self.mlp = nn.MLP(size.width, -(-size.inner // 32) * 32, nn.gelu)

    def forward(self, x: nn.Tensor) -> nn.Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Tower(nn.Module):
    """Patches of 768 values and their position embeddings."""

    def __init__(self, size: Size) -> None:
        self.width = size.width
        self.patches = nn.Linear(768, size.width, True)
        self.layers = [Layer(size) for _ in range(size.layers)]
        self.norm = nn.LayerNorm(size.width, 1e-6)

    def forward(self) -> nn.Tensor:
        x = self.patches(nn.features(768)) + nn.features(self.width, start=768)
        for layer in self.layers:
            x = layer(x)
        return nn.output_rows(self.norm(x))


def make(size: Size, dtype: str, folder: Path, patches: int) -> tuple[Plan, bytes, Path]:
    """A plan over random weights; its blob with activations of 8 bits."""
    tower = Tower(size)
    tower.bind()
    draw = np.random.default_rng(0)
    tensors: dict[str, Any] = {}
    for parameter in tower.parameters():
        values = draw.standard_normal(parameter.shape, np.float32)
        values *= np.float32(parameter.shape[-1] ** -0.5 if len(parameter.shape) > 1 else 0.1)
        tensors[parameter.name] = values + ("norm" in parameter.name)
    graph = programs.fused(trace(tower), dtype)
    store = programs.store(graph, tensors, folder / dtype, dtype)
    plan = build(graph, store.tensors, vocab_size=0, context_length=patches)
    return plan, with_int8_activations(plan.blob), store.path


def peak(isa: str, dtype: str, threads: int) -> float:
    """Operations a second that bound the tower."""
    peaks = machine_peaks(threads, isa, 1 << 24)
    if dtype.startswith("q"):
        return of_tower(peaks.int8_per_second, isa)
    if isa in BF16_ISAS:
        return peaks.int8_per_second / 2
    return peaks.float_per_second


def main() -> int:
    """Read the arguments, run, print a line for each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tower", choices=SIZES, default="base")
    parser.add_argument("--patches", type=int, default=1024)
    parser.add_argument("--tiles", type=int, default=1, help="tiles of a step")
    parser.add_argument("--dtype", action="append", help="of matrices: q8, f16 ... (both)")
    parser.add_argument("--isa", action="append", help="tiers (default: those of towers)")
    parser.add_argument("--threads", type=int, action="append", help="(default: 1 and 2)")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--profile", action="store_true", help="also the time of each op")
    args = parser.parse_args()
    size = SIZES[args.tower]
    operations = size.operations(args.patches) * args.tiles
    print(f"{args.tower}: {operations / 1e9:.0f} GFLOP, {args.tiles} x {args.patches} patches")
    with tempfile.TemporaryDirectory() as folder:
        for dtype in args.dtype or ("q8", "f16"):
            plan, blob, path = make(size, dtype, Path(folder), args.patches)
            for isa in args.isa or [
                i for i in ("avx512", "amx", *BF16_ISAS) if i in available_isas()
            ]:
                for threads in args.threads or (1, 2):
                    run(args, plan, blob, path, (isa, dtype, threads), operations)
    return 0


def run(
    args: argparse.Namespace,
    plan: Plan,
    blob: bytes,
    path: Path,
    how: tuple[str, str, int],
    operations: float,
) -> None:
    """Time the tower on one tier."""
    isa, dtype, threads = how
    rows = args.patches * args.tiles
    draw = np.random.default_rng(1)
    with Program(blob, path, isa=isa, threads=threads, chunk=rows) as program:
        given = draw.standard_normal((args.patches, program.info.features), np.float32)
        step = [
            Row(program.session(), outputs="all", features=given, positions=None)
            for _ in range(args.tiles)
        ]
        program.step(step, want_logits=True)
        best: list[float] = []
        for _ in range(args.runs):
            begin = time.perf_counter()
            program.step(step, want_logits=True)
            best.append(time.perf_counter() - begin)
        took, most = statistics.median(best), peak(isa, dtype, threads)
        print(
            f"{dtype:4} {isa:11} {threads} threads {1000 * took:8.1f} ms "
            f"({1000 * min(best):.1f} at best) {operations / took / 1e12:6.2f} TFLOP/s, "
            f"{100 * operations / took / most:.0f} % of {most / 1e12:.2f}",
            flush=True,
        )
        if args.profile:
            steps = len(plan.step_names)
            program.profile(steps, enable=True)
            for _ in range(args.runs):
                program.step(step, want_logits=True)
            spent: Counter[str] = Counter()
            for name, op, seconds in zip(
                plan.step_names, plan.step_ops, program.profile(steps, enable=False), strict=True
            ):
                last = name.split(".")[-2:] if op == "linear" else []
                spent[f"{op} {'.'.join(last)}"] += 1000 * seconds / args.runs
            for what, milliseconds in spent.most_common():
                print(f"    {milliseconds:8.2f} ms {what}")


if __name__ == "__main__":
    sys.exit(main())
