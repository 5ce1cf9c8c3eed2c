"""Tells in which order soft tokens of the tiny checkpoint stand in an answer's prompt, or compares two prompts' lengths.

    order.py ANSWER.json [--more OTHER.json | --same OTHER.json]
"""

import json
import sys

IMAGE, AUDIO = 2042, 2043


def prompt(path):
    with open(path) as file:
        return json.load(file)["prompt_ids"]


ids = prompt(sys.argv[1])
if len(sys.argv) == 2:
    kinds = [{IMAGE: "image", AUDIO: "audio"}[token] for token in dict.fromkeys(ids) if token in (IMAGE, AUDIO)]
    print(" ".join(kinds))
else:
    other = len(prompt(sys.argv[3]))
    agrees = other > len(ids) if sys.argv[2] == "--more" else other == len(ids)
    print(f"{len(ids)} tokens, the other prompt has {other}")
    sys.exit(0 if agrees else 1)
