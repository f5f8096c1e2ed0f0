"""llm: the program, with its own file of models."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from steps import MODEL, URL, run

HOME = Path(tempfile.mkdtemp())
os.environ["LLM_USER_PATH"] = str(HOME)
(HOME / "extra-openai-models.yaml").write_text(
    f"""- model_id: local
  model_name: {MODEL}
  api_base: {URL}/v1
  api_key_name: local
  supports_tools: true
  supports_schema: true
"""
)
(HOME / "keys.json").write_text('{"local": "none"}')


def llm(*arguments: str) -> str:
    command = [sys.executable, "-m", "llm", "prompt", "-m", "local", "-o", "temperature", "0"]
    done = subprocess.run(
        [*command, "-o", "max_tokens", "100", *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def prompts() -> None:
    assert llm("--no-stream", "Say hello.").strip() == llm("Say hello.").strip() != ""


def a_schema() -> None:
    assert set(json.loads(llm("--schema", "name, country", "Name a city."))) >= {"name", "country"}


def a_tool_loop() -> None:
    function = (
        'def get_weather(location: str) -> str:\n    "The weather at a place."\n    return "sunny"'
    )
    assert llm("--functions", function, "What is the weather in Paris?") is not None


run(prompts, a_schema, a_tool_loop)
