"""Weights in the codes of other programs, and what they are: goldens.safetensors beside this file. Parts are called <format>/<part>.

    python tests/packed/make.py

Packs seeded codes by what those programs do, written anew from their published code, each line by the function that it follows:
AutoAWQ's pack_intweight (order_map), AutoGPTQ's QuantLinear.pack (a word of inputs, zeros less 1) and its second format, bitsandbytes'
kQuantizeBlockwise (the first in the high half) with nested scales, compressed-tensors' pack_to_int32 and pack_fp4_to_uint8.
Needs numpy.
"""

import json
import struct
from pathlib import Path

import numpy as np

RNG = np.random.default_rng(5)
OUT, IN, GROUP = 16, 64, 16
F16 = np.float16


def words(codes, bits, axis, order=None):
    """Codes of `bits` along an axis in words of 32, the first lowest, or in the order given."""
    codes = np.moveaxis(codes.astype(np.uint64), axis, -1)
    per = 32 // bits
    split = codes.reshape(*codes.shape[:-1], -1, per)
    packed = np.zeros(split.shape[:-1], dtype=np.uint64)
    for i in range(per):
        packed |= split[..., order[i] if order else i] << np.uint64(bits * i)
    return np.moveaxis(packed.astype(np.uint32).view(np.int32), -1, axis)


def scales(groups, outs):
    return (RNG.random((groups, outs)) * 0.02 + 0.001).astype(F16)


def awq():
    q, z, s = RNG.integers(0, 16, (IN, OUT)), RNG.integers(0, 16, (IN // GROUP, OUT)), scales(IN // GROUP, OUT)
    order = [0, 2, 4, 6, 1, 3, 5, 7]
    group = np.arange(IN) // GROUP
    weight = (q - z[group]).astype(np.float32) * s[group].astype(np.float32)
    parts = {"qweight": words(q, 4, 1, order), "qzeros": words(z, 4, 1, order), "scales": s}
    return parts, weight.T


def gptq(bits, second, act):
    """Zeros are 1 and more in the first format, which stores them less 1."""
    groups = IN // GROUP
    q, s = RNG.integers(0, 2**bits, (IN, OUT)), scales(groups, OUT)
    z = RNG.integers(1, 2**bits, (groups, OUT))
    group = RNG.permutation(np.arange(IN) // GROUP) if act else np.arange(IN) // GROUP
    weight = (q - z[group]).astype(np.float32) * s[group].astype(np.float32)
    parts = {"qweight": words(q, bits, 0), "qzeros": words(z if second else z - 1, bits, 1), "scales": s, "g_idx": group.astype(np.int32)}
    return parts, weight.T


def nf4(nested):
    levels = np.sort(RNG.standard_normal(16)).astype(np.float32)
    block, count = 64, OUT * IN
    q = RNG.integers(0, 16, count)
    packed = (q[::2] << 4 | q[1::2]).astype(np.uint8).reshape(-1, 1)
    parts = {"weight": packed, "weight.quant_map": levels}
    state = {"quant_type": "nf4", "blocksize": block, "dtype": "bfloat16", "shape": [OUT, IN]}
    if nested:
        codes = RNG.integers(0, 256, count // block).astype(np.uint8)
        table = np.sort(RNG.standard_normal(256)).astype(np.float32)
        outer = np.array([0.75, 1.5], dtype=np.float32)  # of blocks of 8 here
        largest = (table[codes] * np.repeat(outer, 8)).astype(np.float64) + 0.125
        largest = largest.astype(np.float32)
        parts |= {"weight.absmax": codes, "weight.nested_absmax": outer, "weight.nested_quant_map": table}
        state |= {"nested_blocksize": 8, "nested_offset": 0.125}
    else:
        largest = RNG.random(count // block).astype(np.float32)
        parts["weight.absmax"] = largest
    parts["weight.quant_state.bitsandbytes__nf4"] = np.frombuffer(json.dumps(state).encode(), dtype=np.uint8)
    weight = levels[q] * np.repeat(largest, block)
    return parts, weight.astype(np.float32).reshape(OUT, IN)


def int4(zeros):
    groups = IN // GROUP
    q, s = RNG.integers(-8, 8, (OUT, IN)), scales(OUT, groups)
    z = RNG.integers(-8, 8, (OUT, groups)) if zeros else np.zeros((OUT, groups), dtype=np.int64)
    parts = {"weight_packed": words(q + 8, 4, 1), "weight_scale": s, "weight_shape": np.array([OUT, IN], dtype=np.int64)}
    if zeros:
        parts["weight_zero_point"] = words(z + 8, 4, 0)
    spread = lambda a: np.repeat(a, GROUP, axis=1)
    return parts, (q - spread(z)).astype(np.float32) * spread(s.astype(np.float32))


def e4m3(codes):
    sign, exponent, significand = np.where(codes < 128, 1.0, -1.0), (codes >> 3) & 15, codes & 7
    return (sign * np.where(exponent == 0, significand * 2.0**-9, (8 + significand) * 2.0 ** (exponent - 10.0))).astype(np.float32)


def fp8(shape):
    codes = RNG.integers(0, 127, (OUT, IN)) + RNG.integers(0, 2, (OUT, IN)) * 128
    s = (RNG.random(shape) + 0.5).astype(np.float32)
    spread = s if len(shape) == 1 else np.repeat(np.repeat(s, OUT // shape[0], axis=0), IN // shape[1], axis=1)
    return {"weight": ("F8_E4M3", codes.astype(np.uint8)), "weight_scale": s}, e4m3(codes) * spread


def nvfp4():
    levels = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], dtype=np.float32)
    q = RNG.integers(0, 16, (OUT, IN))
    value = np.where(q < 8, 1, -1).astype(np.float32) * levels[q & 7]
    s = RNG.integers(40, 100, (OUT, IN // 16))
    whole = np.array([352.5], dtype=np.float32)
    factor = (e4m3(s) / whole).astype(np.float32)
    parts = {"weight_packed": (q[:, ::2] | q[:, 1::2] << 4).astype(np.uint8), "weight_scale": ("F8_E4M3", s.astype(np.uint8))}
    return parts | {"weight_global_scale": whole}, value * np.repeat(factor, 16, axis=1)


MADE = {
    "awq": awq(),
    **{f"gptq{bits}": gptq(bits, False, False) for bits in (2, 4, 8)},
    **{"gptq-order": gptq(4, False, True), "gptq-second": gptq(4, True, True)},
    **{"nf4": nf4(False), "nf4-nested": nf4(True)},
    **{"int4": int4(False), "int4-zeros": int4(True)},
    **{"fp8": fp8((1,)), "fp8-rows": fp8((OUT, 1)), "fp8-blocks": fp8((2, 4)), "nvfp4": nvfp4()},
}
DTYPES = {"int32": "I32", "uint8": "U8", "float16": "F16", "float32": "F32", "int64": "I64"}


def main():
    header, data = {}, b""
    for name, (parts, weight) in MADE.items():
        for part, own in {**parts, "wanted": weight.astype(np.float32)}.items():
            dtype, array = own if isinstance(own, tuple) else (DTYPES[str(own.dtype)], own)
            content = np.ascontiguousarray(array).tobytes()
            header[f"{name}/{part}"] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [len(data), len(data) + len(content)]}
            data += content
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    (Path(__file__).parent / "goldens.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)


main()
