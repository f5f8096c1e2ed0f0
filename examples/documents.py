"""Ask a folder of documents, and see which of them say what the answer says."""

import tempfile
from pathlib import Path

from cactus import Model

PAGES = {
    "clams.md": "# Food\n\nA walrus eats clams, up to 4,000 in one meal.\n",
    "ice.md": "# Home\n\nWalruses live on the ice of the Arctic, near shallow water.\n",
}

with tempfile.TemporaryDirectory() as folder:
    for name, text in PAGES.items():
        Path(folder, name).write_text(text)
    with Model("smollm2-135m-instruct", corpus=folder) as model:
        for chunk in model.rag_query("Where do walruses live?", top_k=1):
            print(f"{chunk['score']:.2f} {chunk['source']}: {chunk['text']!r}")
        answer = model.chat("How many clams does a walrus eat in one meal?", max_tokens=60)
        print(answer)
        for citation in answer.citations:
            print(f"  {citation.place}: {citation.text}")
        print(f"{answer.reading} read")
