"""Long recordings: they stream, end with their client, leave others alone, and are limited."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
import soundfile

from tests.server.openai.clients import client
from tests.server.running import Running, serving, until


@pytest.fixture(scope="module")
def hour(voices: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An hour of speech, which takes far longer to write down than a test waits."""
    speech, rate = soundfile.read(voices / "two_cities.wav", dtype="int16")
    file = tmp_path_factory.mktemp("long") / "hour.wav"
    count = 3600 * rate // len(speech) + 1
    soundfile.write(file, np.tile(speech, count), rate, subtype="PCM_16")
    return file


@pytest.fixture(scope="module")
def running(whisper_base_int8: Path, tiny_model: Path) -> Iterator[Running]:
    with serving(tiny_model, whisper_base_int8, max_upload=1 << 30) as found:
        yield found


def nobody_uses(running: Running) -> bool:
    return all(each.users == 0 for each in running.service.served)


@contextmanager
def listening(running: Running, file: Path) -> Iterator[None]:
    """While a client reads a stream of the recording, of which the first text has come."""
    with (
        file.open("rb") as opened,
        running.client() as http,
        http.stream(
            "POST",
            "/v1/audio/transcriptions",
            data={"stream": "true"},
            files={"file": opened},
        ) as reply,
    ):
        lines = reply.iter_lines()
        assert json.loads(next(lines).removeprefix("data: "))["delta"]
        yield


@pytest.mark.fault("F47")
def test_others_go_on_beside_a_long_recording_which_ends_with_its_client(
    running: Running, hour: Path, voices: Path
) -> None:
    api = client(running.url)
    with listening(running, hour):
        said = api.chat.completions.create(
            model="tiny", messages=[{"role": "user", "content": "Hello"}], max_tokens=4
        )
        assert said.choices[0].finish_reason in ("stop", "length")
        # And another recording on the same model, between two windows of the long one.
        with (voices / "cards_003.wav").open("rb") as file:
            assert api.audio.transcriptions.create(file=file, model="whisper-base-int8").text
        assert not nobody_uses(running)
    until(lambda: nobody_uses(running))


def test_a_client_that_goes_before_the_first_word_ends_it_too(running: Running, hour: Path) -> None:
    with hour.open("rb") as file, pytest.raises(httpx.ReadTimeout):
        httpx.post(
            f"{running.url}/v1/audio/transcriptions",
            files={"file": file},
            timeout=httpx.Timeout(60, read=3),
        )
    until(lambda: nobody_uses(running))


@pytest.mark.fault("F47")
@pytest.mark.parametrize("declared", [True, False])
def test_an_upload_over_the_limit_is_refused_before_it_is_read(
    whisper_base_int8: Path, declared: bool
) -> None:
    with serving(whisper_base_int8, max_upload=100_000) as running:
        place = urlsplit(running.url)
        assert place.hostname is not None and place.port is not None
        size = "Content-Length: 1000000000" if declared else "Transfer-Encoding: chunked"
        head = (
            f"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: {place.netloc}\r\n"
            f"Content-Type: multipart/form-data; boundary=cut\r\n{size}\r\n\r\n"
        )
        part = b'--cut\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
        data = part + bytes(200_000)
        if not declared:
            data = b"%x\r\n" % len(data) + data + b"\r\n"  # and no end
        with socket.create_connection((place.hostname, place.port), timeout=30) as sent:
            sent.sendall(head.encode())
            sent.sendall(data)
            assert sent.recv(100).startswith(b"HTTP/1.1 413")
