"""``cactus ask``: an answer from documents, with the passages that support it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cactus.cli.complete import complete_chat
from cactus.cli.documents import (
    embedder_option,
    folder_argument,
    open_corpus,
    show_sources,
    sync_option,
    top_k_option,
)
from cactus.cli.options import (
    json_option,
    max_tokens_option,
    offline_option,
    threads_option,
)
from cactus.weights.catalog import STARTER

if TYPE_CHECKING:
    from cactus.types import Completion


@click.command("ask", short_help="Ask a folder of documents.")
@folder_argument
@click.argument("words", nargs=-1, required=True, metavar="QUESTION...")
@click.option(
    "--model",
    "-m",
    default=STARTER.name,
    show_default=True,
    shell_complete=complete_chat,
    help="The model that answers: a name, a Hugging Face id, a folder or a .gguf file.",
)
@top_k_option
@max_tokens_option
@embedder_option
@sync_option
@threads_option
@json_option
@offline_option
@click.option("--quiet", "-q", is_flag=True, help="Print the answer only.")
@click.pass_context
def command(
    ctx: click.Context,
    folder: Path,
    words: tuple[str, ...],
    model: str,
    top_k: int,
    max_tokens: int,
    embedder: str | None,
    sync: bool,
    threads: int | None,
    as_json: bool,
    offline: bool,
    quiet: bool,
) -> None:
    """Answer QUESTION from the documents in DIR, and show which passages say so.

    The index is made if there is none, and brought up to date. Where nothing in the documents is
    similar to the question, that is the answer, no model is asked, and the exit status is 1.
    """
    from cactus.cli.answer import Printer
    from cactus.cli.chat import ENDS
    from cactus.cli.interrupt import stop_at_interrupt
    from cactus.cli.models import find_or_fetch
    from cactus.cli.progress import Late
    from cactus.cli.text import note, whole_characters
    from cactus.model import Model
    from cactus.weights.embedders import USUAL, find_embedder

    question = whole_characters(" ".join(words))
    if not question.strip():
        raise click.UsageError("The question is empty.")
    weights = find_or_fetch(model, offline=offline, ability="chat")
    options: dict[str, Any] = {"max_tokens": max_tokens, "stop_loops": True}
    with Late(f"loading {weights.name} ...", quiet=quiet):
        loaded = Model(weights, threads=threads, preload=True)
    if embedder is None and not quiet and find_embedder() is None:
        note(
            "No embedder is on this machine: the model itself finds passages, slowly and less "
            f"well; 'cactus download {USUAL['embed']}' fetches one."
        )
    with (
        loaded,
        open_corpus(folder, quiet=quiet, embedder=embedder, fallback=loaded, sync=sync) as corpus,
    ):
        if as_json:
            with stop_at_interrupt(loaded.stop):
                done = corpus.ask(loaded, question, passages=top_k, **options)
            click.echo(
                json.dumps(
                    _as_dict(question, loaded.name, corpus.embedder, done), ensure_ascii=False
                )
            )
        else:
            with (
                Printer(quiet=quiet, wrap=True) as printer,
                corpus.ask_stream(loaded, question, passages=top_k, **options) as stream,
                stop_at_interrupt(loaded.stop),
            ):
                for event in stream:
                    printer.show(event)
                done = stream.completion
            if not quiet:
                show_sources(corpus, done)
    assert done.reading is not None
    ctx.exit(ENDS.get(done.finish_reason, 0 if done.reading.found else 1))


def _as_dict(question: str, model: str, embedder: str, done: Completion) -> dict[str, Any]:
    reading = done.reading
    assert reading is not None
    return {
        "question": question,
        "answer": done.text,
        "found": reading.found,
        "citations": [citation.as_dict() for citation in done.citations],
        "notes": list(reading.notes),
        "passages": [asdict(passage) for passage in reading.passages],
        "chunks": reading.chunks,
        "whole": reading.whole,
        "finish_reason": done.finish_reason,
        "model": model,
        "embedder": embedder,
    }
