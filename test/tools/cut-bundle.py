"""Cuts a bundle short at many lengths and alters single bytes; `lapidary run` must refuse each with exit code 1.

    cut-bundle.py LAPIDARY BUNDLE WORK
"""

import pathlib
import random
import subprocess
import sys

lapidary, bundle, work = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
work.mkdir(parents=True, exist_ok=True)
data = bundle.read_bytes()
chance = random.Random(7)
program = int.from_bytes(data[16:24], "little")
cases = {f"cut at {length}": data[:length] for length in
         [1, 7, 8, 39, 40, 41, 40 + program // 2, 40 + program, 4096, len(data) // 2, len(data) - 4096, len(data) - 1]}
# Wherever a byte is altered, some hash covers it: the header's fields, the program, the segments. Padding between
# segments belongs to nobody and is left alone.
places = [0, 8, 16, 24] + [40 + chance.randrange(program) for _ in range(6)] + [len(data) - 1]
for place in places:
    altered = bytearray(data)
    altered[place] ^= 0x40
    cases[f"byte {place} altered"] = bytes(altered)

failed = 0
for name, content in cases.items():
    (work / "bad.lap").write_bytes(content)
    result = subprocess.run([lapidary, "run", str(work / "bad.lap"), "-p", "Hi", "--max-tokens", "1"],
                            capture_output=True, text=True, timeout=120)
    if result.returncode != 1 or "bad.lap" not in result.stderr:
        print(f"FAIL {name}: exit code {result.returncode}: {result.stderr.strip()[:200]}")
        failed += 1
print(f"{len(cases) - failed} of {len(cases)} refused")
sys.exit(1 if failed else 0)
