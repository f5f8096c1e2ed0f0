"""instructor: objects by tools and by schema, whole and while they stream."""

import instructor
from openai import OpenAI
from pydantic import BaseModel
from steps import MODEL, URL, run

client = OpenAI(base_url=f"{URL}/v1", api_key="none")
ASKED = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "Name a city."}],
    "temperature": 0,
    "max_tokens": 200,
}


class City(BaseModel):
    """A city."""

    name: str
    country: str


def by_a_tool() -> None:
    made = instructor.from_openai(client, mode=instructor.Mode.TOOLS)
    assert isinstance(made.chat.completions.create(response_model=City, **ASKED), City)


def by_a_tool_while_it_streams() -> None:
    made = instructor.from_openai(client, mode=instructor.Mode.TOOLS)
    parts = list(made.chat.completions.create_partial(response_model=City, **ASKED))
    assert len(parts) > 1 and parts[-1].name is not None


def by_schema() -> None:
    made = instructor.from_openai(client, mode=instructor.Mode.JSON_SCHEMA)
    assert isinstance(made.chat.completions.create(response_model=City, **ASKED), City)


run(by_a_tool, by_a_tool_while_it_streams, by_schema)
