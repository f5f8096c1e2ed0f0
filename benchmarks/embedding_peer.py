"""Child of embeddings.py, in the peers' environment: embed texts with one of them.

    python embedding_peer.py JOB      JOB is JSON, as embedding_child.Job describes it

Text in, unit vectors out, with the same tokenizer for all that have none of their own.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import embedding_child
import numpy as np
from embedding_child import Engine, Vectors, pooled


def openvino(path: Path, tokenizer: Path, threads: int, kind: str) -> Engine:
    """An exported model in bf16 or f32 arithmetic, or one in int8 with the rest in bf16."""
    import openvino as ov

    core = ov.Core()
    batches = embedding_child.batches(tokenizer)
    made: dict[int, Any] = {}

    def requests(streams: int) -> Any:
        if streams not in made:
            made.clear()
            settings = {
                "INFERENCE_NUM_THREADS": threads,
                "NUM_STREAMS": streams,
                "INFERENCE_PRECISION_HINT": "f32" if kind == "f32" else "bf16",
            }
            made[streams] = ov.AsyncInferQueue(core.compile_model(path, "CPU", settings), streams)
        return made[streams]

    def embed(texts: Sequence[str], batch: int, streams: int) -> Vectors:
        queue, found = requests(streams), {}

        def keep(request: Any, user: Any) -> None:
            at, mask = user
            found[at] = pooled(request.get_output_tensor(0).data, mask)

        queue.set_callback(keep)
        for at, ids, mask in batches(texts, batch):
            queue.start_async({"input_ids": ids, "attention_mask": mask}, (at, mask))
        queue.wait_all()
        return np.concatenate([found[at] for at in sorted(found)])

    return Engine(embed, {"openvino": ov.__version__}, streams=range(1, threads + 1))


def onnxruntime(path: Path, tokenizer: Path, threads: int, kind: str) -> Engine:
    """One of the ONNX files."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    batches = embedding_child.batches(tokenizer, np.int32 if "int32" in _types(session) else None)

    def embed(texts: Sequence[str], batch: int, _: int) -> Vectors:
        return np.concatenate(
            [
                pooled(session.run(None, {"input_ids": ids, "attention_mask": mask})[0], mask)
                for _, ids, mask in batches(texts, batch)
            ]
        )

    return Engine(embed, {"onnxruntime": ort.__version__})


def _types(session: Any) -> str:
    return " ".join(each.type for each in session.get_inputs())


def ctranslate2(path: Path, tokenizer: Path, threads: int, kind: str) -> Engine:
    """Its encoder of BERT; `kind` is its compute type."""
    import ctranslate2 as ct

    encoder = ct.Encoder(str(path), compute_type=kind, intra_threads=threads)
    batches = embedding_child.batches(tokenizer)

    def embed(texts: Sequence[str], batch: int, _: int) -> Vectors:
        parts = []
        for _, ids, mask in batches(texts, batch):
            rows = [row[: int(n)].tolist() for row, n in zip(ids, mask.sum(1), strict=True)]
            parts.append(pooled(np.array(encoder.forward_batch(rows).last_hidden_state), mask))
        return np.concatenate(parts)

    return Engine(embed, {"ctranslate2": ct.__version__})


def sentence_transformers(path: Path, tokenizer: Path, threads: int, kind: str) -> Engine:
    """The library as its users call it; `kind` is the type of weights and arithmetic."""
    import sentence_transformers as st
    import torch

    torch.set_num_threads(threads)
    options = {"dtype": torch.bfloat16 if kind == "bf16" else torch.float32}
    model = st.SentenceTransformer(str(path), device="cpu", model_kwargs=options)

    def embed(texts: Sequence[str], batch: int, _: int) -> Vectors:
        options = {"batch_size": batch, "normalize_embeddings": True, "convert_to_numpy": False}
        found = model.encode(list(texts), show_progress_bar=False, **options)
        return torch.stack(list(found)).float().numpy()

    versions = {"sentence-transformers": st.__version__, "torch": torch.__version__}
    return Engine(embed, versions)


def llama_cpp(path: Path, tokenizer: Path, threads: int, kind: str) -> Engine:
    """llama.cpp through its Python package, as many tokens a step as fit."""
    import llama_cpp as lc

    context = 2048
    sizes = {"n_ctx": context, "n_batch": context, "n_ubatch": context}
    counts = {"n_threads": threads, "n_threads_batch": threads}
    model = lc.Llama(str(path), embedding=True, verbose=False, **sizes, **counts)

    def embed(texts: Sequence[str], batch: int, _: int) -> Vectors:
        return np.array(model.embed(list(texts), normalize=True), np.float32)

    return Engine(embed, {"llama-cpp-python": lc.__version__}, batched=False)


PEERS: dict[str, Callable[[Path, Path, int, str], Engine]] = {
    "openvino": openvino,
    "onnxruntime": onnxruntime,
    "ctranslate2": ctranslate2,
    "sentence-transformers": sentence_transformers,
    "llama.cpp": llama_cpp,
}


def main() -> None:
    """Do the job and print what it took."""
    job = embedding_child.Job(**json.loads(Path(sys.argv[1]).read_text("utf-8")))
    engine = PEERS[job.engine](Path(job.model), Path(job.tokenizer), job.threads, job.kind)
    print(json.dumps(embedding_child.run(job, engine)))


if __name__ == "__main__":
    main()
