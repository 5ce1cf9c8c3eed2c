"""Runs the files and commands of docs/schemes.md and holds the numbers in its tables.

    schemes-doc.py DOCUMENT CHECKPOINT EVAL WORK

A fenced block with `file=NAME` is written to that file, one of `sh` is run, in the order of the document. Then each bundle that a
table of measures names is measured against bf16.lap. The bands are those that the document states.
"""

import json
import pathlib
import re
import shutil
import subprocess
import sys

document, checkpoint, evaluation, work = (pathlib.Path(word).resolve() for word in sys.argv[1:5])
shutil.rmtree(work, ignore_errors=True)
work.mkdir(parents=True)
(work / "tiny").symlink_to(checkpoint)
(work / "eval").symlink_to(evaluation)
text = document.read_text()

files = commands = 0
for info, body in re.findall(r"^```(\w+[^\n]*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
    name = re.search(r"\bfile=(\S+)", info)
    if name:
        (work / name.group(1)).write_text(body)
        files += 1
    elif info == "sh":
        for command in body.splitlines():
            result = subprocess.run(["bash", "-e", "-o", "pipefail", "-c", command], cwd=work, capture_output=True, text=True)
            commands += 1
            if result.returncode != 0:
                sys.exit(f"FAIL {command}: exit code {result.returncode}: {result.stderr}")
            print(f"$ {command}\n{result.stdout}")
if files < 5 or commands < 10:
    sys.exit(f"FAIL found {files} files and {commands} commands in {document}")

rows = [[cell.strip() for cell in line.strip("|").split("|")]
        for line in re.findall(r"^\| \w+\.lap \|.*\|$", text, re.MULTILINE)]
bundles = [row[0] for row in rows]
measured = subprocess.run(["lapidary", "eval", *bundles, "--against", "bf16.lap", "--text", "eval/text.txt", "--json"],
                          cwd=work, capture_output=True, text=True)
if measured.returncode != 0 or not rows:
    sys.exit(f"FAIL lapidary eval {bundles}: {measured.stderr}")
results = json.loads(measured.stdout)
failed = False
for row, result in zip(rows, results if isinstance(results, list) else [results], strict=True):
    name, bits, perplexity, divergence, top = row
    shown = f"{result['bits_per_weight']:.3f} | {result['perplexity']:.3f} | {result['kl_mean']:.4f} | {100 * result['top1']:.1f} %"
    holds = (bits == f"{result['bits_per_weight']:.3f}"
             and abs(result["perplexity"] / float(perplexity) - 1) <= 0.02
             and abs(result["kl_mean"] / float(divergence) - 1) <= 0.4
             and abs(100 * result["top1"] - float(top.removesuffix(" %"))) <= 8)
    failed |= not holds
    print(f"{'holds' if holds else 'FAIL '} | {name} | {shown} |")
sys.exit(failed)
