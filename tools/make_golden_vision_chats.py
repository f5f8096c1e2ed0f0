"""Makes tests/golden/vision_chats.json: what transformers makes of chats with images.

    PYTHONPATH=. python tools/make_golden_vision_chats.py

Needs torch, torchvision and transformers. The model, its tokenizer and the chats are those of
tests/vision/tiny.py. Of each chat it keeps the ids of the prompt, as processor and template make
them, and those of a greedy answer.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import torch

# Beside some builds of torch the operators of torchvision are missing, which processors do not use.
_library = torch.library.Library("torchvision", "DEF")
_library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
_library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

from PIL import Image  # noqa: E402
from transformers import (  # noqa: E402
    AutoImageProcessor,
    AutoModelForImageTextToText,
    Lfm2VlProcessor,
    PreTrainedTokenizerFast,
)

from tests.vision import tiny  # noqa: E402

TOKENS = 24


def parts(message: dict[str, Any]) -> dict[str, Any]:
    """A message in the form of transformers: images before the text."""
    images = [
        {"type": "image", "image": Image.fromarray(tiny.picture(name))}
        for name in message.get("images", ())
    ]
    text = {"type": "text", "text": message["content"]}
    return {"role": message["role"], "content": [*images, text]}


def main() -> None:
    """Write the file."""
    found = {}
    with tempfile.TemporaryDirectory() as home:
        folder = tiny.write_checkpoint(Path(home) / "tiny")
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
        processor = Lfm2VlProcessor(
            AutoImageProcessor.from_pretrained(folder), tokenizer, chat_template=tiny.TEMPLATE
        )
        model: Any = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
        for name, messages in tiny.CHATS.items():
            inputs = processor.apply_chat_template(
                [parts(message) for message in messages],
                add_generation_prompt=True,
                tokenize=True,
                return_dict=True,
                return_tensors="pt",
            )
            end = tokenizer.convert_tokens_to_ids("<|im_end|>")
            with torch.no_grad():
                made = model.generate(
                    **inputs, max_new_tokens=TOKENS, do_sample=False, eos_token_id=end
                )
            prompt = inputs["input_ids"][0].tolist()
            found[name] = {"prompt": prompt, "answer": made[0, len(prompt) :].tolist()}
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(each)}" for name, each in found.items())
    (tiny.GOLDEN / "vision_chats.json").write_text(f"{{\n{lines}\n}}\n")


if __name__ == "__main__":
    main()
