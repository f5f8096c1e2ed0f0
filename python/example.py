"""A walk through the flat functions: text, embeddings, vision, speech, retrieval, tools.

    python python/example.py [MODEL] [--image FILE] [--audio FILE]

MODEL is a weights folder, a .gguf file, a Hugging Face id or the name of a downloaded model. The
others are those that are on this machine; for what is missing, the command that fetches it is
printed. The picture and the sound are made here, unless FILEs are given.
"""

import argparse
import json
import math
import struct
import sys
import tempfile
import wave
from pathlib import Path

from PIL import Image, ImageDraw

from cactus import (
    CactusModel,
    cactus_audio_embed,
    cactus_complete,
    cactus_destroy,
    cactus_embed,
    cactus_get_last_error,
    cactus_image_embed,
    cactus_init,
    cactus_rag_query,
    cactus_reset,
    cactus_stop,
    cactus_tokenize,
    cactus_transcribe,
)

CHAT = "smollm2-135m-instruct"
EMBEDDERS = ["all-minilm-l6-v2"]
VISION = ["lfm2-vl-450m", "lfm2.5-vl", "lfm2-vl", "smolvlm", "qwen2.5-vl", "qwen3-vl"]
SPEECH = ["whisper-small", "whisper-base", "whisper"]
"""Names of models, or their beginnings: the first that is on this machine is taken."""

ANSWER: dict[str, float] = {"confidence_threshold": 0}
"""By default an unsure model hands off to a larger one; here it is to answer."""


def find_model(names: list[str], download: str) -> int | None:
    """A handle of the first of some models that is here; where none is, says how to get one."""
    for name in names:
        model = cactus_init(name)
        if model is not None:
            return model
    print(f"No such model is here. To get one: cactus download {download}")
    return None


def text_completion(model: int) -> list[dict[str, str]]:
    print("== Text completion")
    messages = [{"role": "user", "content": "What is the capital of France?"}]
    result = json.loads(cactus_complete(model, messages, max_tokens=60, **ANSWER))
    print(result["response"])
    print(f"confidence {result['confidence']}, {result['decode_tps']} tokens/s")
    return [*messages, {"role": "assistant", "content": result["response"]}]


def second_turn(model: int, messages: list[dict[str, str]]) -> None:
    print("\n== The next turn reads only what is new")
    messages = [*messages, {"role": "user", "content": "And of Italy?"}]
    result = json.loads(cactus_complete(model, messages, max_tokens=60, **ANSWER))
    print(result["response"])
    print(f"{result['prefill_tokens']} tokens of the prompt were new")


def streaming(model: int) -> None:
    print("\n== Streaming, stopped after a while")
    count = 0

    def on_token(token: str, token_id: int, user_data: None) -> None:
        nonlocal count
        print(token, end="", flush=True)
        count += 1
        if count == 30:
            cactus_stop(model)

    cactus_reset(model)  # an unrelated conversation
    story = [{"role": "user", "content": "Tell me a story."}]
    cactus_complete(model, story, callback=on_token, **ANSWER)
    print()


def tokens(model: int) -> None:
    print("\n== Tokens")
    print(cactus_tokenize(model, "Hello world"))


def tools(model: int) -> None:
    print("\n== Tools")
    weather = {
        "name": "get_weather",
        "description": "Get weather for a location",
        "parameters": {
            "type": "object",
            "properties": {"location": {"type": "string"}},
            "required": ["location"],
        },
    }
    messages = [{"role": "user", "content": "What's the weather in Paris?"}]
    result = json.loads(
        cactus_complete(
            model, messages, tools=[weather], force_tools=True, parallel_tool_calls=False
        )
    )
    for call in result["function_calls"]:
        print(call["name"], call["arguments"])


def text_embedding(chat: str) -> None:
    print("\n== Text embedding")
    model = find_model(EMBEDDERS, EMBEDDERS[0])
    if model is None:
        print("Until then, vectors of the model that chats, which was not made for it:")
        model = cactus_init(chat)
    if model is None:
        return
    query = cactus_embed(model, "How do I bake bread?", normalize=True)
    print(f"{len(query)} dimensions")
    for text in ("Knead the dough, let it rise, and put it into the oven.", "Cats sleep a lot."):
        vector = cactus_embed(model, text, normalize=True)
        print(f"{sum(a * b for a, b in zip(query, vector, strict=True)):.2f}  {text}")
    cactus_destroy(model)


