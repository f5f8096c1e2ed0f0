"""Several models: what a name stands for, one load at a time, room made for others."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from cactus.engine.fit import fit
from cactus.errors import InsufficientMemory, InvalidRequest
from cactus.server.current import CURRENT, Current
from cactus.server.errors import ApiError
from cactus.server.models import Models, ServedModel
from cactus.server.service import Service
from cactus.server.settings import Settings

ALIASES = {"gpt-4o": "alpha-1b-int4", "mine:latest": "beta"}


@pytest.fixture(scope="module")
def family(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The tiny model under three names."""
    home = tmp_path_factory.mktemp("family")
    names = ("alpha-1b-int8", "alpha-1b-int4", "Beta-Chat.Q4_K_M")
    return [Path(shutil.copytree(tiny_model, home / name)) for name in names]


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


@asynccontextmanager
async def service_of(folders: list[Path], **settings: Any) -> AsyncIterator[Service]:
    service = Service(Settings(tuple(folders), **settings))
    try:
        yield service
    finally:
        await service.close()


def loaded(service: Service) -> list[str]:
    return [one.name for one in service.served if one.model is not None]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("alpha-1b-int8", "alpha-1b-int8"),
        ("ALPHA-1B-INT8", "alpha-1b-int8"),
        ("alpha-1b-int4:latest", "alpha-1b-int4"),
        ("Beta-Chat.Q4_K_M", "Beta-Chat.Q4_K_M"),
        ("beta-chat", "Beta-Chat.Q4_K_M"),
        ("beta-chat:latest", "Beta-Chat.Q4_K_M"),
        ("beta:chat", "Beta-Chat.Q4_K_M"),
        ("beta", "Beta-Chat.Q4_K_M"),
        ("gpt-4o", "alpha-1b-int4"),
        ("gpt-4o:latest", "alpha-1b-int4"),
        ("mine:latest", "Beta-Chat.Q4_K_M"),
        (None, "alpha-1b-int8"),
        ("", "alpha-1b-int8"),
    ],
)
def test_a_name_stands_for_a_model(family: list[Path], asked: str | None, found: str) -> None:
    service = Service(Settings(tuple(family), aliases=ALIASES))
    assert service.find(asked, "chat").name == found


def test_an_alias_of_no_model_is_refused(family: list[Path]) -> None:
    for name, why in (
        ("gamma", "alias mine: expected the name of a model that is served, got 'gamma'"),
        ("alpha-1b", "alias mine: model 'alpha-1b' could be one of several"),
    ):
        with pytest.raises(InvalidRequest, match=why):
            Service(Settings(tuple(family), aliases={"mine": name}))


def test_two_models_of_one_name_are_refused(family: list[Path], tmp_path: Path) -> None:
    same = tmp_path / "elsewhere" / family[0].name
    shutil.copytree(family[0], same)
    with pytest.raises(InvalidRequest, match="have the same name") as refused:
        Service(Settings((*family, same)))
    assert str(same) in str(refused.value) and str(family[0]) in str(refused.value)
    link = tmp_path / "link"
    link.symlink_to(family[0].parent)
    service = Service(Settings((*family, link / family[0].name)))  # the same folder
    assert [one.folder for one in service.served] == family


def test_a_name_that_stands_for_none_or_several_is_refused(family: list[Path]) -> None:
    service = Service(Settings(tuple(family)))
    for asked in ("gamma", "owner/alpha-1b", "a", "../alpha-1b-int8", "x" * 10_000):
        with pytest.raises(ApiError) as refused:
            service.find(asked, "chat")
        assert (refused.value.status, refused.value.param) == (404, "model")
        assert len(refused.value.message) < 400
    with pytest.raises(ApiError, match="one of several: alpha-1b-int8, alpha-1b-int4"):
        service.find("alpha-1b", "chat")
    with pytest.raises(ApiError, match="cannot transcribe") as refused:
        service.find("beta", "transcribe")
    assert refused.value.status == 400


