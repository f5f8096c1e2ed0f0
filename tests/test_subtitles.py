"""Subtitles are valid whatever is said and whenever; small readers of our own judge."""

from __future__ import annotations

import html
import json
import math
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cactus.subtitles import FORMATS, TimedText, Writer
from cactus.types import Metrics, Segment, Transcription, Word

Cues = list[tuple[int, int, list[str]]]


def segment(start: float, end: float, text: str) -> Segment:
    return Segment(0, start, end, text, (), 0.0, -0.5, 1.0, 0.0)


def worded(*pieces: tuple[float, float, str]) -> Segment:
    """A segment of words."""
    words = tuple(Word(start, end, text, 0.5) for start, end, text in pieces)
    text = "".join(word.word for word in words)
    return Segment(0, 0.0, 1.0, text, (), 0.0, -0.5, 1.0, 0.0, words)


def result(segments: Iterable[Segment]) -> Transcription:
    return Transcription(tuple(segments), "en", 1.0, 9.0, "stop", 0.5, ("odd",), Metrics())


def written(form: str, segments: list[Segment]) -> str:
    writer = FORMATS[form][1]()
    text = writer.begin() + "".join(writer.add(each) for each in segments)
    return text + writer.finish("a.wav", result(segments))


def milliseconds(text: str, shape: str) -> int:
    match = re.fullmatch(shape, text)
    assert match, text
    hours, minutes, seconds, thousandths = (int(each or 0) for each in match.groups())
    assert minutes < 60 and seconds < 60
    return ((hours * 60 + minutes) * 60 + seconds) * 1000 + thousandths


def read_cues(lines: list[str], shape: str) -> Cues:
    """Blocks of a line of times and lines of text, each ended by one empty line."""
    cues: Cues = []
    lines = list(lines)
    while lines:
        start, arrow, end = lines.pop(0).partition(" --> ")
        assert arrow
        text = []
        while lines[0] != "":
            text.append(lines.pop(0))
        lines.pop(0)
        assert text and all(each.strip() == each and "-->" not in each for each in text)
        cues.append((milliseconds(start, shape), milliseconds(end, shape), text))
    return cues


def joined(text: str) -> str:
    """Text without the joiners that keep players from taking it for markup."""
    return re.sub("([<{])\u2060", r"\1", text)


def read_srt(text: str) -> Cues:
    assert text == "" or text.endswith("\n\n")
    assert not re.search(r"</?[a-z]|\{\\", text)  # players' markup
    lines = joined(text).split("\n")[:-1]
    numbers = []
    for index, line in enumerate(lines):
        if index == 0 or lines[index - 1] == "":
            numbers.append(line)
    assert numbers == [str(number + 1) for number in range(len(numbers))]
    kept = [line for i, line in enumerate(lines) if i and lines[i - 1] != ""]
    return read_cues(kept, r"(\d{2,}):(\d\d):(\d\d),(\d{3})")


def read_vtt(text: str) -> Cues:
    head, *lines = text.split("\n")
    assert head == "WEBVTT" and lines[0] == "" and lines.pop() == ""
    cues = read_cues([*lines[1:], ""] if lines[1:] else [], r"(?:(\d{2,}):)?(\d\d):(\d\d)\.(\d{3})")
    for _, _, said in cues:
        assert not any("<" in line for line in said)
        assert not any(re.search(r"&(?!amp;|lt;|gt;)", line) for line in said)
    return [(start, end, [html.unescape(line) for line in said]) for start, end, said in cues]


def read_tsv(text: str) -> Cues:
    head, *rows = text.removesuffix("\n").split("\n")
    assert head == "start\tend\ttext"
    return [(int(a), int(b), [said]) for a, b, said in (row.split("\t") for row in rows)]


def words(text: str) -> list[str]:
    """What can be seen of a text, without control characters other than the ends of lines."""
    seen = " ".join(text.splitlines()).replace("\t", " ")
    return "".join(c for c in seen if not (ord(c) < 32 or 127 <= ord(c) < 160)).split()


texts = st.lists(
    st.one_of(
        st.text(max_size=8),
        st.sampled_from(
            [
                "-->",
                "--->",
                "- ->",
                "\n\n",
                "\r",
                "\x85",
                "\u2028",
                "\t",
                "1",
                "<b>",
                "</i>",
                "{\\an8}",
                "&lt;",
                " ",
                "\0",
            ]
        ),
    ),
    max_size=6,
).map("".join)
times = st.one_of(st.floats(-5, 20), st.floats(0, 1e7), st.sampled_from([math.nan, math.inf, 4e5]))
whole = st.builds(segment, times, times, texts)
split = st.lists(st.tuples(times, times, texts), max_size=12).map(lambda each: worded(*each))
segments = st.lists(st.one_of(whole, split), max_size=6)


