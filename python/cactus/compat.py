"""What is not the same in all Pythons."""

from __future__ import annotations

import sys
from importlib import import_module

from cactus.errors import NativeError

if sys.version_info >= (3, 11):
    from typing import Self as Self
    from typing import Unpack as Unpack
else:
    from typing_extensions import Self as Self
    from typing_extensions import Unpack as Unpack


def refuse_subinterpreters() -> None:
    """NativeError in any interpreter but a process's main one.

    The tokenizer's library serves the first interpreter alone that asks for it, and threads that
    drive a model for others would outlive theirs.
    """
    for name in ("_interpreters", "_xxsubinterpreters"):  # since 3.13, before
        try:
            interpreters = import_module(name)
        except ImportError:
            continue
        if interpreters.get_current() != interpreters.get_main():
            raise NativeError(
                "a model cannot be loaded in a sub-interpreter of Python: load it in the main "
                "interpreter (under mod_wsgi: WSGIApplicationGroup %{GLOBAL}), or in a process "
                "of its own"
            )
        return
