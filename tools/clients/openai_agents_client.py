"""OpenAI's agents: over chats and over responses, with a tool, streamed."""

from agents import (
    Agent,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from openai import AsyncOpenAI
from pydantic import BaseModel
from steps import MODEL, URL, run

set_tracing_disabled(True)


class City(BaseModel):
    """A city."""

    name: str


@function_tool
def get_weather(location: str) -> str:
    """The weather at a place."""
    return f"sunny in {location}"


def agent(kind: type, **fields: object) -> Agent:
    client = AsyncOpenAI(base_url=f"{URL}/v1", api_key="none")
    choice = fields.pop("choice", None)
    settings = ModelSettings(
        temperature=0,
        max_tokens=100,
        tool_choice=choice,
        parallel_tool_calls=False if choice else None,
    )
    return Agent(
        name="Guide",
        instructions="Be brief.",
        model=kind(MODEL, openai_client=client),
        model_settings=settings,
        **fields,
    )


async def _loop(kind: type) -> None:
    told = {"choice": "required", "tool_use_behavior": "stop_on_first_tool"}
    got = await Runner.run(agent(kind, tools=[get_weather], **told), "The weather in Paris?")
    assert [item.type for item in got.new_items] == ["tool_call_item", "tool_call_output_item"]
    assert got.final_output.startswith("sunny in ")


async def _streamed(kind: type) -> None:
    result = Runner.run_streamed(agent(kind), "Say hello.")
    events = [event async for event in result.stream_events()]
    deltas = [
        event.data.delta
        for event in events
        if event.type == "raw_response_event" and event.data.type == "response.output_text.delta"
    ]
    assert "".join(deltas) == result.final_output


async def chats_with_a_tool() -> None:
    await _loop(OpenAIChatCompletionsModel)


async def chats_streamed() -> None:
    await _streamed(OpenAIChatCompletionsModel)


async def chats_with_an_object() -> None:
    got = await Runner.run(agent(OpenAIChatCompletionsModel, output_type=City), "Name a city.")
    assert isinstance(got.final_output, City)


async def responses_with_a_tool() -> None:
    await _loop(OpenAIResponsesModel)


async def responses_streamed() -> None:
    await _streamed(OpenAIResponsesModel)


async def responses_with_an_object() -> None:
    got = await Runner.run(agent(OpenAIResponsesModel, output_type=City), "Name a city.")
    assert isinstance(got.final_output, City)


run(
    chats_with_a_tool,
    chats_streamed,
    chats_with_an_object,
    responses_with_a_tool,
    responses_streamed,
    responses_with_an_object,
)