@pytest.mark.fault("F48")
@given(segments)
@example([segment(5, 4, "a"), segment(1, 2, "b"), segment(math.nan, math.inf, "c")])
@example(
    [segment(0, 1, "--->"), segment(1, 2, "\x01"), segment(2, 3, "x\n\n2\n00:00 --> 00:01\ny")]
)
@pytest.mark.parametrize(
    ("form", "read"), [("srt", read_srt), ("vtt", read_vtt), ("tsv", read_tsv)]
)
def test_subtitles_are_read_back(
    form: str, read: Callable[[str], Cues], segments: list[Segment]
) -> None:
    cues = read(written(form, segments))
    said = [each for each in (words(one.text) for one in segments) if each]
    if form == "srt":  # which has no way to write an arrow
        said = [joined(re.sub("-+->", "->", " ".join(each))).split() for each in said]
    got = [" ".join(lines).split() for _, _, lines in cues]
    if any(one.words is not None for one in segments):  # where lines end is another matter
        got, said = ["".join(map("".join, each)).replace("-", "") for each in (got, said)]
    assert got == said
    now, least = 0, 1 if form == "tsv" else 500
    for start, end, _ in cues:
        assert now <= start <= end - least
        now = end


@pytest.mark.fault("F48")
@given(st.lists(whole, max_size=6))
def test_times_in_order_are_not_changed(segments: list[Segment]) -> None:
    ordered = [segment(2 * i + 0.125, 2 * i + 1.25, each.text) for i, each in enumerate(segments)]
    expected = [
        (2000 * i + 125, 2000 * i + 1250) for i, each in enumerate(ordered) if words(each.text)
    ]
    assert [cue[:2] for cue in read_srt(written("srt", ordered))] == expected


@given(st.lists(st.integers(1, 50), max_size=60), st.integers(1, 30), st.sampled_from("a字"))
def test_subtitles_of_words_are_short(lengths: list[int], tenths: int, letter: str) -> None:
    """Words of that many letters, each so many tenths of a second long."""
    words = [
        (i * tenths / 10, (i + 1) * tenths / 10, f" {letter * length}")
        for i, length in enumerate(lengths)
    ]
    wide = 2 if letter == "字" else 1
    for form, read in (("srt", read_srt), ("vtt", read_vtt)):
        cues = read(written(form, [worded(*words)]))
        said = [word for _, _, lines in cues for line in lines for word in line.split()]
        assert said == [letter * length for length in lengths]
        for start, end, lines in cues:
            assert len(lines) <= 2 and end - start <= 7000
            for line in lines:
                columns = wide * len(line.replace(" ", "")) + line.count(" ")
                assert columns <= 42 or " " not in line


def test_a_subtitle_of_words_ends_with_a_sentence_and_has_the_times_of_its_words() -> None:
    segment = worded(
        *(
            (0.5, 0.8, " No."),
            (1, 1.4, " It"),
            (1.4, 2, " was."),
            (3, 3.5, " We"),
            (4, 4.5, " had."),
        ),
        *((5, 5.5, " Everything"), (5.5, 6, " that"), (6, 6.5, " was"), (6.5, 7, " before")),
        *((7, 7.5, " us"), (7.5, 8, ","), (8, 8.5, " and"), (8.5, 9, " more.")),
    )
    assert written("srt", [segment]) == (
        "1\n00:00:00,500 --> 00:00:02,000\nNo. It was.\n\n"
        "2\n00:00:03,000 --> 00:00:04,500\nWe had.\n\n"
        "3\n00:00:05,000 --> 00:00:09,000\nEverything that was before us, and more.\n\n"
    )
    # Elsewhere a segment stays whole.
    assert written("text", [segment]).count("\n") == 1
    assert written("tsv", [segment]).splitlines()[1].startswith("0\t1000\tNo. It")
    words = json.loads(written("json", [segment]))["segments"][0]["words"]
    assert words[1] == {"word": " It", "start": 1, "end": 1.4, "probability": 0.5}


def test_a_hundred_hours() -> None:
    long = [segment(400_000, 400_001.5, "late")]
    assert "111:06:40,000 --> 111:06:41,500" in written("srt", long)
    assert "111:06:40.000 --> 111:06:41.500" in written("vtt", long)


