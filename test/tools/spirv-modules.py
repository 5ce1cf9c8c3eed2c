"""Checks every SPIR-V module of a bundle with spirv-val, as Vulkan 1.2 takes them, and that none needs more than the poorest
devices have: 16 KiB of shared memory, workgroups of 128 invocations. Modules that multiply matrices are only counted where
spirv-val is older than they are (Debian 12's is).

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


def instructions(code):
    words = struct.unpack(f"<{len(code) // 4}I", code)
    at = 5
    while at < len(words) and words[at] >> 16:
        yield words[at] & 0xFFFF, words[at + 1:at + (words[at] >> 16)]
        at += words[at] >> 16


def demands(code):
    """Bytes of shared memory and invocations of a workgroup."""
    sizes, constants, pointees, shared, invocations = {}, {}, {}, 0, 0
    for name, words in instructions(code):
        if name in (21, 22):  # OpTypeInt, OpTypeFloat
            sizes[words[0]] = words[1] // 8
        elif name == 23:  # OpTypeVector
            sizes[words[0]] = sizes[words[1]] * words[2]
        elif name == 28:  # OpTypeArray
            sizes[words[0]] = sizes[words[1]] * constants[words[2]]
        elif name == 30:  # OpTypeStruct; of a runtime array it has no size
            sizes[words[0]] = sum(sizes.get(member, 0) for member in words[1:])
        elif name == 32:  # OpTypePointer
            pointees[words[0]] = words[2]
        elif name == 43:  # OpConstant
            constants[words[1]] = words[2]
        elif name == 59 and words[2] == 4:  # OpVariable, Workgroup
            shared += sizes[pointees[words[0]]]
        elif name == 16 and words[1] == 17:  # OpExecutionMode, LocalSize
            invocations = words[2] * words[3] * words[4]
    return shared, invocations


most = unknown = 0
with tempfile.TemporaryDirectory() as work:
    path = pathlib.Path(work) / "module.spv"
    for begin in begins:
        code = module(begin)
        path.write_bytes(code)
        result = subprocess.run([validator, "--target-env", "vulkan1.2", path], capture_output=True, text=True)
        # CooperativeMatrixKHR.
        if "Invalid capability operand: 6022" in result.stderr:
            unknown += 1
        elif result.returncode != 0:
            sys.exit(f"the module at {begin}: {result.stdout}{result.stderr}")
        shared, invocations = demands(code)
        most = max(most, shared)
        if shared > 16384 or not 1 <= invocations <= 128:
            sys.exit(f"the module at {begin} takes {shared} bytes of shared memory and {invocations} invocations")
if most == 0:
    sys.exit("no module shares memory: none was understood")
print(f"{len(begins) - unknown} modules are valid, {unknown} are unknown to this spirv-val")
