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
    help="Delete indices of documents and what building, tests and benchmarks left, too; all is "
    "made again.",
)
def command(models: tuple[str, ...], yes: bool, everything: bool) -> None:
    """Delete caches and unfinished downloads, then ask about the models.

    With MODELS, delete only these.
    """
    from cactus.weights import locate
    from cactus.weights.advice import not_installed
    from cactus.weights.resolve import find_installed

    if models:
        folders = []
        for name in models:
            folder = find_installed(name)
            if folder is None:
                raise not_installed(name)
            folders.append(folder)
    else:
        for folder in _leftovers(everything):
            _delete(folder)
        for folder, use in _made_slowly().items():
            if folder.exists():
                click.echo(
                    f"kept {folder} ({megabytes(_size(folder))}), without which {use} again; "
                    "--all deletes it"
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


def _leftovers(everything: bool) -> list[Path]:
    """Folders that are made again when they are needed; those that take long if `everything`."""
    from cactus.weights import locate

    cache, slow = locate.cache_root(), _made_slowly()
    if everything:
        found = [cache, *slow]
    elif any(folder.parent == cache and folder.exists() for folder in slow):
        found = [each for each in sorted(cache.iterdir()) if each not in slow and each.is_dir()]
    else:
        found = [cache]
    found += [root / ".downloads" for root in locate.search_roots()]
    return [each for each in found if each.exists() and each.parent not in found]


def _made_slowly() -> dict[Path, str]:
    """What takes long to make, most of it by a developer's work, and what the lack of it costs."""
    from cactus.weights import locate

    cache = locate.cache_root()
    made = {
        cache / "corpora": "folders of documents are indexed",
        cache / "tests": "the test suite fetches its models",
        cache / "benchmarks": "the benchmarks build their peers",
    }
    if (ROOT / "CMakeLists.txt").is_file():
        made[ROOT / "build"] = "the next set-up compiles everything"
    return made


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
