"""Child of compare.py: read prompts with openvino-genai. Arguments: GGUF, threads, tokens, repeats.

Every prompt is another one, because its prefix cache answers a repeated one without work. What is
timed is one call that writes a single token; a first call that does not count compiles the model.
"""

import json
import random
import sys
import time

import numpy as np
import openvino as ov
import openvino_genai as genai

gguf, threads, count, repeats = sys.argv[1], *(int(text) for text in sys.argv[2:5])
pipeline = genai.LLMPipeline(gguf, "CPU", INFERENCE_NUM_THREADS=threads)
options = genai.GenerationConfig(max_new_tokens=1, ignore_eos=True, do_sample=False)
source = random.Random(0)
rates = []
for _ in range(repeats + 1):
    ids = np.array([[source.randrange(1000, 40_000) for _ in range(count)]], np.int64)
    inputs = genai.TokenizedInputs(ov.Tensor(ids), ov.Tensor(np.ones_like(ids)))
    start = time.perf_counter()
    result = pipeline.generate(inputs, options)
    rates.append(count / (time.perf_counter() - start))
    if len(result.tokens[0]) != 1:
        sys.exit(f"openvino-genai wrote {len(result.tokens[0])} tokens, expected 1")
print(json.dumps({"samples": rates[1:], "version": genai.__version__}))
