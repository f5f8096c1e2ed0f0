"""What may be asked, and with which key: checked, stored, never shown."""

from __future__ import annotations

import os
import pickle
import stat
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cactus import Cloud
from cactus.cloud import store
from cactus.cloud.asker import ConfiguredAsker
from cactus.cloud.secret import Secret
from cactus.cloud.settings import check_base_url, make_settings
from cactus.errors import CloudError, InvalidRequest
from tests.cloud_server import KEY


@pytest.mark.fault("F79")
@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/v1",  # everybody on the way could read the key
        "http://localhost.example.com",
        "http://127.0.0.1.example.com",
        "https://user:secret@example.com",
        "https://example.com/v1?key=secret",
        "https://example.com/#x",
        "ftp://example.com",
        "example.com/v1",
        "https://",
        "https://exa mple.com",
        "https://example.com\r\nX-Header: 1",
        "https://example.com:99999",
        "",
        7,
    ],
)
def test_a_key_goes_nowhere_but_to_an_encrypted_address(url: Any) -> None:
    with pytest.raises(InvalidRequest, match="base_url"):
        Cloud(KEY, url, "large")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://example.com/v1/", "https://example.com/v1"),
        (" https://example.com ", "https://example.com"),
        ("http://localhost:11434/v1", "http://localhost:11434/v1"),
        ("http://127.0.0.9", "http://127.0.0.9"),
        ("http://[::1]:8080/v1", "http://[::1]:8080/v1"),
        ("https://api.anthropic.com", "https://api.anthropic.com/v1"),
    ],
)
def test_addresses_that_are_taken(url: str, expected: str) -> None:
    assert check_base_url(url) == expected


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        ((KEY, None, "m"), "https://api.openai.com/v1/chat/completions"),
        (("sk-ant-" + KEY, None, "m"), "https://api.anthropic.com/v1/messages"),
        ((KEY, "https://x.org/anthropic/v1", "m"), "https://x.org/anthropic/v1/messages"),
        ((KEY, "https://x.org/v1/chat/completions", "m"), "https://x.org/v1/chat/completions"),
        ((None, "http://localhost:1/v1", "m"), "http://localhost:1/v1/chat/completions"),
        ((KEY, "https://x.org/v1", "m", "anthropic"), "https://x.org/v1/messages"),
    ],
)
def test_where_questions_are_sent(settings: Any, url: str) -> None:
    assert make_settings(*settings).url == url


@pytest.mark.fault("F79")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"api_key": KEY}, "no model"),
        ({"model": "m"}, "no API key"),
        ({"api_key": "", "model": "m"}, "empty"),
        ({"api_key": "a\nb", "model": "m"}, "characters"),
        ({"api_key": "schlüssel", "model": "m"}, "characters"),
        ({"api_key": "x" * 5000, "model": "m"}, "5000"),
        ({"api_key": b"bytes", "model": "m"}, "string"),
        ({"api_key": KEY, "model": ""}, "model"),
        ({"api_key": KEY, "model": "m\n"}, "model"),
        ({"api_key": KEY, "model": "m", "api": "grpc"}, "api must be"),
        ({"api_key": KEY, "model": "m", "total_timeout": 0}, "total_timeout"),
        ({"api_key": KEY, "model": "m", "certificates": 3}, "certificates"),
    ],
)
def test_what_is_wrong_is_named_and_the_key_is_not(arguments: Any, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message) as caught:
        Cloud(**arguments)
    assert KEY not in str(caught.value) and "schlüssel" not in str(caught.value)


@pytest.mark.fault("F79")
def test_nothing_shows_the_key() -> None:
    secret = Secret(KEY)
    cloud = Cloud(KEY, None, "large")
    for shown in (repr(secret), str(secret), f"{secret}", repr([secret]), repr(cloud),
                  repr(cloud.asker), repr(vars(cloud)), repr(cloud.asker.settings)):  # fmt: skip
        assert KEY not in shown and KEY[:8] not in shown
    assert secret.reveal() == KEY
    assert repr(secret) == "Secret('…wxyz')"
    assert repr(Secret("short-key")) == "Secret('…')"
    for thing in (secret, cloud):
        with pytest.raises(TypeError):
            pickle.dumps(thing)
    assert secret == Secret(KEY + "\n") and secret != Secret(KEY + "x")
    assert secret.hidden_in(f"wrong key {KEY}!") == "wrong key …wxyz!"


def test_the_environment_comes_first_and_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    store.save("https://stored.example/v1", "stored", Secret("stored-key"))
    assert store.find_settings().base_url == "https://stored.example/v1"  # type: ignore[union-attr]
    monkeypatch.setenv("CACTUS_CLOUD_MODEL", "other")
    found = store.find_settings()
    assert found is not None and (found.model, found.key) == ("other", Secret("stored-key"))
    monkeypatch.setenv("CACTUS_CLOUD_API_KEY", KEY)
    found = store.find_settings()
    assert found is not None and found.base_url == "https://api.openai.com/v1"
    assert found.key == Secret(KEY) and found.source == "the environment"
    # A stored key goes only to the address that it was stored with.
    monkeypatch.delenv("CACTUS_CLOUD_API_KEY")
    monkeypatch.setenv("CACTUS_CLOUD_BASE_URL", "https://elsewhere.example/v1")
    with pytest.raises(CloudError, match="no API key for elsewhere"):
        store.find_settings()


