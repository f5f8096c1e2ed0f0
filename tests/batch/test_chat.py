"""Jobs of chat over JSON lines: answers, errors as values, and what goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cactus import Model
from cactus.batch import run
from cactus.errors import InvalidRequest, ModelNotFound

from .conftest import by_index, rows_of

JOB = {"job": "chat", "system": "Be brief.", "prompt": "{text}?", "options": {"max_tokens": 6}}


def test_each_answer_is_what_chat_gives(tiny_model: Path, questions: Path, tmp_path: Path) -> None:
    report = run(JOB, questions, tmp_path / "out.jsonl", model=tiny_model, threads=1)
    assert (report.rows, report.errors, report.before) == (40, 0, 0)
    rows = by_index(tmp_path / "out.jsonl")
    with Model(tiny_model, threads=1) as model:
        for row, asked in zip(rows, rows_of(questions), strict=True):
            messages = [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": f"{asked['text']}?"},
            ]
            answer = model.chat(messages, max_tokens=6)
            assert row == {
                "index": row["index"],
                **asked,
                "answer": answer.text,
                "finish_reason": answer.finish_reason,
                "error": None,
            }


@pytest.mark.parametrize(
    ("job", "needed"),
    [
        ({"job": "chat", "prompt": "{txt}"}, "txt"),
        ({"job": "chat", "system": "As {role}.", "prompt": "{text}"}, "role"),
        ({"job": "chat"}, "prompt"),
        ({"job": "embed", "text": "{id} {txt}"}, "txt"),
        ({"job": "rerank"}, "query"),
        ({"job": "transcribe"}, "file"),
        ({"job": "describe", "prompt": "{text}"}, "file"),
    ],
)
def test_a_column_that_a_table_lacks_is_refused_before_anything_is_begun(
    job: dict[str, Any], needed: str, tmp_path: Path
) -> None:
    source = tmp_path / "in.csv"
    source.write_text("id,text\n1,a\n")
    said = rf"^in\.csv, line 2: column '{needed}' is needed, got the columns 'id', 'text'$"
    with pytest.raises(InvalidRequest, match=said):
        run(job, source, tmp_path / "out.jsonl", model="never-looked-for", keep=["id"])
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


def test_a_column_to_keep_that_a_table_lacks_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_text("id,text\n1,a\n")
    job = {"job": "chat", "prompt": "{text}"}
    said = r"^in\.csv, line 2: keep: column ' text' is needed, got the columns 'id', 'text'$"
    with pytest.raises(InvalidRequest, match=said):
        run(job, source, tmp_path / "out.csv", model="never-looked-for", keep=["id", " text"])
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


def test_a_column_of_messages_is_a_conversation(tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_text("messages\na\n")
    with pytest.raises(ModelNotFound):  # what is in it is looked at when it is read
        run({"job": "chat"}, source, tmp_path / "out.jsonl", model="not-there")


def test_what_is_wrong_with_a_row_is_its_error(tiny_model: Path, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_bytes(
        b'{"text": "a"}\n\n{"text": \n{"other": 1}\n[1]\n"\xff"\n{"text": null}\n'
        b'{"text": "b", "error": 1}\n{"text": "' + b"long " * 2000 + b'"}\n{"text": 7}'
    )
    output = tmp_path / "out.jsonl"
    report = run(JOB, source, output, model=tiny_model, threads=1)
    rows = by_index(output)
    assert (report.rows, report.errors) == (9, 7)
    assert [row["error"] is None for row in rows] == [True, *[False] * 7, True]
    wrong = [row["error"] for row in rows[1:-1]]
    assert wrong[0].startswith("in.jsonl, line 3: is not JSON")
    assert wrong[1] == "column 'text' is needed, got the columns 'other'"
    assert wrong[2] == "in.jsonl, line 5: is not a JSON object"
    assert wrong[3] == "in.jsonl, line 6: is not UTF-8 (at byte 1)"
    assert wrong[4] == "column 'text' is needed, got null"
    assert "in.jsonl, line 8: the output has a column 'error' of its own" in wrong[5]
    assert "tokens" in wrong[6]
    assert all(row["answer"] is None for row in rows[1:-1])


def test_rows_may_be_conversations_or_prompts(tiny_model: Path, tmp_path: Path) -> None:
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    talk = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]
    talk.append({"role": "user", "content": "So?"})
    rows: list[Any] = [{"messages": talk}, {"prompt": "Hi"}, {"messages": "Hi"}, {"messages": [1]}]
    source.write_text("\n".join(map(json.dumps, rows)))
    run({"job": "chat", "options": {"max_tokens": 4}}, source, output, model=tiny_model, threads=1)
    found = by_index(output)
    with Model(tiny_model, threads=1) as model:
        assert found[0]["answer"] == model.chat(talk, max_tokens=4).text
        assert found[1]["answer"] == model.chat("Hi", max_tokens=4).text
    assert found[2]["error"] == "column 'messages' must be a list of messages, got 'Hi'"
    assert "messages[0]" in found[3]["error"]


def test_a_schema_gives_columns(tiny_model: Path, questions: Path, tmp_path: Path) -> None:
    schema = {
        "type": "object",
        "properties": {"kind": {"enum": ["a", "b"]}, "sure": {"type": "boolean"}},
        "required": ["kind", "sure"],
        "additionalProperties": False,
    }
    output = tmp_path / "out.jsonl"
    job = {**JOB, "schema": schema, "options": {"max_tokens": 60}}
    run(job, questions, output, model=tiny_model, threads=1, keep=["id"])
    rows = by_index(output)
    assert list(rows[0]) == ["index", "id", "kind", "sure", "error"]
    good = [row for row in rows if row["error"] is None]
    assert good and all(row["kind"] in ("a", "b") and row["sure"] in (True, False) for row in good)
    few = {**job, "options": {"max_tokens": 2}}
    report = run(few, questions, output, model=tiny_model, threads=1, keep=[], restart=True)
    assert report.errors == 40
    assert by_index(output)[0] == {
        "index": 0,
        "kind": None,
        "sure": None,
        "error": "the answer is not whole JSON: it ended by 'length'",
    }


def test_ordered_rows_are_in_the_order_of_the_input(
    tiny_model: Path, questions: Path, tmp_path: Path
) -> None:
    free, ordered = tmp_path / "free.jsonl", tmp_path / "ordered.jsonl"
    job = {"job": "chat", "prompt": "{text}", "options": {"max_tokens": 40}}
    run(job, questions, free, model=tiny_model, threads=1)
    run(job, questions, ordered, model=tiny_model, threads=1, ordered=True)
    assert [row["index"] for row in rows_of(ordered)] == list(range(40))
    assert [row["index"] for row in rows_of(free)] != list(range(40))
    assert by_index(free) == rows_of(ordered)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"job": "sing"}, "job: 'job' must be 'chat' or"),
        ({"promt": "x"}, "job: unknown option 'promt': did you mean prompt?"),
        ({"prompt": "{"}, "prompt: "),
        ({"prompt": "{a.b:3}"}, "prompt: expected the name of a column between braces"),
        ({"prompt": "{}"}, "prompt: expected the name of a column between braces, got {}"),
        ({"prompt": 3}, "prompt must be a text, got int"),
        ({"schema": {"type": "array"}}, "schema must be a JSON schema of an object"),
        ({"options": {"max_token": 3}}, "unknown option 'max_token': did you mean max_tokens?"),
        ({"options": 3}, "job: 'options' must be an object, got 3"),
    ],
)
def test_a_wrong_job_is_refused_before_a_model_is_looked_for(
    change: Any, said: str, questions: Path, tmp_path: Path
) -> None:
    with pytest.raises(InvalidRequest) as error:
        run({**JOB, **change}, questions, tmp_path / "out.jsonl", model=tmp_path / "none")
    assert said in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["questions.jsonl"]


def test_a_column_that_would_be_there_twice_is_refused(
    tiny_model: Path, questions: Path, tmp_path: Path
) -> None:
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    run(JOB, questions, first, model=tiny_model, threads=1)
    with pytest.raises(InvalidRequest, match=r"first\.jsonl, line 1: .*'index'.*--keep"):
        run(JOB, first, second, model=tiny_model, threads=1)
    report = run(JOB, first, second, model=tiny_model, threads=1, keep=["id"])
    assert (report.rows, report.errors) == (40, 0)
