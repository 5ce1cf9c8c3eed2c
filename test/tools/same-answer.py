"""Compares two answers of `lapidary run --json`: the second must have reused some of its prompt and be the same.

    same-answer.py STRAIGHT REUSED
"""

import json
import sys

straight, reused = (json.load(open(path)) for path in sys.argv[1:])
if reused["reused_tokens"] == 0 or straight["reused_tokens"] != 0:
    sys.exit(f"expected reused tokens in the second only, found {straight['reused_tokens']}, {reused['reused_tokens']}")
for key in ("prompt_ids", "ids", "text", "finish_reason"):
    if straight[key] != reused[key]:
        sys.exit(f"{key} differs: {straight[key]} and {reused[key]}")
