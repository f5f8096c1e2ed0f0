"""LlamaIndex: OpenAILike."""

from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel
from steps import MODEL, URL, run

model = OpenAILike(
    model=MODEL,
    api_base=f"{URL}/v1",
    api_key="none",
    is_chat_model=True,
    is_function_calling_model=True,
    should_use_structured_outputs=True,
    context_window=8192,
    temperature=0,
    max_tokens=100,
    timeout=120,
)
HELLO = [ChatMessage(role="user", content="Say hello.")]


class City(BaseModel):
    """A city."""

    name: str


def get_weather(location: str) -> str:
    """The weather at a place."""
    return f"sunny in {location}"


def completes() -> None:
    assert model.complete("Say hello.").text


def streams() -> None:
    assert (
        "".join(c.delta or "" for c in model.stream_chat(HELLO))
        == model.chat(HELLO).message.content
    )


def structured_output() -> None:
    assert isinstance(model.as_structured_llm(City).complete("Name a city.").raw, City)


def a_tool_that_is_required() -> None:
    tool = FunctionTool.from_defaults(get_weather)
    said = model.predict_and_call([tool], "What is the weather in Paris?", tool_required=True)
    assert said.sources[0].tool_name == "get_weather"


run(completes, streams, structured_output, a_tool_that_is_required)
