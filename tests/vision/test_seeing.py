"""A tiny random LFM2-VL end to end: what transformers answered, in every form of a call."""

from __future__ import annotations

import io
import json
import shutil
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import cactus
from cactus import Model
from cactus.calls.stop_flag import StopFlag
from cactus.errors import (
    Cancelled,
    ContextLengthExceeded,
    InvalidImage,
    InvalidRequest,
    ModelFormatError,
)
from cactus.images.door import load
from cactus.vision.processors import ImageLimits
from cactus.weights.convert import convert
from tests.native.programs import EXACT_TIERS
from tests.vision.tiny import (
    CHATS,
    FAMILIES,
    GOLDEN,
    IMAGE,
    picture,
    png,
    with_pixels,
    write_checkpoint,
)

EXPECTED: dict[str, Any] = json.loads((GOLDEN / "vision_chats.json").read_text())
TOKENS = 24


@pytest.fixture
def folder(tiny_vlm: Path) -> Path:
    return tiny_vlm


@pytest.fixture
def model(folder: Path) -> Iterator[Model]:
    with Model(folder) as loaded:
        yield loaded


def answer(model: Model, messages: Any, **options: Any) -> tuple[int, ...]:
    return model.chat(messages, max_tokens=TOKENS, **options).tokens


@pytest.fixture(scope="module")
def families(tiny_vlm: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A weights folder of each family."""
    home = tmp_path_factory.mktemp("families")
    made = {"lfm2_vl": tiny_vlm}
    for family in FAMILIES.keys() - made.keys():
        made[family] = home / f"{family}-weights"
        convert(write_checkpoint(home / family, family), made[family], "FP16")
    return made


@pytest.mark.parametrize("family", FAMILIES)
def test_prompts_with_images_have_the_tokens_that_transformers_gives(
    families: dict[str, Path], family: str
) -> None:
    with Model(families[family]) as model:
        chat: Any = model._chat()
        seen: list[list[int]] = []
        join = chat._batch.join
        chat._batch.join = lambda lane: (seen.append(lane.progress.ids[:]), join(lane))
        for name, messages in CHATS.items():
            wanted = EXPECTED[family][name]["prompt"]
            assert model.count_tokens(with_pixels(messages)) == len(wanted)
            model.chat(with_pixels(messages), max_tokens=1)
            assert [max(id, IMAGE) if id < 0 else id for id in seen.pop()] == wanted, name


@pytest.mark.parametrize("isa", EXACT_TIERS)
@pytest.mark.parametrize("family", FAMILIES)
def test_answers_have_the_tokens_that_transformers_gives(
    families: dict[str, Path], family: str, isa: str
) -> None:
    # Random weights: near ties fall as the numbers of transformers do, not of a rounded cache.
    with Model(families[family], isa=isa, kv="f16", threads=1) as model:
        for name, messages in CHATS.items():
            *wanted, last = EXPECTED[family][name]["answer"]
            if last not in model._engine.end_tokens:
                wanted.append(last)
            assert answer(model, with_pixels(messages)) == tuple(wanted), name


def test_the_flat_function_answers_about_a_file(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(png("square"))
    vlm = cactus.cactus_init(str(folder))
    assert vlm is not None
    try:
        messages = [{"role": "user", "content": "What is it?", "images": [str(path)]}]
        said = json.loads(
            cactus.cactus_complete(vlm, messages, max_tokens=TOKENS, confidence_threshold=0)
        )
        as_json = cactus.cactus_complete(
            vlm, json.dumps(messages), max_tokens=TOKENS, confidence_threshold=0
        )
        assert said["success"] and len(said) == 14
        assert said["prefill_tokens"] == len(EXPECTED["lfm2_vl"]["one"]["prompt"])
        assert json.loads(as_json)["response"] == said["response"]
        vector = cactus.cactus_image_embed(vlm, str(path))
        assert len(vector) == 48 and all(isinstance(value, float) for value in vector)
        broken = json.loads(
            cactus.cactus_complete(vlm, [{**messages[0], "images": ["/no/such/file.png"]}])
        )
        assert not broken["success"] and "messages[0].images[0]" in broken["error"]
    finally:
        cactus.cactus_destroy(vlm)


def test_an_image_is_the_same_in_every_form(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "picture"
    path.write_bytes(png("square"))
    forms: list[Any] = [
        *(path, str(path), png("square"), bytearray(png("square")), picture("square")),
        Image.fromarray(picture("square")),
        f"data:image/png;base64,{b64encode(png('square')).decode()}",
    ]
    wanted = tuple(EXPECTED["lfm2_vl"]["one"]["answer"])
    for form in forms:
        assert (
            answer(model, [{"role": "user", "content": "What is it?", "images": [form]}]) == wanted
        )
        parts = [
            {"type": "image_url", "image_url": {"url": form}},
            {"type": "text", "text": "What is it?"},
        ]
        assert answer(model, [{"role": "user", "content": parts}]) == wanted
    assert model.chat(with_pixels(CHATS["one"])).metrics.encoded_tiles == 0  # all were one image


@pytest.mark.parametrize("family", ["lfm2_vl", "gemma3"])
def test_chats_beside_others_have_the_bits_that_they_have_alone(
    families: dict[str, Path], family: str
) -> None:
    with Model(families[family]) as model:
        chats = [with_pixels(messages) for messages in CHATS.values()]
        done = model.chat_many([*chats, *chats], max_tokens=TOKENS)
    with Model(families[family], threads=1, image_cache_bytes=0, cache_bytes=0) as model:
        for messages, one, two in zip(chats, done, done[len(chats) :], strict=False):
            alone = model.chat(messages, max_tokens=TOKENS)
            assert alone.tokens == one.tokens == two.tokens
            assert alone.logprobs == one.logprobs == two.logprobs


def test_the_second_question_encodes_nothing_and_reads_what_is_new(model: Model) -> None:
    talk = model.conversation(max_tokens=6)
    first = talk.chat("What is it?", images=[picture("big")])
    assert (first.metrics.image_tiles, first.metrics.encoded_tiles) == (5, 5)
    assert first.metrics.encode_time_ms > 0
    second = talk.chat("And the colours?")
    assert (second.metrics.encoded_tiles, second.metrics.encode_time_ms) == (0, 0.0)
    assert second.metrics.image_tokens == 80
    assert second.metrics.cached_tokens >= first.metrics.prefill_tokens  # the whole first prompt
    with Model(model._engine.folder) as fresh:
        assert fresh.chat(talk.messages[:3], max_tokens=6).tokens == second.tokens


def test_a_pixel_that_differs_makes_another_image(model: Model) -> None:
    changed = picture("square").copy()
    changed[3, 4, 1] ^= 1
    for pixels in (picture("square"), changed):
        done = model.chat([{"role": "user", "content": "?", "images": [pixels]}], max_tokens=1)
        assert done.metrics.encoded_tiles == 1
    array = picture("square").copy()
    messages = [{"role": "user", "content": "?", "images": [array]}]
    assert model.chat(messages, max_tokens=1).metrics.encoded_tiles == 0
    array[:] = 0  # the caller's own array, and so another image
    assert model.chat(messages, max_tokens=1).metrics.encoded_tiles == 1


def test_a_conversation_keeps_an_image_as_it_was(model: Model, tmp_path: Path) -> None:
    path, array = tmp_path / "image.png", picture("small").copy()
    path.write_bytes(png("square"))
    talk = model.conversation(max_tokens=4)
    talk.chat("What are these?", images=[path, array])
    path.write_bytes(png("wide"))
    array[:] = 0
    assert talk.chat("And?").metrics.encoded_tiles == 0


def test_file_objects_are_the_images_in_them(model: Model, tmp_path: Path) -> None:
    (tmp_path / "image.png").write_bytes(png("square"))
    part = {"type": "text", "text": "And this?"}
    with open(tmp_path / "image.png", "rb") as file:
        messages = [{"role": "user", "content": "What?", "images": [file]}]
        wanted = [{**messages[0], "images": [png("square")]}]
        answer = model.chat(wanted, max_tokens=4)
        assert model.count_tokens(messages) == model.count_tokens(wanted)
        for _ in range(2):  # of one turn and the next
            assert model.chat(messages, max_tokens=4).text == answer.text
        shown = {"type": "image", "image": io.BytesIO(png("square"))}
        assert model.chat([{"role": "user", "content": [shown, part]}], max_tokens=1)
        same = model.embed_image([file, file, png("square")])
        assert (same[0] == same[2]).all() and (same[1] == same[2]).all()
        talk = model.conversation(max_tokens=4)
        assert talk.chat("What?", images=[file]).text == answer.text
        with pytest.raises(InvalidRequest, match=r"cannot be kept: .* its path"):
            talk.messages = messages
    assert talk.chat("And?").metrics.encoded_tiles == 0  # the file is closed
    assert talk.messages[0]["images"] == [png("square")]
    with pytest.raises(InvalidImage, match=r"images\[0\]: the file object cannot be"):
        model.chat(messages)
    with (
        open(__file__) as text,
        pytest.raises(InvalidImage, match='open it with mode "rb"'),
    ):
        talk.chat("?", images=[text])


def test_a_conversation_says_what_is_wrong_with_its_images(model: Model) -> None:
    closed = Image.open(io.BytesIO(png("square")))
    closed.close()
    cut = Image.open(io.BytesIO(png("big")[:-200]))
    talk = model.conversation(max_tokens=1)
    for image in (closed, cut):
        with pytest.raises(InvalidImage, match="the PIL image cannot be read"):
            talk.chat("?", images=[image])
        with pytest.raises(InvalidImage, match=r"messages\[0\]\.images\[0\]: the PIL image"):
            model.chat([{"role": "user", "content": "?", "images": [image]}])
    wrong: Any
    for wrong in ("image.png", picture("square"), closed, None, 3):
        with pytest.raises(InvalidRequest, match="images: expected a list of images, got"):
            talk.chat("?", images=wrong)
    assert talk.messages == []


def test_a_model_that_was_replaced_does_not_answer_from_old_features(
    folder: Path, tmp_path: Path
) -> None:
    home = write_checkpoint(tmp_path / "tiny")
    convert(home, tmp_path / "weights", "FP16")
    with Model(tmp_path / "weights") as old:
        old.chat("Hello!", max_tokens=1)
        processor = json.loads((home / "preprocessor_config.json").read_text())
        (home / "preprocessor_config.json").write_text(json.dumps({**processor, "max_tiles": 2}))
        convert(home, tmp_path / "weights", "INT8")
        with pytest.raises(ModelFormatError, match="has changed since it was loaded"):
            old.chat(with_pixels(CHATS["one"]))
    with Model(tmp_path / "weights") as new:
        assert new.chat(with_pixels(CHATS["tiled"]), max_tokens=1).metrics.image_tiles == 3


@pytest.mark.parametrize(
    ("file", "content", "error"),
    [
        ("preprocessor_config.json", b"{", "preprocessor_config.json"),
        ("preprocessor_config.json", b'{"tile_size": -1}', "tile_size"),
        ("vision.safetensors", b"", "vision.safetensors"),
    ],
)
def test_damaged_files_of_a_model_that_sees_are_named_when_it_is_loaded(
    folder: Path, tmp_path: Path, file: str, content: bytes, error: str
) -> None:
    shutil.copytree(folder, tmp_path / "damaged")
    (tmp_path / "damaged" / file).write_bytes(content)
    with pytest.raises(ModelFormatError, match=error):
        Model(tmp_path / "damaged")


def test_a_table_that_does_not_fit_the_config_is_named(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "damaged")
    path = tmp_path / "damaged" / "config.json"
    config = json.loads(path.read_text())
    config["vision_config"]["num_patches"] = 1
    path.write_text(json.dumps(config))
    with pytest.raises(ModelFormatError, match=r"position_embedding: expected F32 \[1, "):
        Model(tmp_path / "damaged")


def test_a_stop_ends_the_tower_within_a_tile(model: Model) -> None:
    vision: Any = model._vision("see")
    layout = vision.sight.processor.layout(32, 32)
    tile = next(vision.sight.processor.tiles_of(load(picture("square")), layout))
    stopped = StopFlag()
    stopped.set()
    with pytest.raises(Cancelled):
        vision._encoder.features(tile, stopped)
    assert vision._encoder.features(tile, StopFlag()).shape == (16, 64)


LIES: dict[str, Any] = {
    "nothing": b"\0",
    "text": b"a picture of a walrus",
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "truncated": png("square")[:60],
    "bomb": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\xff\xff\0\0\xff\xff\x08\x02\0\0\0\0\0\0\0",
    "base64": "data:image/png;base64,*****",
    "kind": "data:text/html;base64,AAAA",
    "missing": "/no/such/file.png",
    "folder": "/tmp",
    "device": "/dev/zero",
    "file": "file:///etc/passwd",
    "ftp": "ftp://example.com/a.png",
    "gopher": "gopher://example.com/a.png",
    "address": "http://169.254.169.254/latest/meta-data",
    "home": "http://localhost/a.png",
    "array": np.zeros((3, 3, 7), np.uint8),
    "nan": np.full((4, 4), np.nan, np.float32),
    "line": np.zeros((1, 60_000, 3), np.uint8),
}


@pytest.mark.parametrize("lie", LIES)
def test_what_is_no_image_is_named_before_anything_is_computed(model: Model, lie: str) -> None:
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]
    asked = {"role": "user", "content": "?", "images": [picture("small"), LIES[lie]]}
    with pytest.raises(InvalidImage, match=r"^messages\[2\]\.images\[1\]: ") as caught:
        model.chat([*turns, asked])
    assert len(str(caught.value)) < 500
    assert model.chat([*turns, {**asked, "images": [picture("small")]}], max_tokens=1).tokens


def test_limits_are_kept_and_named(folder: Path) -> None:
    with Model(folder, context=120) as model:
        tiled = with_pixels(CHATS["tiled"])
        with pytest.raises(ContextLengthExceeded, match=r"80 of them are an image in 5 tiles"):
            model.chat(tiled)
        assert model.count_tokens(tiled) == 125
        done = model.chat(tiled, max_tokens=1, max_image_tokens=16)
        assert (done.metrics.image_tiles, done.metrics.image_tokens) == (1, 16)
        with pytest.raises(InvalidImage, match=r"messages\[0\]\.images\[0\].*not allowed"):
            model.chat([{"role": "user", "content": "?", "images": ["http://127.0.0.1/a.png"]}])


def test_an_image_with_more_patches_than_the_tower_takes_is_seen_smaller(
    families: dict[str, Path],
) -> None:
    with Model(families["qwen2_vl"]) as model:
        sight: Any = model._vision("see").sight
        sight._patches = 96
        layout = sight.layout(64, 64, ImageLimits())
        assert layout.grids == ((8, 8),) and layout.tokens == 16
        done = model.chat(with_pixels(CHATS["tiled"]), max_tokens=1)
        assert done.metrics.image_tokens == 16


def test_an_embedding_is_the_mean_of_the_states_of_all_patches(model: Model) -> None:
    big, square = picture("big"), picture("square")
    vectors = model.embed_image([big, square, square])
    assert vectors.shape == (3, 48) and vectors.dtype == np.float32
    assert (vectors[1] == vectors[2]).all() and (vectors[1] != vectors[0]).any()
    assert (model.embed_image(square) == vectors[1]).all()
    unit = model.embed_image(square, normalize=True)
    assert np.allclose(unit, vectors[1] / np.linalg.norm(vectors[1]))
    quarters = [big[:32, :32], big[:32, 32:], big[32:, :32], big[32:, 32:]]
    whole = model.embed_image(big, max_tiles=1)
    mean = (model.embed_image(quarters).sum(axis=0) + whole) / 5
    assert np.allclose(vectors[0], mean, atol=1e-5)
    with pytest.raises(InvalidImage, match=r"images\[1\]: .*nothing.png"):
        model.embed_image([square, "nothing.png"])
