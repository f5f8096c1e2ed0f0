"""LiteLLM, Cohere's client and LangChain: vectors, ranking and recordings.

The server has a model of each kind; CACTUS_RECORDING is a file in which somebody speaks.
"""

import os

import cohere
import httpx
import litellm
from langchain_openai import OpenAIEmbeddings
from steps import URL, run

QUERY, TEXTS = "What do cats eat?", ["Cats eat mice.", "Dogs bark.", "A cat drinks milk."]
RECORDING = os.environ["CACTUS_RECORDING"]


def able_to(ability: str) -> str:
    """The name of a model that does nothing else, or else of the first that can."""
    models = httpx.get(f"{URL}/cactus/status").json()["models"]
    able = [each for each in models if ability in each["abilities"]]
    return str(min(able, key=lambda each: "chat" in each["abilities"])["id"])


def ranking_by_every_provider() -> None:
    told = {"query": QUERY, "documents": TEXTS, "top_n": 2, "api_key": "none"}
    addresses = {
        "cohere": (URL, f"{URL}/v2/rerank"),
        "jina_ai": (URL, f"{URL}/v1/rerank"),
        "hosted_vllm": (URL, f"{URL}/v1"),
    }
    found = []
    for provider, bases in addresses.items():
        for base in bases:
            model = f"{provider}/{able_to('rerank')}"
            got = litellm.rerank(model=model, api_base=base, return_documents=True, **told)
            found.append([(each["index"], each["relevance_score"]) for each in got.results])
            assert all(TEXTS[e["index"]] == e["document"]["text"] for e in got.results)
    assert len(found[0]) == 2 and all(each == found[0] for each in found)


def ranking_by_coheres_own_client() -> None:
    told = {"model": able_to("rerank"), "query": QUERY, "documents": TEXTS}
    newer = cohere.ClientV2(api_key="none", base_url=URL).rerank(**told)
    older = cohere.Client(api_key="none", base_url=URL).rerank(return_documents=True, **told)
    order = [each.index for each in newer.results]
    assert [each.index for each in older.results] == order
    assert [each.document.text for each in older.results] == [TEXTS[index] for index in order]


def vectors() -> None:
    told = {"api_base": f"{URL}/v1", "api_key": "none"}
    got = litellm.embedding(model=f"openai/{able_to('embed')}", input=TEXTS, **told)
    chain = OpenAIEmbeddings(
        base_url=f"{URL}/v1",
        api_key="none",
        model=able_to("embed"),
        check_embedding_ctx_length=False,
    )
    assert chain.embed_documents(TEXTS) == [each["embedding"] for each in got.data]


def recordings() -> None:
    told = {"api_base": f"{URL}/v1", "api_key": "none", "model": f"openai/{able_to('transcribe')}"}
    texts = []
    for form in (None, "text", "srt", "verbose_json"):
        with open(RECORDING, "rb") as file:
            given = {} if form is None else {"response_format": form}
            texts.append(litellm.transcription(file=file, **given, **told).text)
    assert texts[0] and texts[1].strip() == texts[3] == texts[0]
    assert texts[2].startswith("1\n00:00:")


run(ranking_by_every_provider, ranking_by_coheres_own_client, vectors, recordings)
