"""Runs programs that others wrote against a server of ours, each in an environment of its own.

    python tools/check_clients.py                        # all that the starter model can answer
    python tools/check_clients.py --only langchain,llm
    python tools/check_clients.py --model weights/qwen2.5-coder-0.5b-instruct   # and the two agents

The environments are kept in `--home`, so that a second run is quick. What passes is printed as a
table. codex and opencode send prompts of about 10,000 tokens: they want a model with a context of
16,384 at least.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import platformdirs

SCRIPTS = Path(__file__).with_name("clients")
LONG = 16_384
"""Tokens of context that the agents want."""


@dataclass(frozen=True)
class Client:
    """A program of others: its packages, and how it is run in the folder that they are in."""

    name: str
    packages: tuple[str, ...]
    run: Callable[[Path, str, str], list[str]]
    npm: bool = False
    long: bool = False
    large: bool = False
    """Takes gigabytes, and is only tried where it is named."""
    ends: str = ""
    """What an agent prints when it has come to its end."""


def script(name: str) -> Callable[[Path, str, str], list[str]]:
    """A script of Python, run with the environment's interpreter."""
    return lambda home, url, model: [str(home / "bin" / "python"), str(SCRIPTS / f"{name}.py")]


def module(name: str) -> Callable[[Path, str, str], list[str]]:
    """A script of JavaScript, copied beside its packages."""

    def command(home: Path, url: str, model: str) -> list[str]:
        shutil.copy(SCRIPTS / f"{name}.mjs", home / f"{name}.mjs")
        return ["node", str(home / f"{name}.mjs")]

    return command


def codex(home: Path, url: str, model: str) -> list[str]:
    """codex, which asks once and prints the answer."""
    (home / "config.toml").write_text(
        f'model = "{model}"\nmodel_provider = "cactus"\nmodel_context_window = 32768\n'
        f'[model_providers.cactus]\nname = "cactus"\nbase_url = "{url}/v1"\nwire_api = '
        '"responses"\n'
    )
    program = home / "node_modules" / ".bin" / "codex"
    return [str(program), "exec", "--skip-git-repo-check", "--json", "Say hello."]


def opencode(home: Path, url: str, model: str) -> list[str]:
    """opencode, which asks once and prints the answer."""
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": "cactus",
        "options": {"baseURL": f"{url}/v1", "apiKey": "none"},
        "models": {model: {"name": model, "limit": {"context": 32768, "output": 4096}}},
    }
    config = {"$schema": "https://opencode.ai/config.json", "provider": {"cactus": provider}}
    config |= {"autoupdate": False, "share": "disabled"}
    (home / "opencode.json").write_text(json.dumps(config))
    program = home / "node_modules" / ".bin" / "opencode"
    return [str(program), "run", "--model", f"cactus/{model}", "Say hello."]


def claude(home: Path, url: str, model: str) -> list[str]:
    """Claude Code, without its own tools and prompt, which are long; it asks once."""
    told = {
        "HOME": str(home),
        "ANTHROPIC_BASE_URL": url,
        "ANTHROPIC_AUTH_TOKEN": "none",
        "ANTHROPIC_MODEL": model,
        "ANTHROPIC_DEFAULT_HAIKU_MODEL": model,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    }
    program = home / "node_modules" / ".bin" / "claude"
    asked = ["-p", "Say hello.", "--system-prompt", "Be brief.", "--tools", ""]
    settings = [f"{name}={value}" for name, value in told.items()]
    return ["env", *settings, str(program), *asked, "--output-format", "json"]


def continue_cli(home: Path, url: str, model: str) -> list[str]:
    """Continue's program, without its tools, whose descriptions are long; it asks once."""
    (home / "config.yaml").write_text(
        "name: local\nversion: 1.0.0\nschema: v1\nmodels:\n  - name: cactus\n    provider: openai\n"
        f"    model: {model}\n    apiBase: {url}/v1\n"
    )
    program = home / "node_modules" / ".bin" / "cn"
    asked = ["-p", "--format", "json", "--exclude", "*", "Say hello."]
    return ["env", f"HOME={home}", str(program), "--config", str(home / "config.yaml"), *asked]


def aider(home: Path, url: str, model: str) -> list[str]:
    """aider, which asks once and changes nothing."""
    told = ["--message", "Say hello.", "--edit-format", "ask", "--no-git", "--yes-always"]
    quiet = ["--no-check-update", "--no-analytics", "--no-show-model-warnings", "--no-pretty"]
    quiet += ["--no-show-release-notes", "--no-detect-urls"]
    program = [str(home / "bin" / "aider"), "--model", f"openai/{model}"]
    return ["env", f"HOME={home}", f"OPENAI_API_BASE={url}/v1", *program, *told, *quiet]


CLIENTS = (
    Client("langchain", ("langchain-openai>=1.0",), script("langchain_client")),
    Client("llama-index", ("llama-index-llms-openai-like>=0.5",), script("llama_index_client")),
    Client("pydantic-ai", ("pydantic-ai-slim[openai]>=1.0",), script("pydantic_ai_client")),
    Client("instructor", ("instructor>=1.10",), script("instructor_client")),
    Client("litellm", ("litellm>=1.80",), script("litellm_client")),
    Client("llm", ("llm>=0.27",), script("llm_client")),
    Client("openai-agents", ("openai-agents>=0.4",), script("openai_agents_client")),
    Client("ai-sdk", ("ai@6", "@ai-sdk/openai-compatible@2", "zod@4"), module("ai_sdk"), npm=True),
    Client(
        "langchain-anthropic",
        ("langchain-anthropic>=1.0", "langchain-ollama>=1.0", "llama-index-llms-ollama>=0.7"),
        script("dialects_client"),
    ),
    Client("anthropic-sdk", ("@anthropic-ai/sdk",), module("anthropic_sdk"), npm=True),
    Client("claude", ("@anthropic-ai/claude-code",), claude, npm=True, ends='"is_error":false'),
    Client("continue", ("@continuedev/cli",), continue_cli, npm=True, ends='"status":"success"'),
    Client("aider", ("aider-chat>=0.86",), aider, ends=" received."),
    Client("open-webui", ("open-webui>=0.9",), script("open_webui_client"), large=True),
    Client("opencode", ("opencode-ai",), opencode, npm=True, long=True),
    Client("codex", ("@openai/codex",), codex, npm=True, long=True, ends="turn.completed"),
)


