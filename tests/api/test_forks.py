"""Models in forked children, and in interpreters beside the main one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.api.alone import run


@pytest.mark.fault("F55")
def test_a_forked_child_is_told_and_the_parent_goes_on(tiny_model: Path) -> None:
    said = run(
        """
        model = cactus_init(MODEL)
        before = cactus_complete(model, HELLO, max_tokens=4, confidence_threshold=0)
        typed = Model(MODEL)
        stream = typed.stream(HELLO)
        next(stream)
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            row = json.loads(cactus_complete(model, HELLO, confidence_threshold=0))
            assert not row["success"] and "forked" in row["error"], row
            for use in (
                lambda: cactus_tokenize(model, "x"),
                lambda: cactus_reset(model),
                lambda: typed.chat(HELLO),
                lambda: next(stream),
            ):
                try:
                    use()
                except errors.ForkError as error:
                    assert "load it again in the child" in str(error)
                else:
                    raise AssertionError("no ForkError")
            stream.close()
            cactus_stop(model)
            cactus_destroy(model)
            typed.close()
            again = cactus_init(MODEL)
            cactus_reset(again)
            after = cactus_complete(again, HELLO, max_tokens=4, confidence_threshold=0)
            print(json.loads(after)["response"] == json.loads(before)["response"])
            cactus_destroy(again)
            sys.exit(7)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        list(stream)
        cactus_reset(model)
        after = cactus_complete(model, HELLO, max_tokens=4, confidence_threshold=0)
        print(json.loads(after)["response"] == json.loads(before)["response"])
        cactus_destroy(model)
        """,
        tiny_model,
    )
    assert said.split() == ["True", "7", "True"]


@pytest.mark.fault("F55")
def test_a_child_forked_at_the_worst_moment_does_not_hang(tiny_model: Path) -> None:
    said = run(
        """
        model = Model(MODEL)
        stream = model.stream(HELLO)
        next(stream)
        locked, done = threading.Event(), threading.Event()
        def hold():
            with model._turns._lock:
                locked.set()
                done.wait()
        threading.Thread(target=hold).start()
        locked.wait()
        child = os.fork()
        if child == 0:
            signal.alarm(10)
            stream.close()
            model.stop()
            model.close()
            os._exit(5)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        done.set()
        """,
        tiny_model,
    )
    assert said == "5\n"


@pytest.mark.fault("F55")
def test_forking_while_another_thread_generates(tiny_model: Path) -> None:
    said = run(
        """
        model = Model(MODEL)
        go = threading.Event()
        def work():
            with model.stream(HELLO, max_tokens=400, logit_bias={2: -100}) as stream:
                for _ in stream:
                    go.set()
        thread = threading.Thread(target=work)
        thread.start()
        go.wait()
        for _ in range(5):
            child = os.fork()
            if child == 0:
                try:
                    model.chat(HELLO)
                except errors.ForkError:
                    os._exit(3)
                os._exit(4)
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        thread.join()
        print(len(model.chat(HELLO, max_tokens=3).tokens))
        """,
        tiny_model,
    )
    assert said.split() == ["3"] * 5 + ["3"]


BESIDE = """
import sys
sys.path[:], model = {path!r}, {model!r}
from cactus import Model, cactus_get_last_error, cactus_init
from cactus.errors import NativeError
try:
    Model(model)
except NativeError as error:
    print("sub-interpreter" in str(error))
print(cactus_init(model), "sub-interpreter" in cactus_get_last_error(), flush=True)
"""


@pytest.mark.fault("F55")
def test_a_sub_interpreter_is_refused_and_the_main_one_works(tiny_model: Path) -> None:
    said = run(
        """
        try:
            import _interpreters as interpreters
        except ImportError:
            import _xxsubinterpreters as interpreters
        other = interpreters.create()
        interpreters.run_string(other, sys.argv[2].format(path=sys.path, model=MODEL))
        print(len(Model(MODEL).chat(HELLO, max_tokens=3).tokens))
        interpreters.destroy(other)
        """,
        tiny_model,
        BESIDE,
    )
    assert said.split() == ["True", "None", "True", "3"]


@pytest.mark.fault("F55")
def test_an_async_stream_in_a_forked_child_is_told_and_the_parent_goes_on(tiny_model: Path) -> None:
    said = run(
        """
        import asyncio

        async def main():
            model = Model(MODEL)
            stream = model.astream(HELLO, max_tokens=30, logit_bias={2: -100})
            await anext(stream)
            sys.stdout.flush()
            child = os.fork()
            if child == 0:
                for use in (stream.__anext__, lambda: model.achat(HELLO)):
                    try:
                        asyncio.run(use())
                    except errors.ForkError:
                        pass
                    else:
                        raise AssertionError("no ForkError")
                asyncio.run(stream.aclose())
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
            print(len([event async for event in stream]) > 20)

        asyncio.run(main())
        """,
        tiny_model,
    )
    assert said == "True\n"
