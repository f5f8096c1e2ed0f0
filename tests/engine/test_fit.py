"""Models that do not fit into memory: they run from the disk, and say what that costs."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from cactus import Model
from cactus.engine import fit
from cactus.errors import InsufficientMemory
from tests.control_groups import memory_group

QUESTION = "What is the capital of France?"

ASKS = """
    import json, sys
    import cactus
    with cactus.Model(sys.argv[1], cache_bytes=0) as model:
        print(json.dumps(model.chat(sys.argv[2], max_tokens=8).tokens))
"""


@pytest.mark.fault("F56")
def test_more_weights_than_memory_are_a_warning_with_a_rate(
    tiny_model: Path,
    speech_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with Model(tiny_model) as model:
        expected = model.chat(QUESTION, max_tokens=8).tokens
    assert not caplog.records
    monkeypatch.setattr(fit, "available_bytes", lambda: 1 << 10)
    with caplog.at_level(logging.WARNING), Model(tiny_model) as model:
        assert model.chat(QUESTION, max_tokens=8).tokens == expected
    [record] = caplog.records
    assert re.fullmatch(
        r"tiny: 0 MiB of weights, and 0 MiB of memory are free: what does not fit is read from the "
        r"disk again for each step, at [\d,]+ MB/s or [\d.e-]+ s a step; take a smaller model, or "
        r"convert it with a smaller --precision",
        record.message,
    )
    Model(speech_folder).close()
    assert caplog.messages[1].startswith(f"{speech_folder.name}: 0 MiB of weights, and 0 MiB")


@pytest.mark.parametrize("free", [None, 1 << 40])
def test_what_fits_or_is_not_known_not_to_is_loaded_without_a_word(
    tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    free: int | None,
) -> None:
    monkeypatch.setattr(fit, "available_bytes", lambda: free)
    Model(tiny_model).close()
    assert not caplog.records


@pytest.mark.fault("F56")
def test_address_space_that_is_not_there(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draft = tmp_path / "small"
    shutil.copytree(tiny_model, draft)
    monkeypatch.setattr(fit, "can_reserve", lambda size: False)
    with pytest.raises(InsufficientMemory, match=r"its draft small: .*leave the draft out"):
        Model(tiny_model, draft=draft)


def test_the_rate_of_a_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(9 << 20))
    rate = fit.disk_rate(path)
    assert rate is not None and 1e5 < rate < 1e12
    path.write_bytes(b"")
    assert fit.disk_rate(path) is None
    monkeypatch.delattr(os, "posix_fadvise")
    assert fit.disk_rate(path) is None


@pytest.mark.fault("F56")
def test_a_model_larger_than_its_control_group_answers_alike(
    starter_folder: Path, tmp_path: Path
) -> None:
    with Model(starter_folder) as model:  # and its plan is kept: to make it takes memory
        expected = list(model.chat(QUESTION, max_tokens=8).tokens)
    copy = tmp_path / "starter"  # whose pages are charged to the group, since nobody has read them
    shutil.copytree(starter_folder, copy)
    weights = copy / "model.safetensors"
    with weights.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    ask = [sys.executable, "-c", textwrap.dedent(ASKS), str(copy), QUESTION]
    with memory_group(weights.stat().st_size) as enter:
        done = subprocess.run([*enter, *ask], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "read from the disk again for each step, at " in done.stderr
    assert json.loads(done.stdout) == expected