def test_a_model_is_loaded_once_for_all_who_ask(
    family: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    original = ServedModel.__init__

    def init(self: Any, folder: Path, **options: Any) -> None:
        made.append(folder.name)
        original(self, folder, **options)

    monkeypatch.setattr(ServedModel, "__init__", init)

    async def check() -> None:
        async with service_of(family) as service:

            async def use(name: str) -> int:
                async with service.use(name, "chat") as model:
                    return id(model)

            assert len(set(await asyncio.gather(*[use("beta") for _ in range(10)]))) == 1
            await asyncio.gather(use("beta"), use("alpha-1b-int4"))
            assert sorted(made) == ["Beta-Chat.Q4_K_M", "alpha-1b-int4"]

    run(check())


def test_who_leaves_while_a_model_loads_does_not_end_it_for_others(family: list[Path]) -> None:
    async def check() -> None:
        async with service_of(family) as service:

            async def use() -> None:
                async with service.use("beta", "chat"):
                    pass

            first, second = asyncio.create_task(use()), asyncio.create_task(use())
            await asyncio.sleep(0)
            first.cancel()
            await second
            assert loaded(service) == ["Beta-Chat.Q4_K_M"]
            assert service.named("beta").users == 0  # type: ignore[union-attr]

    run(check())


def room_for(folder: Path, count: int) -> int:
    """A budget for so many of these models, each with the least of a cache, and not for more."""
    found = fit(folder)
    return count * found.least + found.least // 2


def test_what_was_not_used_for_longest_makes_room(family: list[Path]) -> None:
    one = fit(family[0])
    cache = one.position_bytes * one.context_length

    async def check() -> None:
        async with service_of(family, memory=room_for(family[0], 2), cache=cache) as service:

            async def touch(name: str) -> None:
                async with service.use(name, "chat"):
                    pass

            await touch("alpha-1b-int8")
            await touch("alpha-1b-int4")
            await touch("alpha-1b-int8")
            assert service.models.used <= service.models.budget  # type: ignore[operator]
            await touch("beta")
            assert loaded(service) == ["alpha-1b-int8", "Beta-Chat.Q4_K_M"]

    run(check())


def test_a_model_in_use_stays_and_the_other_waits_for_it(family: list[Path]) -> None:
    one = fit(family[0])
    cache = one.position_bytes * one.context_length

    async def check() -> None:
        async with service_of(family, memory=room_for(family[0], 1), cache=cache) as service:

            async def use_beta() -> list[str]:
                async with service.use("beta", "chat"):
                    return loaded(service)

            async with service.use("alpha-1b-int8", "chat") as model:
                waiting = asyncio.create_task(use_beta())
                await asyncio.sleep(0.2)
                assert not waiting.done()
                assert not model.closed
            assert await waiting == ["Beta-Chat.Q4_K_M"]
            assert model.closed

    run(check())


def test_a_model_gets_room_though_others_are_used_without_a_pause(
    family: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cactus.server.models.PATIENCE", 0.0)
    one = fit(family[0])
    cache = one.position_bytes * one.context_length

    async def check() -> None:
        async with service_of(family, memory=room_for(family[0], 1), cache=cache) as service:
            order: list[str] = []

            async def use(name: str) -> None:
                async with service.use(name, "chat"):
                    order.append(name)

            async with service.use("alpha-1b-int8", "chat"):
                waiting = asyncio.create_task(use("beta"))
                while service.models.late is None:
                    await asyncio.sleep(0.01)
                comes = asyncio.create_task(use("alpha-1b-int8"))  # it is loaded, and used
                await asyncio.sleep(0.1)
            await asyncio.gather(waiting, comes)
            assert order == ["beta", "alpha-1b-int8"]
            assert service.models.late is None

    run(check())


def test_a_model_that_fits_is_loaded_while_another_waits(
    family: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = fit(family[0])
    cache = one.position_bytes * one.context_length
    need = {"alpha-1b-int8": 2, "alpha-1b-int4": 1, "Beta-Chat.Q4_K_M": 2}
    monkeypatch.setattr(Models, "_plan", lambda self, served: ({}, need[served.name] * one.least))

    async def check() -> None:
        async with service_of(family, memory=room_for(family[0], 3), cache=cache) as service:

            async def use_beta() -> None:
                async with service.use("beta", "chat"):
                    pass

            async with service.use("alpha-1b-int8", "chat"):
                waiting = asyncio.create_task(use_beta())
                await asyncio.sleep(0.1)
                async with service.use("alpha-1b-int4", "chat"):
                    assert loaded(service) == ["alpha-1b-int8", "alpha-1b-int4"]
                assert not waiting.done()
            await waiting

    run(check())


def test_a_request_for_two_models_that_never_fit_together_is_refused(family: list[Path]) -> None:
    one = fit(family[0])
    cache = one.position_bytes * one.context_length

    async def check() -> None:
        async with service_of(family, memory=room_for(family[0], 1), cache=cache) as service:
            mark = CURRENT.set(Current())
            try:
                async with service.use("alpha-1b-int8", "chat"):
                    with pytest.raises(InsufficientMemory, match=r"beside the \d+ MiB of alpha"):
                        async with service.use("beta", "chat"):
                            pass
                async with service.use("beta", "chat"):
                    assert loaded(service) == ["Beta-Chat.Q4_K_M"]
            finally:
                CURRENT.reset(mark)

    run(check())


def test_a_model_that_nobody_waits_for_any_more_is_not_loaded(family: list[Path]) -> None:
    one = fit(family[0])
    cache = one.position_bytes * one.context_length

    async def check() -> None:
        async with service_of(family, memory=room_for(family[0], 1), cache=cache) as service:

            async def use_beta() -> None:
                async with service.use("beta", "chat"):
                    pass

            async with service.use("alpha-1b-int8", "chat"):
                waiting = asyncio.create_task(use_beta())
                await asyncio.sleep(0.1)
                waiting.cancel()
                beta = service.named("beta")
                assert beta is not None and beta.loading is not None
                await asyncio.wait([beta.loading])
                assert loaded(service) == ["alpha-1b-int8"]

    run(check())


@pytest.mark.fault("F56")
def test_what_can_never_fit_is_refused_with_both_numbers(family: list[Path]) -> None:
    async def check() -> None:
        async with service_of(family, memory=1 << 20) as service:
            with pytest.raises(InsufficientMemory, match=r"takes about \d+ MiB.* 1 MiB.*--memory"):
                async with service.use("beta", "chat"):
                    pass
            assert service.models.used == 0

    run(check())


def test_a_cache_has_what_is_left_of_the_budget(family: list[Path]) -> None:
    one = fit(family[0])

    async def check() -> None:
        async with service_of(family, cache=12345678) as service:
            async with service.use("beta", "chat") as model:
                assert isinstance(model, ServedModel)
                assert model.remembers == 12345678
            assert service.models.used == one.weights + one.working + 12345678

    run(check())


def test_an_idle_model_goes_when_its_time_is_over(family: list[Path]) -> None:
    async def check() -> None:
        async with service_of(family, keep_seconds=0.0) as service, AsyncExitStack() as held:
            await held.enter_async_context(service.use("beta", "chat"))
            async with service.use("alpha-1b-int8", "chat"):
                pass
            small = service.known("alpha-1b-int4")
            small.keep = float("inf")
            async with service.use("alpha-1b-int4", "chat"):
                pass
            await service.models.look()
            assert loaded(service) == ["alpha-1b-int4", "Beta-Chat.Q4_K_M"]
            await held.aclose()
            await service.models.look()
            assert loaded(service) == ["alpha-1b-int4"]
            small.keep = 0
            await service.models.look()
            assert loaded(service) == []

    run(check())


def test_a_model_in_use_is_unloaded_when_it_is_not(family: list[Path]) -> None:
    async def check() -> None:
        async with service_of(family) as service:
            beta = service.named("beta")
            assert beta is not None
            async with service.use("beta", "chat") as model:
                assert not await service.models.unload(beta)
                assert not model.closed
            await service.models.look()
            assert model.closed
            assert await service.models.unload(beta)

    run(check())


def test_a_model_that_is_asked_for_while_it_closes_counts(
    family: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    closing, may_close = threading.Event(), threading.Event()
    close = ServedModel.close

    def slow(model: ServedModel) -> None:
        closing.set()
        may_close.wait(60)
        close(model)

    async def check() -> None:
        async with service_of(family) as service:
            beta = service.named("beta")
            assert beta is not None
            async with service.use("beta", "chat"):
                taken = service.models.used
            monkeypatch.setattr(ServedModel, "close", slow)
            unloading = asyncio.create_task(service.models.unload(beta))
            await asyncio.to_thread(closing.wait, 60)
            async with service.use("beta", "chat") as model:
                beta.keep = 100
                assert service.models.used == 2 * taken
                may_close.set()
                assert await unloading
                assert not model.closed
                assert (service.models.used, beta.keep) == (taken, 100)
            assert await service.models.unload(beta)
            assert service.models.used == 0

    run(check())


def test_a_load_that_failed_is_tried_again(family: list[Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(family[2], tmp_path / "gamma"))
    weights = (folder / "model.safetensors").read_bytes()

    async def check() -> None:
        async with service_of([folder]) as service:
            (folder / "model.safetensors").write_bytes(weights[: len(weights) // 2])
            with pytest.raises(Exception, match="gamma"):
                async with service.use("gamma", "chat"):
                    pass
            assert service.models.used == 0
            (folder / "model.safetensors").write_bytes(weights)
            async with service.use("gamma", "chat") as model:
                assert model.name == "gamma"

    run(check())


@pytest.mark.fault("F68")
def test_only_a_downloaded_model_is_deleted(
    family: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(family[2], tmp_path / "weights" / "gamma"))

    async def check() -> None:
        async with service_of([folder]) as service:
            served = service.served[0]
            with pytest.raises(ApiError, match="only its owner deletes"):
                await service.remove(served)
            monkeypatch.setenv("CACTUS_WEIGHTS", str(folder.parent))
            async with service.use("gamma", "chat"):
                with pytest.raises(ApiError, match="used by 1"):
                    await service.remove(served)
            served.keep = None
            await service.remove(served)
            assert service.served == []
            assert not folder.exists()

    run(check())


def test_a_context_bounds_models_that_have_more(family: list[Path], tmp_path: Path) -> None:
    short = Path(shutil.copytree(family[0], tmp_path / "short"))
    config = json.loads((short / "config.json").read_text())
    config["max_position_embeddings"] = 64
    (short / "config.json").write_text(json.dumps(config))

    async def contexts(*folders: Path) -> list[int]:
        service = Service(Settings(folders), {"context": 100})
        found = []
        for each in service.served:
            async with service.use(each.name, "chat") as model:
                found.append(model.context_length)
        await service.close()
        return found

    assert asyncio.run(contexts(family[0], short, family[1])) == [100, 64, 100]
    with pytest.raises(InvalidRequest, match="context must be at most 64"):
        asyncio.run(contexts(short, family[0]))


def test_speech_is_served_beside_a_bounded_context(
    family: list[Path], whisper_base_int8: Path
) -> None:
    async def check() -> None:
        service = Service(Settings((family[0], whisper_base_int8)), {"context": 100})
        async with service.use(None, "transcribe") as model:
            assert model.context_length == 448
        await service.close()

    run(check())


def test_the_estimate_is_of_the_model_that_is_loaded(tiny_model: Path) -> None:
    found = fit(tiny_model, context=100)
    with ServedModel(tiny_model, context=100) as model:
        assert found.context_length == model.context_length == 100
        assert found.position_bytes == model._engine.work().position_bytes
        assert found.weights == (tiny_model / "model.safetensors").stat().st_size
        model.chat("Hi", max_tokens=2)
        assert model.kv_bytes > 0
    assert found.tokens_in(found.least) == 100
    assert found.tokens_in(0) == 0
