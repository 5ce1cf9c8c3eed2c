"""Checks that numbers in the JSON on stdin lie in bands; "a.b" is key b of object a, "0.a" key a of a list's first entry.

    ... --json | bands.py KEY LOW HIGH [KEY LOW HIGH]...

A band of two nulls is the value null.
"""

import json
import sys

value = json.load(sys.stdin)
words, failed = sys.argv[1:], False
for key, low, high in zip(words[::3], words[1::3], words[2::3], strict=True):
    found = value
    for part in key.split("."):
        found = found[int(part)] if isinstance(found, list) else found[part]
    low, high = json.loads(low), json.loads(high)
    ok = found is None if low is None else found is not None and low <= found <= high
    failed |= not ok
    print(f"{key}: {found} in {low} .. {high}{'' if ok else ' FAIL'}")
sys.exit(1 if failed else 0)