def vision(picture: str) -> None:
    print("\n== Vision")
    model = find_model(VISION, "LiquidAI/LFM2-VL-450M")
    if model is None:
        return
    messages = [{"role": "user", "content": "Describe this image", "images": [picture]}]
    result = json.loads(cactus_complete(model, messages, max_tokens=60, **ANSWER))
    print(result["response"] if result["success"] else result["error"])
    print("\n== Image embedding")
    print(f"{len(cactus_image_embed(model, picture))} dimensions")
    cactus_destroy(model)


def transcription(sound: str) -> None:
    print("\n== Transcription")
    model = find_model(SPEECH, "openai/whisper-small")
    if model is None:
        return
    result = json.loads(cactus_transcribe(model, sound))
    said = result["response"] if result["success"] else result["error"]
    print(said.strip() or "(nothing is said; --audio FILE transcribes a recording)")
    print("\n== Audio embedding")
    print(f"{len(cactus_audio_embed(model, sound))} dimensions")
    cactus_destroy(model)


def retrieval(chat: str) -> None:
    print("\n== Retrieval")
    with tempfile.TemporaryDirectory() as folder:
        text = "The walrus eats clams.\n\nMachine learning is programs that improve with data.\n"
        Path(folder, "facts.txt").write_text(text)
        model = cactus_init(chat, corpus_dir=folder)
        if model is None:
            print(cactus_get_last_error(), file=sys.stderr)
            return
        for chunk in cactus_rag_query(model, "What is machine learning?", top_k=3):
            print(f"Score: {chunk['score']:.2f} - {chunk['source']}: {chunk['text'][:100]}...")
        cactus_destroy(model)


def context_manager(chat: str) -> None:
    print("\n== Context manager")
    with CactusModel(chat) as model:
        messages = [{"role": "user", "content": "What is 2+2?"}]
        result = json.loads(model.complete(messages, **ANSWER))
        print(result["response"])


def errors(model: int) -> None:
    print("\n== Errors are values")
    print(json.loads(cactus_complete(model, [{"role": "user"}]))["error"])
    print(cactus_init("weights/no-such-model"), "-", cactus_get_last_error())


def draw(path: Path) -> str:
    """A picture: a red circle on white, beside a blue square."""
    image = Image.new("RGB", (256, 256), "white")
    pen = ImageDraw.Draw(image)
    pen.ellipse((20, 70, 120, 170), fill="red")
    pen.rectangle((140, 80, 230, 170), fill="blue")
    image.save(path)
    return str(path)


def hum(path: Path) -> str:
    """A sound: a second of 440 Hz, which is no speech."""
    rate = 16_000
    samples = (int(8000 * math.sin(2 * math.pi * 440 * n / rate)) for n in range(rate))
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", "not compressed"))
        file.writeframes(b"".join(struct.pack("<h", sample) for sample in samples))
    return str(path)


def main(options: argparse.Namespace) -> int:
    model = cactus_init(options.model)
    if model is None:
        print(cactus_get_last_error(), file=sys.stderr)
        return 1
    second_turn(model, text_completion(model))
    streaming(model)
    tokens(model)
    tools(model)
    errors(model)
    cactus_destroy(model)
    text_embedding(options.model)
    with tempfile.TemporaryDirectory() as folder:
        vision(options.image or draw(Path(folder, "picture.png")))
        transcription(options.audio or hum(Path(folder, "sound.wav")))
    retrieval(options.model)
    context_manager(options.model)
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A walk through the flat functions.")
    parser.add_argument("model", nargs="?", default=CHAT, help="the model that chats")
    parser.add_argument("--image", help="an image to look at")
    parser.add_argument("--audio", help="a recording to transcribe")
    sys.exit(main(parser.parse_args()))
