"""Stands for the package sounddevice in tests: machines that test have no microphone."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np


class PortAudioError(Exception):
    pass


class Devices(ModuleType):
    """Some devices, and the stream of the one that was opened."""

    PortAudioError = PortAudioError

    def __init__(self, *devices: dict[str, Any], takes: tuple[tuple[int, int], ...]) -> None:
        super().__init__("sounddevice")
        self.devices, self.takes = devices, takes
        self.stream: Stream | None = None
        self.closed = 0

    def query_devices(self, device: str | int | None = None, kind: str | None = None) -> Any:
        if kind is None:
            return list(self.devices)
        if isinstance(device, str):
            found = [each for each in self.devices if device in each["name"]]
            if not found:
                raise ValueError(f"No input device matching {device!r}")
            return found[0]
        if (device or 0) >= len(self.devices):
            raise PortAudioError(f"Error querying device {device}")
        return self.devices[device or 0]

    def check_input_settings(self, *, samplerate: int, channels: int, **_: Any) -> None:
        if (samplerate, channels) not in self.takes:
            raise PortAudioError("Invalid sample rate [PaErrorCode -9997]")

    def InputStream(self, **settings: Any) -> Stream:
        self.stream = Stream(self, **settings)
        return self.stream


class Stream:
    def __init__(self, devices: Devices, **settings: Any) -> None:
        self.devices, self.settings, self.active = devices, settings, False

    def start(self) -> None:
        self.active = True

    def close(self, ignore_errors: bool) -> None:
        self.devices.closed += 1
        if not self.active:
            raise PortAudioError("Device unavailable [PaErrorCode -9985]")

    def hear(self, samples: np.ndarray, overflow: bool = False) -> None:
        """What PortAudio does for every block, in memory that it uses again."""
        channels = self.settings["channels"]
        lent = np.repeat(samples.astype(np.float32)[:, None], channels, axis=1)
        self.settings["callback"](lent, len(lent), None, SimpleNamespace(input_overflow=overflow))
        lent[:] = 9.0


MIC = {"name": "Desk mic", "max_input_channels": 1, "default_samplerate": 44_100.0}
SPEAKER = {"name": "Speaker", "max_input_channels": 0, "default_samplerate": 44_100.0}
