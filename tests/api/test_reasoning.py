"""Reasoning with a real tokenizer, template and cache."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from cactus import Model

TEMPLATES = Path(__file__).parent.parent / "chat" / "templates"
THINK, ANSWER = 298, 299
HELLO = [{"role": "user", "content": "Hello"}]


def thinker(tiny_model: Path, folder: Path, template: str, special: bool | None = None) -> Path:
    """The tiny model with another template; `special`: with tokens for the tags, special or not."""
    shutil.copytree(tiny_model, folder)
    (folder / "chat_template.jinja").write_text((TEMPLATES / f"{template}.jinja").read_text())
    if special is not None:
        path = folder / "tokenizer.json"
        document = json.loads(path.read_text())
        for id, tag in ((THINK, "<think>"), (ANSWER, "</think>")):
            document["model"]["vocab"].pop(f"ab{id}")
            document["added_tokens"].append(
                {
                    **document["added_tokens"][0],
                    "id": id,
                    "content": tag,
                    "special": special,
                }
            )
        path.write_text(json.dumps(document))
    return folder


@pytest.mark.parametrize("special", [True, False])
@pytest.mark.parametrize("template", ["thinking", "roles"])
def test_tags_of_the_vocabulary(
    tiny_model: Path, tmp_path: Path, special: bool, template: str
) -> None:
    with Model(thinker(tiny_model, tmp_path / "thinker", template, special)) as model:
        done = model.chat(HELLO, max_tokens=3, logit_bias={THINK: 100})
        assert done.tokens == (THINK,) * 3
        assert (done.text, done.reasoning) == ("", "<think><think>")
        done = model.chat(HELLO, max_tokens=3, logit_bias={ANSWER: 100})
        assert (done.text, done.reasoning) == ("</think>" * 3, None)


def test_tags_that_a_template_writes_are_tokens_where_the_vocabulary_has_them(
    tiny_model: Path, tmp_path: Path
) -> None:
    folder = thinker(tiny_model, tmp_path / "thinker", "opened", special=False)
    with Model(folder) as model:
        done = model.chat(HELLO, max_tokens=2, logit_bias={ANSWER: 100})
        assert (done.text, done.reasoning) == ("</think>", None)
        done = model.chat(HELLO, max_tokens=5, logit_bias={ANSWER: -100, THINK: -100, 2: -100})
        assert done.text == "" and done.reasoning


@pytest.mark.parametrize("template", ["opened", "modes"])
def test_the_next_turn_is_what_a_new_session_would_say(
    tiny_model: Path, tmp_path: Path, template: str
) -> None:
    """Templates drop old reasoning: what the cache has of it must go."""
    folder = thinker(tiny_model, tmp_path / "thinker", template)
    options = {"max_tokens": 20, "logit_bias": {2: -100}}
    with Model(folder) as warm:
        conversation = list(HELLO)
        for number in range(3):
            done = warm.chat(conversation, **options)
            with Model(folder) as fresh:
                cold = fresh.chat(conversation, **options)
            assert (done.text, done.reasoning) == (cold.text, cold.reasoning)
            assert (done.tokens, done.logprobs) == (cold.tokens, cold.logprobs)
            assert cold.metrics.cached_tokens == 0
            assert (done.metrics.cached_tokens > 0) == (number > 0)
            conversation += [
                {"role": "assistant", "content": done.text, "reasoning_content": done.reasoning},
                {"role": "user", "content": f"And {number}?"},
            ]
