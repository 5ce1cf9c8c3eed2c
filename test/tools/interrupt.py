"""Stops `lapidary run` in the middle of an answer in the ways that happen to it.

    interrupt.py LAPIDARY BUNDLE
"""

import json
import os
import signal
import subprocess
import sys
import time

# Hot enough to choose among all tokens alike: a stop token then comes after hundreds of them, as the seed will have it.
COMMAND = [sys.argv[1], "run", sys.argv[2], "-p", "Tell me a story.", "--temperature", "100", "--top-k", "0",
           "--top-p", "1", "--threads", "1"]
SEEDS = 10
failed = False


def report(name, ok, detail):
    global failed
    failed |= not ok
    print(f"{name}: {'ok' if ok else 'FAIL ' + repr(detail)}", flush=True)


def interrupt(arguments, ready):
    """Sends ^C once `ready` returns. An answer that was over by then is tried again with another seed."""
    for seed in range(SEEDS):
        process = subprocess.Popen(COMMAND + ["--seed", str(seed)] + arguments, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        first = ready(process)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        if process.returncode != 0:
            break
    return process.returncode, (first + out).decode(), err.decode()


code, out, err = interrupt([], lambda process: os.read(process.stdout.fileno(), 1))
report("stream", code == 130 and out.endswith("\n") and err == "", (code, out[-80:], err))


def waitForWork(process):
    """With --json nothing is written before the end: CPU time tells that the answer is on its way."""
    while True:
        with open(f"/proc/{process.pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        if fields[0] == "Z" or 5 * int(fields[11]) >= os.sysconf("SC_CLK_TCK"):
            return b""
        time.sleep(0.01)


code, out, err = interrupt(["--json"], waitForWork)
answer = json.loads(out) if code == 130 else {}
report("json", answer.get("finish_reason") == "cancelled" and len(answer.get("ids", [])) > 0, (code, out[-200:], err))

process = subprocess.Popen(COMMAND, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
os.read(process.stdout.fileno(), 1)
process.stdout.close()
err = process.stderr.read().decode()
report("pipe", process.wait(timeout=60) == 1 and err == "", (process.returncode, err))

with open("/dev/full", "wb") as full:
    result = subprocess.run(COMMAND, stdout=full, stderr=subprocess.PIPE, timeout=60)
report("full", result.returncode == 1 and b"No space left" in result.stderr, (result.returncode, result.stderr))
sys.exit(1 if failed else 0)
