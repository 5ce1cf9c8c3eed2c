#!/usr/bin/env python3
"""Quantizes the linear layers of a checkpoint as compressed-tensors or ModelOpt do: needs numpy alone.

    python3 quantize-tiny.py CHECKPOINT OUT --form FORM [--all] [--plain PLAIN]

FORM is one of those at the end of this file. --all takes the embedding table and the media projections too, which
quantizers usually leave. PLAIN is a folder for the same values as f32 tensors. Scales are by the largest magnitude or by
the range, which is enough for a test.
"""

import argparse
import json
import pathlib
import shutil
import struct

import numpy as np

FP4 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], "f4")


def fp8Values():
    """The values of 0x00..0x7e."""
    codes = np.arange(0x7F)
    exponent, mantissa = codes >> 3, codes & 7
    return np.where(exponent > 0, (8 + mantissa) * 2.0 ** (exponent - 10.0), mantissa * 2.0**-9).astype("f4")


FP8 = fp8Values()


def nearest(table, values):
    """Codes of the table's nearest magnitudes, and the sign's bit above them."""
    middles = (table[1:] + table[:-1]) / 2
    return np.searchsorted(middles, np.abs(values)), np.signbit(values)


def toBf16(values):
    bits = np.ascontiguousarray(values, "<f4").view("<u4").astype(np.uint64)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("<u2")


def fromBf16(bits):
    return (bits.astype("<u4") << 16).view("<f4")


def pack(codes, bits):
    """Rows of unsigned codes as rows of 32-bit words."""
    flat = (codes[..., None] >> np.arange(bits) & 1).astype(np.uint8).reshape(len(codes), -1)
    flat = np.pad(flat, ((0, 0), (0, -flat.shape[1] % 32)))
    return np.packbits(np.ascontiguousarray(flat), axis=1, bitorder="little").copy("C").view("<i4")


def blocks(values, group):
    return values.reshape(len(values), -1, group or values.shape[1])


def shape(values):
    return ("I64", np.array(values.shape, "<i8"))


def toIntegers(values, bits, group, symmetric):
    """Packed integers with bf16 scales."""
    cut = blocks(values, group)
    half = 1 << (bits - 1)
    low = np.minimum(cut.min(2), 0)
    span = np.abs(cut).max(2) / (half - 0.5) if symmetric else (np.maximum(cut.max(2), 0) - low) / (2 * half - 1)
    scaleBits = toBf16(np.maximum(span, 1e-6))
    scale = fromBf16(scaleBits)
    zero = np.zeros_like(scale) if symmetric else np.rint(-low / scale).clip(0, 2 * half - 1) - half
    codes = (np.rint(cut / scale[..., None]) + zero[..., None]).clip(-half, half - 1)
    exact = ((codes - zero[..., None]) * scale[..., None]).astype("f4").reshape(values.shape)
    codes = codes.astype(int).reshape(values.shape) + half
    parts = {"weight_packed": ("I32", pack(codes, bits)), "weight_scale": ("BF16", scaleBits), "weight_shape": shape(values)}
    if not symmetric:
        parts["weight_zero_point"] = ("I32", pack((zero.astype(int) + half).T, bits).T)
    return parts, exact


def toInt8(values):
    scaleBits = toBf16(np.abs(values).max(1, keepdims=True) / 127)
    scale = fromBf16(scaleBits)
    codes = np.rint(values / scale).clip(-128, 127).astype(np.int8)
    return {"weight": ("I8", codes), "weight_scale": ("BF16", scaleBits)}, codes.astype("f4") * scale


def toFp8(values, perRow):
    scale = (np.abs(values).max(1 if perRow else None, keepdims=True) / 448).astype("<f4")
    codes, sign = nearest(FP8, values / scale)
    exact = np.where(sign, -FP8[codes], FP8[codes]) * scale
    scale = scale if perRow else scale.reshape(())
    return {"weight": ("F8_E4M3", (codes | sign << 7).astype(np.uint8)), "weight_scale": ("F32", scale)}, exact


def toFp4(values, modelOpt):
    cut = blocks(values, 16)
    largest = np.abs(cut).max(2)
    # The library's: scales are divided by it.
    divisor = np.float32(448 * 6 / largest.max())
    factor = np.float32(1) / divisor
    scaleCodes, _ = nearest(FP8, largest / 6 / factor)
    step = (FP8[scaleCodes] * factor)[..., None]
    codes, sign = nearest(FP4, np.divide(cut, step, out=np.zeros_like(cut), where=step > 0))
    exact = (np.where(sign, -FP4[codes], FP4[codes]) * step).reshape(values.shape)
    codes = (codes | sign << 3).reshape(values.shape)
    packed = ("U8", (codes[:, ::2] | codes[:, 1::2] << 4).astype(np.uint8))
    scale = ("F8_E4M3", scaleCodes.astype(np.uint8))
    if modelOpt:
        return {"weight": packed, "weight_scale": scale, "weight_scale_2": ("F32", np.array(factor, "<f4"))}, exact
    return {"weight_packed": packed, "weight_scale": scale, "weight_global_scale": ("F32", np.array([divisor], "<f4"))}, exact


