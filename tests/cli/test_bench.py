"""`cactus bench`: its table, its JSON, and what it divides by. No speed is asserted."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pexpect
import pytest

from cactus.cli import measure
from cactus.cli.main import run_cli
from cactus.engine.loading import load
from cactus.engine.programs import TOKENS
from cactus.native import MachinePeaks

SMALL = ["--prompt", "16", "--tokens", "4", "--repeat", "2", "--threads", "1"]

# The tiny model: q8_64 tiles of 1,056 bytes for 16 rows and 64 columns; 300 rows are 19 tiles.
REST = 64 * 64 + 64 * 256 + 128 * 64  # of a layer after its attention
LAYER = 64 * (64 + 32 + 32) + REST
OUTPUT = 300 * 64


@pytest.fixture(autouse=True)
def _small_buffer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "BUFFER_BYTES", 1 << 20)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tiny_model: Path):
    def call(*arguments: str) -> tuple[int, str, str]:
        status = run_cli(["bench", str(tiny_model), *SMALL, *arguments])
        said = capsys.readouterr()
        return status, said.out, said.err

    return call


def test_json_has_the_machine_and_every_run(run) -> None:
    status, out, err = run("--json", "--depth", "0,100")
    assert (status, err) == (0, "")
    told = json.loads(out)
    assert (told["model"], told["threads"]) == ("tiny", 1)
    assert told["machine"]["buffer_bytes"] == 1 << 20
    assert told["machine"]["cpu"] and told["machine"]["cores"] >= 1
    assert [(r["what"], r["tokens"], r["depth"]) for r in told["results"]] == [
        ("prefill", 16, 0), ("decode", 4, 0), ("prefill", 16, 100), ("decode", 4, 100),
    ]  # fmt: skip
    for result in told["results"]:
        assert len(result["runs"]) == 2 and min(result["runs"]) > 0
        rate = result["tokens"] / result["seconds"]
        assert result["tokens_per_second"] == pytest.approx(rate, rel=0.01)
        peak = told["machine"]["read_bytes_per_second"]
        share = result["read_bytes"] / result["seconds"] / peak
        assert result["of_read_bandwidth"] == pytest.approx(share, abs=1e-3)
        share = result["matrix_operations"] / result["seconds"]
        share /= told["machine"]["int8_operations_per_second"]  # all of its matrices are q8_64
        assert result["of_arithmetic"] == pytest.approx(share, abs=1e-3)
        assert "profile_seconds" not in result


def test_what_is_read_and_multiplied(run) -> None:
    results = json.loads(run("--json", "--depth", "0,100")[1])["results"]
    weights = (2 * LAYER // 1024 + 19) * 1056 + 5 * 64 * 4  # and five norms in f32
    position = 2 * 2 * (32 + 4)  # layers, keys and values, a head of 32 and its scale
    # What follows the last attention is only computed for the row whose logits are wanted.
    by_prefill = 2 * (16 * (2 * LAYER - REST) + REST + OUTPUT)
    by_decode = 2 * 4 * (2 * LAYER + OUTPUT)
    assert [r["matrix_operations"] for r in results] == 2 * [by_prefill, by_decode]
    assert [r["read_bytes"] for r in results] == [
        weights + 16 * position,
        4 * weights + (1 + 2 + 3 + 4) * position,
        weights + 116 * position,
        4 * weights + (101 + 102 + 103 + 104) * position,
    ]


def test_a_cache_in_int8(run) -> None:
    halves = [json.loads(run("--json", "--kv", kv)[1]) for kv in ("f16", "int8")]
    assert [half["kv"] for half in halves] == ["f16", "int8"]
    more, less = ([r["read_bytes"] for r in half["results"]] for half in halves)
    saved = 2 * 2 * (2 * 32 - 32 - 4)  # layers, keys and values: f16 against codes and a scale
    assert [a - b for a, b in zip(more, less, strict=True)] == [16 * saved, (1 + 2 + 3 + 4) * saved]
    assert "with a cache in f16, 1 thread" in run("--kv", "f16")[1]
    assert "with a cache" not in run("--kv", "int8")[1]
    assert json.loads(run("--json")[1])["kv"] == "int8"
    status, _, err = run("--kv", "q4")
    assert status == 2 and "'q4' is not one of 'f16', 'int8'" in err


def test_a_chunked_prompt_reads_the_weights_once_a_chunk(tiny_model: Path) -> None:
    engine = load(tiny_model, threads=1)
    try:
        speeds = measure.measure(
            engine, prompt=400, tokens=1, depths=[0], repeat=1, profile=False,
            progress=lambda text: None,
        )  # fmt: skip
        work = engine.work()
    finally:
        engine.close()
    expected = 2 * work.rows.weight_bytes + work.outputs.weight_bytes
    assert speeds[0].read_bytes == expected + (TOKENS.chunk + 400) * work.position_bytes


def test_shares_are_of_the_peak_of_each_kind() -> None:
    speed = measure.Speed("decode", 1, 0, read_bytes=50, quantized=30, floating=5, seconds=[2.0])
    peaks = MachinePeaks("any", 1, 1, 100.0, 60.0, 10.0)
    assert speed.of_memory(peaks) == 0.25
    assert speed.of_arithmetic(peaks) == 1.0
    assert speed.operations == 70


def test_a_table_for_people(run) -> None:
    status, out, err = run("--depth", "0", "--depth", "100")
    assert (status, err) == (0, "")
    assert re.search(r"^tiny \(\d+ kB\), 1 thread, \w+, \S", out)
    assert re.search(r"^at most [\d,.]+ GB/s, .* GOP/s int8, .* GOP/s f32; median of 2$", out, re.M)
    number = r"\s+[\d,]+\.\d+"
    for label in ("prefill 16", "decode 4", "prefill 16 after 100", "decode 4 after 100"):
        row = rf"^{label}{number}{number}{number}\s+\d+%{number}\s+\d+%$"
        assert re.search(row, out, re.M), label
    assert max(map(len, out.splitlines())) <= 80 and "in steps" not in out


def test_the_profile_names_the_kinds_of_steps(run) -> None:
    out = run("--profile")[1]
    assert "prefill 16 after 0:" in out and "decode 4 after 0:" in out
    for label in ("qkv_attention", "linear q8_64 64 -> 128", "linear q8_64 64 -> 300"):
        assert re.search(rf"^  {label}\s+[\d,.]+ ms\s+[\d.]+%$", out, re.M), label
    told = json.loads(run("--profile", "--json")[1])
    for result in told["results"]:
        profile = result["profile_seconds"]
        assert profile["qkv_attention"] > 0
        assert list(profile.values()) == sorted(profile.values(), reverse=True)


def test_the_depths_are_those_that_fit_unless_one_was_asked_for(run) -> None:
    results = json.loads(run("--json")[1])["results"]  # a context of 512
    assert [r["depth"] for r in results] == [0, 0]
    status, out, err = run("--depth", "0,500")
    assert (status, out) == (2, "")
    assert "516 tokens do not fit the model's context of 512." in err


@pytest.mark.parametrize("depth", ["-1", "x", "1,,2", "", "1.5"])
def test_a_depth_that_is_no_number(run, depth: str) -> None:
    status, _, err = run("--depth", depth)
    assert status == 2 and "is not a list of whole numbers such as 0,1024." in err


def test_a_terminal_sees_what_is_going_on_and_ctrl_c_ends_it(tiny_model: Path) -> None:
    code = "import sys; from cactus.cli.main import main; sys.argv[0] = 'cactus'; main()"
    arguments = ["-c", code, "bench", str(tiny_model), "--threads", "1", "--repeat", "1000000"]
    child = pexpect.spawn(
        sys.executable, [*arguments, "--prompt", "8", "--depth", "0"],
        encoding="utf-8", timeout=30, dimensions=(24, 80),
    )  # fmt: skip
    child.expect("measuring the machine")
    child.expect(r"run 3 of 1000000: (prefill|decode) after 0")
    child.sendintr()
    child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus == 130 and "Traceback" not in child.before
    assert child.before.endswith("\r\x1b[K\r\n")
