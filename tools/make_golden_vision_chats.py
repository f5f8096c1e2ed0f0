"""Makes tests/golden/vision_chats.json: what transformers makes of chats with images.

    PYTHONPATH=. python tools/make_golden_vision_chats.py

Needs torch, torchvision and transformers. The models, tokenizers and chats are those of
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

import transformers  # noqa: E402
from PIL import Image  # noqa: E402

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


def processor_of(name: str, folder: Path) -> Any:
    """The family's processor."""
    tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(folder)
    images = transformers.AutoImageProcessor.from_pretrained(folder)
    template = tiny.FAMILIES[name].template
    if name == "lfm2_vl":
        return transformers.Lfm2VlProcessor(images, tokenizer, chat_template=template)
    if name == "smolvlm":
        video = transformers.SmolVLMVideoProcessor()
        return transformers.SmolVLMProcessor(
            images, tokenizer, video, image_seq_len=4, chat_template=template
        )
    if name == "gemma3":
        images = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
        return transformers.Gemma3Processor(images, tokenizer, template, image_seq_length=9)
    kind = {"qwen2_vl": "Qwen2VL", "qwen2_5_vl": "Qwen2_5_VL", "qwen3_vl": "Qwen3VL"}[name]
    own = "Qwen2VL" if name == "qwen2_5_vl" else kind
    video = getattr(transformers, f"{own}VideoProcessor")()
    return getattr(transformers, f"{kind}Processor")(
        images, tokenizer, video, chat_template=template
    )


def answered(name: str, folder: Path) -> dict[str, Any]:
    """Prompt and answer of each chat."""
    processor = processor_of(name, folder)
    model: Any = transformers.AutoModelForImageTextToText.from_pretrained(
        folder, dtype=torch.float32
    ).eval()
    found = {}
    for chat, messages in tiny.CHATS.items():
        inputs = processor.apply_chat_template(
            [parts(message) for message in messages],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        )
        end = processor.tokenizer.convert_tokens_to_ids("<|im_end|>")
        with torch.no_grad():
            made = model.generate(
                **inputs, max_new_tokens=TOKENS, do_sample=False, eos_token_id=end
            )
        prompt = inputs["input_ids"][0].tolist()
        found[chat] = {"prompt": prompt, "answer": made[0, len(prompt) :].tolist()}
    return found


def main() -> None:
    """Write the file."""
    lines = []
    for name in tiny.FAMILIES:
        with tempfile.TemporaryDirectory() as home:
            found = answered(name, tiny.write_checkpoint(Path(home) / "tiny", name))
        each = ",\n".join(f"  {json.dumps(chat)}: {json.dumps(ids)}" for chat, ids in found.items())
        lines.append(f"{json.dumps(name)}: {{\n{each}\n}}")
    (tiny.GOLDEN / "vision_chats.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
