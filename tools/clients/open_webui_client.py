"""Open WebUI: the program itself is started, and asked over its own interface."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
from steps import MODEL, URL, run

PORT = 18_571
QUESTION = [{"role": "user", "content": "Say hello."}]
TOLD = {"model": MODEL, "messages": QUESTION, "temperature": 0, "max_tokens": 20}
SETTINGS = {
    "OPENAI_API_BASE_URL": f"{URL}/v1",
    "OPENAI_API_KEY": "none",
    "OLLAMA_BASE_URL": URL,
    "ENABLE_OLLAMA_API": "true",
    "WEBUI_AUTH": "False",
    "WEBUI_SECRET_KEY": "of this run",
    "DATA_DIR": tempfile.mkdtemp(),
    "OFFLINE_MODE": "true",
    "RAG_EMBEDDING_ENGINE": "openai",  # otherwise it fetches a model of its own
}
page = httpx.Client(base_url=f"http://127.0.0.1:{PORT}", timeout=300)


def it_finds_the_models() -> None:
    for path, key, name in (
        ("/openai/models", "data", "id"),
        ("/ollama/api/tags", "models", "name"),
    ):
        assert MODEL in [each[name] for each in page.get(path).raise_for_status().json()[key]], path


def a_chat_whole_and_streamed() -> None:
    whole = page.post("/openai/chat/completions", json=TOLD).raise_for_status().json()
    text = whole["choices"][0]["message"]["content"]
    with page.stream("POST", "/openai/chat/completions", json={**TOLD, "stream": True}) as reply:
        lines = [line[6:] for line in reply.iter_lines() if line.startswith("data: {")]
    deltas = [json.loads(line)["choices"][0]["delta"] for line in lines]
    assert "".join(delta.get("content") or "" for delta in deltas) == text != ""


def a_chat_of_the_kind_ollama() -> None:
    asked = {"model": MODEL, "messages": QUESTION, "options": {"num_predict": 20, "num_ctx": 2048}}
    with page.stream("POST", "/ollama/api/chat", json={**asked, "stream": True}) as reply:
        lines = [json.loads(line) for line in reply.iter_lines() if line]
    assert "".join(line["message"]["content"] for line in lines) and lines[-1]["done"]


def the_chat_of_its_page() -> None:
    with page.stream("POST", "/api/chat/completions", json={**TOLD, "stream": True}) as reply:
        lines = [line for line in reply.iter_lines() if line]
    assert lines[-1] == "data: [DONE]" and len(lines) > 2


def sign_in() -> None:
    """Wait until it listens; it makes its database first."""
    for _ in range(600):
        try:
            if page.get("/health").status_code == 200:
                break
        except httpx.HTTPError:
            assert program.poll() is None, "it has ended"
        time.sleep(0.5)
    told = page.post("/api/v1/auths/signin", json={"email": "", "password": ""})
    page.headers["Authorization"] = f"Bearer {told.raise_for_status().json()['token']}"


program = subprocess.Popen(
    [
        str(Path(sys.executable).with_name("open-webui")),
        *("serve", "--host", "127.0.0.1", "--port", str(PORT)),
    ],
    env={**os.environ, **SETTINGS},
    stdout=subprocess.DEVNULL,
)
try:
    sign_in()
    run(it_finds_the_models, a_chat_whole_and_streamed, a_chat_of_the_kind_ollama,
        the_chat_of_its_page)  # fmt: skip
finally:
    program.terminate()
    program.wait()
