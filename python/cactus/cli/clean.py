"""``cactus clean``: nothing that cannot be made again goes without a question."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from cactus.cli.checkout import ROOT
from cactus.cli.text import megabytes


@click.command("clean", short_help="Delete caches and models.")
@click.argument("models", nargs=-1)
@click.option("--yes", "-y", is_flag=True, help="Delete the models without asking.")
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="Delete build output, too; the next set-up compiles everything again.",
)
def command(models: tuple[str, ...], yes: bool, everything: bool) -> None:
    """Delete caches and unfinished downloads, then ask about the models.

    With MODELS, delete only these.
    """
    from cactus.weights import locate
    from cactus.weights.advice import not_found

    if models:
        folders = []
        for name in models:
            folder = locate.find_named(name)
            if folder is None:
                raise not_found(name)
            folders.append(folder)
    else:
        for folder in _leftovers():
            _delete(folder)
        if (ROOT / "CMakeLists.txt").is_file() and (build := ROOT / "build").exists():
            if everything:
                _delete(build)
            else:
                click.echo(
                    f"kept {build} ({megabytes(_size(build))}), without which the next set-up "
                    "compiles everything again; --all deletes it"
                )
        folders = locate.installed()
    if not folders:
        return
    total = sum(_size(folder) for folder in folders)
    click.echo(f"Models ({megabytes(total)}):")
    for folder in folders:
        click.echo(f"  {folder}  {megabytes(_size(folder))}")
    if not yes and not _confirm(f"Delete {_count(folders)}?"):
        click.echo("The models are kept.")
        return
    for folder in folders:
        _delete(folder)


def _confirm(question: str) -> bool:
    """Asks; where nobody can answer (the end of stdin) the answer is no."""
    try:
        return click.confirm(question, default=False)
    except click.Abort as stop:  # click makes one of two; Ctrl-C still ends the command
        if not isinstance(stop.__context__, EOFError):
            raise
        click.echo()
        return False


def _leftovers() -> list[Path]:
    """Folders that are made again when they are needed."""
    from cactus.weights import locate

    found = [locate.cache_root()]
    found += [root / ".downloads" for root in locate.search_roots()]
    return [folder for folder in found if folder.exists()]


def _delete(folder: Path) -> None:
    size = _size(folder)
    if folder.is_symlink():  # the model lies elsewhere and may be used from there
        folder.unlink()
    else:
        shutil.rmtree(folder)
    click.echo(f"deleted {folder} ({megabytes(size)})")


def _size(folder: Path) -> int:
    return sum(file.lstat().st_size for file in folder.rglob("*") if file.is_file())


def _count(folders: list[Path]) -> str:
    return "this model" if len(folders) == 1 else f"these {len(folders)} models"
