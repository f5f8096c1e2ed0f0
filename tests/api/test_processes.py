"""What only a process of its own can show: exits, signals, limits of memory, odd environments."""

from __future__ import annotations

import json
import platform
import signal
import textwrap
import time
from pathlib import Path

import pytest

from tests.api.alone import run, start


@pytest.mark.fault("F55")
@pytest.mark.parametrize("how", ["chat", "stream", "complete"])
def test_the_end_of_the_process_while_a_daemon_thread_generates(
    starter_folder: Path, how: str
) -> None:
    said = run(
        """
        model = CactusModel(MODEL) if sys.argv[2] == "complete" else Model(MODEL)
        ready = threading.Event()
        def work():
            while True:
                if sys.argv[2] == "complete":
                    model.complete(
                        HELLO,
                        max_tokens=2000,
                        callback=lambda *_: ready.set(),
                        confidence_threshold=0,
                    )
                elif sys.argv[2] == "chat":
                    ready.set()
                    model.chat(HELLO, max_tokens=2000)
                else:
                    for _ in model.stream(HELLO, max_tokens=2000):
                        ready.set()
        threading.Thread(target=work, daemon=True).start()
        ready.wait()
        time.sleep(0.05)
        print("bye")
        """,
        starter_folder,
        how,
    )
    assert said == "bye\n"


@pytest.mark.fault("F55")
def test_the_end_of_the_process_with_an_open_stream_and_no_close(tiny_model: Path) -> None:
    said = run(
        """
        model = Model(MODEL)
        stream = model.stream(HELLO)
        print(bool(next(stream)))
        forgotten = cactus_init(MODEL)
        """,
        tiny_model,
    )
    assert said == "True\n"


@pytest.mark.fault("F55")
def test_the_end_of_the_process_waits_for_ordinary_threads(tiny_model: Path) -> None:
    said = run(
        """
        model = Model(MODEL)
        def work():
            print(len(model.chat(HELLO, max_tokens=200, logit_bias={2: -100}).tokens))
        threading.Thread(target=work).start()
        """,
        tiny_model,
    )
    assert said == "200\n"


@pytest.mark.fault("F55")
def test_a_models_own_exit_handlers_may_still_use_it(tiny_model: Path) -> None:
    said = run(
        """
        import atexit
        model = Model(MODEL)
        atexit.register(lambda: print(len(model.chat(HELLO, max_tokens=3).tokens)))
        """,
        tiny_model,
    )
    assert said == "3\n"


@pytest.mark.fault("F58")
def test_ctrl_c_interrupts_a_call_and_the_model_still_works(starter_folder: Path) -> None:
    process = start(
        """
        model = Model(MODEL)
        print("ready", flush=True)
        try:
            model.chat(HELLO, max_tokens=8000, logit_bias={2: -100})
        except KeyboardInterrupt:
            print(len(model.chat(HELLO, max_tokens=3).tokens))
        """,
        starter_folder,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err, out) == (0, "", "3\n")


@pytest.mark.fault("F58")
def test_sigterm_may_stop_an_answer(starter_folder: Path) -> None:
    process = start(
        """
        model = Model(MODEL)
        signal.signal(signal.SIGTERM, lambda *_: model.stop())
        print("ready", flush=True)
        done = model.chat(HELLO, max_tokens=8000, logit_bias={2: -100})
        print(done.finish_reason)
        """,
        starter_folder,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err, out) == (0, "", "cancelled\n")


@pytest.mark.fault("F56")
def test_running_out_of_memory_fails_the_call_and_not_the_process(starter_folder: Path) -> None:
    said = run(
        """
        import resource
        model = cactus_init(MODEL)
        first = json.loads(cactus_complete(model, HELLO, max_tokens=4, confidence_threshold=0))
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        limit = used + 15 * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
        long = [{"role": "user", "content": "The quick brown fox. " * 400}]
        row = json.loads(cactus_complete(model, long, max_tokens=4, confidence_threshold=0))
        assert row["success"] is False and row["response"] is None, row
        print(row["error"])
        cactus_reset(model)
        again = json.loads(cactus_complete(model, HELLO, max_tokens=4, confidence_threshold=0))
        assert again["response"] == first["response"], again
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        row = json.loads(cactus_complete(model, long, max_tokens=4, confidence_threshold=0))
        print(row["success"])
        """,
        starter_folder,
        env={"MALLOC_ARENA_MAX": "1"},  # else threads have address space in reserve
    )
    error, more = said.splitlines()
    assert "memory" in error.lower()
    assert more == "True"


