"""Time every op by itself: a plan of that one op, in the sizes of the compared models.

    python benchmarks/ops.py                            what the models compute, best tier
    python benchmarks/ops.py --op linear --isa avx2     one op, one tier
    python benchmarks/ops.py --table                    the op tests' own sizes instead

A matrix lies in the file so many times that its copies fill no cache, and one step multiplies all
of them, as a model does. GOP/s counts the multiplications and additions of the formula. Shares are
of the peaks that the native library measures with the same tier and threads, and count the dots
that are executed: the second level of a 12-bit activation makes them 1.5 (q4) or 2 (q8, q4_nl)
times as many.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from op_sizes import MODELS, cases_of, describe  # noqa: E402

from cactus import native  # noqa: E402
from cactus.engine.options import KV_TYPES  # noqa: E402
from cactus.graph.node import Graph, Node  # noqa: E402
from cactus.graph.plan import Plan  # noqa: E402
from cactus.native import MachinePeaks, Program, Row  # noqa: E402
from cactus.weights.format.layout import GROUPS  # noqa: E402
from tests.native import programs  # noqa: E402
from tests.ops.cases import CASES, Built, Case, build  # noqa: E402

COPIES_BYTES = 128 << 20
CHUNK = 256
CONTEXT = 16_384 + CHUNK
DTYPES = {"f32": 4.0, "f16": 2.0, "bf16": 2.0, "q8": 1.0625, "q8_64": 1.03125}
DTYPES |= {"q4": 0.625, "q4_0": 0.5625, "q4_nl": 0.5625, "q4_64": 0.5625}
LEVELS = {"q4": 1.5, "q4_0": 1.5, "q4_64": 1.5, "q4_nl": 2.0, "q8": 2.0, "q8_64": 2.0}
ACTIVATIONS = ("int12", "int8")
ATTENTION = ("attention", "qkv_attention")


@dataclass(frozen=True)
class Timing:
    """One op on one size. Bytes and operations are those of one run of ``seconds``.

    ``dtype`` is that of the matrices, or of keys and values.
    ``share`` is of the peak that bounds it, named by ``bound``; None for ops on activations alone,
    which the caches serve.
    """

    op: str
    size: str
    dtype: str
    isa: str
    threads: int
    seconds: float
    nbytes: float
    operations: float
    share: float | None
    bound: str


def main() -> int:
    """Read the arguments, run the cases, print a line for each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    tiers = native.available_isas()
    parser.add_argument("--op", choices=sorted(CASES), help="only this op")
    parser.add_argument("--model", choices=sorted(MODELS), help="only the sizes of this model")
    parser.add_argument("--dtype", choices=DTYPES, help="of the matrices (default: q4_64)")
    parser.add_argument(
        "--activations", choices=ACTIVATIONS, default="int12", help="default: int12"
    )
    parser.add_argument("--kv", choices=KV_TYPES, default="f16", help="keys and values (f16)")
    parser.add_argument("--isa", choices=tiers, action="append", help="default: the best")
    parser.add_argument("--threads", type=int, action="append", help="default: 1 and 2")
    parser.add_argument("--table", action="store_true", help="the op tests' sizes instead")
    parser.add_argument("--seconds", type=float, default=0.15, help="time for each (0.15)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers to FILE")
    given = parser.parse_args()
    cases = list(table_cases() if given.table else model_cases(given.model))
    cases = [case for case in cases if given.op in (None, case.op)]
    isas, counts = given.isa or tiers[-1:], given.threads or (1, 2)
    peaks = [native.machine_peaks(count, isa) for isa in isas for count in counts]
    print("peaks: isa, threads, GB/s, int8 GOP/s, float GFLOP/s")
    for peak in peaks:
        rates = (peak.bytes_per_second, peak.int8_per_second, peak.float_per_second)
        print(f"  {peak.isa:8} {peak.threads}", *(f"{rate * 1e-9:8.1f}" for rate in rates))
    print(
        f"{'op':14} {'size':42} {'isa':8} {'threads':>7} {'us':>10} {'GB/s':>7} {'GOP/s':>7} share"
    )
    found: list[Timing] = []
    for case in cases:
        dtype = given.dtype or ("q4_64" if case.inputs and case.inputs[0] % 64 == 0 else "f32")
        for timing in measure(case, dtype, given.activations, peaks, given.seconds, given.kv):
            found.append(timing)
            print(line(timing), flush=True)
    if given.json:
        given.json.write_text(json.dumps([asdict(timing) for timing in found], indent=1) + "\n")
    return 0


