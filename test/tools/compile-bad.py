"""Damages the tiny checkpoint in the ways that happen and checks that compiling says so.

    compile-bad.py LAPIDARY CHECKPOINT WORK

Each case must end with exit code 1, name the file (and the tensor, where it is one tensor's fault), and leave no bundle.
"""

import json
import pathlib
import shutil
import struct
import subprocess
import sys

lapidary, checkpoint, work = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
shutil.rmtree(work, ignore_errors=True)
original = (checkpoint / "model.safetensors").read_bytes()
headerSize = struct.unpack("<Q", original[:8])[0]
header = json.loads(original[8:8 + headerSize])
body = original[8 + headerSize:]
NORM = "model.language_model.norm.weight"


def withHeader(change):
    """The same tensors' bytes under a header that `change` altered."""
    altered = json.loads(json.dumps(header))
    change(altered)
    text = json.dumps(altered).encode()
    return struct.pack("<Q", len(text)) + text + body


def move(offsets):
    return lambda altered: altered[NORM].update(data_offsets=offsets)


def withNan():
    begin = header[NORM]["data_offsets"][0]
    return original[:8 + headerSize] + body[:begin] + b"\xc0\x7f" + body[begin + 2:]


begin, end = header[NORM]["data_offsets"]
weights = {
    "cut short": (original[:len(original) // 2], "model.safetensors"),
    "cut in the header": (original[:100], "model.safetensors"),
    "empty": (b"", "model.safetensors"),
    "header of 2^60 bytes": (struct.pack("<Q", 1 << 60) + original[8:], "model.safetensors"),
    "header is no JSON": (original[:8] + b"{" * headerSize + body, "model.safetensors"),
    "tensor missing": (withHeader(lambda altered: altered.pop(NORM)), NORM),
    "offsets out of range": (withHeader(move([len(body), len(body) + end - begin])), NORM),
    "offsets overlap": (withHeader(move([begin - 2, end - 2])), "model.safetensors"),
    "offsets backwards": (withHeader(move([end, begin])), NORM),
    "wrong shape": (withHeader(lambda altered: altered[NORM].update(shape=[1, (end - begin) // 2])), NORM),
    "unknown dtype": (withHeader(lambda altered: altered[NORM].update(dtype="F4")), NORM),
    "NaN": (withNan(), NORM),
}
configs = {
    "unknown model_type": (lambda config: config.update(model_type="gemma99"), "gemma99"),
    "unknown layer type": (lambda config: config["text_config"]["layer_types"].__setitem__(0, "spiral"), "spiral"),
    "unknown field": (lambda config: config["text_config"].update(moon_phase=3), "moon_phase"),
    "negative size": (lambda config: config["text_config"].update(hidden_size=-8), "hidden_size"),
}

failed = 0


def compileCase(name, folder, word):
    global failed
    bundle = folder / "out.lap"
    command = [lapidary, "compile", str(folder), "--target", "cpu", "--quant", "bf16", "-o", str(bundle)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if result.returncode != 1 or word not in result.stderr or bundle.exists():
        failed += 1
        print(f"FAIL {name}: exit code {result.returncode}, bundle {bundle.exists()}, expected '{word}' in: "
              f"{result.stderr.strip()[:300]}")
    shutil.rmtree(folder)


for name, (content, word) in weights.items():
    folder = work / name.replace(" ", "-").replace("^", "")
    shutil.copytree(checkpoint, folder)
    (folder / "model.safetensors").write_bytes(content)
    compileCase(name, folder, word)
for name, (change, word) in configs.items():
    folder = work / name.replace(" ", "-")
    shutil.copytree(checkpoint, folder)
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))
    compileCase(name, folder, word)
total = len(weights) + len(configs)
print(f"{total - failed} of {total} refused")
sys.exit(1 if failed else 0)
