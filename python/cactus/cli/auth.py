"""``cactus auth``: which larger model is asked where a local one is unsure, and with which key."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

import click

from cactus.cli.text import note, printable, table
from cactus.errors import CactusError, InvalidRequest

T = TypeVar("T")


@click.command("auth", short_help="Set up a cloud to ask where a model is unsure.")
@click.option("--status", is_flag=True, help="Show what is set up, without the key.")
@click.option("--clear", is_flag=True, help="Delete what is stored.")
@click.option("--key-stdin", is_flag=True, help="Read the key from standard input; ask nothing.")
@click.option("--base-url", metavar="URL", help="Address of the service.")
@click.option("--model", metavar="NAME", help="The service's name of the model.")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    status: bool,
    clear: bool,
    key_stdin: bool,
    base_url: str | None,
    model: str | None,
) -> None:
    """Set up a larger model elsewhere, which is asked where a local one is unsure.

    Asks for the API key, which is not shown, the address and the model of any service that speaks
    OpenAI's API, or of Anthropic. The key is stored in the system's keyring, or in a file that
    only you can read. A key of the environment comes first: CACTUS_CLOUD_API_KEY, with
    CACTUS_CLOUD_BASE_URL and CACTUS_CLOUD_MODEL. CACTUS_NO_CLOUD=1 forbids to ask.

    The token of Hugging Face is another one: HF_TOKEN, or 'hf auth login'.

    \b
    cactus auth                                               asks
    cactus auth --key-stdin --model NAME < FILE               for scripts
    cactus auth --base-url http://localhost:11434/v1          a service of this machine
    """
    if sum((status, clear, key_stdin)) > 1:
        raise click.UsageError("--status, --clear and --key-stdin exclude each other.")
    if (status or clear) and (base_url or model):
        raise click.UsageError("--base-url and --model are for setting up.")
    if status:
        ctx.exit(_show_status())
    from cactus.cloud import store

    if clear:
        there = store.clear()
        click.echo("Deleted." if there else "Nothing is stored.")
        _warn_of_environment()
        return
    _set_up(key_stdin, base_url, model)


def _set_up(key_stdin: bool, base_url: str | None, model: str | None) -> None:
    from cactus.cloud import store
    from cactus.cloud.secret import Secret
    from cactus.cloud.settings import (
        check_base_url,
        check_model,
        default_url,
        is_local,
        make_settings,
    )

    local = base_url is not None and is_local(check_base_url(base_url))
    asks = not key_stdin and sys.stdin.isatty()
    missing = [] if key_stdin or local else ["--key-stdin"]
    missing += [] if model is not None else ["--model"]
    if missing and not asks:
        why = "--key-stdin asks nothing" if key_stdin else "Standard input is not a terminal"
        raise click.UsageError(f"{why}: give {' and '.join(missing)}.")
    key = None
    if key_stdin:
        given = sys.stdin.readline(1 << 16)
        key = Secret(given, "the key on standard input") if given.strip() else None
    elif asks:
        key = _prompt(
            "API key (not shown; empty for a service of this machine)",
            lambda text: Secret(text, "the key") if text.strip() else None,
            default="", show_default=False, hide_input=True,
        )  # fmt: skip
        if base_url is None:
            base_url = _prompt("Address", check_base_url, default=default_url(key))
        if model is None:
            model = _prompt("Model", check_model)
    url = check_base_url(default_url(key) if base_url is None else base_url)
    if key is None and not is_local(url):
        raise InvalidRequest(f"there is no API key, and {urlsplit(url).netloc} needs one")
    chosen = make_settings(key, url, model)
    where = store.save(chosen.base_url, chosen.model, chosen.key)
    click.echo(f"Stored in {printable(where)}.")
    note(
        f"Where a local model is less sure than wanted, {printable(chosen.model)} at "
        f"{printable(chosen.host)} is asked: by 'cactus run --cloud', cactus_complete, and "
        "programs that say so. The conversation is sent there then."
    )
    _warn_of_environment()


def _prompt(text: str, check: Callable[[str], T], **options: Any) -> T:
    """What is typed, as `check` makes it; asks again where that raises InvalidRequest."""
    found: list[T] = []

    def convert(typed: str) -> str:
        try:
            found[:] = [check(typed)]
        except InvalidRequest as error:
            raise click.BadParameter(str(error)) from None
        return ""

    click.prompt(text, value_proc=convert, **options)
    return found[0]


def _show_status() -> int:
    from cactus.cloud import store

    try:
        settings = store.find_settings()
    except CactusError as error:
        click.echo(f"cactus: {printable(str(error))}", err=True)
        return 1
    if settings is None:
        click.echo("No cloud is set up: nothing is asked elsewhere.")
        return 1
    rows = [
        ("service", settings.base_url),
        ("model", settings.model),
        ("key", "none" if settings.key is None else settings.key.masked),
        ("from", settings.source),
    ]
    click.echo(table(rows))
    if store.is_forbidden():
        note("CACTUS_NO_CLOUD is set: it is not asked.")
    return 0


def _warn_of_environment() -> None:
    names = [n for n in ("CACTUS_CLOUD_API_KEY", "CACTUS_CLOUD_BASE_URL") if os.environ.get(n)]
    if names:
        note(f"{' and '.join(names)} of the environment come first.")
