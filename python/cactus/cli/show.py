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
from cactus.cli.text import counted, megabytes, printable, table


@click.command("show", short_help="Show what a model is.")
@click.argument("model", shell_complete=complete_installed)
@click.option("--template", is_flag=True, help="Print the chat template instead.")
@click.option("--fit", is_flag=True, help="Say how much memory it takes, and what fits here.")
@json_option
def command(model: str, template: bool, fit: bool, as_json: bool) -> None:
    """Show what MODEL is: architecture, abilities, size, precision, context, where it is from."""
    from cactus.weights.resolve import resolve

    if template and fit:
        raise click.UsageError("--template and --fit exclude each other.")
    folder = resolve(model)
    if fit:
        found = estimate(folder)
        click.echo(json.dumps(found, indent=2) if as_json else render_fit(found))
        return
    facts = describe(folder)
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


def estimate(folder: Path) -> dict[str, Any]:
    """What a model would take of this machine's memory, for JSON; it is not loaded."""
    from cactus.engine.fit import disk_rate, fit
    from cactus.machine import available_bytes, memory_bytes

    found, available = fit(folder), available_bytes()
    fits = None if available is None else found.weights + found.working <= available
    remembers = available is not None and found.position_bytes > 0
    tokens = found.tokens_in(available) if available is not None and remembers else None
    return {
        "name": folder.name,
        "weights_bytes": found.weights,
        "working_bytes": found.working,
        "bytes_per_1000_tokens": 1000 * found.position_bytes,
        "context": found.context_length,
        "available_bytes": available,
        "memory_bytes": memory_bytes(),
        "fits": fits,
        "disk_bytes_per_second": disk_rate(folder / "model.safetensors") if fits is False else None,
        "tokens": tokens,
        "conversations": None if tokens is None else tokens // max(1, found.context_length),
    }


def render_fit(found: dict[str, Any]) -> str:
    """The estimate as lines for people."""
    available = found["available_bytes"]
    cached = found["bytes_per_1000_tokens"]
    rows = {
        "weights": megabytes(found["weights_bytes"]),
        "working memory": f"about {megabytes(found['working_bytes'])}",
        "cache": f"{megabytes(cached)} for 1,000 tokens" if cached else None,
        "context": f"{found['context']:,} tokens",
        "free here": None if available is None else megabytes(available),
    }
    known = [(name, value) for name, value in rows.items() if value is not None]
    return f"{printable(found['name'])}\n{table(known, indent=2)}\n{_verdict(found)}"


def _verdict(found: dict[str, Any]) -> str:
    if found["fits"] is None:
        return "This system does not say how much memory is free."
    if not found["fits"]:
        rate = found["disk_bytes_per_second"]
        seconds = "" if rate is None else f": {found['weights_bytes'] / rate:.2g} s a token"
        return (
            f"It does not fit: weights are read from the disk again for each token{seconds}.\n"
            "Take a smaller model, or a smaller --precision."
        )
    if found["tokens"] is None:
        return "It fits."
    whole = found["conversations"]
    if whole == 0:
        return f"It fits, and {found['tokens']:,} tokens in its cache: less than its context."
    whole_contexts = counted(whole, "whole context")
    return f"It fits, and {found['tokens']:,} tokens in its cache: {whole_contexts}."


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
