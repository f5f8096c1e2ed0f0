"""Structured extraction: the answer is JSON that fits a dataclass, and comes as its object."""

import sys
from dataclasses import dataclass
from typing import Literal

from cactus import Model

MODEL = sys.argv[1] if len(sys.argv) > 1 else "smollm2-135m-instruct"


@dataclass
class Review:
    product: str
    stars: int
    mood: Literal["happy", "angry", "neutral"]


TEXT = "I bought the Lumo lamp last week and I love it: five stars from me!"

with Model(MODEL) as model:
    answer = model.chat(f"Extract the review: {TEXT}", schema=Review, max_tokens=100)
    review = answer.parsed
    assert isinstance(review, Review)
    print(answer.text)
    print(review.product, review.stars, review.mood)
