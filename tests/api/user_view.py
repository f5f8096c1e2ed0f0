"""What a user's type checker sees: read by mypy, never run (tests/api/test_typing.py)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from typing_extensions import assert_type

import cactus
from cactus import (
    AsyncCompletionStream,
    AsyncEventStream,
    CactusError,
    CactusModel,
    ChatOptions,
    Citation,
    Completion,
    CompletionOptions,
    CompletionStream,
    Conversation,
    Corpus,
    DetectedLanguage,
    Embeddings,
    EventStream,
    LiveTranscription,
    Model,
    RankedText,
    Reading,
    Scores,
    StreamEvent,
    TokenLogprob,
    Tool,
    ToolCallDelta,
    ToolRun,
    ToolStream,
    TranscribeOptions,
    Transcription,
    TranscriptionStream,
)


def text(model: Model) -> None:
    assert_type(model.chat("Hi"), Completion)
    assert_type(model.chat([{"role": "user", "content": "Hi"}], max_tokens=5), Completion)
    assert_type(model.complete("Once"), Completion)
    assert_type(model.complete([1, 2], temperature=0.5, parse_special=True), Completion)
    assert_type(model.complete_stream("Once"), CompletionStream)
    assert_type(model.detokenize(model.tokenize("x")), str)
    assert_type(model.count_tokens("x"), int)
    sure = model.chat("Hi", logprobs=True, top_logprobs=2, sampling="model").token_logprobs
    assert_type(sure, tuple[TokenLogprob, ...] | None)
    answer = model.chat("Hi")
    assert_type(answer.scores, Scores | None)
    assert_type(model.assess("Hi", answer, samples=3, self_check=True, temperature=1), Completion)
    model.chat("Hi", sampling="mode")  # type: ignore[arg-type]
    with model.stream("Hi", stop=["."]) as stream:
        assert_type(stream, CompletionStream)
        events: Iterator[StreamEvent] = stream
        for event in events:
            assert_type(event.text, str)
            assert_type(event.tool_call, ToolCallDelta | None)
        assert_type(stream.completion, Completion)
        assert_type(stream.completion.message, dict[str, Any])


def documents(model: Model) -> None:
    with Corpus("docs", embedder="all-minilm-l6-v2", exclude=["old/"]) as corpus:
        assert_type(corpus, Corpus)
        hit = corpus.search("What?", 3, mode="lexical", paths="guide/**")[0]
        assert_type(hit.score, float)
        assert_type(hit.page, int | None)
        done = corpus.ask(model, "What?", passages=3, max_tokens=50)
        assert_type(done, Completion)
        assert_type(done.citations, tuple[Citation, ...])
        assert_type(done.reading, Reading | None)
        assert_type(corpus.ask_stream(model, [{"role": "user", "content": "x"}]), CompletionStream)
        assert_type(corpus.sync().added, int)
        Model("x", corpus=corpus)
        corpus.search("x", mode="sparse")  # type: ignore[arg-type]
        corpus.ask("smollm2", "x")  # type: ignore[arg-type]
    with Model("x", corpus="docs") as other:
        assert_type(other.corpus, Corpus | None)
        assert_type(other.rag_query("x", top_k=2), list[dict[str, Any]])


async def documents_later(model: Model, corpus: Corpus) -> None:
    assert_type((await corpus.asearch("x"))[0].text, str)
    assert_type(await corpus.aask(model, "x"), Completion)
    assert_type(corpus.aask_stream(model, "x"), AsyncCompletionStream)
    assert_type((await corpus.async_sync()).chunks, int)
    assert_type(await model.arag_query("x"), list[dict[str, Any]])


def now(city: str) -> str:
    return city


def functions(model: Model) -> None:
    model.chat("Hi", tools=[now, Tool(now), {"name": "other"}])
    assert_type(model.run_tools("Hi", tools=[now], max_steps=2), ToolRun)
    assert_type(model.run_tools_stream("Hi", tools=[now], approve=print), ToolStream)
    model.run_tools("Hi", tool=[now])  # type: ignore[call-arg]


async def functions_later(model: Model) -> None:
    assert_type(await model.arun_tools("Hi", tools=[now], temperature=0.5), ToolRun)


async def later(model: Model) -> None:
    async with Model("x") as other:
        assert_type(other, Model)
    assert_type(await model.achat("Hi"), Completion)
    assert_type(await model.acomplete("Once"), Completion)
    assert_type(model.acomplete_stream("Once"), AsyncCompletionStream)
    async with model.astream("Hi") as stream:
        assert_type(stream, AsyncCompletionStream)
        events: AsyncIterator[StreamEvent] = stream
        async for event in events:
            assert_type(event.token_id, int)


def options_are_checked(model: Model, raw: CompletionOptions) -> None:
    given: ChatOptions = {"max_tokens": 5, "thinking": False}
    model.chat("Hi", **given)
    model.complete("Hi", **raw)
    model.chat("Hi", max_token=5)  # type: ignore[call-arg]
    model.chat("Hi", temperature="hot")  # type: ignore[arg-type]
    model.complete("Hi", tools=[])  # type: ignore[call-arg]
    Model("x", kv="int8", activations="int12")
    Model("x", kv="int4")  # type: ignore[arg-type]
    wrong: ChatOptions = {"max_tokens": "many"}  # type: ignore[typeddict-item]
    del wrong


def speech(model: Model) -> None:
    assert_type(model.transcribe("a.wav"), Transcription)
    assert_type(model.transcribe_stream(b""), TranscriptionStream)
    assert_type(model.transcribe_live(), LiveTranscription)
    given: TranscribeOptions = {"beam_size": 1, "language": "en"}
    model.transcribe("a.wav", **given)
    model.transcribe("a.wav", beam_sise=1)  # type: ignore[call-arg]


async def speech_later(model: Model) -> None:
    assert_type(await model.atranscribe("a.wav"), Transcription)
    assert_type(await model.adetect_language("a.wav"), DetectedLanguage)
    assert_type(await model.aembed_audio("a.wav"), list[float])
    async with model.atranscribe_stream("a.wav") as stream:
        async for segment in stream:
            assert_type(segment.text, str)
        assert_type(stream.transcription, Transcription | None)


def vectors(model: Model) -> None:
    made = model.embed(["a", "b"], batch_size=8, prompt="query", dimensions=64, truncate=True)
    assert_type(made, Embeddings)
    assert_type(made.tokens, tuple[int, ...])
    assert_type(model.embed(str(n) for n in range(9)), Embeddings)
    assert_type(model.embed([[1, 2], [3]]), Embeddings)
    assert_type(model.embedding_dimensions, int)
    assert_type(model.rerank("q", ["a"], top_k=3, progress=True), list[RankedText])
    model.embed("a", normalise=True)  # type: ignore[call-arg]
    model.embed(b"a", progress=lambda label, done, total: print(done / total))


def pictures(model: Model) -> None:
    messages = [{"role": "user", "content": "What?", "images": ["a.png", b"GIF89a", Path("a.png")]}]
    said = model.chat(messages, max_tiles=2, image_progress=lambda label, done, total: None)
    assert_type(said.metrics.encoded_tiles, int)
    assert_type(model.conversation().chat("What?", images=[Path()]), Completion)
    assert_type(model.embed_image("a.png", normalize=True), Embeddings)
    model.embed_image(["a.png"], size=3)  # type: ignore[call-arg]


async def vectors_later(model: Model) -> None:
    assert_type(await model.aembed_image("a.png", max_tiles=1), Embeddings)
    assert_type(await model.aembed("a", normalize=True), Embeddings)
    assert_type((await model.arerank("q", ["a"], truncate=True))[0].score, float)


def flat() -> None:
    handle = cactus.cactus_init("x")
    assert_type(handle, int | None)
    if handle is not None:
        assert_type(cactus.cactus_complete(handle, "Hi", max_tokens=5), str)
        assert_type(cactus.cactus_tokenize(handle, "Hi"), list[int])
        assert_type(cactus.cactus_embed(handle, "Hi", normalize=True), list[float])
    with CactusModel("x") as model:
        assert_type(model, CactusModel)
        assert_type(model.complete("Hi", callback=lambda text, id, data: None), str)
    assert_type(cactus.cactus_get_last_error(), str | None)


def errors() -> None:
    try:
        Model("x")
    except cactus.errors.ContextLengthExceeded as error:
        assert_type(error.limit, int)
    except CactusError as other:
        print(other)


def notebook(values: dict[str, Any]) -> None:
    values["model"] = Model("x")


def many(model: Model) -> None:
    assert_type(model.chat_many(["a", "b"]), list[Completion])
    assert_type(model.chat_many(["a"], return_exceptions=True), list[Completion | CactusError])
    with model.chat_as_completed(["a"]) as answers:
        assert_type(answers, EventStream[tuple[int, Completion]])
        for index, answer in answers:
            assert_type((index, answer), tuple[int, Completion])
    for _, either in model.chat_as_completed(["a"], return_exceptions=True):
        assert_type(either, Completion | CactusError)


async def many_later(model: Model) -> None:
    assert_type(await model.achat_many(["a"], progress=print), list[Completion])
    async with model.achat_as_completed(["a"]) as answers:
        assert_type(answers, AsyncEventStream[tuple[int, Completion]])


def conversations(model: Model) -> None:
    talk = model.conversation("Be brief.", temperature=0.5)
    assert_type(talk, Conversation)
    assert_type(talk.chat("Hi"), Completion)
    assert_type(talk.stream("Hi"), CompletionStream)
    talk.messages = [{"role": "user", "content": "x"}]
    model.conversation(temprature=1)  # type: ignore[call-arg]
