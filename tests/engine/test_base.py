"""What `Model` stands on: one worker for an ability, and who is freed when."""

from __future__ import annotations

import os
import shutil
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from cactus.calls.turns import Turns
from cactus.engine.base import ModelBase, Worker
from cactus.engine.loaded import Loaded
from cactus.errors import CactusError, ModelClosed, UnsupportedModel
from cactus.model import Model
from tests.generate.scripted import saying, scripted_engine

EVENTS: list[str] = []


class Slow(Worker):
    """Takes its time to be made, and says when it is freed and when it forgets."""

    def __init__(self, engine: Loaded, turns: Turns, owned: ExitStack) -> None:
        super().__init__(engine, turns, owned)
        EVENTS.append("made")
        time.sleep(0.05)
        owned.callback(lambda: EVENTS.append(f"freed, engine closed: {closed(engine)}"))

    def forget(self) -> None:
        EVENTS.append("forgot")


class SlowModel(Model):
    """A model with one more worker."""

    def slow(self, ability: Any = "chat") -> Slow:
        return self._work(ability, Slow)


def closed(engine: Loaded) -> bool:
    program: Any = engine.program
    return bool(program.closed)


@pytest.fixture
def model() -> SlowModel:
    EVENTS.clear()
    return SlowModel.from_engine(scripted_engine(saying("x")))


def test_a_worker_is_made_once_for_all_threads(model: SlowModel) -> None:
    found: list[Slow] = []
    threads = [
        threading.Thread(target=lambda: found.append(model.slow()), daemon=True) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(found) == 8 and len(set(map(id, found))) == 1 and EVENTS == ["made"]


def test_a_signal_handler_may_ask_while_a_worker_is_made(model: SlowModel) -> None:
    within: list[Slow] = []

    class Interrupted(Slow):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            if not within:
                within.append(self)
                within[0] = model._work("chat", Interrupted)

    assert model._work("chat", Interrupted) is within[0] is model._work("chat", Interrupted)
    model.close()
    assert EVENTS.count("freed, engine closed: False") == EVENTS.count("made") == 2


def test_what_a_worker_owns_is_freed_before_the_engine(model: SlowModel) -> None:
    model.slow()
    model.close()
    assert EVENTS == ["made", "freed, engine closed: False"] and closed(model._engine)
    with pytest.raises(ModelClosed):
        model.slow()


def test_reset_lets_every_worker_forget(model: SlowModel) -> None:
    model.reset()
    model.slow()
    model.reset()
    assert EVENTS == ["made", "forgot"]


def test_no_worker_is_made_for_what_a_model_cannot(model: SlowModel) -> None:
    with pytest.raises(UnsupportedModel, match=r"^scripted \(script\) cannot transcribe audio"):
        model.slow("transcribe")
    assert EVENTS == []


def test_every_class_of_methods_is_a_base_of_the_model() -> None:
    missing = set(ModelBase.__subclasses__()) - set(Model.__mro__)
    assert missing == set()


@pytest.mark.parametrize(
    ("file", "text"), [("preprocessor_config.json", "{"), ("generation_config.json", "[]")]
)
def test_a_speech_model_with_a_damaged_file_is_freed(
    speech_folder: Path, tmp_path: Path, file: str, text: str
) -> None:
    folder = Path(shutil.copytree(speech_folder, tmp_path / "copy"))
    Model(folder, threads=2).close()
    (folder / file).write_text(text)
    before = set(os.listdir("/proc/self/task"))
    with pytest.raises(CactusError, match=file.replace(".", r"\.")) as caught:
        Model(folder, threads=2)
    assert caught.value is not None and set(os.listdir("/proc/self/task")) <= before
