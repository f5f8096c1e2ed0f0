"""Programs by name: made once, when first used, over one weights file and its sessions."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from cactus.embed.parts import STATES
from cactus.engine.loaded import Loaded
from cactus.engine.loading import load
from cactus.engine.programs import Part, Programs
from cactus.errors import ModelClosed
from cactus.native import Row
from cactus.weights.format.folder import WeightsFolder

IDS = [5, 100, 17, 250, 3, 3, 99]


@pytest.fixture
def loaded(tiny_model: Path) -> Iterator[Loaded]:
    model = load(tiny_model, threads=2, context=64)
    yield model
    model.close()


def test_a_new_part_needs_no_more_than_its_graph(loaded: Loaded) -> None:
    states = loaded.programs.start(STATES).program
    assert (states.vocab_size, states.context_length) == (0, 64)
    with loaded.tokens.session() as session:
        rows = states.step([Row(session, IDS, "all")], want_logits=True)
    found = np.stack([row.logits for row in rows if row.logits is not None])
    with loaded.tokens.session() as session:
        (chosen,) = loaded.tokens.step([Row(session, IDS)])
    with WeightsFolder.open(loaded.folder) as weights:
        head = weights.dequantize("model.embed_tokens.weight")
    assert found.shape == (len(IDS), 64) and (head @ found[-1]).argmax() == chosen.token


def test_programs_go_on_with_each_others_sessions(loaded: Loaded) -> None:
    tokens, states = loaded.tokens, loaded.programs.start(STATES).program
    seen = set()
    for first in (tokens, states):
        with tokens.session() as session:
            first.step([Row(session, IDS[:-1], "none")])
            (last,) = tokens.step([Row(session, IDS[-1:])], want_logits=True)
            assert last.logits is not None and session.length == len(IDS)
            seen.add(last.logits.tobytes())
    assert len(seen) == 1


def test_threads_that_ask_at_once_get_one_program(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    make = Programs._make

    def counting(self: Programs, part: Part) -> object:
        made.append(part.name)
        return make(self, part)

    monkeypatch.setattr(Programs, "_make", counting)
    (loaded.folder / STATES.file).unlink(missing_ok=True)
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(loaded.programs.start(STATES)), daemon=True)
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(found) == 8 and len(set(map(id, found))) == 1 and made == ["states"]


def test_nothing_is_made_after_the_end(tiny_model: Path) -> None:
    model = load(tiny_model, threads=1)
    tokens = model.tokens
    model.close()
    model.close()
    with pytest.raises(ModelClosed):
        model.programs.start(STATES)
    with pytest.raises(ModelClosed):
        tokens.session()
