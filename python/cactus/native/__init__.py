"""The native core from Python: loading the library, and owners of its handles."""

from .library import available_isas, library_path
from .program import Output, Program, ProgramInfo, Row, Sampler, Session

__all__ = [
    "Output",
    "Program",
    "ProgramInfo",
    "Row",
    "Sampler",
    "Session",
    "available_isas",
    "library_path",
]
