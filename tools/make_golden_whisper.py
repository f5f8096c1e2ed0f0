"""Makes tests/golden/whisper/: a tiny random checkpoint, and what transformers computes with it.

    python tools/make_golden_whisper.py

Needs torch and transformers, which the test suite does not. Beside config.json and
model.safetensors (a Hugging Face checkpoint, f16 numbers) it writes golden.npz:

    features           log-mel features, [mel bins, frames]
    tokens             what the decoder is fed
    node/<name>        the output of each module of that name, every fourth row
    logits             at every token
    cross/<layer>      the weights of the decoder's attention to the states, [heads, tokens, states]
    greedy             the continuation that transformers chooses, without any rule of Whisper's
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors.torch import save_file

FOLDER = Path(__file__).resolve().parent.parent / "tests" / "golden" / "whisper"

CONFIG = {
    "model_type": "whisper",
    "vocab_size": 320,
    "num_mel_bins": 16,
    "d_model": 32,
    "encoder_layers": 2,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 64,
    "decoder_layers": 2,
    "decoder_attention_heads": 2,
    "decoder_ffn_dim": 64,
    "max_source_positions": 50,
    "max_target_positions": 64,
    "activation_function": "gelu",
    "scale_embedding": False,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
}
TOKENS, CONTINUATION = 12, 16


def randomize(model: torch.nn.Module, seed: int) -> None:
    """Weights of a size at which every part matters, rounded to f16."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if name.endswith(("layer_norm.weight", "layernorm.weight")):
                value = 1 + 0.2 * noise
            elif name.endswith(".bias") or "embed" in name:
                value = 0.2 * noise
            else:
                value = 2 * noise / parameter.shape[1:].numel() ** 0.5
            parameter.copy_(value.half().float())


def main() -> None:
    """Write the folder."""
    config = transformers.AutoConfig.for_model(**CONFIG)
    config._attn_implementation = "eager"
    model = transformers.WhisperForConditionalGeneration(config).eval().float()
    frames = 2 * CONFIG["max_source_positions"]
    for seed in range(200):
        randomize(model, seed)
        draw = np.random.default_rng(seed)
        features = draw.standard_normal((CONFIG["num_mel_bins"], frames)).astype(np.float32)
        tokens = draw.integers(3, CONFIG["vocab_size"], TOKENS)
        heard = torch.from_numpy(features)[None]
        ids, margin = torch.from_numpy(tokens)[None], float("inf")
        with torch.no_grad():
            states = model.model.encoder(heard)
            for _ in range(CONTINUATION):
                logits = model(
                    encoder_outputs=states, decoder_input_ids=ids, use_cache=False
                ).logits
                best = logits[0, -1].topk(2)
                margin = min(margin, float(best.values[0] - best.values[1]))
                ids = torch.cat([ids, best.indices[None, :1]], dim=1)
        greedy = ids[0, TOKENS:].tolist()
        # A choice decided by rounding would make the test of greedy tokens a lottery.
        if margin > 0.02 and len(set(greedy)) > 6:
            break
    else:
        raise SystemExit("no seed gives clear choices")

    values: dict[str, np.ndarray] = {}

    def keep(name: str):
        def hook(module: object, args: object, output: object) -> None:
            if isinstance(output, torch.Tensor) and output.shape[0] == 1 and output.ndim == 3:
                values[name] = output[0, ::4].numpy()

        return hook

    for name, module in model.named_modules():
        module.register_forward_hook(keep(name))
    with torch.no_grad():
        result = model(
            heard,
            decoder_input_ids=torch.from_numpy(tokens)[None],
            use_cache=False,
            output_attentions=True,
        )
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")
    tensors = {
        key: value.half().contiguous()
        for key, value in model.state_dict().items()
        if key != "proj_out.weight"
    }
    save_file(tensors, FOLDER / "model.safetensors", metadata={"format": "pt"})
    (FOLDER / "model.safetensors").chmod(0o644)
    cross = {f"cross/{i}": each[0].numpy() for i, each in enumerate(result.cross_attentions)}
    np.savez_compressed(
        FOLDER / "golden.npz",
        features=features,
        tokens=tokens.astype(np.int32),
        logits=result.logits[0].numpy(),
        greedy=np.array(greedy, np.int32),
        **cross,
        **{f"node/{name}": value for name, value in values.items()},
    )
    size = sum(file.stat().st_size for file in FOLDER.iterdir())
    print(f"seed {seed}, margin {margin:.3f}, {len(values)} nodes, {size // 1024} KB")


if __name__ == "__main__":
    main()
