"""Checks files of `lapidary calibrate` on the tiny checkpoint, and makes one of another model.

    calibrate-check.py CHECKPOINT TEXT ALL   importance from a text alone, and with images and sounds
    calibrate-check.py --cut FILE OUT        the same with the first half of each vector
"""

import json
import pathlib
import struct
import sys

TEXT_ALONE = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj",
              "mlp.down_proj", "embed_tokens")


def read(path):
    content = pathlib.Path(path).read_bytes()
    size = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8:8 + size])
    header.pop("__metadata__", None)
    body = content[8 + size:]
    return header, {name: struct.unpack(f"<{(entry['data_offsets'][1] - entry['data_offsets'][0]) // 4}f",
                                        body[slice(*entry["data_offsets"])])
                    for name, entry in header.items() if entry["dtype"] == "F32"}


def check(checkpoint, textFile, allFile):
    shapes = {name: entry["shape"] for name, entry in read(pathlib.Path(checkpoint) / "model.safetensors")[0].items()}
    matrices = {name for name, shape in shapes.items() if len(shape) == 2}
    text, media = read(textFile)[1], read(allFile)[1]
    assert set(media) == matrices, set(media) ^ matrices
    assert set(text) == {name for name in matrices if any(part in name for part in TEXT_ALONE)}, set(text)
    for values in (text, media):
        for name, columns in values.items():
            assert len(columns) == shapes[name][1], name
            assert all(value >= 0 for value in columns) and sum(columns) > 0, name
    for layer in range(6):
        part = f"model.language_model.layers.{layer}."
        # Linear ops that read one input have one importance, and others do not.
        assert text[part + "self_attn.q_proj.weight"] == text[part + "self_attn.k_proj.weight"]
        assert text[part + "mlp.gate_proj.weight"] == text[part + "mlp.up_proj.weight"]
        assert text[part + "self_attn.q_proj.weight"] != text[part + "mlp.gate_proj.weight"]
    assert text["model.language_model.embed_tokens.weight"] != media["model.language_model.embed_tokens.weight"]


def cut(path, out):
    header, values = read(path)
    body, entries = b"", {}
    for name, columns in values.items():
        half = columns[:len(columns) // 2]
        entries[name] = {"dtype": "F32", "shape": [len(half)], "data_offsets": [len(body), len(body) + 4 * len(half)]}
        body += struct.pack(f"<{len(half)}f", *half)
    text = json.dumps(entries).encode()
    pathlib.Path(out).write_bytes(struct.pack("<Q", len(text)) + text + body)


if sys.argv[1] == "--cut":
    cut(*sys.argv[2:4])
else:
    check(*sys.argv[1:4])
