"""Stops a compile in the middle; no file may be left where the bundle was to be.

    interrupt-compile.py LAPIDARY CHECKPOINT FOLDER
"""

import json
import pathlib
import shutil
import signal
import struct
import subprocess
import sys
import time

import checkpoint as random

lapidary, checkpoint, folder = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
INTERRUPTED = 130
failed = False


def start(checkpoint):
    command = [lapidary, "compile", checkpoint, "--target", "cpu", "--quant", "bf16", "-o", folder / "model.lap"]
    return subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def finish(process, when):
    """The compile may have been quicker this time: then the bundle is whole and the exit code says so."""
    global failed
    _, messages = process.communicate(timeout=60)
    left = sorted(path.name for path in folder.iterdir())
    if not ((left, process.returncode) in (([], INTERRUPTED), (["model.lap"], 0)) and messages == b""):
        print(f"FAIL {when}: exit code {process.returncode}, left {left}, said {messages}")
        failed = True
    for path in folder.iterdir():
        path.unlink()
    return process.returncode


begin = time.monotonic()
if finish(start(checkpoint), "never") != 0:
    sys.exit("the compile fails without being stopped")
whole = time.monotonic() - begin
for share in (0.1, 0.4, 0.7):
    process = start(checkpoint)
    time.sleep(whole * share)
    process.send_signal(signal.SIGINT)
    finish(process, f"after {share:.0%} of the time")

# While weights are written: a checkpoint of many of them, all zero, which as a file with a hole costs nothing.
config = random.defaultConfig()
config["text_config"].update(vocab_size=2_000_000, hidden_size=64)
large = folder.with_name(folder.name + "-large")
shutil.rmtree(large, ignore_errors=True)
large.mkdir()
for name in ("tokenizer.json", "generation_config.json"):
    shutil.copy(pathlib.Path(checkpoint) / name, large)
(large / "config.json").write_text(json.dumps(config))
header, offset = {}, 0
for name, shape in random.tensors(config).items():
    size = 2
    for length in shape:
        size *= length
    header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, offset + size]}
    offset += size
text = json.dumps(header).encode()
with open(large / "model.safetensors", "wb") as file:
    file.write(struct.pack("<Q", len(text)) + text)
    file.truncate(8 + len(text) + offset)
stopped = 0
for attempt in range(3):
    process = start(large)
    while not any(folder.iterdir()) and process.poll() is None:
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    stopped += finish(process, "while writing") == INTERRUPTED
shutil.rmtree(large)
if stopped == 0:
    print("FAIL no compile was stopped while it wrote")
    failed = True
sys.exit(1 if failed else 0)
