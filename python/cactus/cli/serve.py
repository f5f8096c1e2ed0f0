"""``cactus serve``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cactus.cli.complete import complete_installed
from cactus.cli.options import (
    Whole,
    activations_option,
    kv_option,
    offline_option,
    resident_option,
    threads_option,
)
from cactus.cli.quantities import Duration, Size
from cactus.cli.text import megabytes, note, printable, table

if TYPE_CHECKING:
    from cactus.server.service import Service
    from cactus.server.settings import Settings

FILE = click.Path(dir_okay=False, path_type=Path)

LISTENING = (
    click.option("--host", default="127.0.0.1", show_default=True,
                 help="The address to listen at."),
    click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True,
                 help="The port; 0 is any that is free."),
    click.option("--uds", type=FILE, metavar="PATH", help="Listen at a Unix socket instead."),
    click.option("--tls-cert", type=FILE, metavar="FILE", help="A certificate (PEM), for HTTPS."),
    click.option("--tls-key", type=FILE, metavar="FILE", help="Its key, if that file lacks it."),
)  # fmt: skip
LETTING_IN = (
    click.option("--api-key-file", type=FILE, metavar="FILE",
                 help="Keys that are let in, one a line. Also: CACTUS_API_KEYS."),
    click.option("--api-key", "api_keys", multiple=True, metavar="KEY",
                 help="A key; others on this machine can see it in the list of processes."),
    click.option("--admin-key-file", type=FILE, metavar="FILE",
                 help="Keys that may change the server, too. Also: CACTUS_ADMIN_KEYS."),
    click.option("--insecure", is_flag=True,
                 help="Let in everybody who reaches --host, without a key."),
    click.option("--allow-host", "allow_hosts", multiple=True, metavar="NAME",
                 help="A name by which clients call this server; '*' is any."),
    click.option("--allow-origin", "allow_origins", multiple=True, metavar="ORIGIN",
                 help="A web page that may call it, such as https://chat.example; '*' is any."),
    click.option("--isolate-keys", is_flag=True,
                 help="Remember prompts for each key apart, not for all together."),
)  # fmt: skip
MEMORY = (
    click.option("--memory", type=Size(share=True), metavar="SIZE",
                 help="For all models and caches.  [default: 75% of what is free]"),
    click.option("--cache", type=Size(), metavar="SIZE",
                 help="Of it, for what each model remembers.  [default: a quarter]"),
    click.option("--keep", type=Duration(forever=True), default="forever", show_default=True,
                 metavar="TIME", help="How long a model stays that nobody uses."),
    click.option("--context", type=Whole(1), metavar="N",
                 help="Most tokens of a prompt with its answer.  [default: the model's]"),
)  # fmt: skip
BOUNDS = (
    click.option("--max-running", type=Whole(1), default=64, show_default=True, metavar="N",
                 help="Answers that are worked on at a time."),
    click.option("--max-waiting", type=Whole(0), default=256, show_default=True, metavar="N",
                 help="Requests that may wait; more are told to come again."),
    click.option("--max-sockets", type=Whole(0), default=16, show_default=True, metavar="N",
                 help="WebSockets at a time."),
    click.option("--socket-idle", type=Duration(), default="5m", show_default=True, metavar="TIME",
                 help="How long a WebSocket may say nothing."),
    click.option("--max-body", type=Size(), default="32MiB", show_default=True, metavar="SIZE",
                 help="Bytes of a request at most."),
    click.option("--max-upload", type=Size(), default="100MiB", show_default=True, metavar="SIZE",
                 help="Bytes of a request with a recording at most."),
    click.option("--timeout", type=Duration(), metavar="TIME",
                 help="How long a request may take.  [default: as long as it does]"),
    click.option("--drain", type=Duration(), default="30s", show_default=True, metavar="TIME",
                 help="How long requests may go on when the server is asked to end."),
)  # fmt: skip


def _all(command: Any) -> Any:
    for option in reversed((*LISTENING, *LETTING_IN, *MEMORY, *BOUNDS)):
        command = option(command)
    return command


@click.command("serve", short_help="Serve models over HTTP.")
@click.argument("models", nargs=-1, metavar="[MODEL]...", shell_complete=complete_installed)
@_all
@click.option("--alias", "aliases", multiple=True, metavar="NAME=MODEL",
              help="Another name for a model, such as gpt-4o=MODEL.")  # fmt: skip
@click.option("--docs", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
              help="A folder of documents that chats may be answered from.")  # fmt: skip
@click.option("--image-urls", is_flag=True,
              help="Fetch images at the addresses that requests give.")  # fmt: skip
@click.option("--tools", "tools_file", type=FILE, metavar="FILE.py",
              help="Functions that models may call here, without asking.")  # fmt: skip
@threads_option
@kv_option
@activations_option
@resident_option
@offline_option
@click.option("--dry-run", is_flag=True, help="Print what would listen where, and end.")
def command(models: tuple[str, ...], dry_run: bool, **given: Any) -> None:
    """Serve models to programs that speak OpenAI's, Anthropic's or Ollama's interface.

    The first MODEL is the default, and loaded at once, others when they are asked for. Without a
    name: all models of this machine, or the starter model where there is none. A page to chat is
    at the same address.
    """
    try:
        from cactus.server import listen
        from cactus.server.run import run
        from cactus.server.service import Service
    except ModuleNotFoundError as error:
        from cactus.errors import CactusError

        raise CactusError(
            f"the server needs the package {error.name}; install what it needs with: "
            "pip install 'cactus[server]'"
        ) from None

    functions = []
    if given["tools_file"] is not None:
        from cactus.cli.functions import load_tools

        functions = [tool.function for tool in load_tools(given["tools_file"])]
    offline = given.pop("offline") or dry_run
    settings = _settings(_find(models, offline=offline), given)
    listen.check(settings)
    names = ("threads", "context", "kv", "activations", "resident")
    options = {name: given[name] for name in names if given[name] is not None}
    service = Service(settings, options, functions)
    if dry_run:
        click.echo(_described(service, settings.port))
        return
    if settings.docs is not None:
        _find_embedder(offline=offline)
        service.open_documents()  # before anybody may ask
    sockets = listen.open_sockets(settings)
    port = 0 if settings.uds is not None else sockets[0].getsockname()[1]
    click.echo(_described(service, port))
    if settings.insecure and not settings.keys:
        note("everybody who reaches this address is let in")
    run(service, sockets, service.served[0].name if models else None)


def _find(models: tuple[str, ...], *, offline: bool) -> tuple[Path, ...]:
    """The weights folders of models, fetched where they are not here.

    Without names: all on this machine, those that chat first; where there is none, the starter.
    """
    from cactus.cli.models import find_or_fetch
    from cactus.weights import locate
    from cactus.weights.catalog import STARTER

    if not models:
        entries = [entry for entry in locate.entries() if entry.fault is None]
        entries.sort(key=lambda entry: ("chat" not in entry.abilities, entry.folder.name))
        if entries:
            return tuple(entry.folder for entry in entries)
    return tuple(find_or_fetch(name, offline=offline) for name in models or (STARTER.name,))


def _find_embedder(*, offline: bool) -> None:
    """Fetch the usual embedder where none is on this machine."""
    from cactus.cli.models import find_or_fetch
    from cactus.weights.embedders import USUAL, find_embedder

    if find_embedder() is None:
        find_or_fetch(USUAL["embed"], offline=offline)


def _settings(folders: tuple[Path, ...], given: dict[str, Any]) -> Settings:
    from cactus.server.guard.keys import ADMIN_VARIABLE, read_keys
    from cactus.server.settings import Settings

    file, admin_file = _key_file(given, "api_key_file"), _key_file(given, "admin_key_file")
    admins = read_keys(admin_file, variable=ADMIN_VARIABLE)
    if given["api_keys"]:
        note("a key on the command line is seen by others on this machine; --api-key-file is not")
    aliases = {}
    for text in given["aliases"]:
        name, equals, model = text.partition("=")
        if not (name and equals and model):
            raise click.UsageError(f"--alias is NAME=MODEL, got {printable(text)}.")
        aliases[name] = model
    same = ("host", "port", "uds", "insecure", "allow_hosts", "allow_origins", "isolate_keys",
            "tls_cert", "tls_key", "memory", "cache", "docs", "image_urls", "max_running",
            "max_waiting", "max_sockets", "max_body", "max_upload")  # fmt: skip
    return Settings(
        folders,
        keys=(*read_keys(file, given["api_keys"]), *admins),
        admin_keys=admins,
        aliases=aliases,
        keep_seconds=None if math.isinf(given["keep"]) else given["keep"],
        timeout_seconds=given["timeout"],
        drain_seconds=given["drain"],
        socket_seconds=given["socket_idle"],
        **{name: given[name] for name in same},
    )


def _key_file(given: dict[str, Any], name: str) -> Path | None:
    from cactus.server.guard.keys import is_readable_by_others

    file: Path | None = given[name]
    if file is not None and not file.is_file():
        option = name.replace("_", "-")
        raise click.UsageError(f"--{option} {printable(str(file))}: there is no such file.")
    if file is not None and is_readable_by_others(file):
        note(f"others on this machine may read {file}; chmod 600 {file}")
    return file


def _described(service: Service, port: int) -> str:
    """Where it listens, and with what."""
    from cactus.server.listen import address_of

    settings = service.settings
    address = address_of(settings, port)
    models = [
        f"{one.name} ({', '.join(one.abilities)})" + ("" if n else ", the default")
        for n, one in enumerate(service.served)
    ]
    keys = len(settings.keys)
    rows = [
        ("page", f"{address}/"),
        ("OpenAI", f"{address}/v1"),
        ("Anthropic, Ollama", address),
        *[("model", model) for model in models],
        *[("alias", f"{name} is {model}") for name, model in settings.aliases.items()],
        ("keys", f"{keys}, {len(settings.admin_keys)} of administrators" if keys else "none"),
    ]
    if service.models.budget is not None:
        rows.append(("memory", f"{megabytes(service.models.budget)} for models and caches"))
    if service.documents is not None:
        found = service.documents
        rows.append(("documents", f"{found.folder}: {found.files} files"))
    rows += [("tool", tool.__name__) for tool in service.tools]
    if settings.uds is not None:
        rows = rows[3:]
    return f"Cactus at {printable(address)}\n{table(rows, indent=2)}"
