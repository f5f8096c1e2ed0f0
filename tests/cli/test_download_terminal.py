"""`cactus download` in a real terminal: bars, Ctrl-C, a typing mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.terminal import Terminal
from tests.hub_server import HubServer

TINY = "acme/Tiny-Llama"


@pytest.fixture
def server(hub_server: HubServer, tiny_checkpoint: Path, tmp_path: Path, monkeypatch) -> HubServer:
    monkeypatch.setenv("CACTUS_WEIGHTS", str(tmp_path / "weights"))
    files = {path.name: path.read_bytes() for path in tiny_checkpoint.iterdir()}
    name = "model-00001-of-00002.safetensors"
    files[name] = files.pop("model.safetensors")
    files["model.safetensors.index.json"] = b'{"weight_map": {"x": "%s"}}' % name.encode()
    hub_server.add(TINY, files)
    hub_server.gate_at = len(files[name]) // 2
    return hub_server


@pytest.mark.parametrize("columns", [38, 60, 80, 200])
def test_each_file_has_a_line_and_ctrl_c_ends_it_cleanly(server, columns: int) -> None:
    terminal = Terminal(columns, "download", TINY)
    amount = "187.5/" if columns >= 80 else "50%"  # all that is sent before the gate
    terminal.wait_for(lambda: len(terminal.lines) == 5 and amount in terminal.lines[-1][20:])
    assert all(line.startswith("downloading ") for line in terminal.lines)
    if columns == 200:
        assert [line.split()[1] for line in terminal.lines] == server.fetched()
    assert all("━" in line for line in terminal.lines)
    terminal.child.sendintr()
    assert terminal.leave() == 130
    lines, last = terminal.lines[:5], "".join(terminal.lines[5:])
    assert last == "Stopped; the same command continues from here."
    assert len(lines) == 5 and all(line.startswith("downloading ") for line in lines), lines
    if columns != 80:  # how it continues does not depend on them
        return
    server.gate.set()
    again = Terminal(columns, "download", TINY)
    assert again.leave() == 1  # the weights are no whole model; what counts is how they came
    assert server.ranges() == [f"bytes={server.gate_at}-"]


def test_a_typing_mistake_is_one_line_that_helps(server) -> None:
    terminal = Terminal(120, "download", "LiquidAI/LFM2-350N")
    assert terminal.leave() == 1
    text = "".join(terminal.lines)
    assert text.startswith("cactus: no model LiquidAI/LFM2-350N on the hub")
    assert "did you mean LiquidAI/LFM2-350M" in text
