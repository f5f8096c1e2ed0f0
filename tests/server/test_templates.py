"""A chat template that fails, or refuses the messages: a 400 with its words at every door."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.server.running import serving

USER = {"role": "user", "content": "Hi"}
DOORS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [USER]},
    "/v1/responses": {"input": "Hi"},
    "/v1/messages": {"messages": [USER], "max_tokens": 2},
    "/api/chat": {"messages": [USER]},
}


@pytest.mark.fault("F24")
@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ raise_exception('Only ' ~ messages | length ~ ' turn') }}", "Only 1 turn"),
        ("{% for %}", "line 1"),
        ("{{ a.b }}", "'a' is undefined"),
        ("{% for i in range(10 ** 12) %}{% endfor %}", "Range too big"),
        ("{{ ().__class__.__mro__ }}", "__class__"),
    ],
)
def test_what_a_template_says_is_the_error(
    tiny_model: Path, tmp_path: Path, template: str, said: str
) -> None:
    folder = shutil.copytree(tiny_model, tmp_path / "odd")
    (folder / "chat_template.jinja").write_text(template)
    with serving(folder) as server:
        for path, body in DOORS.items():
            for streamed in (False, True):
                reply = server.ask("POST", path, json=body | {"model": "odd", "stream": streamed})
                assert reply.status_code == 400, (path, reply.text)
                assert said in reply.text
        # Raw text has nothing to do with it.
        raw = server.ask("POST", "/v1/completions", json={"prompt": "Hi", "max_tokens": 2})
        assert raw.status_code == 200
