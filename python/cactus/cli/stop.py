"""``cactus stop``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from cactus.cli.text import printable

if TYPE_CHECKING:
    from cactus.server.state import Known

LOOKS = 0.2


@click.command("stop", short_help="Unload a model of a server, or end a server.")
@click.argument("model", required=False)
@click.option("--port", type=int, metavar="N", help="The server at this port.")
@click.option("--all", "every", is_flag=True, help="All servers.")
def command(model: str | None, port: int | None, every: bool) -> None:
    """Free the memory of MODEL in servers that run; without MODEL, end the server.

    Requests on their way are finished first.
    """
    from cactus.errors import CactusError
    from cactus.server import state

    known = state.servers()
    if port is not None:
        known = [one for one in known if one.url.endswith(f":{port}")]
    if not known:
        where = "" if port is None else f" at port {port}"
        raise CactusError(f"no server runs{where}; 'cactus ps' lists those that do")
    if model is not None:
        _unload(model, known)
        return
    if len(known) > 1 and not every:
        names = ", ".join(printable(one.name) for one in known)
        raise click.UsageError(f"There are {len(known)} servers: {names}; say --port N or --all.")
    waited = {one.pid: float(state.call(one, "POST", "/cactus/stop", {})["within_seconds"])
              for one in known}  # fmt: skip
    end = time.monotonic() + max(waited.values()) + state.PATIENCE
    for one in known:
        while one.pid in {each.pid for each in state.servers()}:
            if time.monotonic() > end:
                raise CactusError(
                    f"process {one.pid} has not ended; kill {one.pid} ends it at once"
                )
            time.sleep(LOOKS)
        click.echo(f"The server at {printable(one.name)} has ended.")


def _unload(model: str, known: Sequence[Known]) -> None:
    from cactus.errors import CactusError
    from cactus.server import state

    failures = []
    for one in known:
        try:
            told = state.call(one, "POST", "/cactus/unload", {"model": model})
        except CactusError as error:
            failures.append(error)
            continue
        later = "" if told["unloaded"] else " when its requests have ended"
        click.echo(f"{printable(told['model'])} is unloaded{later}.")
    if len(failures) == len(known):
        raise failures[0]
