"""Generated from native/include/cactus.h by tools/gen_signatures.py; do not edit."""

from __future__ import annotations

import ctypes
from typing import Any, ClassVar

ABI_VERSION = 13
OK = 0
ERROR_INTERNAL = 1
ERROR_ARGUMENT = 2
ERROR_HANDLE = 3
ERROR_PLAN = 4
ERROR_FILE = 5
ERROR_MEMORY = 6
ERROR_CONTEXT = 7
ERROR_NONFINITE = 8
ERROR_FORKED = 9
ERROR_ISA = 10
ERROR_CANCELLED = 11
OUTPUTS_NONE = 0
OUTPUTS_LAST = 1
OUTPUTS_ALL = 2
OUTPUTS_FIRST = 3
OUTPUTS_SUM = 4


class ProgramOptions(ctypes.Structure):
    _fields_: ClassVar[Any] = [
        ("size", ctypes.c_uint32),
        ("threads", ctypes.c_int32),
        ("plan", ctypes.c_void_p),
        ("plan_size", ctypes.c_uint64),
        ("weights_path", ctypes.c_char_p),
        ("isa", ctypes.c_char_p),
        ("max_rows", ctypes.c_uint32),
        ("preload", ctypes.c_uint32),
        ("shares", ctypes.c_uint64),
        ("kv_bytes", ctypes.c_uint64),
        ("resident", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
    ]


class ProgramInfo(ctypes.Structure):
    _fields_: ClassVar[Any] = [
        ("size", ctypes.c_uint32),
        ("threads", ctypes.c_uint32),
        ("max_rows", ctypes.c_uint32),
        ("vocab_size", ctypes.c_uint32),
        ("context_length", ctypes.c_uint32),
        ("page_positions", ctypes.c_uint32),
        ("weight_bytes", ctypes.c_uint64),
        ("arena_bytes", ctypes.c_uint64),
        ("page_bytes", ctypes.c_uint64),
        ("isa", ctypes.c_char * 16),
        ("features", ctypes.c_uint32),
        ("output_width", ctypes.c_uint32),
        ("memory_page_bytes", ctypes.c_uint64),
        ("kv_bytes", ctypes.c_uint64),
        ("kv_limit", ctypes.c_uint64),
        ("axes", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
    ]


class TokenLogprob(ctypes.Structure):
    _fields_: ClassVar[Any] = [
        ("token", ctypes.c_int32),
        ("logprob", ctypes.c_float),
    ]


class Row(ctypes.Structure):
    _fields_: ClassVar[Any] = [
        ("session", ctypes.c_uint64),
        ("tokens", ctypes.POINTER(ctypes.c_int32)),
        ("count", ctypes.c_uint32),
        ("outputs", ctypes.c_uint32),
        ("sampler", ctypes.c_uint64),
        ("features", ctypes.POINTER(ctypes.c_float)),
        ("n_top", ctypes.c_uint32),
        ("n_features", ctypes.c_uint32),
        ("top", ctypes.POINTER(TokenLogprob)),
        ("stop", ctypes.POINTER(ctypes.c_int32)),
        ("positions", ctypes.POINTER(ctypes.c_int32)),
    ]


class Output(ctypes.Structure):
    _fields_: ClassVar[Any] = [
        ("token", ctypes.c_int32),
        ("logprob", ctypes.c_float),
        ("entropy", ctypes.c_float),
    ]


class SamplerOptions(ctypes.Structure):
    _fields_: ClassVar[Any] = [
        ("size", ctypes.c_uint32),
        ("temperature", ctypes.c_float),
        ("top_k", ctypes.c_uint32),
        ("top_p", ctypes.c_float),
        ("min_p", ctypes.c_float),
        ("repetition_penalty", ctypes.c_float),
        ("presence_penalty", ctypes.c_float),
        ("frequency_penalty", ctypes.c_float),
        ("seed", ctypes.c_uint64),
        ("bias_tokens", ctypes.POINTER(ctypes.c_int32)),
        ("bias_values", ctypes.POINTER(ctypes.c_float)),
        ("bias_count", ctypes.c_uint32),
        ("repetition_window", ctypes.c_uint32),
    ]


class MachinePeaks(ctypes.Structure):
    _fields_: ClassVar[Any] = [
        ("size", ctypes.c_uint32),
        ("threads", ctypes.c_uint32),
        ("buffer_bytes", ctypes.c_uint64),
        ("bytes_per_second", ctypes.c_double),
        ("int8_per_second", ctypes.c_double),
        ("float_per_second", ctypes.c_double),
        ("isa", ctypes.c_char * 16),
    ]


FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    "cactus_abi_version": (
        ctypes.c_uint32,
        [],
    ),
    "cactus_last_error": (
        ctypes.c_char_p,
        [],
    ),
    "cactus_machine_peaks_get": (
        ctypes.c_int32,
        [
            ctypes.c_int32,
            ctypes.c_char_p,
            ctypes.c_uint64,
            ctypes.POINTER(MachinePeaks),
        ],
    ),
    "cactus_isa_available": (
        ctypes.c_uint32,
        [],
    ),
    "cactus_isa_name": (
        ctypes.c_char_p,
        [
            ctypes.c_uint32,
        ],
    ),
    "cactus_dot_f16": (
        ctypes.c_int32,
        [
            ctypes.POINTER(ctypes.c_uint16),
            ctypes.c_uint64,
            ctypes.c_uint32,
            ctypes.POINTER(ctypes.c_float),
            ctypes.POINTER(ctypes.c_float),
            ctypes.c_int32,
            ctypes.c_char_p,
        ],
    ),
    "cactus_program_create": (
        ctypes.c_int32,
        [
            ctypes.POINTER(ProgramOptions),
            ctypes.POINTER(ctypes.c_uint64),
        ],
    ),
    "cactus_program_info_get": (
        ctypes.c_int32,
        [
            ctypes.c_uint64,
            ctypes.POINTER(ProgramInfo),
        ],
    ),
    "cactus_program_step": (
        ctypes.c_int32,
        [
            ctypes.c_uint64,
            ctypes.POINTER(Row),
            ctypes.c_uint32,
            ctypes.POINTER(Output),
            ctypes.c_uint32,
            ctypes.POINTER(ctypes.c_float),
            ctypes.POINTER(ctypes.c_int32),
            ctypes.POINTER(ctypes.c_int32),
        ],
    ),
    "cactus_program_generate": (
        ctypes.c_int32,
        [
            ctypes.c_uint64,
            ctypes.POINTER(Row),
            ctypes.c_uint32,
            ctypes.POINTER(ctypes.c_int32),
            ctypes.c_uint32,
            ctypes.POINTER(Output),
            ctypes.c_uint32,
            ctypes.POINTER(ctypes.c_uint32),
            ctypes.POINTER(ctypes.c_int32),
        ],
    ),
    "cactus_program_read": (
        ctypes.c_int32,
        [
            ctypes.c_uint64,
            ctypes.c_uint32,
            ctypes.POINTER(ctypes.c_float),
            ctypes.c_uint64,
        ],
    ),
    "cactus_program_profile": (
        ctypes.c_int32,
        [
            ctypes.c_uint64,
            ctypes.c_int32,
            ctypes.POINTER(ctypes.c_double),
            ctypes.c_uint32,
        ],
    ),
    "cactus_program_destroy": (
        ctypes.c_int32,
        [
            ctypes.c_uint64,
        ],
    ),
    "cactus_session_create": (
        ctypes.c_int32,
        [
            ctypes.c_uint64,
            ctypes.POINTER(ctypes.c_uint64),
        ],
    ),
    "cactus_session_length": (
        ctypes.c_int32,
        [
            ctypes.c_uint64,
            ctypes.POINTER(ctypes.c_uint32),
        ],
    ),
    "cactus_session_memory": (
        ctypes.c_int32,
        [
            ctypes.c_uint64,
            ctypes.POINTER(ctypes.c_uint32),
        ],
    ),
    "cactus_session_truncate": (
        ctypes.c_int32,
        [
            ctypes.c_uint64,
            ctypes.c_uint32,
            ctypes.POINTER(ctypes.c_uint32),
        ],
    ),
    "cactus_session_fork": (
        ctypes.c_int32,
        [
            ctypes.c_uint64,
            ctypes.POINTER(ctypes.c_uint64),
        ],
    ),
    "cactus_session_restore": (
        ctypes.c_int32,
        [
            ctypes.c_uint64,
            ctypes.c_uint64,
        ],
    ),
    "cactus_session_destroy": (
        ctypes.c_int32,
        [
            ctypes.c_uint64,
        ],
    ),
    "cactus_sampler_create": (
        ctypes.c_int32,
        [
            ctypes.POINTER(SamplerOptions),
            ctypes.POINTER(ctypes.c_uint64),
        ],
    ),
    "cactus_sampler_mask": (
        ctypes.c_int32,
        [
            ctypes.c_uint64,
            ctypes.POINTER(ctypes.c_uint32),
            ctypes.c_uint32,
            ctypes.c_uint32,
        ],
    ),
    "cactus_sampler_prompt": (
        ctypes.c_int32,
        [
            ctypes.c_uint64,
            ctypes.POINTER(ctypes.c_int32),
            ctypes.c_uint32,
        ],
    ),
    "cactus_sampler_accept": (
        ctypes.c_int32,
        [
            ctypes.c_uint64,
            ctypes.POINTER(ctypes.c_int32),
            ctypes.c_uint32,
        ],
    ),
    "cactus_sampler_rewind": (
        ctypes.c_int32,
        [
            ctypes.c_uint64,
            ctypes.c_uint64,
        ],
    ),
    "cactus_sampler_destroy": (
        ctypes.c_int32,
        [
            ctypes.c_uint64,
        ],
    ),
}
