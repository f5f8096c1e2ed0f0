"""The arithmetic of the benchmark and its gauges; the engines themselves are not run here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cactus.errors import CactusError

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def test_the_ratio_to_the_best_peer_is_taken_round_by_round(load: Any) -> None:
    # The machine was half as fast in round two, for all: the ratio must not notice.
    ours = {"ours": [220.0, 110.0, 240.0]}
    peers = {"slow": [190, 95, 190], "fast": [200, 100, 200], "absent": []}
    line = load("report").compare("decode", 1, "tokens/s", ours, peers)
    ratio, found = line.ratios["ours"], line.found["ours"]
    assert (ratio.median, ratio.low, ratio.high) == pytest.approx((1.1, 1.1, 1.2))
    assert (found.median, found.low, found.high) == (220.0, 110.0, 240.0)
    assert line.best == "fast"
    # of seconds, less is better
    assert load("report").compare("start", 1, "s", ours, peers).best == "slow"


def test_one_side_alone_has_no_ratio(load: Any) -> None:
    report = load("report")
    line = report.compare("decode", 2, "tokens/s", {"ours": []}, {"peer": [200.0, 100.0]})
    assert set(line.found) == {"peer"}
    assert line.ratios == {}
    rows = report.table("higher is better", [line], ["ours"], ["peer"]).splitlines()
    assert len({len(row) for row in rows}) == 1
    assert "150 (100..200)" in rows[2]


def test_mean_context_of_a_case(load: Any) -> None:
    case = load("cases").Case
    assert case("prefill", prompt=512).mean_context == 0
    # three tokens after ten others attend to 11, 12 and 13 positions, themselves included
    assert case("decode", gen=3, depth=10).mean_context == 12


def write_gguf(path: Path, *, output: bool, kv_heads: Any) -> None:
    """Write a two-layer model of nothing but its outer matrices and one projection."""
    import gguf

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(2)
    writer.add_embedding_length(64)
    writer.add_head_count(4)
    writer.add_head_count_kv(kv_heads)
    matrix = np.zeros((32, 64), dtype=np.float32)
    writer.add_tensor("token_embd.weight", matrix)
    writer.add_tensor("blk.0.attn_q.weight", np.zeros((64, 64), dtype=np.float16))
    if output:
        writer.add_tensor("output.weight", matrix)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.parametrize("output", [False, True])
def test_an_embedding_counts_only_as_output_matrix(load: Any, tmp_path: Path, output: bool) -> None:
    path = tmp_path / "model.gguf"
    write_gguf(path, output=output, kv_heads=2)
    found, kv_bytes = load("footprint").of_gguf(path)
    assert found.weights == 32 * 64 * 4 + 64 * 64 * 2
    assert found.disk == path.stat().st_size
    assert kv_bytes == 2 * 2 * 2 * 16 * 2  # K and V, layers, heads, head size, f16


def test_layers_without_attention_hold_no_keys(load: Any, tmp_path: Path) -> None:
    path = tmp_path / "hybrid.gguf"
    write_gguf(path, output=False, kv_heads=[0, 2])
    assert load("footprint").of_gguf(path)[1] == 2 * 2 * 16 * 2


def test_a_child_is_gauged() -> None:
    code = "import time; print('x', flush=True); b = bytearray(150 << 20); time.sleep(0.3)"
    # From a small process, as the benchmark is: a child's gauge starts at its parent's size.
    parent = f"""
