"""Runs golden cases through `lapidary run` and compares with the reference implementation.

    golden.py [--device NAME] LAPIDARY BUNDLE GOLDEN_DIR [--may-differ CASE]... [CASE...]

For each case: the prompt's token ids (media expanded) are the reference's, and so are the ids and the text of the greedy
answer. Quantized weights may choose another word in a story: of a case named with --may-differ only the prompt counts.
Prints a line a case and exits with 1 when one differs.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

SUFFIXES = {".png": "--image", ".wav": "--audio"}


def mediaArguments(folder, media, work):
    """Options for the case's media; the frames of a video are linked into a folder of their own."""
    arguments = []
    for number, item in enumerate(media):
        if isinstance(item, str):
            arguments += [SUFFIXES[pathlib.Path(item).suffix], folder / item]
            continue
        frames = work / f"video{number}"
        frames.mkdir()
        for name in item["frames"]:
            (frames / name).symlink_to(folder / name)
        arguments += ["--video", frames, "--video-fps", str(item["fps"])]
    return arguments


def differences(lapidary, bundle, device, folder):
    """What is not as the reference has it; an empty list for a case that agrees."""
    case = json.loads((folder / "case.json").read_text())
    with tempfile.TemporaryDirectory() as work:
        command = [lapidary, "run", bundle, "--messages", folder / "case.json", "--json", "--special",
                   "--temperature", "0", "--max-tokens", "24", "--device", device]
        command += mediaArguments(folder, case["media"], pathlib.Path(work))
        result = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=1200)
    if result.returncode != 0:
        return [f"exit code {result.returncode}: {result.stderr.strip()}"]
    answer = json.loads(result.stdout)
    found = []
    for what, got, wanted in [("prompt ids", answer["prompt_ids"], case["input_ids"]),
                              ("prompt_tokens", answer["prompt_tokens"], len(case["input_ids"])),
                              ("ids", answer["ids"], case["greedy_ids"]),
                              ("text", answer["text"], case["greedy_text"])]:
        if got != wanted:
            found.append(f"{what}: expected {wanted}, found {got}")
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("lapidary")
    parser.add_argument("bundle")
    parser.add_argument("golden", type=pathlib.Path)
    parser.add_argument("--may-differ", action="append", default=[], metavar="CASE")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("cases", nargs="*")
    arguments = parser.parse_args()
    names = arguments.cases or sorted(path.parent.name for path in arguments.golden.glob("*/case.json"))
    if not names:
        parser.error(f"{arguments.golden} holds no cases")
    failed = 0
    for name in names:
        found = differences(arguments.lapidary, arguments.bundle, arguments.device, arguments.golden.resolve() / name)
        allowed = name in arguments.may_differ and all(line.startswith(("ids:", "text:")) for line in found)
        print(f"{('differs, as it may:' if allowed else 'FAIL') if found else 'ok'} {name}")
        for line in found:
            print("  " + line[:400])
        failed += bool(found) and not allowed
    print(f"{len(names) - failed} of {len(names)} cases are as they should be")
    return 1 if failed else 0


sys.exit(main())
