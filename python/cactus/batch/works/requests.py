"""OpenAI's batch files: a request a line, answered as the server of `cactus serve` answers it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cactus.batch.rows import Row
from cactus.batch.works.work import Result, Work
from cactus.errors import CactusError, InvalidRequest
from cactus.inputs.checks import expected, short

if TYPE_CHECKING:
    import httpx

AT_ONCE = 64
"""Requests that are answered at a time: as many as have a row in a step."""

URLS = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses")


class OpenAI(Work):
    """Lines of `custom_id`, `method`, `url`, `body`; `models` are further names of the model."""

    KIND = "openai"
    FIELDS = ("models",)
    ABILITY = "chat"
    OWN_LINES = True

    def __init__(self, fields: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        super().__init__(fields, options)
        names = fields.get("models", [])
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise InvalidRequest(expected("models", "a list of names", names))
        self._names = names

    def entry(self, line: Mapping[str, Any]) -> tuple[int, bool] | None:
        id, response = line.get("id"), line.get("response")
        if not isinstance(id, str) or not id.removeprefix("batch_req_").isdecimal():
            return None
        index = int(id.removeprefix("batch_req_"))
        if isinstance(response, dict):
            return index, response.get("status_code") != 200
        return (index, True) if isinstance(line.get("error"), dict) else None

    def opened(self, model: Path, load: Mapping[str, Any]) -> AbstractContextManager[Any]:
        """A client of a server in this process, to which no connection leads."""
        return _client(model, load, self._names)

    def results(self, model: Any, rows: Iterator[Row], base: Path) -> Iterator[tuple[Row, Result]]:
        loop, client = model
        tasks: dict[asyncio.Task[dict[str, Any]], Row] = {}
        rows_left = True
        try:
            while rows_left or tasks:
                while rows_left and len(tasks) < AT_ONCE:
                    row = next(rows, None)
                    if row is None:
                        rows_left = False
                    else:
                        tasks[loop.create_task(_answer(client, row))] = row
                if tasks:
                    waiting = asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                    for task in loop.run_until_complete(waiting)[0]:
                        yield tasks.pop(task), task.result()
        finally:
            for task in tasks:
                task.cancel()
            if tasks:
                loop.run_until_complete(asyncio.wait(tasks))


async def _answer(client: httpx.AsyncClient, row: Row) -> dict[str, Any]:
    """The line of the output for one of the input, in OpenAI's shape."""
    id = id_of(row.index)
    custom_id = row.values.get("custom_id")
    line: dict[str, Any] = {"id": id, "custom_id": custom_id, "response": None, "error": None}
    wrong = row.wrong or _wrong(row.values)
    if wrong is not None:
        line["error"] = {"code": "invalid_request", "message": f"{row.place}: {wrong}"}
        return line
    response = await client.post(
        row.values["url"], json=row.values["body"], headers={"x-request-id": id}
    )
    line["response"] = {
        "status_code": response.status_code,
        "request_id": id,
        "body": response.json(),
    }
    return line


def _wrong(values: Mapping[str, Any]) -> str | None:
    """What is wrong with a request before it is one."""
    custom_id, method, url = (values.get(name) for name in ("custom_id", "method", "url"))
    body = values.get("body")
    if not isinstance(custom_id, str) or not custom_id:
        return expected("custom_id", "a text", custom_id)
    if method != "POST":
        return expected("method", "'POST'", method)
    if url not in URLS:
        return expected("url", " or ".join(URLS), url)
    if not isinstance(body, dict):
        return expected("body", "an object", body)
    if body.get("stream"):
        return f"body.stream must be false: a line has no events, got {short(body['stream'])}"
    return None


def id_of(index: int) -> str:
    """The id of a line of the output, by which a job that goes on knows its row."""
    return f"batch_req_{index:012}"


@contextmanager
def _client(model: Path, load: Mapping[str, Any], names: list[str]) -> Iterator[Any]:
    try:
        import httpx

        from cactus.server.app import build
        from cactus.server.service import Service
        from cactus.server.settings import Settings
    except ModuleNotFoundError as error:
        raise CactusError(
            f"OpenAI's batch files need the package {error.name}; install it with: "
            "pip install 'cactus[server]'"
        ) from None
    from cactus.weights.locate import name_of

    aliases = dict.fromkeys(names, name_of(model))
    loop = asyncio.new_event_loop()
    try:
        settings = Settings((model,), aliases=aliases, max_running=AT_ONCE)
        service = Service(settings, load)
        watching = loop.run_until_complete(service.open())
        client = httpx.AsyncClient(
            transport=httpx.ASGITransport(build(service)), base_url="http://localhost", timeout=None
        )
        try:
            yield loop, client
        finally:
            loop.run_until_complete(client.aclose())
            watching.cancel()
            loop.run_until_complete(service.close())
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
