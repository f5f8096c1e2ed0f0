"""``cactus convert``."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cactus.cli.progress import show_progress
from cactus.cli.text import megabytes

if TYPE_CHECKING:
    from cactus.weights.convert import ConversionReport, TensorReport


@click.command("convert", short_help="Convert a GGUF file or a Hugging Face folder.")
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.argument("directory", required=False, type=click.Path(path_type=Path))
@click.option(
    "--precision",
    type=click.Choice(["INT4", "INT8", "FP16"], case_sensitive=False),
    metavar="INT4|INT8|FP16",
    help="How the weights are stored.  [default: as SOURCE has them]",
)
@click.option(
    "--lora",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Merge a LoRA adapter, as PEFT writes it, before; then the default is INT8.",
)
def command(source: Path, directory: Path | None, precision: str | None, lora: Path | None) -> None:
    """Convert SOURCE, a GGUF file or a Hugging Face folder, into a weights folder.

    The result goes to DIRECTORY, or below the weights folder under the lower-case name of SOURCE.
    Unless --precision asks for another form, GGUF's Q4_0, Q4_1, Q5_0, Q8_0 and IQ4_NL are kept
    without any loss, and its other types with an error at most a tenth larger than their own.
    """
    from cactus.weights.convert import convert

    with show_progress() as progress:
        report = convert(source, directory or _default_target(source), precision, progress, lora)
    click.echo(report.target)
    click.echo(
        f"{report.parameters / 1e6:,.0f} M parameters, {report.precision}, "
        f"{megabytes(report.nbytes)}, {report.bits_per_weight:.2f} bits a weight, "
        f"{report.seconds:.1f} s",
        err=True,
    )
    for line in _formats(report):
        click.echo(line, err=True)
    worst = report.worst
    if worst.relative_rms:
        click.echo(f"largest error: {worst.relative_rms:.2%} RMS in {worst.name}", err=True)
    for note in report.notes:
        click.echo(f"note: {note}", err=True)


def _formats(report: ConversionReport) -> Iterator[str]:
    """What the matrices were and are stored in, the most weights first."""
    groups: dict[tuple[str, str], list[TensorReport]] = {}
    for tensor in report.tensors:
        if len(tensor.shape) == 2:
            groups.setdefault((tensor.source_type, tensor.dtype), []).append(tensor)
    sizes = {key: sum(math.prod(each.shape) for each in group) for key, group in groups.items()}
    for key in sorted(groups, key=lambda key: -sizes[key]):
        group, (source, dtype), values = groups[key], key, sizes[key]
        count = f"{len(group)} {'matrix' if len(group) == 1 else 'matrices'}"
        bits = 8 * sum(tensor.nbytes for tensor in group) / values
        error = max(tensor.relative_rms for tensor in group)
        yield (
            f"  {source:>6} in {dtype:5} {count:>12}, {values / 1e6:7,.1f} M weights, {bits:5.2f} "
            f"bits, {f'error up to {error:.2%}' if error else 'exact'}"
        )


def _default_target(source: Path) -> Path:
    from cactus.weights import catalog, locate

    source = source.resolve()
    name = (source.name if source.is_dir() else source.stem).lower()
    if not catalog.is_name(name):
        raise click.UsageError(f"'{name}' cannot name a model; give a DIRECTORY for the result.")
    return locate.weights_root() / name
