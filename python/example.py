"""A walk through the flat functions: loading, chat, streaming, turns, tokens, documents, errors.

    python python/example.py [MODEL]

MODEL is a weights folder, a .gguf file, a Hugging Face id or the name of a downloaded model; the
starter model is fetched by `cactus download HuggingFaceTB/SmolLM2-135M-Instruct`.
"""

import json
import sys
import tempfile
from pathlib import Path

from cactus import (
    CactusModel,
    cactus_complete,
    cactus_destroy,
    cactus_get_last_error,
    cactus_init,
    cactus_rag_query,
    cactus_reset,
    cactus_stop,
    cactus_tokenize,
)

ANSWER: dict[str, float] = {"confidence_threshold": 0}
"""By default an unsure model hands off to a larger one; here it is to answer."""

MODEL = sys.argv[1] if len(sys.argv) > 1 else "smollm2-135m-instruct"


def text_completion(model: int) -> list[dict[str, str]]:
    print("== Text completion")
    messages = [{"role": "user", "content": "What is the capital of France?"}]
    result = json.loads(cactus_complete(model, messages, max_tokens=60, **ANSWER))
    print(result["response"])
    print(f"confidence {result['confidence']}, {result['decode_tps']} tokens/s")
    return [*messages, {"role": "assistant", "content": result["response"]}]


def second_turn(model: int, messages: list[dict[str, str]]) -> None:
    print("\n== The next turn reads only what is new")
    messages = [*messages, {"role": "user", "content": "And of Italy?"}]
    result = json.loads(cactus_complete(model, messages, max_tokens=60, **ANSWER))
    print(result["response"])
    print(f"{result['prefill_tokens']} tokens of the prompt were new")


def streaming(model: int) -> None:
    print("\n== Streaming, stopped after a while")
    count = 0

    def on_token(token: str, token_id: int, user_data: None) -> None:
        nonlocal count
        print(token, end="", flush=True)
        count += 1
        if count == 30:
            cactus_stop(model)

    cactus_reset(model)  # an unrelated conversation
    story = [{"role": "user", "content": "Tell me a story."}]
    cactus_complete(model, story, callback=on_token, **ANSWER)
    print()


def tokens(model: int) -> None:
    print("\n== Tokens")
    print(cactus_tokenize(model, "Hello world"))


def documents() -> None:
    print("\n== Documents")
    with tempfile.TemporaryDirectory() as folder:
        text = "The walrus eats clams.\n\nMachine learning is programs that improve with data.\n"
        Path(folder, "facts.txt").write_text(text)
        model = cactus_init(MODEL, corpus_dir=folder)
        if model is None:
            print(cactus_get_last_error(), file=sys.stderr)
            return
        for chunk in cactus_rag_query(model, "What is machine learning?", top_k=3):
            print(f"Score: {chunk['score']:.2f} - {chunk['source']}: {chunk['text'][:100]}...")
        cactus_destroy(model)
    print("'cactus download all-minilm-l6-v2' fetches a model that finds much more.")


def context_manager() -> None:
    print("\n== Context manager")
    with CactusModel(MODEL) as model:
        messages = [{"role": "user", "content": "What is 2+2?"}]
        result = json.loads(model.complete(messages, **ANSWER))
        print(result["response"])


def errors(model: int) -> None:
    print("\n== Errors are values")
    print(json.loads(cactus_complete(model, [{"role": "user"}]))["error"])
    print(cactus_init("weights/no-such-model"), "-", cactus_get_last_error())


def main() -> int:
    model = cactus_init(MODEL)
    if model is None:
        print(cactus_get_last_error(), file=sys.stderr)
        return 1
    second_turn(model, text_completion(model))
    streaming(model)
    tokens(model)
    errors(model)
    cactus_destroy(model)
    documents()
    context_manager()
    return 0


if __name__ == "__main__":
    sys.exit(main())