@pytest.mark.fault("F56")
def test_what_is_remembered_gives_way_under_a_limit_on_memory(starter_folder: Path) -> None:
    # A conversation of 700 tokens takes 8.5 MiB: three of them fit, and six are asked.
    said = run(
        """
        import resource
        model = Model(MODEL, cache_bytes=1 << 40)
        first = model.chat(HELLO, max_tokens=4).text
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        limit = used + 30 * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
        for letter in "abcdef":
            done = model.chat(f"{letter} " * 700, max_tokens=4)
            assert done.metrics.cached_tokens < 100, done
        print(model.chat("f " * 700 + "more", max_tokens=4).metrics.cached_tokens > 650)
        print(model.chat(HELLO, max_tokens=4).text == first)
        """,
        starter_folder,
        env={"MALLOC_ARENA_MAX": "1"},  # else threads have address space in reserve
    )
    assert said.split() == ["True", "True"]


@pytest.mark.fault("F56")
@pytest.mark.parametrize("spare", [5, 60, 120, 220])
def test_a_limit_on_memory_is_respected_while_loading(starter_folder: Path, spare: int) -> None:
    # The weights have 92 MiB. Whatever the limit: an answer, or an error with both numbers.
    said = run(
        """
        import resource
        import numpy, tokenizers, jinja2, cactus.native
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        limit = used + int(sys.argv[2]) * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
        model = cactus_init(MODEL)
        if model is None:
            print(cactus_get_last_error())
            resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            model = cactus_init(MODEL)
        row = json.loads(cactus_complete(model, HELLO, max_tokens=2, confidence_threshold=0))
        print(row["success"])
        """,
        starter_folder,
        str(spare),
    )
    *error, more = said.splitlines()
    assert more == "True"
    assert not error or ("92 MiB of weights" in error[0] and "ulimit -v" in error[0])
    assert bool(error) == (spare < 200)


ASK = """
row = json.loads(cactus_complete(
    cactus_init(MODEL), HELLO, max_tokens=3, temperature=0.5, seed=1, confidence_threshold=0
))
print(json.dumps([row["success"], row["error"], row["decode_tokens"], row["confidence"] > 0]))
"""
GOOD = [True, None, 3, True]


@pytest.mark.fault("F64")
@pytest.mark.parametrize(
    "environment",
    [
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"LC_ALL": "tr_TR.UTF-8"},
        {"LC_ALL": "de_DE.UTF-8"},
        {"TZ": "Pacific/Apia"},
        {"HOME": "(unset)"},
        {"HOME": "/nonexistent"},
        {"HOME": "/proc"},
        {"CACTUS_THREADS": "1000000"},
        {"CACTUS_THREADS": "0"},
        {"CACTUS_THREADS": "-3"},
        {"CACTUS_ISA": "scalar"},
    ],
    ids=lambda environment: ",".join(f"{k}={v}" for k, v in environment.items()).replace("/", "_"),
)
def test_odd_environments(tiny_model: Path, environment: dict[str, str]) -> None:
    assert json.loads(run(ASK, tiny_model, env=environment)) == GOOD


@pytest.mark.fault("F64")
def test_a_locale_with_a_decimal_comma_does_not_change_the_json(tiny_model: Path) -> None:
    code = """
    import locale
    for name in ("de_DE.UTF-8", "tr_TR.UTF-8", "C"):
        try:
            locale.setlocale(locale.LC_ALL, name)
        except locale.Error:
            pass  # not every machine has it
    """
    assert json.loads(run(textwrap.dedent(code) + ASK, tiny_model)) == GOOD


@pytest.mark.fault("F64")
@pytest.mark.parametrize("name", ["with spaces", "mit Ümläuten 🌵", "x" * 200, 'it\'s "quoted"'])
def test_odd_folders(tiny_model: Path, tmp_path: Path, name: str) -> None:
    here = tmp_path / name / "weights"
    here.mkdir(parents=True)
    (here / "my model").symlink_to(tiny_model)
    assert json.loads(run(ASK, "weights/my model", cwd=here.parent)) == GOOD
    assert json.loads(run(ASK, here / "my model")) == GOOD


def test_an_unknown_isa_is_an_error(tiny_model: Path) -> None:
    said = run(
        "print(cactus_init(MODEL), cactus_get_last_error())", tiny_model, env={"CACTUS_ISA": "mmx"}
    )
    assert said.startswith("None ") and "mmx" in said


