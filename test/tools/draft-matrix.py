"""Drafts with everything at once: media, thinking, tools, schemas and sampling, each with each.

    draft-matrix.py LAPIDARY BUNDLE GOLDEN

The bundle has a companion. A greedy answer is the same with drafts as without; a sampled one keeps to its schema or its tools.
Prints a line that fails for each case that does, and the number of cases at the end.
"""

import itertools
import json
import pathlib
import re
import subprocess
import sys
import tempfile

lapidary, bundle, golden = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
MEDIA = {
    "text": ([], "What is 3 + 5?"),
    "image": (["--image", golden / "image_digits/image0.png"], "What number is in the image?"),
    "audio": (["--audio", golden / "audio_keys/audio0.wav"], "Which keys were pressed?"),
}
TOOLS = json.loads((golden / "tool_call/case.json").read_text())["options"]["tools"]
SCHEMA = {"type": "object", "properties": {"digits": {"type": "string", "pattern": "^[0-9]{1,4}$"}, "sure": {"type": "boolean"}},
          "required": ["digits", "sure"], "additionalProperties": False}
RULES = {
    "free": {},
    "schema": {"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}}},
    "tools": {"tools": TOOLS, "tool_choice": "required"},
}


def answer(request, files, *options):
    """The run's JSON object."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(request, file)
        file.flush()
        done = subprocess.run([str(word) for word in [lapidary, "run", bundle, "--messages", file.name, *files, "--json",
                                                      "--context", "2048", "--max-tokens", "80", *options]],
                              capture_output=True, text=True, timeout=200)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip()[-300:])
    return json.loads(done.stdout)


def keepsTo(rules, result):
    """Whether a whole answer is what its rules ask for."""
    if result["finish_reason"] != "stop" or rules == "free":
        return True
    if rules == "schema":
        text = result["text"].split("<channel|>")[-1]
        value = json.loads(text[text.index("{"):])
        return (set(value) == {"digits", "sure"} and isinstance(value["sure"], bool)
                and re.fullmatch("[0-9]{1,4}", value["digits"]) is not None)
    return "call:get_weather{" in result["text"]


cases, failed, accepted = 0, 0, 0
for medium, thinks, rules in itertools.product(MEDIA, (False, True), RULES):
    files, text = MEDIA[medium]
    content = [{"type": medium}] * (medium != "text") + [{"type": "text", "text": text}]
    request = {"messages": [{"role": "user", "content": content}], "options": {"enable_thinking": thinks}, **RULES[rules]}
    name = f"{medium} {'thinking' if thinks else 'at once'} {rules}"
    cases += 1
    try:
        plain = answer(request, files, "--temperature", "0", "--draft", "off")
        problems = []
        for draft in ("1", "3", "7", "auto"):
            drafted = answer(request, files, "--temperature", "0", "--draft", draft)
            accepted += drafted["accepted_tokens"]
            if drafted["ids"] != plain["ids"]:
                problems.append(f"--draft {draft}: {drafted['text']!r}, without {plain['text']!r}")
        for seed in (1, 2):
            sampled = answer(request, files, "--temperature", "1.5", "--seed", seed, "--draft", "3")
            if not keepsTo(rules, sampled):
                problems.append(f"seed {seed}: {sampled['text']!r}")
    except (RuntimeError, ValueError) as error:
        problems = [str(error)]
    failed += bool(problems)
    for problem in problems:
        print(f"FAIL {name}: {problem}", flush=True)
print(f"{cases - failed} of {cases} cases agree; {'some' if accepted else 'no'} drafts were right")
sys.exit(failed != 0)
