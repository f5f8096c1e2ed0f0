"""Options that mean the same in every command that has them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click


class Whole(click.IntRange):
    """A whole number within bounds; an error says what is expected."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number that a text stands for."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"must be a whole number{_bounds(self)}, got {value!r}", param, ctx)


class Real(click.FloatRange):
    """A number within bounds; an error says what is expected."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """The number that a text stands for."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"must be a number{_bounds(self)}, got {value!r}", param, ctx)


def _bounds(kind: click.IntRange | click.FloatRange) -> str:
    return (
        f" of {kind.min:g} or more" if kind.max is None else f" from {kind.min:g} to {kind.max:g}"
    )


threads_option = click.option(
    "--threads",
    type=Whole(1),
    metavar="N",
    help="Threads to compute with.  [default: CACTUS_THREADS or the physical cores]",
)

max_tokens_option = click.option(
    "--max-tokens",
    type=Whole(1),
    metavar="N",
    default=512,
    show_default=True,
    help="Most tokens of an answer.",
)

kv_option = click.option(
    "--kv",
    type=click.Choice(["f16", "int8"]),
    help="Type of the KV cache; f16 takes twice the memory and is read more slowly.  "
    "[default: int8, and f16 for speech and embedders]",
)

activations_option = click.option(
    "--activations",
    type=click.Choice(["int12", "int8"]),
    help="Type of the activations; int8 reads prompts faster and is less exact.  "
    "[default: int12, and int8 for encoders]",
)

resident_option = click.option(
    "--resident",
    is_flag=True,
    help="Copy the weights into memory, in large pages where the system has them, instead of "
    "mapping their file, which may then be changed or removed.",
)

max_tiles_option = click.option(
    "--max-tiles",
    type=Whole(1),
    metavar="N",
    help="Most tiles that an image is divided into: fewer are faster, and show less of it.",
)

max_image_tokens_option = click.option(
    "--max-image-tokens",
    type=Whole(1),
    metavar="N",
    help="Most tokens of the prompt that an image takes.",
)

frames_option = click.option(
    "--frames",
    type=Whole(1),
    metavar="N",
    help="Most frames of a video that are looked at; one a second, fewer of a long one.  "
    "[default: 16]",
)


def image_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """How finely a model looks at images."""
    return max_tiles_option(max_image_tokens_option(frames_option(command)))


offline_option = click.option(
    "--offline", is_flag=True, help="Open no connection; the model must be here."
)

no_progress_option = click.option("--quiet", "-q", is_flag=True, help="Show no progress.")

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
