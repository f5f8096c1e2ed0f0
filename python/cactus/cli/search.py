"""``cactus search``: the passages of documents that fit a query."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from cactus.cli.documents import (
    embedder_option,
    folder_argument,
    open_corpus,
    show_hit,
    sync_option,
    top_k_option,
)
from cactus.cli.options import json_option, no_progress_option
from cactus.cli.text import note, whole_characters


@click.command("search", short_help="Search a folder of documents.")
@folder_argument
@click.argument("words", nargs=-1, required=True, metavar="QUERY...")
@top_k_option
@click.option(
    "--mode",
    type=click.Choice(["hybrid", "dense", "lexical"]),
    default="hybrid",
    show_default=True,
    help="By meaning and words together, by meaning alone, or by words alone.",
)
@click.option("--path", "paths", multiple=True, metavar="PATTERN", help="Only in files like this.")
@click.option(
    "--all", "everything", is_flag=True, help="Show the best ones however little they fit."
)
@click.option("--reranker", metavar="MODEL", help="A cross-encoder that looks again at the best.")
@embedder_option
@sync_option
@json_option
@no_progress_option
@click.pass_context
def command(
    ctx: click.Context,
    folder: Path,
    words: tuple[str, ...],
    top_k: int,
    mode: str,
    paths: tuple[str, ...],
    everything: bool,
    reranker: str | None,
    embedder: str | None,
    sync: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Print the passages of the documents in DIR that fit QUERY best, each with its score, 0 to 1.

    The index is made if there is none, and brought up to date, which takes long in a large folder:
    Ctrl-C keeps what is done, and --no-sync searches in that. Where nothing fits, nothing is
    printed, and the exit status is 1. --mode lexical needs no embedder.
    """
    from cactus.retrieval.words_only import WordsOnly

    query = whole_characters(" ".join(words))
    options: dict[str, Any] = {"embedder": embedder, "reranker": reranker, "sync": sync}
    if mode == "lexical":
        options["fallback"] = WordsOnly()
    with open_corpus(folder, quiet=quiet, **options) as corpus:
        if sync and not quiet and corpus.embedder != corpus.made_with:
            note(
                f"The index has vectors of {corpus.made_with}, and no embedder was found to make "
                "more: it is searched as it is. --embedder names one."
            )
        hits = corpus.search(
            query,
            top_k,
            mode=mode,  # type: ignore[arg-type]
            paths=list(paths) or None,
            floor=not everything,
        )
        if as_json:
            found = [hit.as_dict() for hit in hits]
            click.echo(
                json.dumps(
                    {"query": query, "chunks": corpus.chunks, "hits": found}, ensure_ascii=False
                )
            )
        for hit in [] if as_json else hits:
            show_hit(corpus, hit)
        if not hits:
            if not quiet:
                wanting = "fits" if everything else "is similar enough; --all shows the best"
                note(f"Nothing in {corpus.chunks:,} chunks {wanting}.")
            ctx.exit(1)
