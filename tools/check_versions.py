"""Files of older versions of Cactus, and what older versions say of today's.

python tools/check_versions.py make 0.2.0 v0.2.0   write tests/versions/0.2.0 with the code of a tag
python tools/check_versions.py ask v0.2.0          give tests/versions to that code, print its words

The code of the tag (or commit) is built in a folder of its own, with an environment that has what
packaging/locks/base.txt names. tests/test_versions.py opens what `make` has written.
"""

from __future__ import annotations

import argparse
import gzip
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VERSIONS = ROOT / "tests" / "versions"
SOURCE = Path(__file__).parent / "versions"
"""The scripts that the old code runs: they use only what every version has, or ask before."""


def build(commit: str, scratch: Path) -> tuple[Path, Path]:
    """The code of a commit, built, and a Python that has what it needs but not Cactus."""
    tree = scratch / "tree"
    tree.mkdir()
    packed = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=True)
    subprocess.run(["tar", "x", "-C", str(tree)], input=packed.stdout, check=True)
    cmake = ["cmake", "-S", str(tree), "-B", str(tree / "b"), "-DCMAKE_BUILD_TYPE=Release"]
    subprocess.run([*cmake, "-G", "Ninja"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["cmake", "--build", str(tree / "b")], check=True, stdout=subprocess.DEVNULL)
    (library,) = (tree / "b").glob("libcactus.*")
    shutil.copy(library, tree / "python" / "cactus" / "native")
    venv.create(scratch / "env", with_pip=True)
    python = scratch / "env" / "bin" / "python"
    lock = ["--require-hashes", "-r", str(ROOT / "packaging" / "locks" / "base.txt")]
    subprocess.run([python, "-m", "pip", "install", "--quiet", *lock], check=True)
    return tree, python


def run(script: str, tree: Path, python: Path, *words: str) -> None:
    """Run one of the scripts with the code of a tree, and with its tests beside it."""
    environment = {"PYTHONPATH": f"{tree / 'python'}:{tree}", "PATH": "/usr/bin:/bin"}
    home = {"HOME": str(tree.parent), "XDG_CACHE_HOME": str(tree.parent / "cache")}
    command = [str(python), str(SOURCE / script), *words]
    subprocess.run(command, cwd=tree.parent, env={**environment, **home}, check=True)


def make(version: str, commit: str) -> None:
    """Write the files of a version."""
    target = VERSIONS / version
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        tree, python = build(commit, scratch)
        made = scratch / "made"
        made.mkdir()
        checkpoint = scratch / "checkpoint"
        run("checkpoint.py", ROOT, Path(sys.executable), str(checkpoint))
        run("make.py", tree, python, str(checkpoint), str(made))
        for index in made.rglob("*.sqlite"):
            packed = gzip.compress(index.read_bytes(), mtime=0)
            index.with_name("index.sqlite.gz").write_bytes(packed)
            index.unlink()
        for ending in ("*.lock", "*-shm", "*-wal"):
            for path in made.rglob(ending):
                path.unlink()
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(made, target)
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    print(f"{target}: {size} bytes")


def ask(commit: str) -> None:
    """Print what the code of a commit says of the files of all versions."""
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        tree, python = build(commit, scratch)
        copy = scratch / "versions"
        shutil.copytree(VERSIONS, copy)
        run("ask.py", tree, python, str(copy))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=("make", "ask"))
    parser.add_argument("words", nargs="+", metavar="VERSION COMMIT")
    given = parser.parse_args()
    if len(given.words) != (2 if given.what == "make" else 1):
        parser.error("make takes a version and a commit, ask a commit")
    (make if given.what == "make" else ask)(*given.words)
    return 0


if __name__ == "__main__":
    sys.exit(main())
