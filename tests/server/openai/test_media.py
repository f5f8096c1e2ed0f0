"""Images and speech in messages."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from cactus.model import Model
from cactus.server.models import ServedModel
from tests.generate.scripted import saying, scripted_engine
from tests.vision.tiny import png


def test_speech_is_written_down_by_the_model_that_can(
    serve: Any, strict: Any, speech_folder: Path, sound: np.ndarray
) -> None:
    seen: list[str] = []

    def script(history: list[int], answered: int) -> Any:
        if answered == 0:
            seen.append(bytes(history).decode())
        return saying("ok")(history, answered)

    file = io.BytesIO()
    soundfile.write(file, sound, 16000, format="WAV")
    with Model(speech_folder) as listener:
        want = listener.transcribe(file.getvalue()).text
    models = {
        "scripted": ServedModel.from_engine(scripted_engine(script, context=4000)),
        "listener": ServedModel(speech_folder),
    }
    client = strict(serve(models=models))
    data = base64.b64encode(file.getvalue()).decode()
    part = {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}
    text = {"type": "text", "text": "Sum it up:"}
    client.chat.completions.create(
        model="scripted", messages=[{"role": "user", "content": [text, part]}]
    )
    assert seen == [f"u:Sum it up:\n{want}\na:"]


def test_images_are_looked_at(serve: Any, strict: Any, tiny_vlm: Path) -> None:
    picture = png("wide")
    data = base64.b64encode(picture).decode()
    with Model(tiny_vlm) as model:
        told = [{"role": "user", "content": "What is it?", "images": [picture]}]
        want = model.chat(told, max_tokens=8)
        client = strict(serve(models={"sees": ServedModel(tiny_vlm)}))
        url = {"url": f"data:image/png;base64,{data}", "detail": "low"}
        content = [{"type": "image_url", "image_url": url}, {"type": "text", "text": "What is it?"}]
        got = client.chat.completions.create(
            model="sees",
            messages=[{"role": "user", "content": content}],
            max_tokens=8,
            temperature=0,
        )
    assert got.choices[0].message.content == want.text
    assert got.usage.prompt_tokens == want.metrics.prefill_tokens + want.metrics.cached_tokens