@dataclass
class Outcome:
    """What came of a client: how many steps passed, and what did not."""

    client: str
    version: str
    passed: int
    failures: list[str]


def install(client: Client, home: Path) -> str:
    """Install a client, once; the version of its first package."""
    mark = home / "installed.json"
    if mark.exists() and json.loads(mark.read_text()) == list(client.packages):
        return version(client, home)
    shutil.rmtree(home, ignore_errors=True)
    if client.npm:
        home.mkdir(parents=True)
        command = ["npm", "install", "--no-audit", "--no-fund", "--silent", *client.packages]
    else:
        venv.create(home, with_pip=True)
        command = [str(home / "bin" / "python"), "-m", "pip", "install", "-qqq", *client.packages]
    subprocess.run(command, cwd=home, check=True)
    mark.write_text(json.dumps(client.packages))
    return version(client, home)


def version(client: Client, home: Path) -> str:
    """The version of a client's first package."""
    if client.npm:
        name = client.packages[0].rpartition("@")[0] or client.packages[0]
        described = home / "node_modules" / name / "package.json"
        return str(json.loads(described.read_text())["version"])
    name = client.packages[0].partition(">")[0].partition("[")[0]
    code = f"from importlib.metadata import version; print(version({name!r}))"
    found = subprocess.run(
        [str(home / "bin" / "python"), "-c", code], capture_output=True, text=True, check=True
    )
    return found.stdout.strip()


def try_client(client: Client, home: Path, url: str, model: str) -> Outcome:
    """Install and run a client; its steps are the lines that begin with "pass" and "fail"."""
    here = home / client.name
    told = install(client, here)
    environment = {**os.environ, "CACTUS_URL": url, "CACTUS_MODEL": model, "CODEX_HOME": str(here)}
    environment |= {"OPENCODE_CONFIG": str(here / "opencode.json"), "XDG_DATA_HOME": str(here)}
    environment["OPENAI_API_KEY"] = "none"
    command = client.run(here, url, model)
    try:
        done = subprocess.run(
            command,
            cwd=here,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=1200,
        )
    except subprocess.TimeoutExpired:
        return Outcome(client.name, told, 0, ["it took more than 20 minutes"])
    (here / "output.txt").write_text(f"{done.stdout}\n{done.stderr}")
    lines = done.stdout.splitlines()
    if client.long or client.ends:  # the agents print what the model says
        good = done.returncode == 0 and client.ends in done.stdout and bool(done.stdout.strip())
        return Outcome(client.name, told, int(good), [] if good else [done.stderr[-300:]])
    failures = [line[5:] for line in lines if line.startswith("fail ")]
    if done.returncode and not failures:
        failures = [done.stderr[-300:]]
    return Outcome(client.name, told, sum(line.startswith("pass ") for line in lines), failures)


@contextmanager
def serving(folder: Path) -> Iterator[tuple[str, str, int]]:
    """A server of a model: its address, the model's name and its context."""
    from cactus import Model
    from cactus.server.run import server_of
    from cactus.server.service import Service
    from cactus.server.settings import Settings

    with Model(folder) as model:
        name, context = model.name, model.context_length
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    server = server_of(Service(Settings((folder,), port=port)))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    while not server.started:
        if not thread.is_alive():
            sys.exit("the server did not start")
        thread.join(0.05)
    try:
        yield f"http://127.0.0.1:{port}", name, context
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def main() -> None:
    """Try the clients that were named, or all that the model can answer."""
    from cactus.weights.catalog import STARTER
    from cactus.weights.resolve import resolve

    parser = argparse.ArgumentParser(description="Run real clients against a server of ours.")
    parser.add_argument("--model", default=STARTER.name)
    parser.add_argument("--only", default="", help="names, separated by commas")
    cache = Path(platformdirs.user_cache_path("cactus", appauthor=False))
    parser.add_argument("--home", type=Path, default=cache / "clients")
    given = parser.parse_args()
    known = {client.name: client for client in CLIENTS}
    names = [name for name in given.only.split(",") if name] or [
        client.name for client in CLIENTS if not client.large
    ]
    unknown = set(names) - set(known)
    if unknown:
        parser.error(f"no such client: {', '.join(unknown)}; there are: {', '.join(known)}")
    outcomes = []
    with serving(resolve(given.model)) as (url, model, context):
        for name in names:
            client = known[name]
            if client.long and context < LONG:
                print(f"{name}: left out, {model} has a context of {context}", flush=True)
                continue
            outcome = try_client(client, given.home, url, model)
            outcomes.append(outcome)
            print(f"{name}: {outcome.passed} passed", *outcome.failures, sep="\n  ", flush=True)
    print("\n| client | version | passed | failed |\n|---|---|---|---|")
    for each in outcomes:
        print(f"| {each.client} | {each.version} | {each.passed} | {len(each.failures)} |")
    sys.exit(any(each.failures for each in outcomes))


if __name__ == "__main__":
    main()
