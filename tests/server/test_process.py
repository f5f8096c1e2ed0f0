"""The process: what it prints, where it listens, how it ends, and how other commands find it."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from cactus.cli.commands import cactus
from cactus.errors import InvalidRequest
from cactus.server import listen, state
from cactus.server.settings import Settings
from tests.server.processes import Process
from tests.server.running import PATIENCE, until

LONG = {"messages": [{"role": "user", "content": "a"}], "max_tokens": 400, "stream": True}


@pytest.fixture(autouse=True)
def _own_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers of the developer's are not seen, nor ended."""
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    monkeypatch.delenv("CACTUS_API_KEYS", raising=False)


@pytest.fixture
def serve(tiny_model: Path) -> Iterator[Any]:
    """Starts `cactus serve` with the tiny model; all are ended with the test."""
    begun: list[Process] = []

    def start(*arguments: str, **environment: str) -> Process:
        begun.append(Process(str(tiny_model), *arguments, **environment))
        return begun[-1]

    yield start
    for each in begun:
        each.end()


def run_command(*arguments: str) -> Any:
    """One command line in this process."""
    return CliRunner().invoke(cactus, arguments, catch_exceptions=True)


def test_it_says_where_and_ends_cleanly(serve: Any) -> None:
    server = serve("--port", "0")
    assert server.url.startswith("http://127.0.0.1:")
    server.up()
    assert [each.url for each in state.servers()] == [server.url]
    listed = run_command("ps").output
    assert server.url in listed
    assert "tiny: " in listed  # it was loaded at once
    server.process.send_signal(signal.SIGTERM)
    assert server.wait() == 0
    out, err = server.process.stdout.read(), server.process.stderr.read()
    assert err == ""
    assert "tiny (" in out and "the default" in out
    assert state.servers() == []
    assert run_command("ps").output.startswith("No server runs")


@pytest.mark.fault("F11")
def test_resident_weights_outlive_their_file(tiny_model: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_model, tmp_path / "tiny")
    body = {**LONG, "stream": False, "max_tokens": 8, "temperature": 0}
    said = []
    for options in ((), ("--resident",)):
        server = Process(str(tmp_path / "tiny"), "--port", "0", *options)
        try:
            server.up()
            mapped = Path(f"/proc/{server.process.pid}/maps").read_text()
            assert ("model.safetensors" in mapped) is not bool(options)
            if options:
                os.truncate(tmp_path / "tiny/model.safetensors", 100)
            reply = httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=PATIENCE)
            said.append(reply.json()["choices"][0]["message"]["content"])
        finally:
            server.end()
    assert said[0] == said[1] != ""


@pytest.mark.fault("F58")
def test_sigterm_lets_requests_end_and_takes_no_new_ones(serve: Any) -> None:
    server = serve("--port", "0")
    server.up()
    with (
        httpx.Client(base_url=server.url, timeout=PATIENCE) as client,
        client.stream("POST", "/v1/chat/completions", json=LONG) as reply,
    ):
        lines = reply.iter_lines()
        next(lines)
        server.process.send_signal(signal.SIGTERM)
        until(lambda: _status(server.url, "/ready") in (503, None))
        assert list(lines)[-2] == "data: [DONE]"
    assert server.wait() == 0


@pytest.mark.fault("F58")
@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="there is no SIGHUP on Windows")
@pytest.mark.parametrize("nohup", [False, True])
def test_a_terminal_that_is_closed_ends_it_cleanly_unless_it_was_started_with_nohup(
    serve: Any, tmp_path: Path, nohup: bool
) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN if nohup else signal.SIG_DFL)
    try:
        server = serve("--uds", str(tmp_path / "socket"))
    finally:
        signal.signal(signal.SIGHUP, before)
    until(lambda: len(state.servers()) == 1)
    until((tmp_path / "socket").exists)
    server.process.send_signal(signal.SIGHUP)
    if nohup:
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(tmp_path / "socket"))) as client:
            assert client.get("http://localhost/ready").status_code == 200
        server.process.send_signal(signal.SIGTERM)
    assert server.wait() == 0
    assert state.servers() == []
    assert not (tmp_path / "socket").exists()


def _status(url: str, path: str) -> int | None:
    with suppress(httpx.TransportError):
        return httpx.get(url + path).status_code
    return None


