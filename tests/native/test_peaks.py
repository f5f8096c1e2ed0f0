"""The machine's peaks: measured by every tier, and by loops that no compiler left out."""

from __future__ import annotations

import subprocess
import sys

import pytest

from cactus import native
from cactus.errors import InvalidRequest, NativeError

IMPOSSIBLE = 1e16
"""Per second and thread. No processor comes near; a loop that was folded away goes far beyond."""


@pytest.mark.parametrize("isa", native.available_isas())
def test_every_tier_measures_its_own(isa: str) -> None:
    peaks = native.machine_peaks(2, isa, 1 << 20)
    assert (peaks.isa, peaks.threads, peaks.buffer_bytes) == (isa, 2, 1 << 20)
    for rate in peaks[3:]:
        assert 0 < rate < 2 * IMPOSSIBLE


def test_the_buffer_is_cut_to_whole_vectors_of_every_thread() -> None:
    assert native.machine_peaks(3, None, 1000).buffer_bytes == 3 * 256


def test_what_cannot_be_measured_is_said() -> None:
    with pytest.raises(InvalidRequest, match="threads is 257, expected 0 to 256"):
        native.machine_peaks(257)
    with pytest.raises(InvalidRequest, match="buffer_bytes is 511, expected 256 a thread"):
        native.machine_peaks(2, None, 511)
    with pytest.raises(InvalidRequest, match=r"expected 256 a thread to 2\^40"):
        native.machine_peaks(1, None, (1 << 40) + 1)
    with pytest.raises(NativeError, match="mmx"):
        native.machine_peaks(1, "mmx")


@pytest.mark.skipif(sys.platform == "win32", reason="no limits of address space")
def test_no_memory_for_the_buffer() -> None:
    code = (
        "import resource; from cactus import native; from cactus.errors import InsufficientMemory\n"
        "native.machine_peaks(1, None, 1 << 16)\n"
        "resource.setrlimit(resource.RLIMIT_AS, (1 << 31, 1 << 31))\n"
        "try: native.machine_peaks(1, None, 1 << 32)\n"
        "except InsufficientMemory as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "not enough memory\n", "")