@pytest.mark.fault("F62")
def test_loading_and_unloading_does_not_grow(tiny_model: Path) -> None:
    said = run(
        """
        from cactus.machine import resident_megabytes
        def once():
            with CactusModel(MODEL) as model:
                model.complete(HELLO, max_tokens=2)
        for _ in range(20):
            once()
        files, memory = len(os.listdir("/proc/self/fd")), resident_megabytes()
        for _ in range(100):
            once()
        print(len(os.listdir("/proc/self/fd")) - files, resident_megabytes() / memory)
        """,
        tiny_model,
        env={"CACTUS_THREADS": "1"},
    )
    files, growth = said.split()
    assert int(files) == 0 and float(growth) < 1.05


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc keeps what is freed")
def test_a_model_that_is_closed_gives_back_all_that_was_freed(tiny_model: Path) -> None:
    said = run(
        """
        import ctypes
        from cactus.machine import resident_megabytes
        c = ctypes.CDLL(None)
        c.malloc.restype = ctypes.c_void_p
        model = Model(MODEL)
        blocks = [ctypes.c_void_p(c.malloc(100_000)) for _ in range(1000)]
        for block in blocks:
            ctypes.memset(block, 1, 100_000)
        for block in blocks[:-1]:  # the last one keeps the others from being given back
            c.free(block)
        before = resident_megabytes()
        model.close()
        print(before - resident_megabytes())
        """,
        tiny_model,
    )
    assert float(said) > 80


@pytest.mark.fault("F62")
def test_many_calls_do_not_grow(tiny_model: Path) -> None:
    said = run(
        """
        from cactus.machine import resident_megabytes
        model = CactusModel(MODEL)
        def ask(number):
            # Of few words: the tokenizer remembers those it has seen, up to ten thousand.
            content = f"{number % 9} " * (1 + number % 50)
            model.complete([{"role": "user", "content": content}], max_tokens=2)
        for number in range(450):
            ask(number)
        files, memory = len(os.listdir("/proc/self/fd")), resident_megabytes()
        for number in range(3000):
            ask(number)
        print(len(os.listdir("/proc/self/fd")) - files, resident_megabytes() / memory)
        """,
        tiny_model,
        env={"CACTUS_THREADS": "1"},
    )
    files, growth = said.split()
    assert int(files) == 0 and float(growth) < 1.05


@pytest.mark.fault("F55")
@pytest.mark.parametrize(
    "opened",
    [
        "model.stream(HELLO)",
        "model.complete_stream('x')",
        "model.conversation().stream('x')",
        "model.chat_as_completed(['x'] * 20, max_tokens=3)",
    ],
)
def test_a_half_read_stream_is_dropped_without_a_word(tiny_model: Path, opened: str) -> None:
    run(
        f"""
        model = Model(MODEL)
        stream = {opened}
        next(stream)
        del stream
        assert model.chat(HELLO, max_tokens=2).tokens
        stream = {opened}
        next(stream)
        """,
        tiny_model,
    )


@pytest.mark.fault("F55")
@pytest.mark.parametrize(
    "opened",
    ["model.astream(HELLO)", "model.achat_as_completed(['x'] * 20, max_tokens=3)"],
)
def test_a_half_read_async_stream_is_dropped_without_a_word(tiny_model: Path, opened: str) -> None:
    run(
        f"""
        import asyncio
        model = Model(MODEL)
        async def work():
            stream = {opened}
            await anext(stream)
            waiting = asyncio.create_task(model.achat(HELLO))
            await asyncio.sleep(0.05)
        asyncio.run(work())
        """,
        tiny_model,
    )


def test_an_interrupt_raises_in_the_callers_code_alone(tiny_model: Path) -> None:
    run(
        """
        model = Model(MODEL)
        def interrupt():
            time.sleep(0.2)
            os.kill(os.getpid(), signal.SIGINT)
        for work in (
            lambda: [model.chat(HELLO) for _ in range(10_000)],
            lambda: [model.chat_many(["x"] * 9) for _ in range(10_000)],
        ):
            threading.Thread(target=interrupt).start()
            try:
                work()
            except KeyboardInterrupt:
                pass
            assert model.chat(HELLO, max_tokens=2).tokens
        """,
        tiny_model,
    )


@pytest.mark.fault("F55")
def test_a_program_ends_with_async_calls_in_flight(tiny_model: Path) -> None:
    run(
        """
        import asyncio
        model = Model(MODEL)
        loop = asyncio.new_event_loop()
        stream = model.astream(HELLO, max_tokens=400, logit_bias={2: -100})
        loop.run_until_complete(anext(stream))
        """,
        tiny_model,
    )
