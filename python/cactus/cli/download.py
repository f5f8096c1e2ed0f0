"""``cactus download``."""

from __future__ import annotations

import click

from cactus.weights.catalog import STARTER


@click.command("download", short_help="Fetch a model and convert it.")
@click.argument("model", default=STARTER.hub_id)
@click.option(
    "--precision",
    type=click.Choice(["INT4", "INT8", "FP16"], case_sensitive=False),
    metavar="INT4|INT8|FP16",
    help="How the weights are stored.  [default: INT4]",
)
@click.option("--token", help="Hugging Face token for private models; better in HF_TOKEN.")
@click.option("--again", is_flag=True, help="Fetch and convert even if the model is here.")
@click.option("--offline", is_flag=True, help="Open no connection; only look whether it is here.")
def command(
    model: str, precision: str | None, token: str | None, again: bool, offline: bool
) -> None:
    """Fetch MODEL and convert it into the weights folder; print where it is.

    MODEL is a name that 'cactus list' shows, or any Hugging Face id. Without MODEL it is the
    starter model. An interrupted download continues where it stopped.
    """
    from cactus.cli.models import fetch
    from cactus.weights import locate

    if model.lower().endswith(".gguf") or model.startswith(("weights/", "./", "../", "/", "~")):
        raise locate.not_found(model)
    click.echo(fetch(model, precision=precision, token=token, offline=offline, again=again))
