"""``/v1/audio``: real recordings, by OpenAI's client and by hand."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile

from cactus import Model, Transcription
from tests.server.openai.clients import client
from tests.server.openai.spec import check
from tests.server.running import Running, serving, value_of

NAME = "whisper-base-int8"
SHORT, LONGER = "cards_003.wav", "librivox_0880.wav"
Transcribed = Callable[..., Transcription]


@pytest.fixture(scope="module")
def running(whisper_base_int8: Path, tiny_model: Path) -> Iterator[Running]:
    with serving(tiny_model, whisper_base_int8) as found:
        yield found


@pytest.fixture(scope="module")
def transcribed(whisper_base_int8: Path, voices: Path) -> Iterator[Transcribed]:
    """What the model itself says of a recording; the same is asked once."""
    known: dict[str, Transcription] = {}
    with Model(whisper_base_int8, threads=2) as model:

        def ask(file: str, **options: Any) -> Transcription:
            key = json.dumps([file, options])
            if key not in known:
                known[key] = model.transcribe(voices / file, **options)
            return known[key]

        yield ask


def post(
    running: Running, file: Any, path: str = "transcriptions", **fields: Any
) -> httpx.Response:
    files = {"file": ("speech.wav", file)} if file is not None else {"none": b""}
    return httpx.post(f"{running.url}/v1/audio/{path}", data=fields, files=files, timeout=300)


def wav(samples: np.ndarray, rate: int = 16_000) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV", subtype="PCM_16")
    return file.getvalue()


def test_json_has_the_text_and_its_duration(
    running: Running, transcribed: Transcribed, voices: Path
) -> None:
    expected = transcribed(LONGER)
    with (voices / LONGER).open("rb") as file:
        made = client(running.url).audio.transcriptions.create(file=file, model=NAME)
    assert made.text == expected.text
    assert "young man" in made.text
    assert made.usage is not None and made.usage.type == "duration"
    assert made.usage.seconds == expected.duration
    raw = post(running, (voices / LONGER).read_bytes(), model=NAME)
    check("CreateTranscriptionResponseJson", raw.json())
    assert set(raw.json()) == {"text", "usage"}


@pytest.mark.parametrize("form", ["text", "srt", "vtt"])
def test_other_formats_are_texts(
    running: Running, transcribed: Transcribed, voices: Path, form: Any
) -> None:
    expected = transcribed(LONGER)
    with (voices / LONGER).open("rb") as file:
        made = client(running.url).audio.transcriptions.create(
            file=file, model=NAME, response_format=form
        )
    want = {"text": expected.text + "\n", "srt": expected.to_srt(), "vtt": expected.to_vtt()}
    assert made == want[form]


def test_subtitles_of_words(running: Running, transcribed: Transcribed, voices: Path) -> None:
    fields = {"response_format": "srt", "timestamp_granularities[]": "word"}
    reply = post(running, (voices / LONGER).read_bytes(), model=NAME, **fields)
    assert reply.text == transcribed(LONGER, word_timestamps=True).to_srt()
    assert reply.headers["content-type"].startswith("text/plain")


def test_verbose_json_has_segments_and_words(
    running: Running, transcribed: Transcribed, voices: Path
) -> None:
    expected = json.loads(transcribed(LONGER, word_timestamps=True).to_verbose_json())
    with (voices / LONGER).open("rb") as file:
        made = client(running.url).audio.transcriptions.create(
            file=file,
            model=NAME,
            response_format="verbose_json",
            timestamp_granularities=["word", "segment"],
        )
    found = made.to_dict()
    assert found.pop("task") == "transcribe"
    assert found == expected
    assert found["language"] == "english" and len(found["words"]) > 5


@pytest.mark.parametrize(
    ("asked", "there"), [(None, {"segments"}), ("segment", {"segments"}), ("word", {"words"})]
)
def test_verbose_json_has_what_was_asked_for(
    running: Running, voices: Path, asked: str | None, there: set[str]
) -> None:
    fields = {} if asked is None else {"timestamp_granularities[]": asked}
    fields |= {"model": NAME, "response_format": "verbose_json"}
    reply = post(running, (voices / SHORT).read_bytes(), **fields).json()
    check("CreateTranscriptionResponseVerboseJson", reply)
    assert set(reply) & {"segments", "words"} == there


def events_of(reply: httpx.Response) -> list[Any]:
    assert reply.headers["content-type"].startswith("text/event-stream")
    return [json.loads(each.removeprefix("data: ")) for each in reply.text.split("\n\n") if each]


def test_seconds_of_audio_are_counted(running: Running, voices: Path) -> None:
    def counted() -> float:
        line = f'cactus:audio_seconds_total{{model_name="{NAME}"}}'
        return value_of(running.ask("GET", "/metrics").text, line)

    recording, before = (voices / SHORT).read_bytes(), counted()
    seconds = post(running, recording, model=NAME).json()["usage"]["seconds"]
    assert counted() == pytest.approx(before + seconds) and seconds > 1
    assert events_of(post(running, recording, model=NAME, stream="true"))
    assert counted() == pytest.approx(before + 2 * seconds)
    assert post(running, b"not a recording", model=NAME).status_code == 400
    assert counted() == pytest.approx(before + 2 * seconds)


def test_a_stream_has_the_text_in_pieces(
    running: Running, transcribed: Transcribed, voices: Path
) -> None:
    expected = transcribed(LONGER)
    with (voices / LONGER).open("rb") as file:
        stream = client(running.url).audio.transcriptions.create(file=file, model=NAME, stream=True)
        events = list(stream)
    *deltas, done = events
    assert {each.type for each in deltas} == {"transcript.text.delta"}
    assert done.type == "transcript.text.done" and done.text == expected.text
    assert "".join(each.delta for each in deltas) == expected.text
    assert done.usage.output_tokens == expected.metrics.decode_tokens
    raw = post(running, (voices / LONGER).read_bytes(), model=NAME, stream="true")
    for event in events_of(raw):
        check("CreateTranscriptionResponseStreamEvent", event)


def test_a_verbose_stream_has_segments_with_their_times(
    running: Running, transcribed: Transcribed, voices: Path
) -> None:
    expected = transcribed(LONGER, word_timestamps=True)
    fields = {"response_format": "verbose_json", "timestamp_granularities[]": "word"}
    reply = post(running, (voices / LONGER).read_bytes(), model=NAME, stream="true", **fields)
    events = events_of(reply)
    for event in events:
        check("CreateTranscriptionResponseStreamEvent", event)
    segments = [each for each in events if each["type"] == "transcript.text.segment"]
    assert [(each["start"], each["end"], each["text"]) for each in segments] == [
        (each.start, each.end, each.text) for each in expected.segments
    ]
    assert len(segments[0]["words"]) == len(expected.segments[0].words or ())


def test_log_probabilities_of_the_tokens(
    running: Running, transcribed: Transcribed, voices: Path
) -> None:
    expected = [
        (each.text, each.logprob)
        for segment in transcribed(SHORT, logprobs=True).segments
        for each in segment.logprobs or ()
    ]
    with (voices / SHORT).open("rb") as file:
        made = client(running.url).audio.transcriptions.create(
            file=file, model=NAME, include=["logprobs"]
        )
    assert made.logprobs
    assert [(each.token, each.logprob) for each in made.logprobs] == expected
    spelled = b"".join(bytes(map(int, each.bytes or ())) for each in made.logprobs)
    assert spelled.decode().strip() == made.text
    assert all(each.logprob is not None and each.logprob <= 0 for each in made.logprobs)
    fields = {"include[]": "logprobs", "stream": "true", "model": NAME}
    events = events_of(post(running, (voices / SHORT).read_bytes(), **fields))
    for event in events:
        check("CreateTranscriptionResponseStreamEvent", event)
    assert [(each["token"], each["logprob"]) for each in events[-1]["logprobs"]] == expected
    pieces = [each for event in events[:-1] for each in event["logprobs"]]
    assert pieces == events[-1]["logprobs"]


def test_options_reach_the_model(running: Running, transcribed: Transcribed, voices: Path) -> None:
    raw = (voices / SHORT).read_bytes()
    reply = post(
        running, raw, model=NAME, language="German", prompt="Karten:", temperature="0.4",
        **{"keywords[]": ["Kreuz", "Sieben"]},
    )  # fmt: skip
    expected = transcribed(
        SHORT, language="de", initial_prompt="Karten:", temperature=0.4, hotwords="Kreuz, Sieben"
    )
    assert reply.json()["text"] == expected.text
    assert reply.json()["text"] != transcribed(SHORT).text


def test_a_recording_is_cut_in_its_pauses(
    running: Running, transcribed: Transcribed, voices: Path
) -> None:
    raw = (voices / "cards_005.wav").read_bytes()
    auto = post(running, raw, model=NAME, chunking_strategy="auto").json()
    assert auto["text"] == transcribed("cards_005.wav", batch_size=8).text
    with (voices / "cards_005.wav").open("rb") as file:
        made = client(running.url).audio.transcriptions.create(
            file=file,
            model=NAME,
            chunking_strategy={
                "type": "server_vad",
                "threshold": 0.6,
                "prefix_padding_ms": 100,
                "silence_duration_ms": 300,
            },
        )
    detector = {"threshold": 0.6, "speech_pad_ms": 100, "min_silence_duration_ms": 300}
    expected = transcribed("cards_005.wav", batch_size=8, vad_parameters=detector)
    assert made.text == expected.text
    as_json = json.dumps({"type": "server_vad", "threshold": 0.6, "prefix_padding_ms": 100,
                          "silence_duration_ms": 300})  # fmt: skip
    assert post(running, raw, model=NAME, chunking_strategy=as_json).json()["text"] == made.text


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # of OpenAI's client
def test_translations(running: Running, transcribed: Transcribed, voices: Path) -> None:
    expected = transcribed(SHORT, task="translate")
    api = client(running.url).audio.translations
    with (voices / SHORT).open("rb") as file:
        assert api.create(file=file, model=NAME).text == expected.text
        file.seek(0)
        verbose = api.create(file=file, model=NAME, response_format="verbose_json")
    assert verbose.language == "english"
    assert verbose.segments is not None
    assert [each.text for each in verbose.segments] == [each.text for each in expected.segments]
    raw = post(running, (voices / SHORT).read_bytes(), "translations", response_format="srt")
    assert raw.text == expected.to_srt()
    reply = post(running, (voices / SHORT).read_bytes(), "translations")
    check("CreateTranslationResponseJson", reply.json())


def test_silence_says_nothing(running: Running) -> None:
    silence = wav(np.zeros(80_000, np.float32))
    assert post(running, silence).json() == {
        "text": "",
        "usage": {"type": "duration", "seconds": 5.0},
    }
    assert post(running, silence, response_format="srt").text == ""
    assert post(running, silence, response_format="vtt").text == "WEBVTT\n"
    (done,) = events_of(post(running, silence, stream="true"))
    assert (done["type"], done["text"]) == ("transcript.text.done", "")


HEADER_ONLY = wav(np.zeros(0, np.float32))


@pytest.mark.fault("F45")
@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "invalid_audio"),
        (b"This is a text, whatever its name says.", "unsupported_media"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01" + bytes(100), "unsupported_media"),
        (b"RIFF\x00\x00", None),
    ],
)
@pytest.mark.parametrize("stream", ["false", "true"])
def test_what_is_no_recording_is_refused(
    running: Running, raw: bytes, code: str | None, stream: str
) -> None:
    reply = post(running, raw, stream=stream)
    assert reply.status_code == 400
    error = reply.json()["error"]
    assert error["param"] == "file"
    if code is not None:
        assert error["code"] == code, error


@pytest.mark.fault("F43")
def test_a_header_without_samples_is_silence_or_refused(running: Running) -> None:
    reply = post(running, HEADER_ONLY)
    assert reply.status_code in (200, 400)
    assert reply.status_code == 400 or reply.json()["text"] == ""


@pytest.mark.fault("F42")
def test_a_path_of_the_server_is_never_read(running: Running, voices: Path) -> None:
    for field in ({"file": str(voices / SHORT)}, {"file": f"file://{voices / SHORT}"}):
        reply = httpx.post(f"{running.url}/v1/audio/transcriptions", data=field, files={"x": b""})
        assert reply.status_code == 400
        error = reply.json()["error"]
        assert error["param"] == "file" and "not read" in error["message"]


@pytest.mark.fault("F48")
@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"response_format": "diarized_json"}, "response_format"),
        ({"response_format": "docx"}, "response_format"),
        ({"language": "xx"}, "language"),
        ({"temperature": "1.5"}, "temperature"),
        ({"temperature": "warm"}, "temperature"),
        ({"stream": "maybe"}, "stream"),
        ({"stream": "true", "response_format": "srt"}, "response_format"),
        ({"include[]": "logprobs", "response_format": "verbose_json"}, "include"),
        ({"include[]": "everything"}, "include[0]"),
        ({"timestamp_granularities[]": "word"}, "timestamp_granularities"),
        ({"timestamp_granularities[]": "letter", "response_format": "srt"},
         "timestamp_granularities[0]"),
        ({"chunking_strategy": "none"}, "chunking_strategy"),
        ({"chunking_strategy[type]": "server_vad", "chunking_strategy[threshold]": "2"},
         "chunking_strategy.threshold"),
        ({"known_speaker_names[]": "Ada"}, "known_speaker_names"),
        ({"languages[]": ["en", "de"]}, "languages"),
        ({"language": ["en", "de"]}, "language"),
        ({"model": "tiny"}, "model"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_refused_by_its_field(
    running: Running, voices: Path, fields: dict[str, Any], param: str
) -> None:
    reply = post(running, (voices / SHORT).read_bytes(), **fields)
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == param, reply.json()


def test_a_form_without_a_recording_or_with_two_is_refused(running: Running, voices: Path) -> None:
    assert post(running, None).json()["error"]["param"] == "file"
    raw = (voices / SHORT).read_bytes()
    two = [("file", ("a.wav", raw)), ("file", ("b.wav", raw))]
    reply = httpx.post(f"{running.url}/v1/audio/transcriptions", files=two)
    assert reply.status_code == 400
    assert "2 of them" in reply.json()["error"]["message"]


def test_a_model_that_is_not_there_is_not_found(running: Running, voices: Path) -> None:
    reply = post(running, (voices / SHORT).read_bytes(), model="whisper-1")
    assert reply.status_code == 404


def test_eight_at_once_on_one_model_are_each_as_alone(
    running: Running, transcribed: Transcribed, voices: Path
) -> None:
    files = ["cards_001.wav", "cards_002.wav", SHORT, "cards_004.wav"] * 2

    def ask(file: str) -> str:
        return str(post(running, (voices / file).read_bytes(), model=NAME).json()["text"])

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(ask, files))
    assert found == [transcribed(file).text for file in files]
