"""Writes packaging/locks/: the version and the hashes of every package that we fetch.

python tools/lock.py            what pyproject.toml asks for, as few versions changed as it needs
python tools/lock.py --upgrade  the newest versions of all

Needs uv (pip install uv) and the package index. All locks come from one resolution, for every
Python and system that we support, so that any of them can be installed together. base.txt is what
the package needs; each other lock is what an extra or a group of pyproject.toml adds to it.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCKS = ROOT / "packaging" / "locks"
BASE = ["--extra", "documents", "--extra", "server"]
LOCKED = {
    "base": [],
    "build": ["--group", "build"],
    "test": ["--group", "test"],
    "dev": ["--group", "dev"],
    "audit": ["--group", "audit"],
    **{name: ["--extra", name] for name in ("mic", "av", "mcp", "batch", "ray")},
}
"""What each lock is for, as uv is asked for it."""
HEADER = "# Written by tools/lock.py: {about}.\n"


def compile_lock(options: list[str], known: Path | None, *more: str) -> str:
    """What uv resolves pyproject.toml to, with `options` beside the package and within `known`."""
    within = ["--constraints", str(known)] if known else []
    command = [
        *("uv", "pip", "compile", "--universal", "--python-version", "3.10", "--no-config"),
        *("--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links", "--quiet"),
        *(*BASE, *options, *within, *more, "pyproject.toml"),
    ]  # fmt: skip
    try:
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    except FileNotFoundError:
        raise SystemExit("uv is missing: pip install uv") from None
    if done.returncode:
        raise SystemExit(f"uv failed with status {done.returncode}")
    return done.stdout


def entries(text: str) -> dict[str, list[str]]:
    """The entries of a lock by package: one for each version, with its hashes."""
    found: dict[str, list[str]] = {}
    for entry in re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE):
        if name := re.match(r"[A-Za-z0-9._-]+", entry):
            found.setdefault(name[0], []).append(entry)
    return found


def main() -> int:
    """Write all locks; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions of all")
    upgrade = parser.parse_args().upgrade
    LOCKS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        known, chosen = Path(scratch) / "known.txt", Path(scratch) / "all.txt"
        known.write_text("".join(path.read_text("utf-8") for path in sorted(LOCKS.glob("*.txt"))))
        everything = [option for options in LOCKED.values() for option in options]
        seed = None if upgrade else known
        whole = entries(compile_lock(everything, seed, "--generate-hashes"))
        chosen.write_text("".join(entry for listed in whole.values() for entry in listed))
        # What follows asks for nothing that the resolution has not fetched.
        base = set(entries(compile_lock([], chosen, "--offline")))
        for lock, options in LOCKED.items():
            names = set(entries(compile_lock(options, chosen, "--offline")))
            names = names if lock == "base" else names - base
            about = "what the package needs" if lock == "base" else f"what {lock} adds to base.txt"
            text = "".join(entry for name in sorted(names) for entry in whole[name])
            (LOCKS / f"{lock}.txt").write_text(HEADER.format(about=about) + text, "utf-8")
            print(f"{lock}: {len(names)} packages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
