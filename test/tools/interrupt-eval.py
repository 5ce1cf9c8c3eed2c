"""Stops `lapidary eval` in the middle of its text and of its tasks; no picture may be left.

    interrupt-eval.py LAPIDARY BUNDLE DATA FOLDER
"""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

lapidary, bundle, data, folder = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3]), pathlib.Path(sys.argv[4])
INTERRUPTED, REPEATS = 130, 300
shutil.rmtree(folder, ignore_errors=True)
folder.mkdir(parents=True)
# So much of both that ^C comes in the middle on any machine.
(folder / "text.txt").write_text((data / "text.txt").read_text() * REPEATS)
tasks = [line for line in (data / "tasks.jsonl").read_text().splitlines() if not json.loads(line)["media"]]
(folder / "tasks.jsonl").write_text("\n".join(tasks * REPEATS * 10))


def waitForWork(process):
    while True:
        with open(f"/proc/{process.pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        if fields[0] == "Z" or int(fields[11]) >= 2 * os.sysconf("SC_CLK_TCK"):
            return
        time.sleep(0.01)


failed = False
text = ["--text", folder / "text.txt"]
for name, arguments in {"text": text + ["--plot", folder / "a.svg"], "against": text + ["--against", bundle],
                        "tasks": ["--tasks", folder]}.items():
    process = subprocess.Popen([lapidary, "eval", bundle, *arguments, "--threads", "1"], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    waitForWork(process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    ok = (process.returncode, out, err) == (INTERRUPTED, b"", b"")
    failed |= not ok
    print(f"{name}: {'ok' if ok else f'FAIL {process.returncode} {out[-200:]} {err[-200:]}'}")
left = sorted(path.name for path in folder.iterdir())
print(f"left: {' '.join(left)}")
sys.exit(1 if failed else 0)