def model_cases(model: str | None) -> Iterator[Case]:
    """The sizes of one model, or of all, each once."""
    shapes = [MODELS[model]] if model else list(MODELS.values())
    seen = {case.op + case.id: case for shape in shapes for case in cases_of(shape)}
    yield from seen.values()


def table_cases() -> Iterator[Case]:
    """The op tests' table, without what leaves no step in a plan."""
    for op, cases in CASES.items():
        yield from () if op == "split" else cases


def line(timing: Timing) -> str:
    """One line of the printed table."""
    gigabytes, operations = timing.nbytes / timing.seconds, timing.operations / timing.seconds
    named = ("linear", "embed", *ATTENTION)
    size = timing.size + (f" {timing.dtype}" if timing.op in named else "")
    share = "" if timing.share is None else f"{100 * timing.share:4.0f} % {timing.bound}"
    return (
        f"{timing.op:14} {size:42} {timing.isa:8} {timing.threads:7} {timing.seconds * 1e6:10.1f} "
        f"{gigabytes * 1e-9:7.1f} {operations * 1e-9:7.1f} {share}"
    )


def measure(
    case: Case,
    dtype: str,
    activations: str,
    peaks: list[MachinePeaks],
    seconds: float,
    kv: str = "f16",
) -> Iterator[Timing]:
    """Run a case with each tier and number of threads of ``peaks``, for ``seconds`` each."""
    quantized = GROUPS.get(dtype, 0) if case.op == "linear" else 0
    if quantized and case.inputs[0] % quantized:
        return
    built = build(case, quantized=quantized)
    copies = _copies(case, dtype)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights"
        graph = _repeated(built, 1)
        matrices = {name for name in graph.weights if name.startswith("weight")}
        packed = programs.store(graph, built.tensors, path, dtype, only=matrices)
        graph = _repeated(built, copies)
        stored = _with_copies(packed, copies)
        position = case.op == "add_position"
        context = case.weights[0][0] - case.attrs["offset"] if position else CONTEXT
        plan = programs.plan_of(graph, stored, context=context, kv=kv, activations=activations)
        nbytes, operations, arithmetic = cost(case, packed, kv)
        dots = operations * (LEVELS.get(dtype, 1.0) if activations == "int12" else 1.0)
        if case.op in ATTENTION:
            dtype, dots = kv, 2.0 * operations  # queries and weights have two levels
        for peak in peaks:
            chunk = max(CHUNK, len(case.chunks), sum(chunks[-1] for chunks in case.chunks))
            options = {"isa": peak.isa, "threads": peak.threads, "chunk": chunk}
            with Program(plan.blob, path, **options) as program:
                took = _run(program, built, plan, seconds) / copies
            limits = {
                "memory": nbytes / peak.bytes_per_second,
                "int8": dots / peak.int8_per_second if arithmetic == "int8" else 0.0,
                "float": operations / peak.float_per_second if arithmetic == "float" else 0.0,
            }
            bound = max(limits, key=lambda key: limits[key])
            share = limits[bound] / took if arithmetic else None
            numbers = (took, nbytes, operations, share, bound if arithmetic else "")
            yield Timing(case.op, describe(case), dtype, peak.isa, peak.threads, *numbers)


def _copies(case: Case, dtype: str) -> int:
    """How often a matrix is repeated: one that stays in a cache says nothing of memory."""
    if case.op != "linear" or case.attrs or len(case.weights) > 1:
        return 1
    size = case.weights[0][0] * case.weights[0][1] * DTYPES[dtype]
    return max(1, int(COPIES_BYTES / size)) if size > COPIES_BYTES / 1024 else 1


