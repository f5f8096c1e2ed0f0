"""Makes tests/golden/lora_*/: LoRA adapters of the tiny checkpoints, and what PEFT makes of them.

    python tools/make_golden_lora.py

Needs torch, transformers and peft, which the test suite does not. Each folder is an adapter as
PEFT saves it (adapter_config.json, adapter_model.safetensors), with golden.npz:

    merged/<tensor>    rows 0, 1 and the last of each tensor that PEFT's merging changes
    input_ids, rows    a prompt, and the positions whose logits are kept
    logits             of the model with the adapter beside it, not merged
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import peft
import torch
import transformers

GOLDEN = Path(__file__).resolve().parent.parent / "tests" / "golden"
KEPT = [0, 9, 39]

ADAPTERS: dict[str, tuple[str, dict[str, Any]]] = {
    "lora_llama": ("llama", {"r": 4, "lora_alpha": 6, "target_modules": ["q_proj", "down_proj"]}),
    # Other ranks and scales by expressions, the embedding, a convolution's matrices, whole norms.
    "lora_lfm2": (
        "lfm2",
        {
            "r": 4,
            "lora_alpha": 8,
            "use_rslora": True,
            "target_modules": ["in_proj", "out_proj", "w1", "q_proj", "embed_tokens"],
            "rank_pattern": {"q_proj": 2, "layers.0.conv.in_proj": 6},
            "alpha_pattern": {".*conv.out_proj": 3, "w1": 5},
            "modules_to_save": ["embedding_norm"],
        },
    ),
    "lora_qwen3": (
        "qwen3",
        {"r": 2, "lora_alpha": 4, "use_dora": True, "target_modules": ["v_proj", "up_proj"]},
    ),
}


def make(name: str, base: str, settings: dict[str, Any]) -> None:
    """Write tests/golden/<name>."""
    torch.manual_seed(5)
    kind = {"dtype": torch.float32, "attn_implementation": "eager"}
    model = transformers.AutoModelForCausalLM.from_pretrained(GOLDEN / base, **kind).eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    tuned = peft.get_peft_model(model, peft.LoraConfig(task_type="CAUSAL_LM", **settings)).eval()
    with torch.no_grad():
        for parameter in tuned.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn(parameter.shape))
    ids = torch.from_numpy(np.load(GOLDEN / base / "golden.npz")["input_ids"].astype(np.int64))
    with torch.no_grad():
        logits = tuned(ids[None]).logits[0, KEPT].numpy()
    folder = GOLDEN / name
    shutil.rmtree(folder, ignore_errors=True)
    tuned.save_pretrained(folder)
    (folder / "README.md").unlink()
    (folder / "adapter_model.safetensors").chmod(0o644)
    config = json.loads((folder / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = f"golden/{base}"
    config["target_modules"] = sorted(config["target_modules"])
    text = json.dumps(config, indent=2, sort_keys=True) + "\n"
    (folder / "adapter_config.json").write_text(text)
    merged = tuned.merge_and_unload().state_dict()
    changed = [
        key
        for key, value in merged.items()
        if key != "lm_head.weight" and not torch.equal(value, before[key])
    ]
    arrays = {f"merged/{key}": merged[key][_rows(merged[key])].numpy() for key in changed}
    rows = np.array(KEPT, np.int32)
    np.savez_compressed(
        folder / "golden.npz", input_ids=ids.numpy(), rows=rows, logits=logits, **arrays
    )
    size = sum(file.stat().st_size for file in folder.iterdir())
    print(f"{name}: {len(changed)} tensors, {size // 1024} KB")


def _rows(tensor: torch.Tensor) -> list[int] | slice:
    return [0, 1, -1] if tensor.ndim == 2 else slice(None)


if __name__ == "__main__":
    for chosen, (base_name, options) in ADAPTERS.items():
        make(chosen, base_name, options)
