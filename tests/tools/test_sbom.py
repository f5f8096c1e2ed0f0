"""The bill of materials: all that is in a wheel and all that it needs, with hashes."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from cactus.cli.checkout import ROOT, read_pyproject

BUILD = """
import sys
from scikit_build_core import build
parts = {"install.components": "sbom", "build.targets": "help", "build-dir": sys.argv[1] + "/b"}
build.build_wheel(sys.argv[1], parts)
"""
"""A wheel in which nothing is compiled."""


@pytest.fixture(scope="module")
def bill() -> dict[str, Any]:
    return json.loads((ROOT / "packaging" / "sbom.cdx.json").read_text("utf-8"))


def test_every_requirement_is_listed_with_a_hash(bill: dict[str, Any]) -> None:
    project = read_pyproject()["project"]
    extras = project["optional-dependencies"].values()
    wanted = [*project["dependencies"], *(text for texts in extras for text in texts)]
    listed: dict[str, list[dict[str, Any]]] = {}
    for part in bill["components"]:
        listed.setdefault(canonicalize_name(part["name"]), []).append(part)
        assert part["version"] and part["purl"].startswith("pkg:pypi/")
        assert part["hashes"] and all(len(entry["content"]) == 64 for entry in part["hashes"])
    direct = set(bill["dependencies"][0]["dependsOn"])
    for text in wanted:
        found = listed[canonicalize_name(Requirement(text).name)]
        assert {part["bom-ref"] for part in found} <= direct, text
    for text in project["dependencies"]:
        found = listed[canonicalize_name(Requirement(text).name)]
        assert {part["scope"] for part in found} == {"required"}, text


def test_what_is_inside_is_listed(bill: dict[str, Any]) -> None:
    component = bill["metadata"]["component"]
    assert component["version"] == read_pyproject()["project"]["version"]
    inside = {part["name"]: part for part in component["components"]}
    licences = (ROOT / "python/cactus/server/page/licenses.txt").read_text("utf-8")
    bundled = {name for name, part in inside.items() if "purl" in part}
    assert {"preact", "katex", "dompurify", "highlight.js"} <= bundled
    for name in bundled:
        assert f"\n{name} {inside[name]['version']} (" in licences
        assert [entry["alg"] for entry in inside[name]["hashes"]] == ["SHA-512"]
    assert set(inside) - bundled == {"GCC runtime libraries", "MinGW-w64 runtime"}


def test_a_wheel_has_it(tmp_path: Path, bill: dict[str, Any]) -> None:
    command = [sys.executable, "-c", BUILD, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        name = f"cactus-{bill['metadata']['component']['version']}.dist-info/sboms/cactus.cdx.json"
        assert json.loads(archive.read(name)) == bill
        assert f"{name},sha256=" in archive.read(name.split("/")[0] + "/RECORD").decode()
