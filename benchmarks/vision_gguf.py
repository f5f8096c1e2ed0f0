"""Child of vision.py, in the peers' environment: llama.cpp's own conversion of a checkpoint.

    python vision_gguf.py FOLDER --outfile FILE [--mmproj] ...      as convert_hf_to_gguf.py

The folder with llama.cpp's sources is in PYTHONPATH. That script knows tokenizers by what they
make of a text, and towers by the names of older checkpoints: two things that a model with random
weights, in today's names, has to be told.
"""

from __future__ import annotations

import runpy
from typing import Any

import conversion
from conversion.base import TextModel
from conversion.lfm2 import LFM2VLModel

named = LFM2VLModel.map_tensor_name


def map_tensor_name(self: Any, name: str, *rest: Any, **more: Any) -> str:
    """The name of a tensor in the file."""
    if ".vision_model." not in name:
        name = name.replace("vision_tower.", "vision_tower.vision_model.")
    return str(named(self, name, *rest, **more))


TextModel.get_vocab_base_pre = lambda self, tokenizer: "lfm2"
LFM2VLModel.map_tensor_name = map_tensor_name
script = conversion.__file__.replace("conversion/__init__.py", "convert_hf_to_gguf.py")
runpy.run_path(script, run_name="__main__")
