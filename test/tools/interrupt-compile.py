"""Stops a compile in the middle; no file may be left where the bundle was to be.

    interrupt-compile.py LAPIDARY CHECKPOINT FOLDER
"""

import pathlib
import signal
import subprocess
import sys
import time

lapidary, checkpoint, folder = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
command = [lapidary, "compile", checkpoint, "--target", "cpu", "--quant", "bf16", "-o", str(folder / "model.lap")]
start = time.monotonic()
subprocess.run(command, check=True, capture_output=True, timeout=300)
whole = time.monotonic() - start
(folder / "model.lap").unlink()
failed = False
for share in (0.1, 0.4, 0.7):
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    time.sleep(whole * share)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    left = sorted(path.name for path in folder.iterdir())
    # The compile may have been quicker this time: then the bundle is whole and the exit code says so.
    if left and not (left == ["model.lap"] and process.returncode == 0):
        print(f"after {share:.0%} of the time: exit code {process.returncode}, left {left}")
        failed = True
    for path in folder.iterdir():
        path.unlink()
sys.exit(1 if failed else 0)
