"""``cactus show``: what a model is, from the files of its folder."""

from __future__ import annotations

import json
from math import prod
from pathlib import Path
from typing import Any

import click

from cactus.cli.complete import complete_installed
from cactus.cli.options import json_option
from cactus.cli.settings import SOURCES, UNSET
from cactus.cli.text import megabytes, printable, table


@click.command("show", short_help="Show what a model is.")
@click.argument("model", shell_complete=complete_installed)
@click.option("--template", is_flag=True, help="Print the chat template instead.")
@json_option
def command(model: str, template: bool, as_json: bool) -> None:
    """Show what MODEL is: architecture, abilities, size, precision, context, where it is from."""
    from cactus.weights.resolve import resolve

    facts = describe(resolve(model))
    if template:
        click.echo(printable(facts["template"] or ""))
    elif as_json:
        click.echo(json.dumps(facts, indent=2, ensure_ascii=False))
    else:
        click.echo(render(facts))


def describe(folder: Path) -> dict[str, Any]:
    """Facts about a weights folder, for JSON; what its files do not say is None."""
    from cactus.weights import locate
    from cactus.weights.abilities import abilities_of
    from cactus.weights.format.folder import WeightsFolder

    with WeightsFolder.open(folder) as weights:
        config = weights.config
        text = config.get("text_config")  # of a model that sees, what it writes with
        sizes = text if isinstance(text, dict) else config
        own = locate.describe(folder)
        return {
            "name": folder.name,
            "architecture": config.get("model_type"),
            "abilities": list(abilities_of(config)),
            "parameters": sum(prod(tensor.shape) for tensor in weights.tensors.values()),
            "precision": own.get("precision"),
            "bytes": weights.nbytes,
            "context": sizes.get("max_position_embeddings"),
            "vocabulary": sizes.get("vocab_size"),
            "layers": sizes.get("num_hidden_layers"),
            "hidden_size": sizes.get("hidden_size"),
            "sampling": _sampling(folder),
            "calibration": _calibration(folder),
            "license": own.get("license"),
            "source": locate.source_id(folder),
            "path": str(folder),
            "template": weights.chat_template,
        }


def render(facts: dict[str, Any]) -> str:
    """The facts as lines for people."""
    parameters, size = facts["parameters"], facts["bytes"]
    rows = {
        "architecture": facts["architecture"],
        "abilities": ", ".join(facts["abilities"]) or None,
        "parameters": f"{parameters / 1e6:,.0f} M",
        "precision": f"{facts['precision']}, {8 * size / parameters:.2f} bits a weight",
        "size": megabytes(size),
        "context": facts["context"] and f"{facts['context']:,} tokens",
        "vocabulary": facts["vocabulary"] and f"{facts['vocabulary']:,} tokens",
        "layers": facts["layers"] and f"{facts['layers']}, {facts['hidden_size']} wide",
        "chat template": f"{len(facts['template']):,} characters" if facts["template"] else "none",
        "sampling": _sampling_text(facts["sampling"]),
        "confidence": _calibration_text(facts["calibration"]),
        "license": facts["license"],
        "source": facts["source"],
        "path": facts["path"],
    }
    known = [(name, str(value)) for name, value in rows.items() if value is not None]
    return f"{printable(facts['name'])}\n{table(known, indent=2)}"


def _calibration(folder: Path) -> dict[str, Any] | None:
    """What its confidence was calibrated with, if it was."""
    from cactus.confidence.store import read_calibration

    found = read_calibration(folder)
    return None if found is None else {"questions": found.questions, "right": found.right}


def _calibration_text(calibration: dict[str, Any] | None) -> str | None:
    if calibration is None:
        return None
    return f"calibrated with {calibration['questions']} answers, {calibration['right']:.0%} right"


def _sampling(folder: Path) -> dict[str, Any]:
    """What `sampling="model"` stands for, with where that comes from."""
    from cactus.engine.loading import sampling_defaults

    defaults = sampling_defaults(folder)
    if isinstance(defaults, Exception):
        raise defaults
    return {**defaults.options(), "source": defaults.source}


def _sampling_text(sampling: dict[str, Any]) -> str:
    """The values that are not off, and whose they are."""
    values = [f"{n} {v:g}" for n, v in sampling.items() if n in UNSET and f"{v:g}" != UNSET[n]]
    return f"{', '.join(values) or 'greedy'} ({SOURCES[sampling['source']]})"
