"""Pydantic AI: agents over chats and over responses."""

from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider
from steps import MODEL, URL, run

provider = OpenAIProvider(base_url=f"{URL}/v1", api_key="none")
settings = {"temperature": 0, "max_tokens": 100}
chat = OpenAIChatModel(MODEL, provider=provider)
responses = OpenAIResponsesModel(MODEL, provider=provider)


class City(BaseModel):
    """A city."""

    name: str


async def chats_and_reads_what_was_cached() -> None:
    agent = Agent(chat, model_settings=settings)
    await agent.run("Say hello.")
    again = await agent.run("Say hello.")
    usage = again.usage() if callable(again.usage) else again.usage
    assert again.output and usage.cache_read_tokens > 0


async def streams() -> None:
    async with Agent(chat, model_settings=settings).run_stream("Say hello.") as result:
        pieces = [piece async for piece in result.stream_text(delta=True)]
    assert "".join(pieces)


async def output_by_a_tool() -> None:
    agent = Agent(chat, output_type=City, model_settings=settings)
    assert isinstance((await agent.run("Name a city.")).output, City)


async def output_by_schema() -> None:
    agent = Agent(chat, output_type=NativeOutput(City, strict=True), model_settings=settings)
    assert isinstance((await agent.run("Name a city.")).output, City)


async def output_by_a_tool_over_responses() -> None:
    agent = Agent(responses, output_type=City, model_settings=settings)
    assert isinstance((await agent.run("Name a city.")).output, City)


async def streams_over_responses() -> None:
    async with Agent(responses, model_settings=settings).run_stream("Say hello.") as result:
        assert await result.get_output()


run(
    chats_and_reads_what_was_cached,
    streams,
    output_by_a_tool,
    output_by_schema,
    output_by_a_tool_over_responses,
    streams_over_responses,
)