def test_what_each_format_looks_like() -> None:
    two = [segment(0, 1.5, " One & two."), segment(3661, 3662.0004, " <three>\tfour")]
    assert written("text", two) == "One & two.\n<three>\tfour\n"
    assert written("srt", two) == (
        "1\n00:00:00,000 --> 00:00:01,500\nOne & two.\n\n"
        "2\n01:01:01,000 --> 01:01:02,000\n<\u2060three>\tfour\n\n"
    )
    assert written("vtt", two) == (
        "WEBVTT\n\n00:00.000 --> 00:01.500\nOne &amp; two.\n"
        "\n01:01:01.000 --> 01:01:02.000\n&lt;three&gt;\tfour\n"
    )
    assert written("tsv", two) == (
        "start\tend\ttext\n0\t1500\tOne & two.\n3661000\t3662000\t<three> four\n"
    )
    timed: Writer = TimedText()
    assert timed.add(two[0]) == "[00:00.000 --> 00:01.500]  One & two.\n"
    assert timed.add(two[1]) == "[01:01:01.000 --> 01:01:02.000]  <three>\tfour\n"


def test_json_is_one_line_with_all_there_is() -> None:
    text = written("json", [segment(0, 1.5, ' Größe "x"\n'), segment(1, 2, "y")])
    assert text.count("\n") == 1 and text.endswith("\n") and "Größe" in text
    row = json.loads(text)
    assert row["text"] == 'Größe "x"\ny'
    assert (row["file"], row["language"], row["notes"]) == ("a.wav", "en", ["odd"])
    assert "words" not in row["segments"][0]
    assert row["segments"][0]["text"] == ' Größe "x"\n' and row["segments"][1]["start"] == 1


@pytest.mark.fault("F48")
def test_a_short_subtitle_is_shown_long_enough_to_be_read_and_none_overlap() -> None:
    said = [segment(1, 1.001, "a"), segment(1.2, 1.4, "b"), segment(5, 5, "c"), segment(9, 10, "d")]
    assert [cue[:2] for cue in read_srt(written("srt", said))] == [
        (1000, 1500), (1500, 2000), (5000, 5500), (9000, 10_000),
    ]  # fmt: skip
    assert read_tsv(written("tsv", said))[0][:2] == (1000, 1001)


def test_a_player_shows_markup_as_text(tmp_path: Path) -> None:
    """ffmpeg's reader, which several players share, turns what it knows into styles."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("needs the program ffmpeg")
    text = r"<b>bold</b> {\an8}top <font color=red>1 < 2 & {3}"
    for form in ("srt", "vtt"):
        path = tmp_path / f"a.{form}"
        path.write_text(written(form, [segment(1, 2, text)]), encoding="utf-8")
        shown = subprocess.run(
            ["ffmpeg", "-v", "error", "-i", str(path), "-f", "ass", "-"],
            capture_output=True, check=True, text=True,
        ).stdout  # fmt: skip
        line = shown.rstrip().splitlines()[-1].split(",", 9)[9]
        assert (
            line.replace("\u2060", "").replace("\\{", "{").replace("\\}", "}").replace("{}", "")
            == text
        )


def test_a_transcription_writes_itself_as_the_command_does() -> None:
    whole = result([segment(0, 1.5, " One & two."), worded((2, 2.5, " Three"), (2.5, 3, "."))])
    for form in ("text", "srt", "vtt", "tsv", "json", "verbose_json"):
        text = getattr(whole, f"to_{form}")()
        of_file = written(form, list(whole.segments))
        assert text == of_file.replace('"file": "a.wav", ', "")
    assert whole.to_text() == "One & two.\nThree.\n"
    assert json.loads(whole.to_json())["segments"][1]["words"][0]["word"] == " Three"


def test_verbose_json_has_the_fields_of_openai() -> None:
    row = json.loads(result([segment(1.5, 2, " One."), segment(2, 3, " Two.")]).to_verbose_json())
    assert list(row) == ["language", "duration", "text", "segments", "usage"]
    assert (row["language"], row["duration"], row["text"]) == ("english", 9.0, "One. Two.")
    assert row["usage"] == {"type": "duration", "seconds": 9.0}
    assert row["segments"][0] == {
        "id": 0, "seek": 150, "start": 1.5, "end": 2, "text": " One.", "tokens": [],
        "temperature": 0.0, "avg_logprob": -0.5, "compression_ratio": 1.0, "no_speech_prob": 0.0,
    }  # fmt: skip
    words = json.loads(result([worded((2, 2.5, " Three"), (2.5, 3, "."))]).to_verbose_json())
    assert words["words"][0] == {"word": "Three", "start": 2, "end": 2.5}
    nothing = Transcription((), None, 0.0, 0.0, "stop", 0.0, (), Metrics())
    assert json.loads(nothing.to_verbose_json())["language"] == "unknown"