SLOW_TO_LOAD = """
import sys, time
from pathlib import Path
from cactus.__main__ import main
from cactus.server.models import ServedModel
loads, goes_on = Path(sys.argv.pop(1)), Path(sys.argv.pop(1))
begin = ServedModel.__init__
def slow(*given, **options):
    loads.touch()
    while not goes_on.exists():
        time.sleep(0.01)
    begin(*given, **options)
ServedModel.__init__ = slow
main()
"""


def test_a_tool_that_never_ends_does_not_keep_the_process(serve: Any, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    file = tmp_path / "functions.py"
    file.write_text(
        'import pathlib, time\n\n\ndef wait() -> str:\n    "Wait."\n'
        f"    pathlib.Path({str(begun)!r}).touch()\n    time.sleep(3600)\n    return ''\n"
    )
    server = serve("--port", "0", "--tools", str(file), "--drain", "0s")
    server.up()
    body = {"messages": [{"role": "user", "content": "Hi"}], "tool_choice": "required"}
    body |= {"cactus": {"tools": True}, "max_tokens": 100}
    with ThreadPoolExecutor(1) as pool:
        url = f"{server.url}/v1/chat/completions"
        asked = pool.submit(httpx.post, url, json=body, timeout=PATIENCE)
        until(begun.exists)
        server.process.send_signal(signal.SIGTERM)
        assert server.wait() == 0
        with suppress(httpx.TransportError):  # it was told so, or cut off
            assert asked.result().status_code >= 500
    assert state.servers() == []


@pytest.mark.fault("F58")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_the_model_loads_ends_it_cleanly(
    tiny_model: Path, tmp_path: Path, number: int
) -> None:
    loads, goes_on, path = tmp_path / "loads", tmp_path / "goes_on", tmp_path / "socket"
    run = ("-c", SLOW_TO_LOAD, str(loads), str(goes_on))
    server = Process(str(tiny_model), "--uds", str(path), run=run)
    try:
        until(loads.exists)
        assert len(state.servers()) == 1
        server.process.send_signal(number)
        goes_on.touch()
        assert server.wait() == 0, server.process.communicate()
        assert state.servers() == [] and not list(state.folder().iterdir())
        assert not path.exists()
    finally:
        server.end()


@pytest.mark.fault("F58")
def test_a_second_interrupt_ends_it_at_once(serve: Any, tmp_path: Path) -> None:
    server = serve("--uds", str(tmp_path / "socket"), "--drain", "1h")
    path = server.url.removeprefix("unix:")
    until(lambda: Path(path).exists() and state.servers())
    # A request whose body never comes to its end holds it.
    with socket.socket(socket.AF_UNIX) as raw:
        raw.connect(path)
        raw.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/json\r\nContent-Length: 10\r\n"
            b"Expect: 100-continue\r\n\r\n"
        )
        assert raw.recv(100).startswith(b"HTTP/1.1 100 ")  # it waits for the body
        raw.sendall(b"{")
        server.process.send_signal(signal.SIGINT)
        with httpx.Client(transport=httpx.HTTPTransport(uds=path), timeout=PATIENCE) as client:
            until(lambda: client.get("http://localhost/ready").status_code == 503)
        said = "it ends when the requests on their way are answered, in 3600 s at most; "
        assert server.process.stderr.readline() == f"{said}Ctrl-C once more ends it now\n"
        assert server.process.poll() is None
        server.process.send_signal(signal.SIGINT)
        assert server.wait() == 130
    assert not Path(path).exists()
    assert state.servers() == []


