"""Makes the starter model's golden files in tests/golden, with transformers in f32.

    python tools/make_golden_starter.py <folder with the GGUF file> <its name>

Needs torch, transformers and gguf, which the test suite does not. Writes:

    starter_tokens.json   token ids of the strings of tools/golden_strings.py
    starter_digits.json   the same of strings where transformers misreads the GGUF file's tokenizer
    starter_chats.json    rendered chat prompts
    starter_greedy.json   20 prompts and the 32 tokens that follow each, chosen greedily
    starter_text.npz      for text.txt: ids; for each position the log-probability of the next token
                          and the most likely token
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from golden_strings import CHATS, DIGITS_AFTER_SPACE, PROMPTS, strings
from tokenizers.pre_tokenizers import ByteLevel, Digits
from tokenizers.pre_tokenizers import Sequence as InTurn
from transformers import AutoModelForCausalLM, AutoTokenizer

GOLDEN = Path(__file__).resolve().parent.parent / "tests" / "golden"

CONTINUATION = 32


def write(name: str, value: Any) -> None:
    """One entry a line: small differences stay small in the history."""
    lines = ",\n".join(json.dumps(entry, ensure_ascii=True) for entry in value)
    (GOLDEN / name).write_text(f"[\n{lines}\n]\n")


def greedy(model: Any, ids: list[int]) -> tuple[list[int], float]:
    """The next tokens, end marks like any other, and the smallest lead over a runner-up."""
    chosen: list[int] = []
    lead, cache = float("inf"), None
    step = torch.tensor([ids])
    while len(chosen) < CONTINUATION:
        with torch.no_grad():
            out = model(step, past_key_values=cache, use_cache=True)
        cache = out.past_key_values
        best = out.logits[0, -1].topk(2)
        lead = min(lead, float(best.values[0] - best.values[1]))
        chosen.append(int(best.indices[0]))
        step = best.indices[None, :1]
    return chosen, lead


def main(folder: str, name: str) -> None:
    """Write all four files."""
    torch.set_num_threads(2)
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32).eval()

    def encode(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False).input_ids)

    write("starter_tokens.json", [{"text": text, "ids": encode(text)} for text in strings()])

    # From here on everything is in the published tokenizer's ids.
    published = InTurn([Digits(individual_digits=True), ByteLevel(add_prefix_space=False)])
    tokenizer.backend_tokenizer.pre_tokenizer = published
    write("starter_digits.json", [{"text": t, "ids": encode(t)} for t in DIGITS_AFTER_SPACE])

    chats = []
    for messages in CHATS:
        rendered = tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True
        )
        chats.append({"messages": messages, "rendered": rendered, "ids": encode(rendered)})
    write("starter_chats.json", chats)

    prompts = [encode(text) for text in PROMPTS]
    prompts += [chat["ids"] for chat in chats[: 20 - len(prompts)]]
    entries = []
    for ids in prompts:
        tokens, lead = greedy(model, ids)
        entries.append({"prompt": ids, "tokens": tokens, "smallest_lead": round(lead, 4)})
        print(f"{lead:.4f} {tokenizer.decode(tokens)!r}", flush=True)
    write("starter_greedy.json", entries)

    ids = encode((GOLDEN / "text.txt").read_text())
    with torch.no_grad():
        logits = model(torch.tensor([ids]), use_cache=False).logits[0]
    logprobs = torch.log_softmax(logits, -1)[:-1].gather(1, torch.tensor(ids[1:])[:, None])[:, 0]
    np.savez_compressed(
        GOLDEN / "starter_text.npz",
        ids=np.array(ids, np.int32),
        logprobs=logprobs.numpy(),
        argmax=logits.argmax(-1).numpy().astype(np.int32),
    )
    print(f"text: {len(ids)} tokens, perplexity {float(torch.exp(-logprobs.mean())):.4f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
