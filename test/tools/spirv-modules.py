"""Checks every SPIR-V module of a bundle with spirv-val, as Vulkan 1.2 takes them. Modules that multiply matrices are only
counted where spirv-val is older than they are (Debian 12's is).

    spirv-modules.py SPIRV_VAL BUNDLE
"""

import pathlib
import re
import struct
import subprocess
import sys
import tempfile

validator, bundle = sys.argv[1:]
data = pathlib.Path(bundle).read_bytes()
# The magic number, then version 1.4.
begins = [match.start() for match in re.finditer(rb"\x03\x02\x23\x07\x00\x04\x01\x00", data) if match.start() % 4 == 0]

if not begins:
    sys.exit("there is no module")


def module(begin):
    """The header's five words, and instructions, which begin with their length, up to what is none."""
    end = begin + 20
    while end + 4 <= len(data) and end not in begins:
        code, words = struct.unpack_from("<HH", data, end)
        if words == 0 or code == 0:
            break
        end += 4 * words
    return data[begin:end]


unknown = 0
with tempfile.TemporaryDirectory() as work:
    path = pathlib.Path(work) / "module.spv"
    for begin in begins:
        path.write_bytes(module(begin))
        result = subprocess.run([validator, "--target-env", "vulkan1.2", path], capture_output=True, text=True)
        # CooperativeMatrixKHR.
        if "Invalid capability operand: 6022" in result.stderr:
            unknown += 1
        elif result.returncode != 0:
            sys.exit(f"the module at {begin}: {result.stdout}{result.stderr}")
print(f"{len(begins) - unknown} modules are valid, {unknown} are unknown to this spirv-val")
