"""A microphone that goes, overruns and has rates of its own."""

from __future__ import annotations

import builtins
import sys
from typing import Any

import numpy as np
import pytest

from cactus.audio import microphone
from cactus.audio.microphone import Microphone
from cactus.errors import CactusError, MicrophoneError
from tests.audio.devices import MIC, SPEAKER, Devices, PortAudioError, Stream


@pytest.fixture
def plug(monkeypatch: pytest.MonkeyPatch):
    def put_in(*devices: dict[str, Any], takes: tuple[tuple[int, int], ...] = ((16_000, 1),)):
        library = Devices(*(devices or (MIC,)), takes=takes)
        monkeypatch.setitem(sys.modules, "sounddevice", library)
        return library

    return put_in


def block(value: float, count: int = 1600) -> np.ndarray:
    return np.full(count, value, np.float32)


def test_blocks_come_as_they_are_heard(plug) -> None:
    library = plug()
    with Microphone() as mic:
        assert mic.name == "Desk mic"
        library.stream.hear(block(0.25))
        assert next(mic).tolist() == block(0.25).tolist()
        library.stream.hear(block(0.5))
        library.stream.hear(block(-0.5))
        assert next(mic).tolist() == [*block(0.5), *block(-0.5)]  # a late reader catches up
        assert mic.seconds == pytest.approx(0.3) and mic.notes == []
    assert library.closed == 1


@pytest.mark.fault("F49")
def test_what_is_no_sound_is_repaired(plug) -> None:
    library = plug()
    with Microphone() as mic:
        library.stream.hear(np.array([np.nan, np.inf, -7, 0.5], np.float32))
        assert next(mic).tolist() == [0, 1, -1, 0.5]


def test_stop_hands_out_what_was_heard_and_nothing_later(plug) -> None:
    library = plug()
    with Microphone() as mic:
        library.stream.hear(block(0.25))
        mic.stop()
        library.stream.hear(block(0.75))
        assert np.concatenate(list(mic)).tolist() == block(0.25).tolist()


@pytest.mark.fault("F49")
@pytest.mark.parametrize(
    ("rate", "channels", "takes"),
    [(44_100, 1, ((44_100, 1),)), (48_000, 2, ((48_000, 2),)), (8_000, 1, ((8_000, 1),))],
)
def test_a_device_with_a_rate_of_its_own(plug, rate: int, channels: int, takes: Any) -> None:
    device = MIC | {"default_samplerate": float(rate), "max_input_channels": channels}
    library = plug(device, takes=takes)
    tone = np.sin(2 * np.pi * 440 * np.arange(rate) / rate).astype(np.float32)
    with Microphone() as mic:
        assert library.stream.settings["samplerate"] == rate
        for start in range(0, rate, rate // 10):
            library.stream.hear(0.5 * tone[start : start + rate // 10])
        mic.stop()
        heard = np.concatenate(list(mic))
    assert len(heard) == pytest.approx(16_000, abs=2)
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(len(heard)) / 16_000)
    assert np.abs(heard - expected)[500:-500].max() < 0.01


@pytest.mark.fault("F49")
def test_a_device_that_goes_is_an_error_after_what_was_heard(plug) -> None:
    library = plug()
    with Microphone() as mic:
        library.stream.hear(block(0.25))
        library.stream.active = False  # unplugged, and PortAudio noticed
        assert len(next(mic)) == 1600
        with pytest.raises(MicrophoneError, match="Desk mic gives no more audio: it was unplugged"):
            next(mic)
    assert library.closed == 1  # whose own complaint is not heard


@pytest.mark.fault("F49")
def test_a_device_that_falls_silent_has_gone(plug, monkeypatch) -> None:
    monkeypatch.setattr(microphone, "SILENT_AFTER", 0.2)
    plug()
    with Microphone() as mic, pytest.raises(MicrophoneError, match="gives no more audio"):
        next(mic)


@pytest.mark.fault("F49")
def test_overruns_are_counted(plug) -> None:
    library = plug()
    with Microphone() as mic:
        for _ in range(microphone.QUEUE_SECONDS * microphone.BLOCKS_A_SECOND + 25):
            library.stream.hear(block(0.25), overflow=False)
        library.stream.hear(block(0.25), overflow=True)
        assert len(next(mic)) == 16_000 * microphone.QUEUE_SECONDS
        assert mic.lost == pytest.approx(2.6) and mic.overruns == 1
        assert mic.notes == [
            "Desk mic: the system dropped some audio (1 x)",
            "Desk mic: 2.6 s of audio were lost: they came faster than they were transcribed",
        ]


@pytest.mark.parametrize(
    ("devices", "wanted", "message"),
    [
        ((SPEAKER, MIC), "blue", "No input device matching 'blue'; those are: 1 Desk mic"),
        ((MIC,), 7, "microphone 7: there is none; those are: 0 Desk mic"),
    ],
)
def test_a_device_there_is_not(plug, devices: Any, wanted: str | int, message: str) -> None:
    plug(*devices)
    with pytest.raises(MicrophoneError) as raised:
        Microphone(wanted)
    assert str(raised.value) == message and isinstance(raised.value, CactusError)


def test_no_device_at_all(plug) -> None:
    library = plug()
    library.devices = ()
    with pytest.raises(MicrophoneError, match="there is no microphone; PortAudio finds none"):
        Microphone()


def test_a_device_that_takes_no_rate(plug) -> None:
    plug(takes=())
    with pytest.raises(MicrophoneError, match="neither 16 kHz nor 44,100 Hz: Invalid sample rate"):
        Microphone()


def test_a_device_that_another_program_holds(plug, monkeypatch) -> None:
    plug()

    def busy(_: Stream) -> None:
        raise PortAudioError("Device unavailable [PaErrorCode -9985]")

    monkeypatch.setattr(Stream, "start", busy)
    with pytest.raises(MicrophoneError, match="Desk mic: cannot be opened: Device unavailable"):
        Microphone().start()


@pytest.mark.parametrize(
    ("failure", "advice"),
    [
        (ImportError("No module named 'sounddevice'"), "pip install sounddevice"),
        (OSError("PortAudio library not found"), "apt-get install libportaudio2"),
    ],
)
def test_what_is_not_installed_is_named(monkeypatch, failure: Exception, advice: str) -> None:
    original = builtins.__import__

    def without(name: str, *arguments: Any) -> Any:
        if name == "sounddevice":
            raise failure
        return original(name, *arguments)

    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MicrophoneError, match=advice):
        Microphone()
