"""Compiles with files that are no schemes and recipes, and checks that compiling says so.

    bad-scheme.py LAPIDARY CHECKPOINT WORK

Each case must end with exit code 1, a message of one line that begins with the file (and the line and column, where the
case gives them) and has the case's words, and no bundle and no part of one.
"""

import os
import pathlib
import random
import shutil
import subprocess
import sys

lapidary, checkpoint, work = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
shutil.rmtree(work, ignore_errors=True)
work.mkdir(parents=True)


def scheme(fields, body="  lap.yield %code : f32\n"):
    return f"lap.scheme @s({fields}) {{\n{body}}}\n"


YIELD = "  lap.yield %code : f32\n"
garbage = random.Random(1).randbytes(4096)
# What the file holds, its place (line:column; "" for the file as a whole, None where the file is not at fault alone), and
# words of the message.
cases = {
    "no yield": (scheme("%code : f32", "  %a = arith.negf %code : f32\n"), "1:1", ["ends with lap.yield"]),
    "no code": (scheme("%code : f32 per 32"), "1:1", ["exactly one field", "found 0"]),
    "two codes": (scheme("%code : f32, %b : ui4"), "1:1", ["exactly one field", "found 2"]),
    "no field": (scheme("", "  %code = arith.constant 1.0 : f32\n" + YIELD), "1:1", ["1 to 16 fields"]),
    "seventeen fields": (scheme("%code : f32" + "".join(f", %f{i} : ui4 per 4" for i in range(16))), "1:1",
                         ["1 to 16 fields"]),
    "field type": (scheme("%code : f32, %s : i4 per 32"), "1:33", ["cannot be of type 'i4'", "expected ui1 to ui8"]),
    "wide field": (scheme("%code : ui16"), "1:23", ["cannot be of type 'ui16'"]),
    "period of no multiple of 4": (scheme("%code : f32, %s : f16 per 30"), "1:41", ["multiple of 4", "found 30"]),
    "period that does not divide": (scheme("%code : f32, %s : f16 per 48, %t : f16 per 64"), "1:1",
                                    ['"s" is per 48', "block of 64"]),
    "bounds that overflow": (scheme("%code : ui4 from 0 to 16", "  %v = arith.uitofp %code : i32 to f32\n"
                                    "  lap.yield %v : f32\n"), "1:1", ["0 to 16", "do not fit into 'ui4'"]),
    "bound beyond 64 bits": (scheme("%code : ui4 from 0 to 99999999999999999999"), "1:", []),
    "cyclic": (scheme("%code : f32", "  %a = arith.addf %b, %code : f32\n  %b = arith.addf %a, %code : f32\n"
                      "  lap.yield %b : f32\n"), "2:", ["dominate"]),
    "use of nothing": (scheme("%code : f32", "  lap.yield %other : f32\n"), "2:13", ["undeclared"]),
    "side effect": (scheme("%code : f32", "  %m = memref.alloc() : memref<4xf32>\n" + YIELD), "2:8",
                    ["cannot be used to decode", "docs/schemes.md"]),
    "call": (scheme("%code : f32", "  %m = func.call @f() : () -> f32\n" + YIELD), "2:8", ["cannot be used to decode"]),
    "another type": (scheme("%code : f32", "  %m = arith.extf %code : f32 to f64\n" + YIELD), "2:8",
                     ["cannot be used to decode"]),
    "loop": (scheme("%code : f32", "  cf.br ^a\n^a:\n" + YIELD), "2:", []),
    "unknown op": (scheme("%code : f32", '  %m = "own.op"() : () -> f32\n' + YIELD), "2:16", ["unregistered"]),
    "integer yielded": (scheme("%code : ui4", "  lap.yield %code : i32\n"), "2:", []),
    "table of three": (scheme("%code : ui2", "  %v = lap.lookup %code, array<f32: 0.0, 1.0, 2.0> -> f32\n"
                              "  lap.yield %v : f32\n"), "2:8", ["a table of 2, 4, ... or 256 entries, found 3"]),
    "unknown strategy": ("lap.scheme @s(%code : f32) encode(best) {\n" + YIELD + "}\n", "1:35", ["found best"]),
    "too many ops": (scheme("%code : f32", "".join(f"  %v{i} = arith.negf %code : f32\n" for i in range(257)) + YIELD),
                     "1:1", ["at most 256 ops"]),
    "no end": ("lap.scheme @s(%code : f32) {\n" + YIELD, "2:24", []),
    "empty": ("", "", ["expected one lap.scheme"]),
    "comment alone": ("// nothing\n", "", ["expected one lap.scheme"]),
    "two schemes": (scheme("%code : f32") + scheme("%code : f16").replace("@s", "@t"), "",
                    ["expected one lap.scheme and nothing else"]),
    "a function": ("func.func private @f()\n", "", ["expected one lap.scheme"]),
    "another language": ("import numpy\n", "1:1", []),
    "binary garbage": (garbage, "", []),
    "zeros": (bytes(4096), "", ["expected one lap.scheme"]),
    "deep brackets": ("[" * 60000, "1:65", ["brackets of at most 64 levels"]),
    "deep map": ("affine_map<(d) -> (" + "d + " * 10000, "1:1", ["affine maps"]),
    "2 MB": (scheme("%code : f32") + "\n" * (2 << 20), "", ["is larger than 1048576 bytes"]),
    "a name that is taken": (scheme("%code : f32, %s : f16 per 32").replace(
        "@s", "@model.language_model.norm.weight"), None, ["@model.language_model.norm.weight", "another name"]),
}
recipes = {
    "no recipe line": ("# nothing\n", "", ["at least one line"]),
    "half a line": ("* \n", "1:", ["expected 'PATTERN SCHEME'"]),
    "unknown scheme": ("* q9\n", None, ["unknown scheme 'q9'"]),
    "missing file": ("* other.mlir\n", None, ["other.mlir", "No such file"]),
    "bad range": ("* q4_0 layers first\n", "1:", ["first/N"]),
    "bad pattern": ("a[ q4_0\n", "1:", []),
    "no line for all": ("*norm* q4_0\n", None, ["no line of the recipe is for"]),
    "garbage recipe": (garbage, "", []),
}
failed = total = 0


def compileCase(name, path, place, words):
    global failed, total
    total += 1
    output = work / "out.lap"
    before = sorted(work.iterdir())
    result = subprocess.run([lapidary, "compile", checkpoint, "--quant", path, "-o", output], capture_output=True, text=True,
                            timeout=120)
    start = [] if place is None else [f"{path}:{place}" if place else str(path)]
    missing = [word for word in [*start, *words] if word not in result.stderr]
    left = [entry.name for entry in sorted(work.iterdir()) if entry not in before]
    if result.returncode != 1 or missing or left or len(result.stderr.splitlines()) != 1:
        failed += 1
        print(f"FAIL {name}: exit code {result.returncode}, left {left}, without {missing}: {result.stderr.strip()[:600]}")


for kind, ending in ((cases, ".mlir"), (recipes, ".recipe")):
    for name, (content, place, words) in kind.items():
        path = work / (name.replace(" ", "-") + ending)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        compileCase(name, path, place, words)
(work / "folder.mlir").mkdir()
compileCase("a folder", work / "folder.mlir", "", ["expected a regular file"])
os.mkfifo(work / "pipe.mlir")
compileCase("a pipe", work / "pipe.mlir", "", ["expected a regular file"])
compileCase("no file", work / "none.mlir", "", ["No such file"])
print(f"{total - failed} of {total} refused")
sys.exit(1 if failed or total < 40 else 0)
