"""``cactus ps``."""

from __future__ import annotations

import json
from typing import Any

import click

from cactus.cli.options import json_option
from cactus.cli.text import complain, counted, megabytes, printable


@click.command("ps", short_help="List servers that run, and their models.")
@json_option
def command(as_json: bool) -> None:
    """List the servers of yours that run: models in memory, requests, keys."""
    from cactus.server import state

    found: list[dict[str, Any]] = []
    for known in state.servers():
        try:
            told = state.call(known, "GET", "/cactus/running")
        except state.NotReached as error:
            complain(str(error))
            continue
        found.append({"url": known.url, **told})
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    if not found:
        click.echo("No server runs; 'cactus serve' begins one.")
    for told in found:
        click.echo(_server(told))


def _server(told: dict[str, Any]) -> str:
    """A server in lines for people."""
    state = "" if told["ready"] else ", ending"
    lines = [
        f"{printable(told['url'])} (process {told['pid']}, "
        f"{_time(told['uptime_seconds'])}{state}): "
        f"{counted(told['running'], 'answer')}, {counted(told['waiting'], 'request')} waiting"
    ]
    if told["memory_budget"] is not None:
        reserved, budget = megabytes(told["memory_reserved"]), megabytes(told["memory_budget"])
        lines.append(f"  {reserved} of {budget} reserved")
    for model in told["models"]:
        lines.append(f"  {printable(model['id'])}: {_model(model)}")
    for tenant in told["tenants"]:
        if tenant["id"] in (None, "admin"):
            continue
        tokens = tenant["prompt_tokens"] + tenant["completion_tokens"]
        lines.append(
            f"  key {tenant['id']}: {counted(tenant['requests'], 'request')}, {tokens:,} tokens, "
            f"{tenant['running']} running, {tenant['waiting']} waiting"
        )
    return "\n".join(lines)


def _model(model: dict[str, Any]) -> str:
    if not model["loaded"]:
        return "not in memory"
    if model["idle_seconds"] is None:
        state = f"used by {counted(model['requests'], 'request')}"
    else:
        state = f"idle for {_time(model['idle_seconds'])}"
    if model["keep_seconds"] is not None:
        state += f", kept for {_time(model['keep_seconds'])}"
    context = model["context_length"]
    shown = f", context {context:,}" if context else ""
    return f"{megabytes(model['bytes'])}, cache {megabytes(model['kv_bytes'])}{shown}, {state}"


def _time(seconds: float) -> str:
    for size, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {name}"
    return f"{seconds:.0f} s"
