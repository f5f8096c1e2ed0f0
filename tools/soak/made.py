"""What the soak works on, made by the tests' own makers: random models, documents, recordings."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STATES = 5
"""Contents that the document which changes has, by turns."""
LINES = (
    "The lighthouse keeper counts the ships of the evening.",
    "A cactus stores water for months without any rain.",
    "Copper wires carry the signal under the sea.",
    "The baker opens at five and closes when the bread is sold.",
    "Snow on the mountain melts late, and the river rises in June.",
)
QUERIES = ("water without rain", "ships in the evening")
JOB = {"job": "chat", "prompt": "Say {text}.", "options": {"max_tokens": 4, "temperature": 0}}


@dataclass(frozen=True)
class Made:
    """Folders and files below `home`."""

    home: Path

    @property
    def model(self) -> Path:
        return self.home / "tiny"

    @property
    def checkpoint(self) -> Path:
        return self.home / "checkpoint"

    @property
    def speech(self) -> Path:
        return self.home / "speech" / "tiny-whisper"

    @property
    def embedder(self) -> Path:
        return self.home / "embedder"

    @property
    def documents(self) -> Path:
        return self.home / "documents"

    @property
    def recordings(self) -> list[Path]:
        return [self.home / "sound.wav", self.home / "sound.flac"]

    @property
    def rows(self) -> Path:
        return self.home / "rows.jsonl"


def make(home: Path) -> Made:
    """Make all of it in an empty folder."""
    sys.path.insert(0, str(ROOT))
    import soundfile

    from cactus.weights.convert import convert
    from tests.conftest import write_tiny_checkpoint
    from tests.documents.forge import docx, paragraph, pdf
    from tests.embed.conftest import write_embedder
    from tests.speech_model import three_seconds, write_speech_folder

    made = Made(home)
    for folder in (made.checkpoint, made.speech.parent, made.documents):
        folder.mkdir()
    write_tiny_checkpoint(made.checkpoint)
    convert(made.checkpoint, made.model, "INT8")
    write_embedder(made.embedder, made.model)
    write_speech_folder(made.speech.parent, sureness=8)
    for recording in made.recordings:
        soundfile.write(recording, three_seconds(), 16_000)
    (made.documents / "plain.txt").write_text("\n\n".join(LINES))
    (made.documents / "report.pdf").write_bytes(pdf(["\n".join(LINES), LINES[1]]))
    (made.documents / "letter.docx").write_bytes(docx("".join(map(paragraph, LINES))))
    (made.documents / "page.html").write_text(f"<h1>Sea</h1><p>{LINES[0]}</p><p>{LINES[2]}</p>")
    change(made, 0)
    rows = [{"text": f"row {n} {'and so on ' * (n % 4)}"} for n in range(60)]
    made.rows.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return made


def change(made: Made, state: int) -> None:
    """Write the document that changes anew."""
    lines = [*LINES[state:], *LINES[:state], f"This is state {state}."]
    (made.documents / "changing.md").write_text("# Notes\n\n" + "\n\n".join(lines))


def digests(folder: Path) -> dict[str, str]:
    """Of each file of a weights folder, but for the plans, which may be made anew."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
        if not path.name.startswith("plan") and path.is_file()
    }
