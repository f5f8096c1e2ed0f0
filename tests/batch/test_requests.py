"""OpenAI's batch files: each line is answered as the server answers it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cactus.batch import run
from cactus.errors import InvalidRequest
from tests.server.running import serving

from .conftest import rows_of

CHANGES = ("id", "created")
"""What of a reply another one has otherwise."""


def asked(custom_id: Any, body: Any, url: str = "/v1/chat/completions", **more: Any) -> Any:
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": body, **more}


def said(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}], **more}


REQUESTS = [
    asked("a", said("Hi", max_tokens=5)),
    asked("b", said("Hi", max_tokens=3, temperature=0.7, seed=4, logprobs=True)),
    asked("c", {"model": "tiny", "prompt": "Once", "max_tokens": 4}, "/v1/completions"),
    asked("d", {"model": "tiny", "input": ["one", "two"]}, "/v1/embeddings"),
    asked("e", said("Hi", max_tokens=-1)),
    asked("f", {**said("Hi"), "model": "nobody"}),
]
REFUSED = [
    ({"custom_id": "g"}, "method must be 'POST', got None"),
    (asked(None, said("Hi")), "custom_id must be a text, got None"),
    (asked("h", said("Hi"), "/v1/models"), "url must be /v1/chat/completions or"),
    (asked("i", "Hi"), "body must be an object, got 'Hi'"),
    (asked("j", said("Hi", stream=True)), "body.stream must be false"),
]


def same(reply: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in reply.items() if name not in CHANGES}
    if "usage" in kept:  # what was in the cache already
        kept["usage"].pop("prompt_tokens_details", None)
    return kept


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "requests.jsonl"
    lines = [*REQUESTS, *(row for row, _ in REFUSED)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + "not json\n")
    return path


JOB = {"job": "openai", "models": ["gpt-4o-mini"]}


def lines_of(path: Path) -> dict[str, dict[str, Any]]:
    rows = rows_of(path)
    assert sorted(row["id"] for row in rows) == [f"batch_req_{n:012}" for n in range(len(rows))]
    return {row["id"]: row for row in rows}


@pytest.mark.parametrize("workers", [1, 2])
def test_each_line_is_what_the_server_answers(
    workers: int, tiny_model: Path, source: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.jsonl"
    report = run(JOB, source, output, model=tiny_model, threads=1, workers=workers)
    assert (report.rows, report.errors) == (12, 8)
    found = list(dict(sorted(lines_of(output).items())).values())
    assert all(list(row) == ["id", "custom_id", "response", "error"] for row in found)
    with serving(tiny_model, aliases={"gpt-4o-mini": "tiny"}, options={"threads": 1}) as server:
        for request, row in zip(REQUESTS, found, strict=False):
            reply = server.ask("POST", request["url"], json=request["body"])
            assert row["custom_id"] == request["custom_id"] and row["error"] is None
            assert row["response"]["status_code"] == reply.status_code
            assert row["response"]["request_id"] == row["id"]
            assert same(row["response"]["body"]) == same(reply.json())
    assert [row["response"]["status_code"] for row in found[:6]] == [200, 200, 200, 200, 400, 404]
    for (_, message), row in zip(REFUSED, found[6:], strict=False):
        assert row["response"] is None and row["error"]["code"] == "invalid_request"
        assert message in row["error"]["message"]
    assert found[11]["error"]["message"].startswith("requests.jsonl, line 12: is not JSON")


def test_the_client_of_openai_reads_the_bodies(
    tiny_model: Path, source: Path, tmp_path: Path
) -> None:
    from openai.types import Completion, CreateEmbeddingResponse
    from openai.types.chat import ChatCompletion

    output = tmp_path / "out.jsonl"
    run(JOB, source, output, model=tiny_model, threads=1)
    bodies = {row["custom_id"]: row["response"] for row in rows_of(output) if row["response"]}
    for custom_id, kind in (("a", ChatCompletion), ("c", Completion)):
        assert kind.model_validate(bodies[custom_id]["body"]).choices
    assert len(CreateEmbeddingResponse.model_validate(bodies["d"]["body"]).data) == 2


def test_it_goes_on_behind_what_is_whole(tiny_model: Path, source: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    run(JOB, source, output, model=tiny_model, threads=1, ordered=True)
    before = output.read_bytes().splitlines(keepends=True)
    output.write_bytes(b"".join(before[:5]) + before[5][:30])
    report = run(JOB, source, output, model=tiny_model, threads=1, ordered=True)
    after = output.read_bytes().splitlines(keepends=True)
    assert (report.before, report.rows, report.errors) == (5, 12, 8)
    assert after[:5] == before[:5] and len(lines_of(output)) == 12


def test_what_is_no_such_job_is_refused(tiny_model: Path, source: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="writes JSON lines"):
        run(JOB, source, tmp_path / "out.csv", model=tiny_model, threads=1)
    with pytest.raises(InvalidRequest, match="keep: a job of 'openai' writes no columns"):
        run(JOB, source, tmp_path / "o.jsonl", model=tiny_model, threads=1, keep=["custom_id"])
    with pytest.raises(InvalidRequest, match="models must be a list of names, got 'x'"):
        run({**JOB, "models": "x"}, source, tmp_path / "o.jsonl", model=tiny_model, threads=1)
