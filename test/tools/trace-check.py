"""Checks a trace of `lapidary bench --profile FILE`: what chrome://tracing reads, and that it is true.

    trace-check.py FILE.json THREADS

Every dispatch lies after the one before it, and its tiles are those of the threads' calls within it, each once.
"""

import json
import sys

events = json.load(open(sys.argv[1]))["traceEvents"]
names = {event["tid"]: event["args"]["name"] for event in events if event["ph"] == "M"}
threads = int(sys.argv[2])
assert names == {0: "dispatches"} | {thread + 1: f"thread {thread}" for thread in range(threads)}, names
timed = [event for event in events if event["ph"] == "X"]
assert all(event["ts"] >= 0 and event["dur"] >= 0 for event in timed)
dispatches = [event for event in timed if event["tid"] == 0]
calls = sorted((event for event in timed if event["tid"] > 0), key=lambda event: event["ts"])
assert len(dispatches) > 100, len(dispatches)
# Times are printed in thousandths of a microsecond.
slack, before, position = 0.002, 0.0, 0
for dispatch in dispatches:
    assert dispatch["ts"] >= before - slack, dispatch
    before = dispatch["ts"] + dispatch["dur"]
    ranges = []
    while position < len(calls) and calls[position]["ts"] <= before - slack / 2:
        call = calls[position]
        assert dispatch["name"].endswith(" " + call["name"]), (dispatch, call)
        assert call["ts"] >= dispatch["ts"] - slack and call["ts"] + call["dur"] <= before + slack, (dispatch, call)
        ranges.append(call["args"]["tiles"])
        position += 1
    ranges.sort()
    assert ranges[0][0] == 0 and ranges[-1][1] == dispatch["args"]["tiles"], (dispatch, ranges)
    assert all(left[1] == right[0] for left, right in zip(ranges, ranges[1:])), (dispatch, ranges)
assert position == len(calls)
used = {event["tid"] for event in calls}
print(f"{len(dispatches)} dispatches, calls on {'several threads' if len(used) > 1 else 'one thread'}")
