"""``cactus eval``: what a model makes of a text, what its precision costs, how sure it may be."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from cactus.cli.complete import complete_chat
from cactus.cli.options import Whole, json_option, threads_option
from cactus.cli.questions import (
    Asking,
    judge_option,
    max_tokens_option,
    samples_option,
    self_check_option,
)
from cactus.cli.text import printable
from cactus.errors import InvalidRequest

if TYPE_CHECKING:
    from cactus.cli.perplexity import Quality
    from cactus.engine.loaded import Loaded

MAX_TEXT_BYTES = 64 << 20


@click.command("eval", short_help="Measure the quality of a model, or of its confidence.")
@click.argument("model", shell_complete=complete_chat)
@click.option(
    "--perplexity",
    "text",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The text to read, in UTF-8.",
)
@click.option(
    "--confidence",
    "questions",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Questions with answers, as 'cactus calibrate' takes them.",
)
@click.option(
    "--against",
    metavar="MODEL",
    help="The same model in another precision, as a rule FP16; compares the two.",
)
@click.option(
    "--context",
    type=Whole(2),
    metavar="N",
    help="Tokens of a window.  [default: 1024, or the model's own limit]",
)
@click.option(
    "--stride",
    type=Whole(1),
    metavar="N",
    help="Tokens from one window's start to the next.  [default: half of --context]",
)
@judge_option
@max_tokens_option
@samples_option
@self_check_option
@click.option(
    "--plot",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    metavar="FILE",
    help="Draw the figures of --confidence into this SVG file.",
)
@threads_option
@json_option
def command(
    model: str,
    text: Path | None,
    questions: Path | None,
    against: str | None,
    context: int | None,
    stride: int | None,
    judge: Any,
    max_tokens: int,
    samples: int,
    self_check: bool,
    plot: Path | None,
    threads: int | None,
    as_json: bool,
) -> None:
    """Measure how well MODEL predicts a text, or what its confidence is worth.

    --perplexity FILE: lower is better. The text is read in windows of --context tokens that begin
    every --stride tokens; each token is predicted once, from what its window holds before it. With
    --against the same windows are read by a second model, and the table has its perplexity, the KL
    divergence from its predictions to MODEL's (in nats a token), and the share of tokens at which
    both hold the same one most likely.

    Perplexities compare only for the same text, tokenizer, --context and --stride.

    --confidence FILE: the model is asked the questions, and its confidence in each answer compared
    with whether it was right, without and with the calibration that 'cactus calibrate' has stored.
    AUROC is how probable it is that a right answer has more of it than a wrong one (0.5: it says
    nothing). ECE and Brier say how far it is from a probability, 0 is best. The tables have the
    answers by their confidence, and, at each threshold, how many would be handed off and how many
    of the rest are right.
    """
    if (text is None) == (questions is None):
        raise click.UsageError("Give one of --perplexity and --confidence.")
    _check_options(ONLY_CONFIDENCE if questions is None else ONLY_PERPLEXITY)
    if questions is not None:
        asking = Asking(max_tokens, threads, samples, self_check)
        _evaluate_confidence(model, questions, judge, asking, plot, as_json)
    elif text is not None:
        _evaluate_perplexity(model, text, against, context, stride, threads, as_json)


ONLY_PERPLEXITY = {"against": "--against", "context": "--context", "stride": "--stride"}
ONLY_CONFIDENCE = {
    "judge": "--judge",
    "max_tokens": "--max-tokens",
    "samples": "--samples",
    "self_check": "--self-check",
    "plot": "--plot",
}


def _check_options(others: Mapping[str, str]) -> None:
    """A usage error for an option that has no effect here."""
    context = click.get_current_context()
    for name, option in others.items():
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            kind = "confidence" if others is ONLY_CONFIDENCE else "perplexity"
            raise click.UsageError(f"{option} is an option of --{kind}.")


def _evaluate_confidence(
    model: str,
    questions: Path,
    judge: Any,
    asking: Asking,
    plot: Path | None,
    as_json: bool,
) -> None:
    from cactus.cli.confidence import as_text, evaluate_confidence
    from cactus.cli.models import find_or_fetch

    folder = find_or_fetch(model, ability="chat")
    told = evaluate_confidence(folder, questions, judge, asking, plot)
    click.echo(json.dumps(told) if as_json else as_text(told))


def _evaluate_perplexity(
    model: str,
    text: Path,
    against: str | None,
    context: int | None,
    stride: int | None,
    threads: int | None,
    as_json: bool,
) -> None:
    from cactus.cli.models import find_or_fetch
    from cactus.cli.perplexity import evaluate
    from cactus.engine.loading import load
    from cactus.inputs.files import read_text
    from cactus.progress import show_progress

    words = read_text(text, MAX_TEXT_BYTES)
    names = [name for name in (model, against) if name is not None]
    folders = [find_or_fetch(name, ability="chat") for name in names]
    engines: list[Loaded] = []
    try:
        engines += [load(folder, threads=threads) for folder in folders]
        ids = [
            engine.tokenizer.encode(words, special=engine.tokenizer.add_bos) for engine in engines
        ]
        if len(engines) == 2 and (
            ids[0] != ids[1] or engines[0].program.vocab_size != engines[1].program.vocab_size
        ):
            raise InvalidRequest(
                f"{folders[0].name} and {folders[1].name} have different tokenizers; --against "
                "compares precisions of one model"
            )
        if len(ids[0]) < 2:
            raise InvalidRequest(f"{text}: {len(ids[0])} tokens, expected at least 2")
        context, stride = _windows(engines, context, stride)
        with show_progress("tokens") as progress:
            label = f"evaluating {folders[0].name}"
            quality = evaluate(
                engines[0],
                engines[1] if len(engines) == 2 else None,
                ids[0],
                context=context,
                stride=stride,
                progress=lambda done: progress(label, done, len(ids[0]) - 1),
            )
    finally:
        for engine in engines:
            engine.close()
    report = _as_dict(folders, text, quality, context, stride)
    click.echo(json.dumps(report) if as_json else _as_text(report))


def _windows(engines: list[Loaded], context: int | None, stride: int | None) -> tuple[int, int]:
    """--context and --stride with their defaults; a usage error where they do not fit."""
    limit = min(engine.context_length for engine in engines)
    context = min(1024, limit) if context is None else context
    if context > limit:
        raise click.UsageError(f"--context {context} is beyond the model's context of {limit}.")
    stride = max(1, context // 2) if stride is None else stride
    if stride >= context:
        # The first token of a window has none before it, so windows have to overlap by one.
        raise click.UsageError(f"--stride {stride} must be less than --context {context}.")
    return context, stride


def _as_dict(
    folders: list[Path], text: Path, quality: Quality, context: int, stride: int
) -> dict[str, Any]:
    report: dict[str, Any] = {
        "model": folders[0].name,
        "text": text.name,
        "tokens": quality.tokens,
        "context": context,
        "stride": stride,
        "perplexity": quality.perplexity,
        "standard_error": quality.standard_error,
    }
    if len(folders) == 2:
        report["against"] = {
            "model": folders[1].name,
            "perplexity": quality.base_perplexity,
            "perplexity_ratio": quality.perplexity / quality.base_perplexity,
            "kl_divergence": quality.mean_divergence,
            "top1_agreement": quality.agreement,
        }
    return report


def _as_text(report: dict[str, Any]) -> str:
    lines = [
        f"{printable(report['model'])} on {printable(report['text'])}: "
        f"{report['tokens']:,} tokens, context {report['context']}, stride {report['stride']}",
        f"perplexity        {report['perplexity']:.4f} ± {report['standard_error']:.4f}",
    ]
    other = report.get("against")
    if other:
        lines += [
            f"against           {printable(other['model'])}, perplexity {other['perplexity']:.4f} "
            f"({other['perplexity_ratio'] - 1:+.2%})",
            f"KL divergence     {other['kl_divergence']:.6f} nats a token",
            f"top-1 agreement   {other['top1_agreement']:.2%}",
        ]
    return "\n".join(lines)
