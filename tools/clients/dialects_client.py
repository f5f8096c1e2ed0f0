"""LangChain's and LlamaIndex's clients for Anthropic's and Ollama's interface."""

from langchain_anthropic import ChatAnthropic
from langchain_ollama import ChatOllama, OllamaEmbeddings
from llama_index.core.llms import ChatMessage
from llama_index.llms.ollama import Ollama
from pydantic import BaseModel
from steps import MODEL, URL, run

anthropic = ChatAnthropic(model=MODEL, base_url=URL, api_key="none", max_tokens=100)
ollama = ChatOllama(model=MODEL, base_url=URL, temperature=0, num_predict=100)
llama_index = Ollama(model=MODEL, base_url=URL, request_timeout=120, temperature=0)


class City(BaseModel):
    """A city."""

    name: str


def anthropic_answers_with_usage() -> None:
    said = anthropic.invoke("Say hello.")
    assert said.content and said.usage_metadata["output_tokens"] > 0


def anthropic_streams() -> None:
    assert "".join(str(piece.content) for piece in anthropic.stream("Say hello."))


def anthropic_calls_a_tool_by_name() -> None:
    assert isinstance(anthropic.with_structured_output(City).invoke("Name a city."), City)


def ollama_streams_what_it_answers() -> None:
    whole = ollama.invoke("Say hello.").content
    assert whole == "".join(piece.content for piece in ollama.stream("Say hello."))


def ollama_keeps_to_a_schema() -> None:
    assert isinstance(ollama.with_structured_output(City).invoke("Name a city."), City)


def ollama_makes_vectors() -> None:
    found = OllamaEmbeddings(model=MODEL, base_url=URL).embed_documents(["one", "two"])
    assert len(found) == 2 and found[0] != found[1]


def llama_index_streams_what_it_answers() -> None:
    asked = [ChatMessage(role="user", content="Say hello.")]
    whole = llama_index.chat(asked).message.content
    assert whole == "".join(piece.delta for piece in llama_index.stream_chat(asked))


run(
    anthropic_answers_with_usage,
    anthropic_streams,
    anthropic_calls_a_tool_by_name,
    ollama_streams_what_it_answers,
    ollama_keeps_to_a_schema,
    ollama_makes_vectors,
    llama_index_streams_what_it_answers,
)
