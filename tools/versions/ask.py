"""Prints what the code of a version says of files of others."""

from __future__ import annotations

import sys
from pathlib import Path

from cactus import Model
from cactus.errors import CactusError


def main(versions: Path) -> None:
    for folder in sorted(versions.glob("*/int*")):
        if folder.is_dir():
            try:
                with Model(str(folder)) as model:
                    model.chat([{"role": "user", "content": "Hi"}], max_tokens=4)
                said = "read"
            except CactusError as error:
                said = f"{type(error).__name__}: {error}"
            print(f"{folder.relative_to(versions)}: {said}")


main(Path(sys.argv[1]))
