"""`cactus show`: what a model is, and whether it fits."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest


def test_it_says_how_a_chat_samples(run, monkeypatch, tiny_model: Path, tmp_path: Path) -> None:
    monkeypatch.setenv("CACTUS_WEIGHTS", str(tmp_path))
    for name, own, told in [
        ("tiny", {}, "greedy (the model recommends nothing)"),
        ("smollm2-360m-instruct", {}, "temperature 0.2, top_k 50, top_p 0.9 (what Cactus"),
        ("warm", {"do_sample": True, "top_k": 0}, "temperature 1 (the model's own)"),
    ]:
        folder = shutil.copytree(tiny_model, tmp_path / name)
        (folder / "generation_config.json").write_text(json.dumps(own))
        status, out, _ = run("show", name)
        assert status == 0 and f"sampling       {told}" in out
    sampling = json.loads(run("show", "warm", "--json")[1])["sampling"]
    assert sampling["temperature"] == 1 and sampling["source"] == "model"


def test_it_says_what_a_model_can_do(run, tiny_model: Path, speech_folder: Path) -> None:
    for folder, able in (
        (tiny_model, "chat, complete, embed"),
        (speech_folder, "transcribe, detect_language, embed_audio"),
    ):
        assert f"abilities      {able}\n" in run("show", str(folder))[1]
        told = json.loads(run("show", str(folder), "--json")[1])
        assert told["abilities"] == able.split(", ")


def test_it_says_whether_a_model_fits(run, monkeypatch, tiny_model: Path) -> None:
    monkeypatch.setattr("cactus.machine.available_bytes", lambda: 1 << 30)
    status, out, _ = run("show", str(tiny_model), "--fit")
    assert status == 0 and "for 1,000 tokens" in out
    found = json.loads(run("show", str(tiny_model), "--fit", "--json")[1])
    tokens, several = found["tokens"], found["conversations"]
    assert several == tokens // 512 > 1
    said = f"It fits, and {tokens:,} tokens in its cache: {several:,} whole contexts."
    assert out.splitlines()[-1] == said
    assert found["fits"] is True
    assert found["weights_bytes"] == (tiny_model / "model.safetensors").stat().st_size
    assert found["context"] == 512


@pytest.mark.fault("F56")
@pytest.mark.parametrize(("free", "told"), [(1 << 20, "s a token"), (None, "does not say")])
def test_it_says_where_a_model_does_not_fit(run, monkeypatch, tiny_model: Path, free, told) -> None:
    monkeypatch.setattr("cactus.machine.available_bytes", lambda: free)
    assert told in run("show", str(tiny_model), "--fit")[1]