import dataclasses, json, sys
sys.path.insert(0, {str(BENCHMARKS)!r})
import runner
print(json.dumps(dataclasses.asdict(runner.run_child([sys.executable, "-c", {code!r}]))))
"""
    done = subprocess.run(
        [sys.executable, "-c", parent], capture_output=True, text=True, check=True
    )
    child = json.loads(done.stdout)
    assert child["stdout"] == "x\n"
    assert child["first_byte_seconds"] < child["seconds"] - 0.25
    assert 150 << 20 < child["peak_rss"] < 400 << 20


def test_a_failing_child_shows_its_last_words(load: Any) -> None:
    runner = load("runner")
    with pytest.raises(runner.BenchmarkError, match=r"(?s)status 3.*no such tensor"):
        runner.run_child(
            [
                sys.executable,
                "-c",
                "import sys; print('no such tensor', file=sys.stderr); sys.exit(3)",
            ]
        )


def test_a_hanging_child_is_ended(load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = load("runner")
    monkeypatch.setattr(runner, "TIMEOUT_SECONDS", 0.2)
    with pytest.raises(runner.BenchmarkError, match="status -9"):
        runner.run_child([sys.executable, "-c", "import time; time.sleep(60)"])


def test_a_script_ends_with_a_line_that_says_why(
    load: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    runner = load("runner")

    def end(error: BaseException | None) -> tuple[int, str]:
        def work() -> None:
            if error:
                raise error

        return runner.finish("script", work), capsys.readouterr().err

    assert end(None) == (0, "")
    assert end(runner.BenchmarkError("no peer")) == (1, "script: no peer\n")
    assert end(CactusError("no model")) == (1, "script: no model\n")
    assert end(KeyboardInterrupt()) == (130, "script: interrupted\n")
    with pytest.raises(KeyError):
        end(KeyError("a mistake of the script"))


def test_evict_keeps_the_file(load: Any, tmp_path: Path) -> None:
    runner = load("runner")
    if not runner.CAN_EVICT:
        pytest.skip("no posix_fadvise on this system")
    path = tmp_path / "weights"
    path.write_bytes(b"abc" * 10_000)
    runner.evict([path])
    assert path.read_bytes() == b"abc" * 10_000


@pytest.mark.parametrize(
    ("others", "kept", "runs"),
    [([0.1], 0.1, 1), ([0.9, 0.0], 0.0, 2), ([0.4, 0.9, 0.3, 0.0], 0.3, 3)],
)
def test_a_disturbed_measurement_is_repeated(
    load: Any, others: list[float], kept: float, runs: int
) -> None:
    child = load("runner").Child
    outcomes = iter([child("", 0.0, 1.0, 0, value) for value in others])
    done = []

    def run() -> Any:
        done.append(next(outcomes))
        return done[-1]

    quiet = load("rounds").Quiet(retries=2)
    assert quiet.measure(run, lambda outcome: outcome).others == kept
    assert len(done) == runs
    assert quiet.disturbance == [kept]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--rounds", "0"], "--rounds must be at least 1"),
        (["--threads", "two"], "'two'"),
        (["--threads", "1,0"], "'1,0'"),
        (["--case", "sleep"], "decode at 1,024"),
        (["--models", "starter,gpt"], "'gpt' is not known; known: starter, lfm2-350m"),
        (["--peers", "ollama"], "'ollama' is not known; known: llama.cpp, openvino, int8"),
        (["--peers", "int8"], "name a peer, too"),
        (["--ik", "."], ". has no llama-bench"),
    ],
)
def test_wrong_arguments_are_named(arguments: list[str], said: str) -> None:
    command = [sys.executable, str(BENCHMARKS / "compare.py"), *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert said in result.stderr


def fake_side(load: Any, name: str, rate: float, calls: list[tuple[str, str]]) -> Any:
    """A side that answers at once: `rate` tokens/s a thread, more with flash attention off."""
    child = load("runner").Child("0.05", 0.5 / rate, 1.0, 100_000_000, 0.0)

    def run(case: Any, threads: int, config: Any) -> tuple[float, Any]:
        calls.append((case.name, name))
        return rate * threads * (1.1 if config.get("flash") == "off" else 1.0), child

    footprint = load("footprint").Footprint(disk=2_000_000, weights=1_000_000, types="q4 1 MB")
    side = load("sides").Side(name, run, footprint=lambda _: footprint)
    side.first_token = lambda threads: child
    return side


@pytest.fixture
def results(load: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """What two rounds of a fast side against two peers gave, one of which has to be searched."""
    rounds, cases, runner = load("rounds"), load("cases"), load("runner")
    peaks = '{"bytes_per_second": 2e9, "int8_per_second": 5e9}'
    child = runner.Child(peaks, 0.0, 1.0, 0, 0.0)
    monkeypatch.setattr(rounds.peaks, "measure", lambda *_: child)
    monkeypatch.setattr(load("search"), "cache_folder", lambda: tmp_path)
    calls: list[tuple[str, str]] = []
    ours, peer, other = (
        fake_side(load, *side, calls)
        for side in (("ours", 1320.0), ("peer", 1000.0), ("other", 1050.0))
    )
    peer.build, peer.start = "peer 1", {"format": "Q4_0", "flash": "on"}
    peer.choices = lambda case: {"flash": ("off",)} if case.depth else {}
    other.first_token = None
    ours.import_time = lambda: runner.Child("0.05", 0.0, 0.0, 0, 0.0)
    deep = cases.Case(cases.DEEP, gen=1, depth=99)
    far = cases.Case("far", prompt=4096, long=True)
    contest = rounds.Contest("tiny", [ours], [peer, other], (deep, far), 10_000, starts=True)
    quiet, progress = rounds.Quiet(0), runner.Progress()
    rounds.search_configurations(contest, 2, "once", quiet, progress)
    searched = list(calls)
    calls.clear()
    results = load("results").Results(runner.machine(), {}, [contest], [1, 2], 2, quiet)
    load("compare").measure(results, progress, long_rounds=1, quick=True)
    assert progress.done == progress.total
    results.calls, results.searched = calls, searched
    return results


def test_rounds_alternate_and_long_cases_are_rare(load: Any, results: Any) -> None:
    deep = load("cases").DEEP
    first = [(deep, "ours"), (deep, "peer"), (deep, "other")]
    second = [*first[1:], first[0]]
    far = [("far", name) for _, name in first]
    assert results.calls == first * 2 + far + second * 2


def test_a_configuration_is_searched_once_and_named(load: Any, results: Any) -> None:
    deep = load("cases").DEEP
    assert results.searched == [(deep, "peer")] * 2
    (contest,) = results.contests
    peer = contest.peers[0]
    assert peer.found[deep].config == {"format": "Q4_0", "flash": "off"}
    assert peer.found[deep].tried == {"Q4_0, flash on": 2000.0, "Q4_0, flash off": 2200.0}
    assert peer.configuration("far") == peer.start
    assert results.rate_lines(contest)[0].best == "peer: Q4_0, flash off"
    for how, runs in (("once", 0), ("known", 0), ("again", 2)):
        results.calls.clear()
        peer.found.clear()
        load("rounds").search_configurations(
            contest, 2, how, results.quiet, load("runner").Progress()
        )
        assert results.calls == [(deep, "peer")] * runs
        assert peer.found[deep].config["flash"] == "off"


def test_a_disturbed_search_is_not_remembered(
    load: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    search = load("search")
    monkeypatch.setattr(search, "cache_folder", lambda: tmp_path)

    def find(calm: bool) -> Any:
        def rate(config: Any) -> tuple[float, bool]:
            if config["a"] == "3":
                raise load("runner").BenchmarkError("cannot run")
            return {"1": 100.0, "2": 101.0, "4": 103.0}[config["a"]], calm

        return lambda: search.along_axes(rate, {"a": "1"}, {"a": ("2", "3", "4")})

    start = search.Found({"a": "1"})
    for calm, kept in ((False, "1"), (True, "4")):
        # one percent more is no reason to prefer it
        assert search.remembered(["x"], find(calm), "once", start).config == {"a": "4"}
        assert search.remembered(["x"], find(calm), "known", start).config == {"a": kept}


def test_ratios_and_shares(results: Any) -> None:
    (contest,) = results.contests
    one, two, far = results.rate_lines(contest)
    assert one.ratios["ours"].median == pytest.approx(1.2)
    # (1 MB of weights + 100 tokens of 10 kB) x 1,320 tokens/s of 2 GB/s
    assert one.of_bandwidth["ours"] == pytest.approx(1.32)
    assert two.of_bandwidth["other"] == pytest.approx(2.1)
    assert (far.threads, far.best, far.of_bandwidth) == (2, "other", {})
    lines = {(line.name, line.threads): line for line in results.cost_lines(contest)}
    start = lines["start to first token, in page cache", 1]
    assert start.ratios["ours"].median == pytest.approx(1 / 1.32)
    assert set(start.found) == {"ours", "peer"}
    assert lines["import cactus", 1].found["ours"].median == 0.05
    # 100 MB, less 2 MB on disk and 1 MB for 100 tokens of context
    deep = lines["peak RSS, decode at 1,024", 2]
    assert deep.note == f"ours: weights, K and V + {98 - 1088 * 0.01:.0f} MB"


def test_sampling_and_batches_are_set_beside_one_conversation(load: Any, results: Any) -> None:
    (contest,) = results.contests
    contest.ours[0].rates["decode", 2] = [100.0, 50.0]
    contest.ours[0].rates["8 together", 2] = [500.0, 250.0]
    ((label, model, threads, ratio),) = results.alone_ratios(contest)
    assert (label, model, threads) == ("8 together (ours / its decode)", "tiny", 2)
    assert (ratio.low, ratio.high) == (5.0, 5.0)


def test_what_is_printed_and_written(load: Any, results: Any, tmp_path: Path) -> None:
    text = results.text()
    (row,) = [line for line in text.splitlines() if line.startswith("| far (ours / best peer) ")]
    assert [cell.strip() for cell in row.split("|")[2:-1]] == ["", "1.26×"]
    assert "NOT QUIET" not in text
    load("compare").write_json(results, tmp_path / "out.json")
    (contest,) = json.loads((tmp_path / "out.json").read_text())["contests"]
    assert contest["lines"][0]["threads"] == 1
    peer = contest["peers"][0]
    assert peer["tokens_per_second"]["far, 2"] == [2000.0]
    assert peer["configurations"]["decode at 1,024"]["config"]["flash"] == "off"
    results.quiet.disturbance.append(1.0)
    assert "during 1 of" in results.text()


def test_the_readme_shows_few_ratios_and_says_where_a_run_was_disturbed(results: Any) -> None:
    text = results.headline()
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert [row.split("|")[1].split(" (")[0].strip() for row in rows[2:]] == [
        "decode at 1,024",
        "start to first token, in page cache",
        "peak RSS, decode at 1,024",
    ]
    assert "NOT QUIET" not in text
    results.quiet.disturbance.append(0.6)
    assert results.headline().endswith(
        f"NOT QUIET: during 1 of {len(results.quiet.disturbance)} measurements other programs "
        "kept up to 0.6 cores busy. End them and measure again."
    )


def test_peaks_come_from_a_child(load: Any) -> None:
    found = json.loads(load("peaks").measure(1, 1 << 20).stdout)
    assert found["buffer_bytes"] == 1 << 20
    assert found["bytes_per_second"] > 0
    assert found["int8_per_second"] > 0


def test_publishing_replaces_a_block(load: Any, tmp_path: Path) -> None:
    report, page = load("report"), tmp_path / "page.md"
    page.write_text(f"above\n{report.mark()}\nold\n{report.END}\nbelow\n")
    for _ in range(2):
        report.publish(page, "| new |")
        assert page.read_text() == f"above\n{report.mark()}\n\n| new |\n\n{report.END}\nbelow\n"
    page.write_text("no marks")
    with pytest.raises(load("runner").BenchmarkError, match=r"page\.md has no lines"):
        report.publish(page, "| new |")
    for name in ("README.md", "docs/performance.md"):
        assert (BENCHMARKS.parent / name).read_text().count(report.mark()) == 1
    for tool in (
        "embeddings.py",
        *(f"indexing.py {what}" for what in ("build", "queries", "kill")),
    ):
        shown = (BENCHMARKS.parent / "docs" / "embeddings-performance.md").read_text()
        assert shown.count(report.mark(tool)) == 1


def test_a_contest_may_take_the_most_threads_only(load: Any, results: Any) -> None:
    (contest,) = results.contests
    contest.most_threads = True
    assert [count for count, _ in contest.todo(0, [1, 2], 1)] == [2, 2]
    assert [count for count, _ in contest.todo(1, [1, 2], 1)] == [2]


def test_quick_is_short(load: Any) -> None:
    cases = load("cases")
    assert not any(case.long for case in cases.chosen([], quick=True))
    assert {case.name for case in cases.chosen(["4,096"], False)} == {
        "prefill 4,096",
        "decode at 4,096",
    }


def test_rare_cases_are_asked_for_by_name(load: Any) -> None:
    cases = load("cases")
    assert not any(case.rare for case in cases.chosen([], quick=False))
    (far,) = cases.chosen(["16,384"], quick=False)
    before = ["decode", cases.DEEP, "decode at 4,096"]
    assert [case.name for case in cases.lineage(far)] == [*before, far.name]
    assert load("llama_tools").Tools(Path()).choices(far) == {}
