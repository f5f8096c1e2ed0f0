"""``cactus transcribe``: what is said in recordings, shown as it is found or written to files."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from cactus.cli.complete import complete_speech
from cactus.cli.options import Whole, offline_option, threads_option
from cactus.cli.targets import check_targets
from cactus.cli.text import complain, message_of, printable, whole_characters
from cactus.cli.transcribe_file import STDIN, Job
from cactus.subtitles import FORMATS

MODEL = "whisper-base"


@click.command("transcribe", short_help="Transcribe recordings or a microphone.")
@click.argument("files", nargs=-1, metavar="FILE...")
@click.option(
    "--model",
    "-m",
    shell_complete=complete_speech,
    default=MODEL,
    show_default=True,
    help="A speech model: a name, a Hugging Face id or a folder.",
)
@click.option(
    "--language", metavar="CODE", help="What is spoken: en, German, ...  [default: detected]"
)
@click.option(
    "--task",
    type=click.Choice(["transcribe", "translate"]),
    default="transcribe",
    show_default=True,
    help="transcribe keeps the language that is spoken, translate writes English.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(list(FORMATS)),
    default="text",
    show_default=True,
    help="text has a line for each segment, on a terminal with timestamps; json one for each FILE.",
)
@click.option(
    "--words",
    is_flag=True,
    help="Word timestamps: in json, and for subtitles of at most two lines.",
)
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Write a file for each FILE into this folder and print its path.",
)
@click.option("--mic", is_flag=True, help="Transcribe a microphone instead of FILEs.")
@click.option("--device", metavar="NAME", help="The microphone: a part of its name, or its number.")
@click.option(
    "--prompt",
    metavar="TEXT",
    help="Text that comes before the audio; it guides names and spelling.",
)
@click.option("--hotwords", metavar="TEXT", help="Words to expect.")
@click.option(
    "--beam-size",
    type=Whole(1, 16),
    metavar="N",
    help="Beams of the search; 1 is fastest.  [default: 5]",
)
@click.option(
    "--batch-size",
    type=Whole(1, 64),
    metavar="N",
    help="Passages of a FILE, cut in pauses, that are transcribed at a time; none sees another's "
    "text.  [default: 1]",
)
@click.option(
    "--split-channels",
    "split",
    is_flag=True,
    help="Transcribe each channel on its own, as of a telephone call, and say which it is.",
)
@click.option(
    "--no-vad", is_flag=True, help="Transcribe silence, too: no voice activity detection."
)
@click.option(
    "--no-context", is_flag=True, help="Transcribe each 30 seconds without the text before them."
)
@threads_option
@offline_option
@click.option("--quiet", "-q", is_flag=True, help="Show no progress and no summary.")
@click.pass_context
def command(
    ctx: click.Context,
    files: tuple[str, ...],
    mic: bool,
    device: str | None,
    model: str,
    language: str | None,
    task: str,
    form: str,
    words: bool,
    output: Path | None,
    prompt: str | None,
    hotwords: str | None,
    beam_size: int | None,
    batch_size: int | None,
    split: bool,
    no_vad: bool,
    no_context: bool,
    threads: int | None,
    offline: bool,
    quiet: bool,
) -> None:
    """Transcribe each FILE: WAV, FLAC, OGG, MP3 and others, of any length.

    M4A, AAC, MP4, WebM, MKV, WMA and others need the package av or the program ffmpeg.

    '-' is standard input: a file of these kinds, or raw samples (16 kHz, 16 bits, mono). The model
    is fetched the first time. Ctrl-C ends it and keeps what was transcribed; in a pipe it ends the
    audio. A FILE that cannot be read is reported and the others go on; the exit status is then 1.

    With --mic what is being said is shown at once, and written when it is certain.
    """
    options = {
        "language": language,
        "task": task,
        "word_timestamps": words,
        "initial_prompt": prompt and whole_characters(prompt),
        "hotwords": hotwords and whole_characters(hotwords),
        "beam_size": beam_size,
        "batch_size": batch_size,
        "vad": not no_vad,
        "condition_on_previous_text": not no_context,
    }
    if mic:
        if files or output is not None:
            raise click.UsageError("--mic takes no FILE and writes to stdout, not into a folder.")
        if split:
            raise click.UsageError("--split-channels is for FILEs; --mic is one channel.")
        if batch_size is not None:
            raise click.UsageError("--batch-size is for FILEs; --mic has one passage at a time.")
        _listen(device, model, threads, offline, form, options, quiet)
        return
    if device is not None:
        raise click.UsageError("--device is for --mic.")
    if no_vad and (batch_size or 1) > 1:
        raise click.UsageError("--batch-size cuts a FILE where nobody speaks; leave out --no-vad.")
    if not files:
        raise click.UsageError("Missing argument 'FILE...'; --mic listens to a microphone.")
    if split and STDIN in files:
        raise click.UsageError("--split-channels reads a FILE several times; '-' is read once.")
    jobs = _jobs(files, form, output, split)
    readable = [job for job in jobs if _is_readable(job.file)]
    if not readable:
        ctx.exit(1)
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
    folder = _find_model(model, offline)
    titled = len(jobs) > 1 and form == "text" and output is None
    status = _transcribe(folder, threads, readable, options, titled, quiet)
    ctx.exit(status or int(len(readable) < len(jobs)))


def _transcribe(
    folder: Path,
    threads: int | None,
    jobs: Sequence[Job],
    options: dict[str, Any],
    titled: bool,
    quiet: bool,
) -> int:
    """Transcribe one after another; 0, 1 where one could not be, or that of Ctrl-C."""
    from cactus.cli.interrupt import stop_at_interrupt
    from cactus.cli.process import INTERRUPTED
    from cactus.cli.standard_input import StandardInput
    from cactus.errors import InvalidAudio
    from cactus.model import Model

    stdin, failed = StandardInput(), False

    def stop() -> None:
        # What somebody records into a pipe has ended then, and is still to be written down.
        if stdin.active:
            stdin.cut()
        else:
            loaded.stop()

    with (
        Model(folder, threads=threads, preload=True) as loaded,
        stop_at_interrupt(stop) as interrupted,
    ):
        for number, job in enumerate(jobs):
            if titled:
                click.echo(f"{chr(10) if number else ''}==> {printable(job.file)} <==")
            try:
                job.run(loaded, options, stdin, interrupted, quiet)
            except BrokenPipeError:
                raise
            except (InvalidAudio, OSError) as error:
                if not interrupted():
                    complain(message_of(error))
                failed = True
            if interrupted():
                return INTERRUPTED
    return int(failed)


def _listen(
    device: str | None,
    model: str,
    threads: int | None,
    offline: bool,
    form: str,
    options: dict[str, Any],
    quiet: bool,
) -> None:
    from cactus.audio.microphone import Microphone
    from cactus.cli.interrupt import stop_at_interrupt
    from cactus.cli.listen import listen
    from cactus.model import Model

    number = int(device) if device is not None and device.isdecimal() else device
    microphone = Microphone(number)  # before a model is fetched for nothing
    with (
        Model(_find_model(model, offline), threads=threads, preload=True) as loaded,
        stop_at_interrupt(microphone.stop),
    ):
        listen(loaded, microphone, form, options, quiet=quiet)


def _find_model(name: str, offline: bool) -> Path:
    """The folder of a speech model."""
    from cactus.cli.models import find_or_fetch

    return find_or_fetch(name, offline=offline, ability="transcribe")


def _jobs(files: Sequence[str], form: str, output: Path | None, split: bool) -> list[Job]:
    """Raises UsageError for what could only end badly, before any work is done."""
    if files.count(STDIN) > 1:
        raise click.UsageError("'-' is standard input, which can be read once.")
    if STDIN in files and sys.stdin.isatty():
        raise click.UsageError("'-' is standard input, which is a terminal; pipe audio into it.")
    if output is None and len(files) > 1 and form not in ("text", "json"):
        raise click.UsageError(f"Several files cannot be one {form}; give --output DIR.")
    jobs = [Job(file, form, output, split) for file in files]
    check_targets((job.file, job.target) for job in jobs if job.target is not None)
    return jobs


def _is_readable(file: str) -> bool:
    """Whether it begins as audio; if not, says why."""
    from cactus.audio.decode import open_audio
    from cactus.errors import InvalidAudio

    if file != STDIN:
        try:
            open_audio(file).close()
        except InvalidAudio as error:
            complain(message_of(error))
            return False
    return True
