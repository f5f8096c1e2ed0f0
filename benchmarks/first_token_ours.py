"""Child of compare.py: chat once through the public API. Arguments: model, threads, prompt."""

import os
import sys

path, threads, prompt = sys.argv[1], sys.argv[2], sys.argv[3]
os.environ["CACTUS_THREADS"] = threads

from cactus import cactus_complete, cactus_destroy, cactus_get_last_error, cactus_init  # noqa: E402

model = cactus_init(path)
if model is None:
    sys.exit(f"cactus_init failed: {cactus_get_last_error()}")
cactus_complete(
    model,
    [{"role": "user", "content": prompt}],
    max_tokens=8,
    callback=lambda text, token_id, user_data: print(text, end="", flush=True),
)
print()
cactus_destroy(model)
