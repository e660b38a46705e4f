"""Errors of ggml's types, t² = |w - ŵ|² / |w|² on a normal distribution: src/interop/gguf/errors.json, by which plans for llama.cpp are made.

    python bench/ggml-types.py libggml-base.so > src/interop/gguf/errors.json

Quantizes and dequantizes by ggml itself, plainly and with a weight of one for each column, as an importance matrix has them; null where
llama-quantize refuses a type without. The library is in llama.cpp's builds, and in its binding on npm (tests/gguf/install.sh). Needs numpy; takes a minute.
"""

import ctypes
import json
import sys

import numpy as np

TYPES = {
    **{"q2_K": 10, "q3_K": 11, "q4_K": 12, "q5_K": 13, "q6_K": 14, "q8_0": 8, "q4_0": 2, "q4_1": 3, "q5_0": 6, "q5_1": 7},
    **{"iq2_xxs": 16, "iq2_xs": 17, "iq2_s": 22, "iq3_xxs": 18, "iq3_s": 21, "iq4_nl": 20, "iq4_xs": 23},
}
# llama-quantize refuses these without an importance matrix.
DEMANDING = {"iq2_xxs", "iq2_xs", "iq2_s", "iq3_xxs"}
ROWS, COLS = 256, 4096


class Traits(ctypes.Structure):
    _fields_ = [
        *[("name", ctypes.c_char_p), ("block", ctypes.c_int64), ("interleave", ctypes.c_int64), ("size", ctypes.c_size_t)],
        *[("quantized", ctypes.c_bool), ("to_float", ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64))],
    ]


def main():
    ggml = ctypes.CDLL(sys.argv[1])
    ggml.ggml_get_type_traits.restype = ctypes.POINTER(Traits)
    ggml.ggml_quantize_chunk.restype = ctypes.c_size_t
    weights = np.random.default_rng(1).standard_normal((ROWS, COLS)).astype(np.float32)
    ones = np.ones(COLS, dtype=np.float32)
    pointer = lambda array: array.ctypes.data_as(ctypes.c_void_p)
    count = lambda n: ctypes.c_int64(n)

    def error(number, traits, importance):
        codes = np.zeros(weights.size // traits.block * traits.size, dtype=np.uint8)
        given = importance and pointer(ones)
        ggml.ggml_quantize_chunk(number, pointer(weights), pointer(codes), count(0), count(ROWS), count(COLS), given)
        back = np.zeros_like(weights)
        traits.to_float(pointer(codes), pointer(back), weights.size)
        difference = (back - weights).astype(np.float64)
        return float(f"{(difference**2).sum() / (weights.astype(np.float64) ** 2).sum():.4g}")

    table = {}
    for name, number in TYPES.items():
        traits = ggml.ggml_get_type_traits(number).contents
        assert traits.name.decode() == name
        errors = {"plain": None if name in DEMANDING else error(number, traits, False), "weighted": error(number, traits, True)}
        table[name] = {"weights": traits.block, "bytes": traits.size, **errors}
    print("{\n" + ",\n".join(f"  {json.dumps(name)}: {json.dumps(about)}" for name, about in table.items()) + "\n}")


if __name__ == "__main__":
    main()
