"""Damages the tiny checkpoint in the ways that happen and checks that compiling says so.

    compile-bad.py LAPIDARY CHECKPOINT WORK

Each case must end with exit code 1, a message of one line with the words that the case gives (the file, the tensor or
field, what was expected and what was found), and no bundle and no part of one.
"""

import json
import os
import pathlib
import resource
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
LAST = "model.vision_embedder.pos_norm.weight"
FILE = "model.safetensors"
weights = {
    "cut short": (original[:len(original) // 2], [FILE, "expected", "found"]),
    "last byte missing": (original[:-1], [FILE, LAST, "expected", "found"]),
    "cut in the header": (original[:100], [FILE, "expected", "found"]),
    "empty": (b"", [FILE, "expected", "found 0"]),
    "header of 2^60 bytes": (struct.pack("<Q", 1 << 60) + original[8:], [FILE, "expected", str(1 << 60)]),
    "header is no JSON": (original[:8] + b"{" * headerSize + body, [FILE, "expected JSON"]),
    "header is a list": (struct.pack("<Q", 2) + b"[]", [FILE, "expected", "found"]),
    "tensor missing": (withHeader(lambda altered: altered.pop(NORM)), [NORM, "expected", "found no such tensor"]),
    "tensor too many": (withHeader(lambda altered: altered.update({"extra.weight": altered[NORM] | {
        "shape": [0], "data_offsets": [0, 0]}})), [FILE, "extra.weight", "expected", "found"]),
    "offsets out of range": (withHeader(move([len(body), len(body) + end - begin])), [FILE, NORM, "expected", "found"]),
    "offsets overlap": (withHeader(move([begin - 2, end - 2])), [FILE, NORM, "overlap"]),
    "offsets backwards": (withHeader(move([end, begin])), [FILE, NORM, "expected", "found"]),
    "offsets beyond 64 bits": (withHeader(move([begin, 1 << 70])), [FILE, NORM, "expected"]),
    "wrong shape": (withHeader(lambda altered: altered[NORM].update(shape=[1, (end - begin) // 2])),
                    [FILE, NORM, "[256]", "[1, 256]"]),
    "shape that overflows": (withHeader(lambda altered: altered[NORM].update(shape=[1 << 40, 1 << 40])),
                             [FILE, NORM, "expected"]),
    "wrong dtype": (withHeader(lambda altered: altered[NORM].update(dtype="I16")), [FILE, NORM, "expected", "I16"]),
    "unknown dtype": (withHeader(lambda altered: altered[NORM].update(dtype="F4")), [FILE, NORM, "expected", "F4"]),
    "NaN": (withNan(), [FILE, NORM, "NaN"]),
}
configs = {
    "unknown model_type": (lambda config: config.update(model_type="gemma99"), ["gemma4_unified", "gemma99"]),
    "unknown layer type": (lambda config: config["text_config"]["layer_types"].__setitem__(0, "spiral"),
                           ["layer_types", "expected", "spiral"]),
    "unknown field": (lambda config: config["text_config"].update(moon_phase=3), ["text_config.moon_phase"]),
    "negative size": (lambda config: config["text_config"].update(hidden_size=-8), ["hidden_size", "expected", "-8"]),
    "huge size": (lambda config: config["text_config"].update(hidden_size=1 << 50), ["hidden_size", "expected"]),
    "another size": (lambda config: config["text_config"].update(hidden_size=128), [FILE, "embed_tokens", "2048, 128"]),
    "heads of no group": (lambda config: config["text_config"].update(num_attention_heads=7), ["layer 0", "7 and 4"]),
}
INDEX = "model.safetensors.index.json"
# Files and their new content; None removes one.
files = {
    "no tokenizer": ({"tokenizer.json": None}, ["tokenizer.json", "No such file"]),
    "tokenizer is no JSON": ({"tokenizer.json": b"{"}, ["tokenizer.json", "expected"]),
    "tokenizer without a model": ({"tokenizer.json": b"{}"}, ["tokenizer.json", "expected"]),
    "no config": ({"config.json": None}, ["config.json", "No such file"]),
    "config is no text": ({"config.json": b"\xff"}, ["config.json", "expected JSON"]),
    "config is a list": ({"config.json": b"[]"}, ["config.json", "expected", "found"]),
    "config steers the terminal": ({"config.json": b'{"model_type": "\\u001b[2J"}'},
                                   ["config.json", 'found "\\x1b[2J"']),
    "no weights": ({FILE: None}, [FILE]),
    "index leads out of the folder": ({FILE: None, INDEX: b'{"weight_map": {"a": "../b.safetensors"}}'},
                                      [INDEX, "../b.safetensors"]),
    "index names no file": ({FILE: None, INDEX: b'{"weight_map": {"a": "b.safetensors"}}'}, ["b.safetensors"]),
    "index names no tensor": ({FILE: None, "b.safetensors": original, INDEX: b'{"weight_map": {"a": "b.safetensors"}}'},
                              ["b.safetensors", "weight_map: a"]),
    "index is a list": ({FILE: None, INDEX: b"[]"}, [INDEX, "expected"]),
}

failed = total = 0


def compileCase(name, folder, words, bundle=None, limit=resource.RLIM_INFINITY):
    global failed, total
    total += 1
    output = bundle or folder / "out.lap"
    before = sorted(folder.iterdir())
    command = [lapidary, "compile", str(folder), "--target", "cpu", "--quant", "bf16", "-o", str(output)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300,
                            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)))
    missing = [word for word in words if word not in result.stderr]
    left = [path.name for path in sorted(folder.iterdir()) if path not in before]
    if result.returncode != 1 or missing or left or len(result.stderr.splitlines()) != 1:
        failed += 1
        print(f"FAIL {name}: exit code {result.returncode}, left {left}, without {missing}: "
              f"{result.stderr.strip()[:400]}")


def copyCheckpoint(name):
    folder = work / name.replace(" ", "-").replace("^", "")
    shutil.copytree(checkpoint, folder)
    return folder


for name, (content, words) in weights.items():
    folder = copyCheckpoint(name)
    (folder / FILE).write_bytes(content)
    compileCase(name, folder, words)
    shutil.rmtree(folder)
for name, (change, words) in configs.items():
    folder = copyCheckpoint(name)
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))
    compileCase(name, folder, words)
    shutil.rmtree(folder)
for name, (changes, words) in files.items():
    folder = copyCheckpoint(name)
    for file, content in changes.items():
        if content is None:
            (folder / file).unlink()
        else:
            (folder / file).write_bytes(content)
    compileCase(name, folder, words)
    shutil.rmtree(folder)

folder = copyCheckpoint("outputs")
(folder / "folder").mkdir()
compileCase("output is a folder", folder, ["folder", "not a regular file"], folder / "folder")
compileCase("output's folder is missing", folder, ["missing/out.lap", "No such file"], folder / "missing/out.lap")
compileCase("output is a device", folder, ["/dev/null", "not a regular file"], "/dev/null")
compileCase("output below a file", folder, ["config.json/out.lap", "Not a directory"], folder / "config.json/out.lap")
if os.geteuid() == 0:
    # A disk that is too small for the bundle.
    disk = folder / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", disk], capture_output=True).returncode == 0:
        try:
            compileCase("disk is full", folder, ["disk/out.lap", "No space left"], disk / "out.lap")
            if any(disk.iterdir()):
                failed += 1
                print(f"FAIL disk is full: left {[path.name for path in disk.iterdir()]}")
        finally:
            subprocess.run(["umount", disk], check=True)
    else:
        print("no mount here: the full disk is left to compile.test's limit of the file size")
shutil.rmtree(folder)
folder = copyCheckpoint("tokenizer is a pipe")
(folder / "tokenizer.json").unlink()
os.mkfifo(folder / "tokenizer.json")
compileCase("tokenizer is a pipe", folder, ["tokenizer.json", "expected a regular file"])
shutil.rmtree(folder)
# What the runtime would refuse is no bundle: the folder's name becomes the model's.
folder = copyCheckpoint("steering\x1b[2J")
compileCase("a name that steers the terminal", folder, ["no runtime would run", "control character 27"])
shutil.rmtree(folder)
# Enough memory to start and too little for LLVM.
folder = copyCheckpoint("little memory")
compileCase("little memory", folder, ["error: memory ran out"], limit=500 << 20)
shutil.rmtree(folder)
print(f"{total - failed} of {total} refused")
sys.exit(1 if failed or total < 44 else 0)
