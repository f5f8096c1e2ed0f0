"""What `check_batch.py` does jobs over: recordings, pictures and a table, the same each time."""

from __future__ import annotations

import csv
import random
import struct
import zlib
from pathlib import Path
from typing import Any

import av
import numpy as np
import soundfile
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from cactus.audio.decode import SAMPLE_RATE, open_audio

KINDS = ("wav", "flac", "mp3", "ogg", "m4a", "opus")
RATES = (16000, 48000)
"""Of files of every other sort; both are rates that all of the encoders have."""

BROKEN = {
    "a text.wav": b"This is no recording.\n",
    "cut off.mp3": b"ID3\x03",
    "empty.flac": b"",
    "noise.m4a": bytes(range(256)) * 64,
}
"""Files that are no recordings, by name."""

BAD_PICTURES = ("a text.png", "as ppm.ppm", "as tiff.tiff", "cut off.jpg", "too large.png")
"""Pictures that are not read: none, of other kinds, or over the limit."""

REVIEWS = (
    "The soup was cold, and nobody came.",
    "Bread like my grandmother's! We will be back, all five of us.",
    'They call it "fine dining".\nIt was neither.',
    "Sehr gutes Essen, très bon café, 很好.",
    "Fine; nothing special, 3 stars.",
)


def write_recordings(folder: Path, clips: Path, count: int) -> None:
    """So many different recordings: parts of clips over one another, in several formats."""
    chance = random.Random(4)
    voices = []
    for file in sorted(clips.glob("*.wav")):
        with open_audio(file) as stream:
            voices.append(stream.read())
    for number in range(count):
        kind, rate = KINDS[number % len(KINDS)], RATES[number // len(KINDS) % 2]
        home = folder if number % 10 else folder / "further ones"
        home.mkdir(parents=True, exist_ok=True)
        name = f"{number:03} {'é' if number % 7 == 0 else 'speech'}.{kind}"
        sound = np.zeros(3 * SAMPLE_RATE, np.float32) if number == 1 else _speech(chance, voices)
        _write_sound(home / name, sound, rate, stereo=number % 3 == 0)
    for name, data in BROKEN.items():
        (folder / name).write_bytes(data)


def _speech(chance: random.Random, voices: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Some seconds of a voice, another one far behind it, and a little noise."""
    length = int(chance.uniform(2, 6) * SAMPLE_RATE)

    def part(voice: NDArray[np.float32]) -> NDArray[np.float32]:
        first = chance.randrange(max(1, len(voice) - length))
        found = voice[first : first + length]
        return np.pad(found, (0, length - len(found)))

    noise = np.random.default_rng(chance.randrange(1 << 32)).normal(0, 1e-3, length)
    near, far = chance.sample(voices, 2)
    mixed = chance.uniform(0.5, 1) * part(near) + 0.02 * part(far) + noise
    return np.clip(mixed, -1, 1).astype(np.float32)


def _write_sound(path: Path, sound: NDArray[np.float32], rate: int, *, stereo: bool) -> None:
    times = np.arange(int(len(sound) * rate / SAMPLE_RATE)) * SAMPLE_RATE / rate
    sound = np.interp(times, np.arange(len(sound)), sound).astype(np.float32)
    channels = 2 if stereo else 1
    if path.suffix != ".m4a":
        form: Any = {"format": "OGG", "subtype": "OPUS"} if path.suffix == ".opus" else {}
        soundfile.write(path, np.stack([sound] * channels, 1), rate, **form)
        return
    with av.open(str(path), "w") as file:
        layout = "stereo" if stereo else "mono"
        stream: Any = file.add_stream("aac", rate=rate, layout=layout)
        planes = np.ascontiguousarray(np.stack([sound] * channels))
        frame = av.AudioFrame.from_ndarray(planes, format="fltp", layout=layout)
        frame.sample_rate = rate
        resampler = av.AudioResampler("fltp", layout, rate, 1024)
        for given in (frame, None):
            for part in resampler.resample(given):
                file.mux(stream.encode(part))
        file.mux(stream.encode(None))


def write_pictures(folder: Path) -> None:
    """Pictures of all sorts: formats, modes, shapes; one that is none, one cut off, one huge."""
    folder.mkdir()
    sizes = {"small": (1, 1), "wide": (900, 90), "tall": (40, 300), "large": (6000, 4000)}
    for name, size in sizes.items():
        _picture(size).save(folder / f"{name}.jpg")
    picture = _picture((320, 240))
    for ending in ("png", "webp", "gif", "bmp", "tiff", "ppm"):
        picture.save(folder / f"as {ending}.{ending}")
    for mode in ("1", "L", "LA", "P", "RGBA", "I;16"):
        picture.convert("L" if mode == "I;16" else mode).convert(mode).save(
            folder / f"mode {mode.replace(';', '')}.png"
        )
    picture.convert("CMYK").save(folder / "mode CMYK.jpg")
    turned = Image.Exif()
    turned[0x0112] = 6
    picture.save(folder / "turned.jpg", exif=turned)
    (folder / "a text.png").write_bytes(b"This is no picture.\n")
    whole = (folder / "large.jpg").read_bytes()
    (folder / "cut off.jpg").write_bytes(whole[:100])
    (folder / "too large.png").write_bytes(_huge())


def _picture(size: tuple[int, int]) -> Image.Image:
    image = Image.linear_gradient("L").resize(size).convert("RGB")
    draw = ImageDraw.Draw(image)
    draw.ellipse((size[0] // 4, size[1] // 4, size[0] // 2, size[1] // 2), "red")
    return image


def _huge() -> bytes:
    """A PNG whose header says 60,000 x 60,000, of which little is there."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (chunk(b"IHDR", header), chunk(b"IDAT", data), chunk(b"IEND", b""))
    )


def write_table(path: Path, count: int) -> None:
    """Reviews as CSV, some with quotes, line breaks and other scripts, and every tenth empty."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "review"])
        for number in range(count):
            text = REVIEWS[number % len(REVIEWS)]
            writer.writerow([f"r{number}", "" if number % 10 == 9 else f"{text} ({number})"])
