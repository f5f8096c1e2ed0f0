"""Writes packaging/sbom.cdx.json, the bill of materials that lies in each wheel (CycloneDX 1.6).

python tools/sbom.py          write
python tools/sbom.py --check  exit 1 when the file is out of date

It lists what the package needs (packaging/locks/, with the hashes of all files that may be
installed), what is bundled into the page of the server (page/package-lock.json), and what is linked
into the native library. There is no time and no random number in it.
"""

from __future__ import annotations

import base64
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from generated import finish
from packaging.requirements import Requirement

from cactus.cli.checkout import read_pyproject

ROOT = Path(__file__).resolve().parents[1]
LOCKS = ROOT / "packaging" / "locks"
TARGET = ROOT / "packaging" / "sbom.cdx.json"
BASE = ("documents", "server")
"""Extras whose packages stand in base.txt."""

LINKED: tuple[dict[str, Any], ...] = (
    {
        "name": "GCC runtime libraries",
        "description": "libstdc++ and libgcc, linked statically on Linux and Windows",
        "licenses": [{"expression": "GPL-3.0-or-later WITH GCC-exception-3.1"}],
    },
    {
        "name": "MinGW-w64 runtime",
        "description": "the C runtime and winpthreads, linked statically on Windows",
        "licenses": [{"expression": "ZPL-2.1 AND MIT"}],
    },
)
"""Of the compiler that builds the wheel, whose version is not ours to choose. No other code is
copied into native/ or the package."""


def locked(lock: str) -> Iterator[tuple[Requirement, list[str]]]:
    """What a lock pins: each requirement with its SHA-256 hashes."""
    text = (LOCKS / f"{lock}.txt").read_text("utf-8").replace("\\\n", " ")
    for line in text.splitlines():
        if line and not line.startswith("#"):
            requirement, *hashes = line.split(" --hash=sha256:")
            yield Requirement(requirement.strip()), [digest.strip() for digest in hashes]


def _python(lock: str, pin: Requirement, hashes: list[str], required: set[str]) -> dict[str, Any]:
    version = next(iter(pin.specifier)).version
    properties = []
    if lock != "base":
        properties.append({"name": "cactus:extra", "value": lock})
    if pin.marker:
        properties.append({"name": "cactus:marker", "value": str(pin.marker)})
    purl = f"pkg:pypi/{pin.name}@{version}"
    return {
        "type": "library",
        "bom-ref": purl,
        "name": pin.name,
        "version": version,
        "scope": "required" if _normal(pin.name) in required else "optional",
        "hashes": [{"alg": "SHA-256", "content": digest} for digest in sorted(hashes)],
        "purl": purl,
        **({"properties": properties} if properties else {}),
    }


def _bundled() -> Iterator[dict[str, Any]]:
    """The packages whose code is in the page: it has their licences."""
    packages = json.loads((ROOT / "page" / "package-lock.json").read_text("utf-8"))["packages"]
    licences = (ROOT / "python/cactus/server/page/licenses.txt").read_text("utf-8")
    for name, version in re.findall(r"^(\S+) (\d\S*) \(.+\)$", licences, flags=re.MULTILINE):
        package = packages[f"node_modules/{name}"]
        if package["version"] != version:
            raise SystemExit(f"{name}: {version} is in the page, {package['version']} is locked")
        algorithm, _, digest = package["integrity"].partition("-")
        purl = f"pkg:npm/{name.replace('@', '%40')}@{version}"
        yield {
            "type": "library",
            "bom-ref": purl,
            "name": name,
            "version": version,
            "scope": "required",
            "hashes": [
                {
                    "alg": algorithm.upper().replace("SHA", "SHA-"),
                    "content": base64.b64decode(digest).hex(),
                }
            ],
            "licenses": [{"expression": package["license"]}],
            "purl": purl,
            "properties": [{"name": "cactus:bundled", "value": "cactus/server/page"}],
        }


def bill() -> dict[str, Any]:
    """The bill of materials, as CycloneDX has it."""
    project = read_pyproject()["project"]
    root = f"pkg:pypi/cactus@{project['version']}"
    wanted = {_normal(Requirement(text).name) for text in project["dependencies"]}
    extras = project["optional-dependencies"]
    components: dict[str, dict[str, Any]] = {}
    for lock in ("base", *sorted(set(extras) - set(BASE))):
        for pin, hashes in locked(lock):
            component = _python(lock, pin, hashes, wanted)
            components.setdefault(component["bom-ref"], component)
    listed = [text for texts in extras.values() for text in texts]
    direct = wanted | {_normal(Requirement(text).name) for text in listed}
    needs = [ref for ref, part in components.items() if _normal(part["name"]) in direct]
    inside = [
        *_bundled(),
        *({"type": "library", "bom-ref": part["name"], **part} for part in LINKED),
    ]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "library",
                "bom-ref": root,
                "name": "cactus",
                "version": project["version"],
                "description": project["description"],
                "licenses": [{"expression": project["license"]}],
                "purl": root,
                "components": inside,
            }
        },
        "components": [components[ref] for ref in sorted(components)],
        "dependencies": [{"ref": root, "dependsOn": sorted(needs)}],
    }


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def text() -> str:
    """The file: a component a line, so that a change can be read."""
    made = bill()
    parts = ",\n".join(json.dumps(part, ensure_ascii=False) for part in made.pop("components"))
    rest = json.dumps(made, indent=1, ensure_ascii=False)
    return f'{rest[:-2]},\n "components": [\n{parts}\n ]\n}}\n'


def main() -> int:
    return finish(TARGET, text(), __file__)


if __name__ == "__main__":
    sys.exit(main())
