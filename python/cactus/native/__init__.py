"""The native core from Python: loading the library, and owners of its handles."""

from ..graph.step import Output, Row
from .library import available_isas, library_path
from .program import Program, ProgramInfo, Sampler, Session

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
