"""`cactus batch`: its options, its exit status, and what it says."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import copy
from pathlib import Path

import pytest

from cactus.cli import batch as command
from cactus.cli.main import run_cli
from cactus.cli.run import command as run_command
from cactus.cli.serve import command as serve_command

from .conftest import by_index, rows_of

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cactus(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    tiny_model: Path,
) -> Run:
    """Runs the command in a folder of its own; gives its status, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        status = run_cli(["batch", *arguments, "--model", str(tiny_model), "--threads", "1"])
        said = capsys.readouterr()
        return status, said.out, said.err

    return call


def test_options_and_a_job_file_say_the_same(cactus: Run, questions: Path, tmp_path: Path) -> None:
    job = {"job": "chat", "prompt": "{text}!", "options": {"max_tokens": 4, "min_p": 0.1}}
    Path("job.json").write_text(json.dumps(job))
    options = ["-p", "{text}!", "--max-tokens", "4", "-o", "min_p=0.1"]
    status, out, err = cactus("chat", questions.name, "a.jsonl", *options)
    assert (status, out) == (0, "")
    assert err.startswith("0/40 rows are done\n[a.jsonl: 40 rows, ") and "rows/s]" in err
    assert cactus("job.json", questions.name, "b.jsonl", "-q") == (0, "", "")
    assert by_index(tmp_path / "a.jsonl") == by_index(tmp_path / "b.jsonl")
    # What the command says comes before what the file does.
    cactus("job.json", questions.name, "c.jsonl", "-q", "--max-tokens", "1", "--keep", "id")
    found = rows_of(tmp_path / "c.jsonl")
    assert list(found[0]) == ["index", "id", "answer", "finish_reason", "error"]
    assert {row["finish_reason"] for row in found} <= {"length", "stop"}
    assert json.loads(Path("c.jsonl.batch.json").read_text())["made_of"]["job"] == {
        **job,
        "options": {"max_tokens": 1, "min_p": 0.1},
    }


def test_a_toml_file_and_a_schema_beside_it(cactus: Run, questions: Path, tmp_path: Path) -> None:
    pytest.importorskip("tomllib")
    schema = {
        "type": "object",
        "properties": {"yes": {"type": "boolean"}},
        "required": ["yes"],
        "additionalProperties": False,
    }
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "schema.json").write_text(json.dumps(schema))
    text = 'job = "chat"\nprompt = "{text}"\nschema = "schema.json"\n'
    (tmp_path / "more" / "job.toml").write_text(f"{text}[options]\nmax_tokens = 60\n")
    status, _, _ = cactus("more/job.toml", questions.name, "a.jsonl", "-q", "--keep", "")
    assert status == 0 and {row["yes"] for row in rows_of(tmp_path / "a.jsonl")} <= {True, False}
    again = cactus(
        "chat", questions.name, "b.jsonl", "-q", "--keep", "", "-p", "{text}", "--schema",
        "more/schema.json", "--max-tokens", "60",
    )  # fmt: skip
    assert again[0] == 0
    assert by_index(tmp_path / "b.jsonl") == by_index(tmp_path / "a.jsonl")


def test_errors_of_rows_are_in_the_exit_status(cactus: Run, questions: Path) -> None:
    with questions.open("a") as file:
        file.write("not json\n")
    options = ["-p", "{text}", "--max-tokens", "2"]
    status, _, err = cactus("chat", questions.name, "a.jsonl", *options)
    assert status == 1 and "[a.jsonl: 41 rows, 1 row with an error" in err
    status, _, err = cactus("chat", questions.name, "a.jsonl", *options)
    assert status == 1 and err.endswith("[a.jsonl: 41 rows, 1 row with an error]\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sing", "in.jsonl", "a.jsonl"], "job must be chat, embed, rerank"),
        (["none.json", "in.jsonl", "a.jsonl"], "none.json: no such file"),
        (["chat", "none.jsonl", "a.jsonl"], 'input: "none.jsonl": no such file'),
        (["chat", "in.doc", "a.jsonl"], "expected a folder or a file that ends in .jsonl"),
        (["chat", "-", "a.jsonl"], "standard input cannot be read again"),
        (["chat", "in.jsonl", "a.doc"], "output 'a.doc': expected a folder or a file"),
        (["chat", "in.jsonl", "no/a.jsonl"], "there is no folder 'no'"),
        (["chat", "in.jsonl", "a.jsonl", "-o", "x"], "--option 'x': expected NAME=VALUE"),
        (["chat", "in.jsonl", "a.jsonl", "-o", "max_token=3"], "did you mean max_tokens?"),
        (["embed", "in.jsonl", "a.jsonl", "-p", "x"], "unknown option 'prompt'"),
        (["chat", "in.jsonl", "a.jsonl", "--schema", "none"], "none: no such file"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    arguments: list[str], said: str, cactus: Run, questions: Path, tmp_path: Path
) -> None:
    questions.rename(tmp_path / "in.jsonl")
    status, out, err = cactus(*arguments)
    assert status in (1, 2) and out == "" and said in err and "Traceback" not in err
    assert not any(path.name.startswith("a.") for path in tmp_path.iterdir())


def test_lines_say_how_long_it_takes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(command.time, "monotonic", lambda: now[0])
    said = command._Said()
    for seconds, done in (
        (0, 100),
        (10, 200),
        (20, 300),
        (30, 400),
        (31, 410),
        (90, 1000),
        (140, 1500),
    ):
        now[0] = 100.0 + seconds
        said.tell("batch", done, 1600)
    assert capsys.readouterr().err.splitlines() == [
        "100/1,600 rows are done",
        "400/1,600 rows, 10.0 rows/s, 2 min left",
        "1,000/1,600 rows, 10.0 rows/s, 1 min left",
        "1,500/1,600 rows, 10.0 rows/s",
    ]


def test_a_model_is_loaded_as_it_is_elsewhere(cactus: Run, questions: Path) -> None:
    """What is not chosen is the model's own: embedders and speech have others than chat."""

    def loaded(output: str, *options: str) -> tuple[str | None, str | None]:
        assert cactus("chat", questions.name, output, "-p", "{text}", "--max-tokens", "1", *options)
        made = json.loads(Path(f"{output}.batch.json").read_text())["made_of"]["options"]
        return made["kv"], made["activations"]

    assert loaded("own.jsonl") == (None, None)
    assert loaded("other.jsonl", "--kv", "f16", "--activations", "int8") == ("f16", "int8")
    for other in (run_command, serve_command):
        # Of a copy: a command keeps the help option of its first context, and this one lacks -h.
        given = copy(other).make_context("", [], resilient_parsing=True).params
        assert (given["kv"], given["activations"]) == (None, None)
