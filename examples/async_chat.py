"""Several questions from one event loop, with a time limit on the last."""

import asyncio
import sys

from cactus import Model

MODEL = sys.argv[1] if len(sys.argv) > 1 else "smollm2-135m-instruct"


async def ask(model: Model, question: str) -> str:
    answer = await model.achat(question, max_tokens=30)
    return answer.text


async def main() -> None:
    with Model(MODEL) as model:
        print(*await asyncio.gather(ask(model, "What is 2+2?"), ask(model, "Hello!")), sep="\n")

        story = "Write a very long story."
        try:
            await asyncio.wait_for(model.achat(story, max_tokens=5000), timeout=0.3)
        except asyncio.TimeoutError:
            print("That took too long; the model is free again.")


asyncio.run(main())
