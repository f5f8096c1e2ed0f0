"""Child of embeddings.py, in the peers' environment: a model in the forms that the peers read.

    python embedding_export.py FOLDER OUT TEXTS     FOLDER is a checkpoint of BERT or of nomic-bert

OUT then has `f32.onnx` and `int8.onnx` (dynamic, a scale for each output channel), fused by
onnxruntime's own optimizer, `f32.xml` and `int8.xml` (weights and activations, calibrated by NNCF
on TEXTS, a list in JSON) for OpenVINO, and, of BERT, `ctranslate2/`.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import torch

CALIBRATION = 64
"""Texts that NNCF measures activations on."""


class States(torch.nn.Module):
    """The encoder as a function of ids and mask that gives the last hidden states."""

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """[batch, tokens] twice -> [batch, tokens, width]."""
        found = self.encoder(input_ids=input_ids, attention_mask=attention_mask)
        return found.last_hidden_state


def main() -> None:
    """Write every form."""
    folder, out = Path(sys.argv[1]), Path(sys.argv[2])
    texts = json.loads(Path(sys.argv[3]).read_text("utf-8"))
    from transformers import AutoModel

    # What exporters know how to fuse is attention written out.
    encoder = AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    out.mkdir(parents=True, exist_ok=True)
    plain = out / "plain.onnx"
    to_onnx(encoder, plain)
    to_onnxruntime(plain, encoder.config, out)
    to_openvino(plain, folder, texts, out)
    if encoder.config.model_type == "bert":
        to_ctranslate2(folder, out / "ctranslate2")
    plain.unlink()


def to_onnx(encoder: Any, path: Path) -> None:
    """A graph with a free batch and length."""
    ids = torch.randint(1000, 20_000, (2, 16))
    mask = torch.ones_like(ids)
    mask[1, 10:] = 0
    names = ["input_ids", "attention_mask"]
    free = {name: {0: "batch", 1: "tokens"} for name in [*names, "states"]}
    torch.onnx.export(
        States(encoder),
        (ids, mask),
        path,
        input_names=names,
        output_names=["states"],
        dynamic_axes=free,
        opset_version=17,
        dynamo=False,
    )


def to_onnxruntime(plain: Path, config: Any, out: Path) -> None:
    """Fused by its optimizer of transformers, then quantised."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.transformers import optimizer

    sizes = (config.num_attention_heads, config.hidden_size)
    fused = optimizer.optimize_model(str(plain), "bert", *sizes, opt_level=1)
    print("fused:", {k: v for k, v in fused.get_fused_operator_statistics().items() if v})
    fused.save_model_to_file(str(out / "f32.onnx"))
    quantize_dynamic(
        out / "f32.onnx",
        out / "int8.onnx",
        per_channel=True,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=["MatMul", "Attention", "Gemm"],
        extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},  # for the fused ops
    )


def to_openvino(plain: Path, folder: Path, texts: list[str], out: Path) -> None:
    """As it is, and with weights and activations in int8."""
    import nncf
    import numpy as np
    import openvino as ov
    from tokenizers import Tokenizer

    model = ov.convert_model(plain)
    ov.save_model(model, out / "f32.xml", compress_to_fp16=False)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(128)
    ids = [np.array([tokenizer.encode(text).ids], np.int64) for text in texts]
    quantised = nncf.quantize(
        model,
        nncf.Dataset([{"input_ids": each, "attention_mask": np.ones_like(each)} for each in ids]),
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=CALIBRATION,
    )
    ov.save_model(quantised, out / "int8.xml", compress_to_fp16=False)


def to_ctranslate2(folder: Path, out: Path) -> None:
    """Its own folder; the type of the weights is chosen when it is loaded."""
    from ctranslate2.converters import TransformersConverter

    shutil.rmtree(out, ignore_errors=True)
    TransformersConverter(str(folder)).convert(str(out))


if __name__ == "__main__":
    main()
