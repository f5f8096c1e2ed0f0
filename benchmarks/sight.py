"""Does a model that sees see the same in our engine? Answers against those of transformers.

    python benchmarks/sight.py CHECKPOINT         as tools/train_tiny_vlm.py writes it
    python benchmarks/sight.py CHECKPOINT --questions 1000

Asks the 9,673 test questions of easy-vqa (guessing gets about a fifth of those that are not yes or
no, and half of the others) and what 396 pictures of words and numbers say, 108 of them in tiles.
transformers runs in f32, on pictures prepared by Pillow; ours loads and prepares them itself.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import vision_models
from report import markdown
from runner import REPOSITORY, Progress, cache_folder, finish, run_child

from cactus import Model
from cactus.weights.convert import convert

sys.path.insert(0, str(REPOSITORY / "tools"))

from tiny_vlm_data import READ, Picture, easy_vqa

HERE = Path(__file__).resolve().parent
Asked = list[tuple[Picture, str, str]]
"""Pictures with a question and the right answer."""


def answers(model: Model, asked: Asked, progress: Progress, title: str) -> list[bool]:
    """For each question whether ours answers with exactly the right words."""
    found = []
    for at, (picture, question, answer) in enumerate(asked):
        if at % 1000 == 0:
            progress.show(f"{title}: {at} of {len(asked)}")
        messages = [{"role": "user", "content": question, "images": [picture]}]
        said = model.chat(messages, max_tokens=12, temperature=0)
        found.append(said.text == answer)
    return found


def run(given: argparse.Namespace, progress: Progress) -> None:
    """Ask both, compare, print."""
    python = vision_models.python_of_peers(progress)
    downloads = cache_folder() / "downloads"
    test = easy_vqa(downloads, "test")
    shapes: Asked = [
        (picture, question, answer)
        for picture, pairs in zip(test.pictures, test.asked, strict=True)
        for question, answer in pairs
    ]
    rows = [["", "questions", "transformers f32", *given.precision, "not the same"]]
    with tempfile.TemporaryDirectory() as name:
        out = Path(name) / "found.json"
        progress.show("asking transformers")
        run_child([python, HERE / "sight_peer.py", given.checkpoint, downloads, out])
        theirs = json.loads(out.read_text())
        texts = json.loads(out.with_suffix(".texts.json").read_text())
        with np.load(out.with_suffix(".npz")) as arrays:
            pictures = [arrays[each] for each in arrays.files]
        sets = {
            "easy-vqa": shapes[: given.questions],
            "text": [(p, READ, text) for p, text in zip(pictures, texts, strict=True)],
        }
        ours: dict[str, dict[str, list[bool]]] = {}
        for precision in given.precision:
            folder = Path(name) / precision
            convert(given.checkpoint, folder, precision)
            with Model(folder) as model:
                ours[precision] = {
                    title: answers(model, asked, progress, f"{precision}, {title}")
                    for title, asked in sets.items()
                }
    for title, asked in sets.items():
        reference = theirs[title][: len(asked)]
        mine = [ours[precision][title] for precision in given.precision]
        shares = [f"{np.mean(flags):.2%}" for flags in (reference, *mine)]
        other = ", ".join(str(int(np.sum(np.array(flags) != reference))) for flags in mine)
        rows.append([title, f"{len(asked):,}", *shares, other])
    progress.close()
    print(markdown(rows))


def main() -> int:
    """Run it; errors go to standard error."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path, help="what tools/train_tiny_vlm.py wrote")
    parser.add_argument("--questions", type=int, help="only the first so many of easy-vqa's")
    parser.add_argument("--precision", action="append", choices=["FP16", "INT8", "INT4"])
    given, progress = parser.parse_args(), Progress()
    given.precision = given.precision or ["FP16", "INT8"]
    return finish("sight", lambda: run(given, progress), progress)


if __name__ == "__main__":
    sys.exit(main())