def test_a_service_of_this_machine_needs_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CACTUS_CLOUD_BASE_URL", "http://localhost:1/v1")
    monkeypatch.setenv("CACTUS_CLOUD_MODEL", "local")
    cloud = Cloud.find()
    assert cloud is not None and cloud.asker.settings.key is None
    assert (cloud.model, cloud.base_url) == ("local", "http://localhost:1/v1")


def test_without_settings_there_is_no_cloud() -> None:
    assert Cloud.find() is None and not store.is_configured()


def test_a_key_without_a_model_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CACTUS_CLOUD_API_KEY", KEY)
    with pytest.raises(CloudError, match="CACTUS_CLOUD_MODEL") as caught:
        Cloud.find()
    assert caught.value.code == "settings" and KEY not in str(caught.value)


@pytest.mark.fault("F79")
def test_the_file_is_for_its_owner_alone_and_is_replaced_at_once(tmp_path: Path) -> None:
    os.umask(os.umask(0))  # whatever it is
    where = store.save("https://example.com/v1", "large", Secret(KEY))
    file = store.settings_file()
    assert where == str(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) & 0o077 == 0
    before = file.stat().st_ino
    store.save("https://example.com/v2", "larger", Secret(KEY))
    assert file.stat().st_ino != before  # another file, put in its place
    assert [path.name for path in file.parent.iterdir()] == ["cloud.json"]
    assert store.clear() and not file.exists() and not store.clear()


@pytest.mark.fault("F79")
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o620, 0o604, 0o666])
def test_a_file_that_others_may_read_is_refused(mode: int) -> None:
    store.save("https://example.com/v1", "large", Secret(KEY))
    store.settings_file().chmod(mode)
    with pytest.raises(CloudError, match=f"mode {mode:04o}.*chmod 600") as caught:
        Cloud.find()
    assert caught.value.code == "settings" and KEY not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"api_key": "' + KEY.encode(), b"\xff\xfe", b"x" * 70_000,
     b'{"base_url": 7, "model": "m"}', b'{"api_key": 5, "model": "m"}',
     b'{"api_key": "k", "model": "m", "base_url": "http://example.com"}'],
)  # fmt: skip
def test_a_damaged_file_is_an_error_that_names_it_and_no_key(content: bytes) -> None:
    store.save("https://example.com/v1", "large", Secret(KEY))
    store.settings_file().write_bytes(content)
    with pytest.raises(CloudError) as caught:
        Cloud.find()
    assert str(store.settings_file()) in str(caught.value) and KEY not in str(caught.value)


@pytest.mark.parametrize("make", [lambda path: os.mkfifo(path, 0o600), os.mkdir])
def test_what_is_no_file_is_refused_and_nothing_waits_for_it(make: Any) -> None:
    store.settings_file().parent.mkdir(parents=True)
    make(store.settings_file())
    with pytest.raises(CloudError, match="regular file"):
        Cloud.find()


@pytest.mark.parametrize("where", ["x" * 5000, "locked"])
def test_a_folder_that_cannot_be_looked_into_holds_no_cloud(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / where))
    (tmp_path / "locked").mkdir(mode=0)
    assert not ConfiguredAsker().ready()


class FakeKeyring:
    def __init__(self, priority: float = 5, lost: bool = False) -> None:
        self.kept: dict[tuple[str, str], str] = {}
        self.priority, self.lost = priority, lost

    def get_keyring(self) -> Any:
        return SimpleNamespace(priority=self.priority)

    def set_password(self, service: str, user: str, key: str) -> None:
        if self.lost:
            raise RuntimeError("the collection is locked")
        self.kept[service, user] = key

    def get_password(self, service: str, user: str) -> str | None:
        return self.kept.get((service, user))

    def delete_password(self, service: str, user: str) -> None:
        del self.kept[service, user]


@pytest.fixture
def keyring(monkeypatch: pytest.MonkeyPatch) -> FakeKeyring:
    monkeypatch.undo()
    ring = FakeKeyring()
    monkeypatch.setitem(sys.modules, "keyring", ring)
    return ring


def test_the_keyring_keeps_the_key_where_there_is_one(
    keyring: FakeKeyring, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "other"))
    where = store.save("https://example.com/v1", "large", Secret(KEY))
    assert where.startswith("the keyring")
    assert keyring.kept == {("cactus", "https://example.com/v1"): KEY}
    assert KEY not in store.settings_file().read_text("utf-8")
    found = store.find_settings()
    assert found is not None and (found.key, found.source) == (Secret(KEY), "the keyring")
    # A key for another address takes its place.
    store.save("https://example.org/v1", "large", Secret(KEY))
    assert list(keyring.kept) == [("cactus", "https://example.org/v1")]
    assert store.clear() and keyring.kept == {}


@pytest.mark.parametrize("ring", [FakeKeyring(priority=0), FakeKeyring(lost=True)])
def test_without_a_keyring_that_works_it_is_the_file(
    keyring: FakeKeyring, ring: FakeKeyring, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "other"))
    monkeypatch.setitem(sys.modules, "keyring", ring)
    assert store.save("https://example.com/v1", "large", Secret(KEY)) == str(store.settings_file())
    found = store.find_settings()
    assert found is not None and found.key == Secret(KEY)


def test_a_keyring_that_is_locked_later_is_an_error_that_says_so(
    keyring: FakeKeyring, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "other"))
    store.save("https://example.com/v1", "large", Secret(KEY))
    keyring.kept.clear()
    with pytest.raises(CloudError, match=r"keyring .*unlock"):
        Cloud.find()
