"""The native core from Python: loading the library, and owners of its handles."""

from ..graph.step import Output, Row
from .library import MachinePeaks, available_isas, library_path, machine_peaks
from .program import Program, ProgramInfo, Sampler, Session

__all__ = [
    "MachinePeaks",
    "Output",
    "Program",
    "ProgramInfo",
    "Row",
    "Sampler",
    "Session",
    "available_isas",
    "library_path",
    "machine_peaks",
]
