"""Checks that stdin is one JSON object with the keys named; "a.b" is key b of object a, or of the first entry of list a.

    ... --json | keys.py [--exactly] KEY...

With --exactly the top level has no other key.
"""

import json
import sys

names = [name for name in sys.argv[1:] if name != "--exactly"]
value = json.load(sys.stdin)
missing = []
for name in names:
    inner = value
    for part in name.split("."):
        inner = inner[0] if isinstance(inner, list) and inner else inner
        if not isinstance(inner, dict) or part not in inner:
            missing.append(name)
            break
        inner = inner[part]
extra = set(value) - {name.split(".")[0] for name in names} if "--exactly" in sys.argv else set()
print(f"missing: {missing}, unexpected: {sorted(extra)}")
sys.exit(1 if missing or extra else 0)
