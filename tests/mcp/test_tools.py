"""The tools of `cactus mcp`, called by the package's own client, in both revisions."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mcp import Client

from cactus.corpus.corpus import Corpus
from cactus.errors import InvalidRequest
from cactus.mcp.roots import Roots
from cactus.mcp.serve import build
from cactus.mcp.shelf import Shelf
from cactus.mcp.tools import Tools
from cactus.model import Model
from tests.mcp.conftest import World, text_of


def served(world: World, names: list[str] | None = None, docs: bool = True) -> Tools:
    shelf = Shelf(world.names if names is None else names)
    return Tools(shelf, Roots([world.files]), world.docs if docs else None)


def asked(tools: Tools, mode: str, work: Callable[[Any], Awaitable[Any]]) -> Any:
    """What `work` comes to with a client of a server of the tools."""

    async def run() -> Any:
        async with Client(build(tools), mode=mode) as client:
            return await work(client)

    return asyncio.run(run())


ALL = ["ask_documents", "describe_image", "embed", "rerank", "search_documents", "transcribe"]


def test_both_revisions_are_spoken_and_list_the_same(world: World, mode: str) -> None:
    async def work(client: Client) -> Any:
        return client.protocol_version, (await client.list_tools()).tools

    version, tools = asked(served(world), mode, work)
    assert version == {"auto": "2026-07-28", "legacy": "2025-11-25"}[mode]
    assert sorted(tool.name for tool in tools) == ALL
    for tool in tools:
        assert tool.description and tool.input_schema["type"] == "object"
        assert tool.annotations.read_only_hint is True


@pytest.mark.parametrize(
    ("names", "docs", "there"),
    [
        (["chat"], False, ["embed"]),
        (["chat"], True, ["ask_documents", "embed", "search_documents"]),
        (["bert"], True, ["embed", "search_documents"]),
        (["bert_ranker"], False, ["rerank"]),
        (["speech"], False, ["transcribe"]),
    ],
)
def test_a_tool_is_there_where_a_model_for_it_is(
    world: World, names: list[str], docs: bool, there: list[str]
) -> None:
    async def work(client: Client) -> Any:
        return (await client.list_tools()).tools

    tools = served(world, [str(world.models[name]) for name in names], docs)
    assert sorted(tool.name for tool in asked(tools, "auto", work)) == there


def test_without_a_model_there_is_nothing_to_serve(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CACTUS_WEIGHTS", str(tmp_path))
    with pytest.raises(InvalidRequest, match="there is no tool to serve"):
        build(served(world, []))


def test_a_recording_is_transcribed_as_the_model_does(world: World, mode: str) -> None:
    async def work(client: Client) -> Any:
        plain = await client.call_tool("transcribe", {"path": "sound.wav", "language": "en"})
        timed = await client.call_tool(
            "transcribe",
            {"path": str(world.files / "sound.wav"), "language": "en", "timestamps": True},
        )
        return plain, timed

    plain, timed = asked(served(world), mode, work)
    with Model(world.models["speech"]) as model:
        want = model.transcribe(world.files / "sound.wav", language="en")
    assert not plain.is_error and text_of(plain) == want.text
    lines = [f"[{each.start:.2f}] {each.text.strip()}" for each in want.segments]
    assert text_of(timed) == "\n".join(lines)


def test_an_image_is_described_as_the_model_does(world: World, mode: str) -> None:
    async def work(client: Client) -> Any:
        return await client.call_tool(
            "describe_image", {"path": "green.png", "question": "What?", "max_tokens": 6}
        )

    got = asked(served(world), mode, work)
    parts = [
        {"type": "image", "path": str(world.files / "green.png")},
        {"type": "text", "text": "What?"},
    ]
    with Model(world.models["see"]) as model:
        want = model.chat([{"role": "user", "content": parts}], max_tokens=6, stop_loops=True)
    assert not got.is_error and text_of(got) == want.text


def test_documents_are_searched_and_asked(world: World, mode: str, tmp_path: Path) -> None:
    async def work(client: Client) -> Any:
        found = await client.call_tool("search_documents", {"query": "cactus water", "limit": 1})
        answer = await client.call_tool(
            "ask_documents", {"question": "What does a cactus store?", "max_tokens": 5}
        )
        (world.docs / "new.md").write_text("# Oranges\n\nAn orange zebra eats marmalade.\n")
        newer = await client.call_tool("search_documents", {"query": "marmalade zebra orange"})
        (world.docs / "new.md").unlink()
        return found, answer, newer

    tools = served(world, [str(world.models["chat"])])
    found, answer, newer = asked(tools, mode, work)
    assert not answer.is_error and set(answer.structured_content) == {"text", "found", "sources"}
    (hit,) = found.structured_content["result"]
    with Corpus(world.docs, embedder=world.models["chat"], cache_dir=tmp_path) as corpus:
        (want,) = corpus.search("cactus water", 1)
    assert (hit["text"], hit["score"]) == (want.text, pytest.approx(want.score))
    assert "new.md" in str(newer.structured_content)


def test_vectors_and_ranks_are_those_of_the_models(world: World, mode: str) -> None:
    texts = ["a b c", "d e f g"]

    async def work(client: Client) -> Any:
        vectors = await client.call_tool("embed", {"texts": texts})
        ranked = await client.call_tool("rerank", {"query": "a", "texts": texts, "limit": 1})
        return vectors.structured_content, ranked.structured_content["result"]

    vectors, ranked = asked(served(world), mode, work)
    with Model(world.models["bert"]) as model:
        want = model.embed(texts, prompt="document", normalize=True)
    assert np.array_equal(np.array(vectors["vectors"], np.float32), want)
    assert vectors["dimensions"] == want.shape[1] and vectors["model"] == "bert"
    with Model(world.models["bert_ranker"]) as model:
        (best,) = model.rerank("a", texts, top_k=1)
    assert ranked == [{"index": best.index, "score": best.score, "text": best.text}]


@pytest.mark.parametrize(
    ("tool", "arguments", "says"),
    [
        ("transcribe", {"path": "../secret.png"}, "there is no file"),
        ("transcribe", {"path": "/etc/passwd"}, "there is no file"),
        ("describe_image", {"path": "link.png"}, "there is no file"),
        ("describe_image", {"path": "~/x.png"}, "there is no file"),
        ("describe_image", {"path": "."}, "there is no file"),
        ("describe_image", {"path": "a\0b"}, "there is no file"),
        ("describe_image", {"path": "sound.wav"}, "sound.wav"),
        ("transcribe", {"path": "green.png"}, "green.png"),
        ("transcribe", {"path": "sound.wav", "language": "klingon"}, "language"),
        ("transcribe", {}, "path"),
        ("embed", {"texts": []}, "texts"),
        ("embed", {"texts": ["x"] * 300}, "texts"),
        ("embed", {"texts": "x"}, "texts"),
        ("search_documents", {"query": "x", "limit": 0}, "limit"),
    ],
)
def test_what_is_wrong_is_told_to_the_model(
    world: World, tool: str, arguments: dict[str, Any], says: str
) -> None:
    async def work(client: Client) -> Any:
        return await client.call_tool(tool, arguments)

    got = asked(served(world), "auto", work)
    assert got.is_error and says in text_of(got)


@pytest.mark.fault("F42")
def test_what_is_outside_is_not_told_from_what_is_not_there(world: World) -> None:
    roots = Roots([world.files])
    said = set()
    for path in ("/etc/passwd", "/etc/no-such-file"):
        with pytest.raises(InvalidRequest) as caught:
            roots.file(path)
        said.add(str(caught.value).replace(path, "PATH"))
    assert len(said) == 1


def test_a_root_must_be_a_folder(world: World) -> None:
    for path in (world.files / "green.png", world.files / "nowhere"):
        with pytest.raises(InvalidRequest, match="not a folder"):
            Roots([path])
