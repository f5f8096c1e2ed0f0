"""The speech benchmarks' own arithmetic, recipes and file format; no engine is run here."""

from __future__ import annotations

import argparse
import struct
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from cactus.models.base import load_architecture


def test_tensors_have_the_names_of_the_published_model(load: Any) -> None:
    renamed = load("speech_ggml").renamed
    cross = "decoder.blocks.0.cross_attn"
    for ours, theirs in (
        ("model.encoder.conv1.bias", "encoder.conv1.bias"),
        ("model.encoder.embed_positions.weight", "encoder.positional_embedding"),
        ("model.encoder.layers.3.self_attn.q_proj.bias", "encoder.blocks.3.attn.query.bias"),
        ("model.encoder.layers.0.self_attn_layer_norm.bias", "encoder.blocks.0.attn_ln.bias"),
        ("model.decoder.layers.0.encoder_attn.out_proj.bias", f"{cross}.out.bias"),
        ("model.decoder.layers.0.encoder_attn_layer_norm.bias", f"{cross}_ln.bias"),
        ("model.decoder.layers.1.fc2.weight", "decoder.blocks.1.mlp.2.weight"),
        ("model.decoder.layers.1.final_layer_norm.weight", "decoder.blocks.1.mlp_ln.weight"),
        ("model.decoder.embed_tokens.weight", "decoder.token_embedding.weight"),
        ("model.encoder.layer_norm.weight", "encoder.ln_post.weight"),
        ("model.decoder.layer_norm.weight", "decoder.ln.weight"),
    ):  # fmt: skip
        assert renamed(ours) == theirs


def test_the_file_of_whisper_cpp(load: Any, monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / "tools"))
    models = load("published_whisper")
    config = models.tiny_whisper(models.WHISPERS[1].config)  # English-only
    load("make_random_checkpoint").write(config, tmp_path / "source")
    load("speech_ggml").write(tmp_path / "source", tmp_path / "model.bin")
    data = (tmp_path / "model.bin").read_bytes()
    head = struct.unpack_from("<12i", data)
    assert head == (0x67676D6C, 51_864, 1500, 64, 2, 2, 448, 64, 2, 2, 80, 2007)
    at = 48 + 8 + 4 * 80 * 201
    (count,) = struct.unpack_from("<i", data, at)
    assert count == 50_256
    at += 4
    texts = []
    for _ in range(count):
        (length,) = struct.unpack_from("<i", data, at)
        texts.append(data[at + 4 : at + 4 + length])
        at += 4 + length
    assert len(set(texts[:256])) == 256 and texts[256] == b"th"
    kinds: dict[str, int] = {}
    while at < len(data):
        rank, length, kind = struct.unpack_from("<3i", data, at)
        shape = struct.unpack_from(f"<{rank}i", data, at + 12)
        at += 12 + 4 * rank
        kinds[data[at : at + length].decode()] = kind
        values = int(np.prod(shape))
        at += length + {0: 4 * values, 1: 2 * values, 8: values // 32 * 34}[kind]
    assert at == len(data)
    assert kinds["encoder.conv1.weight"] == 1
    assert kinds["decoder.token_embedding.weight"] == 8
    assert kinds["decoder.positional_embedding"] == kinds["encoder.ln_post.bias"] == 0
    assert len(kinds) == len(load_architecture(config).weights)


def test_long_files_are_recordings_and_silence(load: Any, monkeypatch: Any, tmp_path: Path) -> None:
    clips = load("speech_clips")
    monkeypatch.setattr(clips, "TEXTS", {"a.wav": "a", "b.wav": "b"})
    for name, count in (("a.wav", 16_000), ("b.wav", 8_000)):
        soundfile.write(tmp_path / name, np.full(count, 0.5), 16_000, subtype="PCM_16")
    monkeypatch.setattr(clips, "plain", lambda name: tmp_path / name)
    sound, places = clips._join(4, (1.0, 0.25))
    assert places == [("a.wav", 0, 1), ("b.wav", 2, 2.5), ("a.wav", 2.75, 3.75)]
    assert len(sound) == 4.75 * 16_000
    assert [int(sound[round(t * 16_000)] > 0) for t in (0.5, 1.5, 2.2, 2.6, 3)] == [1, 0, 1, 0, 1]


def test_what_a_round_measures(load: Any) -> None:
    speech = load("speech")
    given = argparse.Namespace(
        peer="faster-whisper", case=None, beams="1,5", threads="1,2", long_rounds=1
    )
    first, second = speech.todo(given, 0), speech.todo(given, 1)
    assert len(first) == 4 * 4 + 2
    long = ("10 min", speech.BATCHED)
    assert set(first) - set(second) == {(c, b, t) for c in long for b in (1, 5) for t in (1, 2)}
    given.peer = "whisper.cpp"
    left = {case for case, _, _ in first} - {case for case, _, _ in speech.todo(given, 0)}
    assert left == {speech.ENCODER, speech.BATCHED}
