"""Child of vision.py, in the peers' environment: look at pictures with one of them.

    python vision_peer.py JOB      JOB is JSON, as vision_child.Job describes it

From a file with a picture to the first token of the answer: decoding, resizing and tiling count.
"""

from __future__ import annotations

import ctypes
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from vision_child import QUESTION, Engine, Job, read_job, run


def transformers(job: Job) -> Engine:
    """The library as its users call it; ``kind`` is the type of weights and arithmetic."""
    import torch

    declare_boxes(torch)
    import transformers as tf
    from PIL import Image

    torch.set_num_threads(job.threads)
    tf.logging.set_verbosity_error()
    dtype = torch.bfloat16 if job.kind == "bf16" else torch.float32
    model = tf.AutoModelForImageTextToText.from_pretrained(job.model, dtype=dtype).eval()
    tokenizer = tf.AutoTokenizer.from_pretrained(job.model)
    pictures = tf.Lfm2VlImageProcessor.from_pretrained(job.model)
    processor = tf.Lfm2VlProcessor(pictures, tokenizer, chat_template=tokenizer.chat_template)
    tower = Clock(model.model.vision_tower)

    @torch.inference_mode()
    def look(picture: str) -> tuple[int, float]:
        parts = [{"type": "image"}, {"type": "text", "text": QUESTION}]
        asked = [{"role": "user", "content": parts}]
        prompt = processor.apply_chat_template(asked, add_generation_prompt=True)
        image = Image.open(picture).convert("RGB")
        inputs = processor(images=[image], text=prompt, return_tensors="pt")
        tower.seconds = 0.0
        model.generate(**inputs, max_new_tokens=1, min_new_tokens=1, do_sample=False)
        return int(inputs["input_ids"].shape[1]), tower.seconds

    return Engine(look, {"transformers": tf.__version__, "torch": torch.__version__})


def declare_boxes(torch: Any) -> None:
    """torchvision asks for two operators that its wheel does not bring for this torch; no model
    here calls them."""
    library = torch.library.Library("torchvision", "DEF")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    torch.benchmark_keeps = library


class Clock:
    """Adds up the time that a module takes."""

    def __init__(self, module: Any) -> None:
        self.seconds = self.start = 0.0
        module.register_forward_pre_hook(self._before)
        module.register_forward_hook(self._after)

    def _before(self, *_: Any) -> None:
        self.start = time.perf_counter()

    def _after(self, *_: Any) -> None:
        self.seconds += time.perf_counter() - self.start


def llama_cpp(job: Job) -> Engine:
    """llama.cpp's multimodal library, the one behind its llama-mtmd-cli."""
    import llama_cpp as lc
    import llama_cpp.mtmd_cpp as mtmd

    sizes = {"n_ctx": 4096, "n_batch": 2048, "n_ubatch": 512}
    counts = {"n_threads": job.threads, "n_threads_batch": job.threads}
    model = lc.Llama(job.model, verbose=False, **sizes, **counts)
    settings = mtmd.mtmd_context_params_default()
    settings.use_gpu, settings.print_timings, settings.n_threads = False, False, job.threads
    eyes = mtmd.mtmd_init_from_file(job.projector.encode(), model.model, settings)
    if not eyes:
        raise RuntimeError(f"{job.projector} cannot be loaded")
    prompt = f"<|im_start|>user\n{mtmd.mtmd_default_marker().decode()}{QUESTION}<|im_end|>\n"
    text = (prompt + "<|im_start|>assistant\n").encode()

    def look(picture: str) -> tuple[int, float]:
        lc.llama_memory_clear(lc.llama_get_memory(model.ctx), True)
        bitmap = mtmd.mtmd_helper_bitmap_init_from_file(eyes, picture.encode(), False)
        chunks = mtmd.mtmd_input_chunks_init()
        asked = mtmd.mtmd_input_text(text, len(text), True, True)
        bitmaps = (ctypes.c_void_p * 1)(bitmap)
        failed = mtmd.mtmd_tokenize(eyes, chunks, ctypes.byref(asked), bitmaps, 1)
        past = lc.llama_pos(0)
        failed = failed or mtmd.mtmd_helper_eval_chunks(
            eyes, model.ctx, chunks, past, 0, sizes["n_batch"], True, ctypes.byref(past)
        )
        if failed:
            raise RuntimeError(f"{picture}: llama.cpp says {failed}")
        logits = lc.llama_get_logits_ith(model.ctx, -1)
        count = lc.llama_vocab_n_tokens(lc.llama_model_get_vocab(model.model))
        np.ctypeslib.as_array(logits, (count,)).argmax()
        tokens = mtmd.mtmd_helper_get_n_tokens(chunks)
        mtmd.mtmd_input_chunks_free(chunks)
        mtmd.mtmd_bitmap_free(bitmap)
        return int(tokens), 0.0

    return Engine(look, {"llama-cpp-python": lc.__version__})


PEERS: dict[str, Callable[[Job], Engine]] = {"transformers": transformers, "llama.cpp": llama_cpp}


def main() -> None:
    """Do the job and print what it took."""
    job = read_job()
    print(json.dumps(run(job, PEERS[job.engine](job))))


if __name__ == "__main__":
    main()