def _repeated(built: Built, copies: int) -> Graph:
    """The case's graph, with ``copies`` of its op on matrices of their own, and logits."""
    result = built.graph.node("result")
    if result.op == "output_rows":
        return built.graph
    shapes = dict(built.graph.weights)
    nodes = [result]
    for i in range(1, copies):
        shapes[f"weight0.{i}"] = shapes["weight0"]
        weights = (f"weight0.{i}",)
        nodes.append(Node("linear", result.inputs, result.width, {}, weights, name=f"result.{i}"))
    first = next(node for node in built.graph.nodes if node.op in ("embed", "features"))
    logits = Node("output_rows", (first,), first.width, name="logits")
    order = (*built.graph.nodes, *nodes[1:], logits)
    return Graph(order, (logits, *built.graph.outputs, *nodes[1:]), built.graph.slots, shapes)


def _with_copies(packed: programs.Store, copies: int) -> programs.Store:
    """The matrix once more for each copy, at the end of the file."""
    tensors = dict(packed.tensors)
    if copies > 1:
        first = tensors["weight0"]
        data = packed.path.read_bytes()[first.offset : first.offset + first.nbytes]
        with packed.path.open("ab") as file:
            for i in range(1, copies):
                file.write(bytes(-file.tell() % 64))
                tensors[f"weight0.{i}"] = replace(first, offset=file.tell())
                file.write(data)
    return programs.Store(packed.path, tensors, packed.values)


def cost(case: Case, packed: programs.Store, kv: str = "f16") -> tuple[float, float, str]:
    """Bytes from memory, operations, and their kind (int8, float), of a case's last step."""
    counts = [chunks[-1] for chunks in case.chunks]
    rows = sum(counts)
    moved = 4.0 * rows * sum(case.inputs)
    matrices = [packed.tensors[f"weight{i}"] for i in range(len(case.weights))]
    if case.op == "linear":
        operations = 2.0 * rows * sum(matrix.rows * matrix.cols for matrix in matrices)
        kind = "int8" if matrices[0].dtype in LEVELS else "float"
        return moved + sum(matrix.nbytes for matrix in matrices), operations, kind
    if case.op in ATTENTION:
        heads, head_dim = case.attrs["heads"], case.attrs["head_dim"]
        ends = [sum(chunks) for chunks in case.chunks]
        head_bytes = 2.0 * head_dim if kv == "f16" else head_dim + 4.0
        keys_and_values = 2 * head_bytes * case.attrs["kv_heads"] * sum(ends)
        attended = sum(
            count * (end - (count - 1) / 2) for count, end in zip(counts, ends, strict=True)
        )
        kind = "float" if kv == "f16" else "int8"
        return moved + keys_and_values, 4.0 * heads * head_dim * attended, kind
    return 2 * moved, 0.0, ""


def _run(program: Program, built: Built, plan: Plan, seconds: float) -> float:
    """Median seconds of the op in the last step, which is repeated from the same state."""
    sessions = [program.session() for _ in built.case.chunks]
    for step in built.steps[:-1]:
        for session, tokens in zip(sessions, step, strict=True):
            for begin in range(0, len(tokens), CHUNK):
                program.step([Row(session, tokens[begin : begin + CHUNK], "none")])
    starts = [session.snapshot() for session in sessions]
    rows = built.rows(len(built.steps) - 1, sessions)
    steps = len(plan.step_names)
    timed = [i for i, name in enumerate(plan.step_names) if name.startswith("result")]
    taken: list[float] = []
    deadline = time.perf_counter() + seconds
    while len(taken) < 5 or time.perf_counter() < deadline:
        for session, start in zip(sessions, starts, strict=True):
            session.restore(start)
        program.profile(steps, enable=True)
        program.step(rows)
        spent = program.profile(steps, enable=False)
        taken.append(sum(spent[i] for i in timed))
    return statistics.median(taken[1:])


if __name__ == "__main__":
    sys.exit(main())
