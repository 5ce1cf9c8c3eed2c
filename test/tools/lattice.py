"""Moves a checkpoint's matrices onto q4_0's lattice, as training for it does, and rounds them to bf16.

    lattice.py CHECKPOINT OUT
"""

import json
import pathlib
import shutil
import struct
import sys

import numpy as np

BLOCK = 32
source, out = map(pathlib.Path, sys.argv[1:])
out.mkdir(parents=True)
for file in source.iterdir():
    if file.suffix != ".safetensors":
        shutil.copy(file, out)
data = bytearray((source / "model.safetensors").read_bytes())
header = struct.unpack("<Q", data[:8])[0]
for name, tensor in json.loads(data[8 : 8 + header]).items():
    if name == "__metadata__" or len(tensor["shape"]) != 2 or tensor["shape"][1] % BLOCK or tensor["dtype"] != "BF16":
        continue
    begin, end = (8 + header + at for at in tensor["data_offsets"])
    values = (np.frombuffer(data[begin:end], "<u2").astype("<u4") << 16).view("<f4").reshape(-1, BLOCK)
    largest = np.take_along_axis(values, np.abs(values).argmax(1)[:, None], 1)
    scale = (largest / -8).astype("f2").astype("f4")
    codes = np.clip(np.rint(np.divide(values, scale, out=np.zeros_like(values), where=scale != 0)), -8, 7)
    bits = (codes * scale).astype("<f4").view("<u4").astype(np.uint64)
    data[begin:end] = ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("<u2").tobytes()
(out / "model.safetensors").write_bytes(data)
