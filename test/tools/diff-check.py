"""Checks what `lapidary diff --json` says of a q8_0 bundle against plain arithmetic, and makes the inputs that it must refuse.

    diff-check.py JSON CHECKPOINT BUNDLE    errors are those of blocks of 32 with an absmax scale, or less
    diff-check.py --cut CHECKPOINT FOLDER   a checkpoint without a tensor, and with one of another shape
    diff-check.py --alter BUNDLE OUT        a bundle with one byte of its last weights changed
"""

import json
import math
import pathlib
import shutil
import struct
import sys


def readHeader(checkpoint):
    content = (pathlib.Path(checkpoint) / "model.safetensors").read_bytes()
    size = struct.unpack("<Q", content[:8])[0]
    return json.loads(content[8:8 + size]), content[8 + size:]


def readValues(header, body, name):
    begin, end = header[name]["data_offsets"]
    return [struct.unpack("<f", b"\0\0" + body[at:at + 2])[0] for at in range(begin, end, 2)]


def check(path, checkpoint):
    report = json.loads(pathlib.Path(path).read_text())
    header, body = readHeader(checkpoint)
    header.pop("__metadata__", None)
    rows = report["tensors"]
    assert {row["name"] for row in rows} == set(header), "every tensor once"
    assert report["only_a"] == [] and report["only_b"] == []
    errors = [row["relative_rms"] for row in rows]
    assert errors == sorted(errors, reverse=True), "worst first"
    squares = wrong = 0
    for row in rows:
        assert row["shape"] == header[row["name"]]["shape"] and row["scheme_a"] == "bf16"
        values = readValues(header, body, row["name"])
        power = sum(value * value for value in values)
        squares += power
        wrong += row["relative_rms"] ** 2 * power
        if row["scheme_b"] == "bf16":
            assert row["exact"] and row["relative_rms"] == row["largest"] == 0 and row["cosine"] == 1, row
            continue
        # The encoder searches, so its error is at most that of the plain way: half a step everywhere at worst.
        columns = row["shape"][-1]
        plain = largest = 0
        for at in range(0, len(values), columns):
            for block in range(at, at + columns, 32):
                part = values[block:min(block + 32, at + columns)]
                scale = struct.unpack("<e", struct.pack("<e", max(map(abs, part)) / 127))[0] or 1
                miss = [value - scale * round(value / scale) for value in part]
                plain += sum(value * value for value in miss)
                largest = max(largest, scale)
        assert 0 < row["relative_rms"] <= math.sqrt(plain / power) * 1.0001, (row, math.sqrt(plain / power))
        assert 0 < row["largest"] <= largest and not row["exact"] and row["unequal"] > 0, (row, largest)
        assert abs(row["cosine"] - (1 - row["relative_rms"] ** 2 / 2)) < 1e-6, row
    total = report["total"]
    assert abs(total["relative_rms"] / math.sqrt(wrong / squares) - 1) < 1e-6, total
    assert total["largest"] == max(row["largest"] for row in rows)
    assert total["unequal"] == sum(row["unequal"] for row in rows)
    assert report["changed_tensors"] == sum(row["scheme_b"] == "q8_0" for row in rows) > 40
    assert report["changed"]["relative_rms"] > total["relative_rms"]


def cut(checkpoint, folder):
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(checkpoint, folder)
    header, body = readHeader(checkpoint)
    header.pop("model.language_model.layers.0.layer_scalar")
    norm = header["model.language_model.norm.weight"]
    norm["shape"] = [1, *norm["shape"]]
    # The format wants no gap, so what is cut out goes to a name that says nothing.
    text = json.dumps(header).encode()
    (pathlib.Path(folder) / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + body)


def alter(bundle, out):
    content = bytearray(pathlib.Path(bundle).read_bytes())
    content[len(content) // 2] ^= 1
    pathlib.Path(out).write_bytes(content)


{"--cut": lambda: cut(*sys.argv[2:4]), "--alter": lambda: alter(*sys.argv[2:4])}.get(
    sys.argv[1], lambda: check(*sys.argv[1:3]))()
