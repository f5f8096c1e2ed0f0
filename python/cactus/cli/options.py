"""Options that mean the same in every command that has them."""

from __future__ import annotations

import click

threads_option = click.option(
    "--threads",
    type=click.IntRange(1),
    metavar="N",
    help="Threads to compute with.  [default: CACTUS_THREADS or the physical cores]",
)

kv_option = click.option(
    "--kv",
    type=click.Choice(["f16", "int8"]),
    default="f16",
    show_default=True,
    help="Type of the KV cache; int8 takes half the memory.",
)

activations_option = click.option(
    "--activations",
    type=click.Choice(["int12", "int8"]),
    default="int12",
    show_default=True,
    help="Type of the activations; int8 reads prompts faster and is less exact.",
)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
