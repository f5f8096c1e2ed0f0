"""``cactus convert``."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cactus.cli.options import Real
from cactus.cli.text import megabytes, printable
from cactus.progress import show_progress

if TYPE_CHECKING:
    from cactus.weights.convert import ConversionReport
    from cactus.weights.write import TensorReport


@click.command("convert", short_help="Convert a GGUF file or a Hugging Face folder.")
@click.argument("source", type=click.Path(path_type=Path))
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
@click.option(
    "--calibration",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="For INT4: a text such as the model will meet, instead of one that comes with Cactus.",
)
@click.option(
    "--no-calibration",
    is_flag=True,
    help="For INT4: round each weight for itself; much faster, and less exact.",
)
@click.option(
    "--bits",
    type=Real(4.5, 16),
    metavar="X",
    help="For INT4: bits a weight at most, of the whole file; the matrices that 4 bits hurt most "
    "get 8 as far as they fit.  [default: none does]",
)
@click.option(
    "--mmproj",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="With which the model of a GGUF file sees.  [default: the one beside it that fits]",
)
def command(
    source: Path,
    directory: Path | None,
    precision: str | None,
    lora: Path | None,
    calibration: Path | None,
    no_calibration: bool,
    bits: float | None,
    mmproj: Path | None,
) -> None:
    """Convert SOURCE, a GGUF file or a Hugging Face folder, into a weights folder.

    The result goes to DIRECTORY, or below the weights folder under the lower-case name of SOURCE,
    or of the adapter if there is one.
    Unless --precision asks for another form, GGUF's Q4_0, Q4_1, Q5_0, Q8_0 and IQ4_NL are kept
    without any loss, and its other types with an error at most a tenth larger than their own.

    INT4 reads a text with the model, at most 8,192 tokens of it, and rounds every weight so that
    it makes up for the errors of others where that text shows them; the embedding and the output
    matrix keep 8 bits. docs/precision.md says what each precision costs.
    """
    from cactus.weights.convert import convert
    from cactus.weights.rounding.calibrate import OWN_TEXT

    if (calibration or no_calibration) and precision != "INT4":
        raise click.UsageError("--calibration and --no-calibration go with --precision INT4.")
    if bits is not None and (precision != "INT4" or no_calibration):
        raise click.UsageError("--bits goes with --precision INT4 and a calibration text.")
    if calibration and no_calibration:
        raise click.UsageError("--calibration and --no-calibration exclude each other.")
    text = None if no_calibration else calibration or OWN_TEXT
    if not source.exists():
        raise click.UsageError(_absent(str(source)))
    target = directory or _default_target(lora or source)
    with show_progress() as progress:
        report = convert(
            source, target, precision, progress, lora, calibration=text, bits=bits, mmproj=mmproj
        )
    click.echo(report.target)
    click.echo(
        f"{report.parameters / 1e6:,.0f} M parameters, {report.precision}, "
        f"{megabytes(report.nbytes)}, {report.bits_per_weight:.2f} bits a weight, "
        f"{report.seconds:.1f} s",
        err=True,
    )
    for line in _formats(report):
        click.echo(line, err=True)
    worst, furthest = report.worst, report.worst_output
    if worst.relative_rms:
        loss = f"{report.loss:.2%} RMS, at most {worst.relative_rms:.2%} in {worst.name}"
        click.echo(f"loss: {loss}", err=True)
    if furthest is not None:
        click.echo(
            f"loss of what the matrices make of the calibration text: at most "
            f"{furthest.output_rms:.2%} RMS, in {furthest.name}",
            err=True,
        )
    for note in report.notes:
        click.echo(f"note: {note}", err=True)


def _absent(source: str) -> str:
    """What to say of a source that is not there, which may be the name of a model."""
    from cactus.weights import catalog, names

    known = catalog.find(source) or names.parse_hub_name(source)
    fetch = f" 'cactus download {printable(source)}' fetches a model and converts it."
    return f"SOURCE {printable(source)}: there is no such file or folder.{fetch if known else ''}"


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
    from cactus.weights import catalog, locate, names

    # A file of the hub's cache is a link to one that is named by its digest.
    source = source.resolve() if source.is_dir() else Path(os.path.abspath(source))
    name = (names.name_of_checkpoint(source) if source.is_dir() else source.stem).lower()
    if not catalog.is_name(name):
        raise click.UsageError(f"'{name}' cannot name a model; give a DIRECTORY for the result.")
    return locate.weights_root() / name
