"""Writes python/cactus/native/_signatures.py from native/include/cactus.h.

    python tools/gen_signatures.py [--check]

The header has one declaration a line and plain structs, so a few regular expressions read it whole;
anything they do not understand is an error.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from generated import finish

ROOT = Path(__file__).resolve().parents[1]
HEADER = ROOT / "native/include/cactus.h"
TARGET = ROOT / "python/cactus/native/_signatures.py"

SCALARS = {
    "int32_t": "ctypes.c_int32",
    "uint16_t": "ctypes.c_uint16",
    "uint32_t": "ctypes.c_uint32",
    "uint64_t": "ctypes.c_uint64",
    "float": "ctypes.c_float",
    "double": "ctypes.c_double",
    "cactus_id": "ctypes.c_uint64",
    "cactus_status": "ctypes.c_int32",
}


def class_name(struct: str) -> str:
    return "".join(part.capitalize() for part in struct.removeprefix("cactus_").split("_"))


def ctype(declared: str, structs: list[str]) -> str:
    """The ctypes expression of a C type such as ``const float*``."""
    text = declared.replace("const", "").strip()
    pointer = text.endswith("*")
    base = text.rstrip("*").strip()
    if pointer and base == "char":
        return "ctypes.c_char_p"
    if pointer and base == "void":
        return "ctypes.c_void_p"
    inner = class_name(base) if base in structs else SCALARS[base]
    return f"ctypes.POINTER({inner})" if pointer else inner


def generate(header: str) -> str:
    code = re.sub(r"//.*", "", header)
    found = re.findall(r"typedef struct (\w+) \{(.*?)\} \w+;", code, re.DOTALL)
    structs = [name for name, _ in found]
    lines = [
        '"""Generated from native/include/cactus.h by tools/gen_signatures.py; do not edit."""',
        "",
        "from __future__ import annotations",
        "",
        "import ctypes",
        "from typing import Any, ClassVar",
        "",
    ]
    (version,) = re.findall(r"#define CACTUS_ABI_VERSION (\d+)", code)
    lines.append(f"ABI_VERSION = {version}")
    for name, value in re.findall(r"\bCACTUS_(\w+) = (\d+)", code):
        lines.append(f"{name} = {value}")
    for name, body in found:
        lines += ["", "", f"class {class_name(name)}(ctypes.Structure):"]
        lines.append("    _fields_: ClassVar[Any] = [")
        for declaration in filter(None, (part.strip() for part in body.split(";"))):
            match = re.fullmatch(r"(.+?[\s*])(\w+)(?:\[(\d+)\])?", declaration)
            if match is None:
                raise SystemExit(f"{HEADER}: cannot read {declaration!r}")
            kind, field, count = match.groups()
            expression = f"ctypes.c_char * {count}" if count else ctype(kind, structs)
            lines.append(f'        ("{field}", {expression}),')
        lines.append("    ]")
    lines += ["", "", "FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {"]
    declarations = re.findall(r"^CACTUS_API (.+?)(\w+)\((.*)\);$", code, re.MULTILINE)
    if len(declarations) != code.count("CACTUS_API ") - code.count("define CACTUS_API "):
        raise SystemExit(f"{HEADER}: a declaration is not on one line")
    for result, name, arguments in declarations:
        kinds = []
        for argument in [] if arguments == "void" else arguments.split(","):
            match = re.fullmatch(r"(.+?[\s*])(\w+)", argument.strip())
            if match is None:
                raise SystemExit(f"{HEADER}: cannot read {argument!r}")
            kinds.append(ctype(match[1], structs))
        # One item a line with a comma after the last: the formatter leaves that as it is.
        lines += [f'    "{name}": (', f"        {ctype(result, structs)},"]
        if kinds:
            lines += ["        [", *(f"            {kind}," for kind in kinds), "        ],"]
        else:
            lines += ["        [],"]
        lines += ["    ),"]
    lines += ["}", ""]
    return "\n".join(lines)


def main() -> int:
    return finish(TARGET, generate(HEADER.read_text("utf-8")), __file__)


if __name__ == "__main__":
    sys.exit(main())
