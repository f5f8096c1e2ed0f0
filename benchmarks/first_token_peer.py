"""Child of compare.py: chat once with llama-cpp-python. Arguments: GGUF, threads, prompt."""

import sys

from llama_cpp import Llama  # type: ignore[import-not-found,unused-ignore]

gguf, threads, prompt = sys.argv[1], int(sys.argv[2]), sys.argv[3]
llm = Llama(gguf, n_threads=threads, n_threads_batch=threads, verbose=False)
messages = [{"role": "user", "content": prompt}]
for chunk in llm.create_chat_completion(messages, stream=True, max_tokens=8, temperature=0):
    text = chunk["choices"][0]["delta"].get("content")
    if text:
        print(text, end="", flush=True)
print()
