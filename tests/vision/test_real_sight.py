"""A model that was trained to see sees the same here as in transformers.

It answers easy-vqa's test questions and reads text; tools/train_tiny_vlm.py made it. What
benchmarks/sight.py asks in full is asked here in short.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cactus import Model
from cactus.weights.convert import convert

FOLDER = Path(__file__).resolve().parents[1] / "golden" / "sight"


@pytest.fixture(scope="module")
def asked() -> list[tuple[Any, str, str, bool]]:
    """Pictures with a question, its right answer, and whether transformers gives that."""
    with np.load(FOLDER / "questions.npz") as arrays:
        told = json.loads(arrays["asked"].tobytes())
        return [
            (arrays[f"picture {at}"], *each)
            for at, questions in enumerate(told)
            for each in questions
        ]


@pytest.mark.parametrize(("precision", "differing"), [("FP16", 0.01), ("INT8", 0.02)])
def test_the_answers_are_those_of_transformers(
    asked: list[tuple[Any, str, str, bool]], precision: str, differing: float, tmp_path: Path
) -> None:
    convert(FOLDER, tmp_path / "weights", precision)
    right = []
    with Model(tmp_path / "weights") as model:
        for picture, question, answer, _ in asked:
            messages = [{"role": "user", "content": question, "images": [picture]}]
            right.append(model.chat(messages, max_tokens=12, temperature=0).text == answer)
    theirs = [flag for *_, flag in asked]
    assert np.mean(theirs) > 0.8
    assert np.mean(np.array(right) != theirs) <= differing
