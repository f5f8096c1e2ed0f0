"""Where the settings of the cloud are: the environment, or what ``cactus auth`` has stored.

``cloud.json`` in the user's folder of settings has the address and the model. The key lies in the
system's keyring, where there is one, otherwise in that file, which others may not read.
"""

from __future__ import annotations

import json
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

from cactus.cloud.secret import Secret
from cactus.cloud.settings import Settings, make_settings
from cactus.errors import CloudError, InvalidRequest, ModelFormatError
from cactus.inputs.files import parse_object, replace_file
from cactus.inputs.text import reason_of
from cactus.inputs.versions import wrong_version

FORMAT = 1
"""Version of the file; those that `cactus auth` of older versions wrote have none."""

LIMIT = 64 << 10
"""Bytes of the file that are read at most."""

SERVICE = "cactus"
"""The name of our entries in the keyring; the user's name there is the address of a service."""

_OFF = ("", "0", "no", "off", "false")


def is_forbidden() -> bool:
    """Whether the environment says that no cloud is asked (``CACTUS_NO_CLOUD``)."""
    return os.environ.get("CACTUS_NO_CLOUD", "").strip().lower() not in _OFF


def is_configured() -> bool:
    """Whether there is something to ask, as the environment or the file has it; reads neither."""
    # What this user may not look at is not theirs: Path.exists raises there.
    return _in_environment() or os.path.exists(settings_file())


def settings_file() -> Path:
    """The file that ``cactus auth`` writes."""
    import platformdirs

    return Path(platformdirs.user_config_path("cactus", appauthor=False)) / "cloud.json"


def find_settings() -> Settings | None:
    """The settings of the environment, else the stored ones, else None.

    A key or an address in the environment means that all of them are there: a stored key goes only
    to the address that it was stored with. CACTUS_CLOUD_MODEL names another model of that.
    Raises CloudError that says what is wrong.
    """
    model = os.environ.get("CACTUS_CLOUD_MODEL") or None
    try:
        if _in_environment():
            return make_settings(
                os.environ.get("CACTUS_CLOUD_API_KEY") or None,
                os.environ.get("CACTUS_CLOUD_BASE_URL") or None,
                model,
                source="the environment",
            )
        stored = _read(settings_file())
        if stored is None:
            return None
        key, url = stored.get("api_key"), stored.get("base_url")
        source = str(settings_file())
        if stored.get("keyring") is True:
            key, source = _from_keyring(str(url)), "the keyring"
        return make_settings(key, url, model or stored.get("model"), source=source)
    except InvalidRequest as error:
        where = "environment" if _in_environment() else str(settings_file())
        raise CloudError(f"{where}: {error}", code="settings") from None


def save(base_url: str, model: str, key: Secret | None) -> str:
    """Store settings in the place of those that there are; where the key is now, to be read.

    Raises OSError where the file cannot be written.
    """
    fields: dict[str, Any] = {"format": FORMAT, "base_url": base_url, "model": model}
    where = str(settings_file())
    forget_key()
    if key is not None and _to_keyring(base_url, key):
        fields["keyring"] = True
        where = f"the keyring of this system; the address and the model in {where}"
    elif key is not None:
        fields["api_key"] = key.reveal()
    _write(settings_file(), json.dumps(fields, indent=2) + "\n")
    return where


def clear() -> bool:
    """Delete what is stored; whether there was anything. Raises OSError."""
    forget_key()
    try:
        settings_file().unlink()
    except FileNotFoundError:
        return False
    return True


def forget_key() -> None:
    """Take the stored key out of the keyring, if it is there."""
    stored = None
    with suppress(CloudError):
        stored = _read(settings_file())
    if stored is None or stored.get("keyring") is not True:
        return
    ring = _keyring()
    if ring is not None:
        with suppress(Exception):  # whatever the system's keyring makes of it
            ring.delete_password(SERVICE, str(stored.get("base_url")))


def _in_environment() -> bool:
    return bool(os.environ.get("CACTUS_CLOUD_API_KEY") or os.environ.get("CACTUS_CLOUD_BASE_URL"))


def _read(path: Path) -> dict[str, Any] | None:
    """What the file says; None where there is none. Raises CloudError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CloudError(f"{path}: cannot be opened: {reason_of(error)}", code="settings") from None
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise CloudError(f"{path}: expected a regular file", code="settings")
    with open(descriptor, "rb") as file:
        open_to_others = os.name == "posix" and (
            status.st_mode & 0o077 or status.st_uid not in (os.getuid(), 0)
        )
        if open_to_others:
            raise CloudError(
                f"{path}: others may read or change this file (mode {status.st_mode & 0o777:04o}), "
                f"which may hold a key: chmod 600 it, or run cactus auth again with a new key",
                code="settings",
            )
        text = file.read(LIMIT + 1)
    if len(text) > LIMIT:
        raise CloudError(f"{path}: more than {LIMIT} bytes", code="settings")
    try:
        found = parse_object(text, str(path))
    except ModelFormatError:  # its text may quote what is near the key
        raise CloudError(
            f"{path}: not the JSON of cactus auth; run that again", code="settings"
        ) from None
    version = found.get("format", FORMAT)
    if wrong := wrong_version(str(path), "format", version, FORMAT, "run cactus auth again"):
        raise CloudError(wrong, code="settings")
    return found


def _write(path: Path, text: str) -> None:
    """Replace a file, in one go, by one that only its owner can read."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    replace_file(path, text.encode(), mode=0o600, durable=True)


def _keyring() -> Any:
    """The library `keyring`, where it is installed and this system has a keyring."""
    try:
        import keyring  # type: ignore[import-not-found,unused-ignore]

        backend = keyring.get_keyring()
        return keyring if backend.priority >= 1 else None  # below are those that store nothing
    except Exception:  # none installed, or whatever a system without a session makes of it
        return None


def _to_keyring(base_url: str, key: Secret) -> bool:
    ring = _keyring()
    if ring is None:
        return False
    try:
        ring.set_password(SERVICE, base_url, key.reveal())
        return bool(ring.get_password(SERVICE, base_url) == key.reveal())
    except Exception:
        return False


def _from_keyring(base_url: str) -> Secret:
    ring = _keyring()
    found = None
    if ring is not None:
        with suppress(Exception):
            found = ring.get_password(SERVICE, base_url)
    if not found:
        raise CloudError(
            "the key is in the keyring of this system, which cannot be read now; unlock it, "
            "or set CACTUS_CLOUD_API_KEY, CACTUS_CLOUD_BASE_URL and CACTUS_CLOUD_MODEL",
            code="settings",
        )
    return Secret(found)
