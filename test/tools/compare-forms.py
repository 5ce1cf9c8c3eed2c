"""Compares each form of quantized checkpoints with its values, by `lapidary diff`: compare-forms.py LAPIDARY MODELS FOLDER"""

import importlib.util
import json
import pathlib
import struct
import subprocess
import sys

lapidary, models, folder = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
script = models / "quantize-tiny.py"
spec = importlib.util.spec_from_file_location("quantize", script)
quantize = importlib.util.module_from_spec(spec)
spec.loader.exec_module(quantize)


def compare(a, b):
    """Names of the quantized matrices, and of those that are not exact."""
    text = subprocess.run([lapidary, "diff", a, b, "--json"], check=True, stdout=subprocess.PIPE).stdout
    tensors = [t for t in json.loads(text)["tensors"] if t["scheme_a"] not in ("bf16", "f32")]
    return [t["name"] for t in tensors], [t["name"] for t in tensors if not t["exact"]]


def flipBit(checkpoint, name):
    """Changes the lowest bit of the first code of a module."""
    path = checkpoint / "model.safetensors"
    data = bytearray(path.read_bytes())
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    entry = header.get(name + "_packed") or header[name]
    data[8 + length + entry["data_offsets"][0]] ^= 1
    path.write_bytes(data)


failed = False
for form in quantize.FORMS:
    checkpoint, plain = folder / form, folder / (form + "-values")
    command = [sys.executable, script, models / "tiny", checkpoint, "--form", form, "--plain", plain]
    subprocess.run(command, check=True)
    names, wrong = compare(checkpoint, plain)
    flipBit(checkpoint, names[0])
    seen = compare(checkpoint, plain)[1]
    ok = len(names) == 41 and not wrong and seen == [names[0]]
    failed |= not ok
    print(f"{form}: {len(names)} matrices, wrong {wrong}, after a bit has changed {seen}{'' if ok else ' FAIL'}")
sys.exit(failed)
