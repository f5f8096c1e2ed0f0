"""LangChain: ChatOpenAI."""

from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel
from steps import MODEL, URL, run

chat = ChatOpenAI(
    model=MODEL, base_url=f"{URL}/v1", api_key="none", temperature=0, max_tokens=100, timeout=120
)


class City(BaseModel):
    """A city."""

    name: str
    country: str


@tool
def get_weather(location: str) -> str:
    """The weather at a place."""
    return f"sunny in {location}"


def chats() -> None:
    answer = chat.invoke("Say hello.")
    assert answer.content and answer.usage_metadata["output_tokens"] > 0


def streams_with_usage() -> None:
    whole = chat.invoke("Say hello.").content
    chunks = list(chat.stream("Say hello.", stream_usage=True))
    assert "".join(chunk.content for chunk in chunks) == whole
    assert any(chunk.usage_metadata for chunk in chunks)


def structured_output_by_schema() -> None:
    strict = chat.with_structured_output(City, method="json_schema", strict=True)
    assert isinstance(strict.invoke("Name a city."), City)


def structured_output_by_a_tool() -> None:
    forced = chat.with_structured_output(City, method="function_calling")
    assert isinstance(forced.invoke("Name a city."), City)


def tools_by_name_streamed() -> None:
    bound = chat.bind_tools([get_weather], tool_choice="get_weather", parallel_tool_calls=False)
    total = None
    for chunk in bound.stream("What is the weather in Paris?"):
        total = chunk if total is None else total + chunk
    (call,) = total.tool_calls
    assert call["name"] == "get_weather" and "location" in call["args"]


def a_tool_loop() -> None:
    bound = chat.bind_tools([get_weather], tool_choice="any")
    said = bound.invoke("What is the weather in Paris?")
    results = [get_weather.invoke(call) for call in said.tool_calls]
    assert chat.bind_tools([get_weather]).invoke(["Weather?", said, *results]).response_metadata


def responses() -> None:
    other = ChatOpenAI(
        model=MODEL, base_url=f"{URL}/v1", api_key="none", temperature=0, use_responses_api=True
    ).bind(max_output_tokens=40)
    assert other.invoke("Say hello.").text
    assert "".join(chunk.text for chunk in other.stream("Say hello."))


run(
    chats,
    streams_with_usage,
    structured_output_by_schema,
    structured_output_by_a_tool,
    tools_by_name_streamed,
    a_tool_loop,
    responses,
)