@pytest.mark.fault("F58")
def test_what_takes_longer_than_the_drain_is_ended_with_an_error(serve: Any) -> None:
    server = serve("--port", "0", "--drain", "0.2s")
    server.up()
    port = int(server.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as raw:
        raw.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/json\r\nContent-Length: 10\r\n\r\n{"
        )
        time.sleep(0.3)
        server.process.send_signal(signal.SIGTERM)
        assert server.wait() == 0


@pytest.mark.fault("F63")
def test_a_killed_server_leaves_nothing_in_the_way(serve: Any, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    first = serve("--uds", str(path))
    until(lambda: path.exists() and state.servers())
    assert path.stat().st_mode & 0o777 == 0o600
    refused = serve("--uds", str(path))
    assert refused.wait() == 1
    assert "a server listens there" in refused.process.communicate()[1]
    first.process.kill()
    first.wait()
    assert path.exists()  # stale
    assert state.servers() == []
    second = serve("--uds", str(path))
    until(lambda: bool(state.servers()))
    transport = httpx.HTTPTransport(uds=str(path))
    with httpx.Client(transport=transport, base_url="http://anything", timeout=PATIENCE) as client:
        assert client.get("/v1/models").json()["data"][0]["id"] == "tiny"
    second.process.send_signal(signal.SIGTERM)
    assert second.wait() == 0
    assert not path.exists()


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="there is no /proc")
def test_the_process_for_large_bodies_ends_with_a_killed_server(serve: Any) -> None:
    server = serve("--port", "0")
    server.up()
    body = {**LONG, "max_tokens": 1, "stream": False, "user": "x" * (1 << 20)}
    assert httpx.post(f"{server.url}/v1/chat/completions", json=body).status_code == 200
    threads = Path(f"/proc/{server.process.pid}/task").iterdir()
    (child,) = [pid for each in threads for pid in (each / "children").read_text().split()]
    server.process.kill()
    server.wait()
    until(lambda: not Path(f"/proc/{child}/cmdline").exists())


def test_stop_unloads_a_model_or_ends_a_server(serve: Any) -> None:
    server = serve("--port", "0")
    server.up()
    assert run_command("stop", "tiny").output == "tiny is unloaded.\n"
    assert "tiny: not in memory" in run_command("ps").output
    told = json.loads(run_command("ps", "--json").output)
    assert told[0]["models"][0]["loaded"] is False
    assert "not served" in str(run_command("stop", "other").exception)
    other = serve("--port", "0", CACTUS_API_KEYS="a-key-that-nobody-knows")
    other.up()
    assert "2 servers" in run_command("stop").output
    port = other.url.rpartition(":")[2]
    assert "has ended" in run_command("stop", "--port", port).output
    assert other.wait() == 0
    assert "has ended" in run_command("stop").output
    assert server.wait() == 0
    assert "no server runs" in str(run_command("stop").exception)


def test_tls_is_made_with_files(serve: Any, tmp_path: Path) -> None:
    import trustme

    authority = trustme.CA()
    issued = authority.issue_cert("localhost", "127.0.0.1")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert.write_bytes(b"".join(each.bytes() for each in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    server = serve("--port", "0", "--tls-cert", str(cert), "--tls-key", str(key))
    assert server.url.startswith("https://")
    import ssl

    trusted = ssl.create_default_context(cafile=tmp_path / "ca.pem")
    until(lambda: bool(state.servers()))

    def answers() -> bool:
        with suppress(httpx.TransportError):
            return httpx.get(f"{server.url}/live", verify=trusted).status_code == 200
        return False

    until(answers)
    cert.write_bytes(cert.read_bytes())
    with pytest.raises(InvalidRequest, match="--tls-cert"):
        listen.check(Settings((), tls_cert=key))
    with pytest.raises(InvalidRequest, match="no such file"):
        listen.check(Settings((), tls_cert=tmp_path / "none"))
    with pytest.raises(InvalidRequest, match="needs --tls-cert"):
        listen.check(Settings((), tls_key=key))


def test_a_dry_run_prints_and_listens_nowhere(tiny_model: Path) -> None:
    done = run_command("serve", str(tiny_model), "--dry-run", "--port", "1", "--alias", "gpt=tiny")
    assert done.exit_code == 0, done.output
    assert done.output.startswith("Cactus at http://127.0.0.1:1\n")
    assert "gpt is tiny" in done.output
    assert state.servers() == []


def test_of_all_models_one_that_chats_is_the_default(
    tiny_model: Path, minilm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "an-embedder").symlink_to(minilm)
    (tmp_path / "tiny").symlink_to(tiny_model)
    monkeypatch.setenv("CACTUS_WEIGHTS", str(tmp_path))
    done = run_command("serve", "--dry-run")
    assert "tiny (chat, complete, embed), the default" in done.output
    assert "an-embedder (embed)\n" in done.output


def test_where_no_model_is_the_starter_is_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CACTUS_WEIGHTS", str(tmp_path))
    done = run_command("serve", "--dry-run")
    assert "SmolLM2-135M-Instruct is not on this machine" in str(done.exception)


@pytest.mark.fault("F83")
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_it_listens_to_others_with_a_key_only(tiny_model: Path, host: str) -> None:
    plain = ("serve", str(tiny_model), "--dry-run", "--host", host)
    refused = run_command(*plain)
    assert isinstance(refused.exception, InvalidRequest)
    assert "--api-key-file" in str(refused.exception)
    assert run_command(*plain, "--insecure").exit_code == 0
    assert run_command(*plain, "--api-key", "sk-0123456789").exit_code == 0


@pytest.mark.fault("F79")
def test_a_key_is_never_printed(tiny_model: Path, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("sk-of-the-file\n")
    file.chmod(0o644)
    admin = tmp_path / "admins"
    admin.write_text("sk-of-the-admin\n")
    admin.chmod(0o600)
    done = run_command("serve", str(tiny_model), "--dry-run", "--api-key", "sk-of-the-option",
                       "--api-key-file", str(file), "--admin-key-file", str(admin))  # fmt: skip
    assert done.output.count("chmod 600") == 1 and "3, 1 of administrators" in done.output
    assert "seen by others" in done.output
    assert "sk-of-the" not in done.output
    both = Settings((), keys=("sk-of-the-file",), admin_keys=("sk-of-the-file",))
    assert "sk-of-the" not in repr(both)


# -- sockets


def opened(**settings: Any) -> list[socket.socket]:
    return listen.open_sockets(Settings((), **settings))


@pytest.mark.fault("F63")
def test_a_port_in_use_is_named_with_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(listen.CannotListen, match=rf"port {port} is in use.*--port {port + 1}"):
            opened(port=port)


@pytest.mark.fault("F63")
def test_a_port_for_programs_with_privileges_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refused(socket.socket):
        def bind(self, address: Any) -> None:
            raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(listen.socket, "socket", Refused)
    with pytest.raises(listen.CannotListen, match=r"port 80 is for programs with privileges.*8080"):
        opened(port=80)


@pytest.mark.fault("F63")
def test_an_address_of_another_machine_is_named() -> None:
    with pytest.raises(
        listen.CannotListen, match=r"192\.0\.2\.1 is not an address of this machine"
    ):
        opened(host="192.0.2.1", port=0)
    with pytest.raises(listen.CannotListen, match="nobody knows this name"):
        opened(host="no.such.host.invalid", port=0)


@pytest.mark.fault("F63")
def test_one_of_the_addresses_of_a_name_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without IPv6 calls itself ::1 all the same."""
    missing, there = ("192.0.2.1", 0), ("127.0.0.1", 0)
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", each) for each in (missing, there)]
    monkeypatch.setattr(listen, "_resolved", lambda _: found)
    (made,) = opened(host="localhost", port=0)
    assert made.getsockname()[0] == "127.0.0.1"
    made.close()


@pytest.mark.fault("F63")
@pytest.mark.skipif(not socket.has_ipv6, reason="there is no IPv6 here")
def test_ipv6_alone_is_listened_at() -> None:
    try:
        (made,) = opened(host="::1", port=0)
    except listen.CannotListen as error:
        pytest.skip(str(error))
    port = made.getsockname()[1]
    with made:
        socket.create_connection(("::1", port), timeout=5).close()
    assert listen.address_of(Settings((), host="::1"), port) == f"http://[::1]:{port}"


@pytest.mark.fault("F63")
def test_a_file_in_the_place_of_a_socket_stays(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("mine")
    with pytest.raises(listen.CannotListen, match="a file of this name"):
        opened(uds=file)
    assert file.read_text() == "mine"
    with pytest.raises(listen.CannotListen, match="--uds"):
        opened(uds=tmp_path / "no" / "such" / "folder")
    with pytest.raises(listen.CannotListen, match="--uds"):
        opened(uds=tmp_path / ("x" * 200))


# -- the files by which servers are found


@pytest.mark.fault("F79")
def test_a_state_file_is_for_its_user_alone() -> None:
    path = state.write(state.Known(os.getpid(), "http://127.0.0.1:1", "token"))
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o077 == 0
    assert state.servers() == [state.Known(os.getpid(), "http://127.0.0.1:1", "token")]
    (path.parent / "broken.json").write_text("{")
    assert len(state.servers()) == 1
    newer = {**json.loads(path.read_text()), "started": 1}  # as another version may write it
    path.write_text(json.dumps(newer))
    assert state.servers()[0].token == "token"
    path.unlink()


def test_a_file_of_a_process_that_is_gone_is_removed() -> None:
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    path = state.write(state.Known(done.pid, "http://127.0.0.1:1", "token"))
    assert state.servers() == []
    assert not path.exists()


@pytest.mark.fault("F60")
def test_what_does_not_answer_is_said(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(state.NotReached, match="does not answer"):
        state.call(state.Known(1, f"http://127.0.0.1:{port}", "token"), "GET", "/x")
