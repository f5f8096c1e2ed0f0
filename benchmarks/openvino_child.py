"""Child of compare.py: one case of openvino-genai. Its argument is a job in JSON (`Job` of
peer_openvino.py says what is in it); it prints one line of JSON.

Every prompt is another one and its cache of prefixes is off, since a repeated one would be answered
without work. Times are its own: of a token from when the one before it was there.
"""

import json
import random
import sys
import time

import numpy as np
import openvino as ov
import openvino_genai as genai

job = json.loads(sys.argv[1])
source = random.Random(0)


def tokens(count):
    return ov.Tensor(np.array([[source.randrange(1000, 40_000) for _ in range(count)]], np.int64))


scheduler = genai.SchedulerConfig()
scheduler.enable_prefix_caching = False
scheduler.max_num_batched_tokens = job["step"]
scheduler.max_num_seqs = max(job["rows"], 1)
length = max(job["prompt"], job["depth"]) + job["gen"]
scheduler.num_kv_blocks = job["rows"] * (length // 32 + 2)
pipeline = genai.ContinuousBatchingPipeline(
    job["model"], scheduler, "CPU", {"INFERENCE_NUM_THREADS": job["threads"], **job["options"]}
)
options = genai.GenerationConfig(max_new_tokens=job["gen"] or 1, ignore_eos=True)
if job["temperature"]:
    options.do_sample, options.temperature, options.top_p = True, job["temperature"], 0.95
rates = []
for _ in range(job["repeats"] + job["warm_up"]):
    inputs = [tokens(job["prompt"] or job["depth"] or 1) for _ in range(job["rows"])]
    start = time.perf_counter()
    results = pipeline.generate(inputs, [options] * job["rows"])
    seconds = time.perf_counter() - start
    if job["depth"]:
        (result,) = results
        times = result.perf_metrics.raw_metrics.m_new_token_times
        seconds, written = (times[-1] - times[0]) / 1e3, len(times) - 1
    else:
        written = sum(len(result.m_generation_ids[0]) for result in results)
    rates.append((job["prompt"] or written) / seconds)
print(json.dumps({"samples": rates[job["warm_up"] :], "version": genai.__version__}))
