"""Completion in the shells themselves, and what is offered."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

from cactus.cli.main import run_cli

SHELLS = {"bash": ["--norc", "--noprofile"], "zsh": ["-f"]}


def environment(tmp_path: Path, tiny_model: Path) -> dict[str, str]:
    """One model named tiny-model, and `cactus` on the PATH."""
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / "tiny-model").symlink_to(tiny_model)
    command = tmp_path / "cactus"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m cactus "$@"\n')
    command.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "CACTUS_WEIGHTS": str(weights), "TERM": "dumb"}


@pytest.mark.parametrize("shell", [shell for shell in SHELLS if shutil.which(shell)])
def test_tab_completes_commands_options_and_models(
    shell: str, tmp_path: Path, tiny_model: Path
) -> None:
    settings = environment(tmp_path, tiny_model)
    child = pexpect.spawn(
        shell, SHELLS[shell], env=settings, encoding="utf-8", timeout=30, dimensions=(24, 200),
        cwd=tmp_path,
    )  # fmt: skip
    prepare = "autoload -Uz compinit && compinit -u -D; " if shell == "zsh" else ""
    child.sendline(f'{prepare}eval "$(cactus completion {shell})"; PS1="re""ady> "')
    child.expect("ready> ")
    for typed, completed in [
        ("cactus sho", "cactus show"),
        ("cactus run --no-hist", "cactus run --no-history"),
        ("cactus desc", "cactus describe"),
        ("cactus rm tin", "cactus rm tiny-model"),
        ("cactus run tiny", "cactus run tiny-model"),
        ("cactus completion fi", "cactus completion fish"),
    ]:
        child.send(f"{typed}\t")
        child.expect_exact(completed)
        child.sendcontrol("u")
        child.sendline("")
        child.expect("ready> ")
    child.close(force=True)


def offered(tmp_path: Path, tiny_model: Path, words: str) -> list[str]:
    """What bash is offered after `words`."""
    settings = {
        **environment(tmp_path, tiny_model),
        "_CACTUS_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
    }
    command = [sys.executable, "-m", "cactus"]
    done = subprocess.run(command, env=settings, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_models_of_the_catalog_are_offered_by_name_and_by_id(tmp_path, tiny_model) -> None:
    assert "plain,qwen3-0.6b" in offered(tmp_path, tiny_model, "cactus run qwen3")


@pytest.mark.parametrize(
    ("command", "can", "cannot"),
    [
        ("run", "plain,qwen3-0.6b", "plain,whisper-base"),
        ("bench", "plain,qwen3-0.6b", "plain,whisper-base"),
        ("eval", "plain,tiny-model", "plain,whisper-base"),
        ("transcribe --model", "plain,whisper-base", "plain,tiny-model"),
    ],
)
def test_only_models_that_can_do_it_are_offered(
    tmp_path, tiny_model, command: str, can: str, cannot: str
) -> None:
    models = offered(tmp_path, tiny_model, f"cactus {command} ")
    assert can in models and cannot not in models


@pytest.mark.parametrize(
    ("typed", "beginning"),
    [("qw", "qwen"), ("Qw", "Qwen/"), ("QWEN", "qwen"), ("hugg", "Hugg")],
)
def test_what_is_offered_has_a_common_beginning(
    tmp_path: Path, tiny_model: Path, typed: str, beginning: str
) -> None:
    names = [
        line.removeprefix("plain,") for line in offered(tmp_path, tiny_model, f"cactus run {typed}")
    ]
    assert len(names) > 1
    assert all(name.startswith(beginning) for name in names)


def test_a_path_is_completed_by_the_shell(tmp_path, tiny_model) -> None:
    assert offered(tmp_path, tiny_model, "cactus run ./mo") == ["file,./mo"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_the_one_that_the_variable_gives(shell: str, capfd) -> None:
    assert run_cli(["completion", shell]) == 0
    told = capfd.readouterr().out
    settings = {**os.environ, "_CACTUS_COMPLETE": f"{shell}_source"}
    command = [sys.executable, "-m", "cactus"]
    done = subprocess.run(command, env=settings, capture_output=True, text=True, check=True)
    assert told.strip() == done.stdout.strip() and f"{shell}_complete" in told