def toMxFp4(values):
    cut = blocks(values, 32)
    exponent = (np.floor(np.log2(np.maximum(np.abs(cut).max(2), 1e-30))) - 2).clip(-127, 127)
    step = (2.0**exponent).astype("f4")[..., None]
    codes, sign = nearest(FP4, cut / step)
    exact = (np.where(sign, -FP4[codes], FP4[codes]) * step).reshape(values.shape)
    codes = (codes | sign << 3).reshape(values.shape)
    packed = ("U8", (codes[:, ::2] | codes[:, 1::2] << 4).astype(np.uint8))
    return {"weight_packed": packed, "weight_scale": ("U8", (exponent + 127).astype(np.uint8))}, exact


def readTensors(path):
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        tensors[name] = (entry["dtype"], entry["shape"], data[8 + length + begin : 8 + length + end])
    return tensors


def writeTensors(path, tensors):
    header, data = {}, b""
    for name, (dtype, dimensions, content) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(dimensions), "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def compressed(form, weights, inputs=None):
    group = {"targets": ["Linear"], "weights": {"dynamic": False, **weights}, "input_activations": inputs}
    return {"quant_method": "compressed-tensors", "format": form, "quantization_status": "compressed",
            "config_groups": {"group_0": group}, "ignore": ["lm_head"], "kv_cache_scheme": None}


def integers(bits, group, symmetric):
    weights = {"num_bits": bits, "type": "int", "symmetric": symmetric, "strategy": "group", "group_size": group}
    return compressed("pack-quantized", weights)


DYNAMIC = {"num_bits": 8, "type": "float", "strategy": "token", "dynamic": True}
# What makes the parts of a matrix and its values, and what config.json or hf_quant_config.json says.
FORMS = {
    "int4": (lambda v: toIntegers(v, 4, 32, True), integers(4, 32, True)),
    "int4-zero": (lambda v: toIntegers(v, 4, 64, False), integers(4, 64, False)),
    "int3": (lambda v: toIntegers(v, 3, 32, False), integers(3, 32, False)),
    "int8": (toInt8, compressed("int-quantized", {"num_bits": 8, "type": "int", "strategy": "channel"})),
    "fp8": (lambda v: toFp8(v, False), {"quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8"}}),
    "fp8-channel": (lambda v: toFp8(v, True),
                    compressed("float-quantized", {"num_bits": 8, "type": "float", "strategy": "channel"}, DYNAMIC)),
    "nvfp4": (lambda v: toFp4(v, False),
              compressed("nvfp4-pack-quantized",
                         {"num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16})),
    "modelopt-nvfp4": (lambda v: toFp4(v, True), {"quantization": {"quant_algo": "NVFP4", "group_size": 16}}),
    "mxfp4": (toMxFp4, compressed("mxfp4-pack-quantized",
                                  {"num_bits": 4, "type": "float", "strategy": "group", "group_size": 32})),
}


def isQuantized(name, dimensions, everything):
    if len(dimensions) != 2 or not name.endswith("weight"):
        return False
    return everything or (".layers." in name and "_proj." in name)


def copyRest(source, target):
    target.mkdir(parents=True, exist_ok=True)
    for path in source.iterdir():
        if path.suffix != ".safetensors":
            shutil.copy(path, target)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("checkpoint", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--form", choices=FORMS, required=True)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--plain", type=pathlib.Path)
    arguments = parser.parse_args()
    quantize, config = FORMS[arguments.form]
    quantized, plain = {}, {}
    for name, (dtype, dimensions, content) in readTensors(arguments.checkpoint / "model.safetensors").items():
        if not isQuantized(name, dimensions, arguments.all):
            quantized[name] = plain[name] = (dtype, dimensions, content)
            continue
        assert dtype == "BF16", name
        parts, exact = quantize(fromBf16(np.frombuffer(content, "<u2")).reshape(dimensions))
        plain[name] = ("F32", dimensions, np.ascontiguousarray(exact, "<f4").tobytes())
        for part, (partType, values) in parts.items():
            quantized[name[: -len("weight")] + part] = (partType, values.shape, np.ascontiguousarray(values).tobytes())
        if arguments.form == "fp8":
            quantized[name[: -len("weight")] + "input_scale"] = ("F32", (), struct.pack("<f", 0.5))
    copyRest(arguments.checkpoint, arguments.out)
    writeTensors(arguments.out / "model.safetensors", quantized)
    if "quant_method" in config:
        path = arguments.out / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "quantization_config": config}))
    else:
        (arguments.out / "hf_quant_config.json").write_text(json.dumps(config))
    if arguments.plain:
        copyRest(arguments.checkpoint, arguments.plain)
        writeTensors(arguments.plain / "model.safetensors", plain)


if __name__ == "__main__":
    main()
