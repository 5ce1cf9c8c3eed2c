"""Prints a golden case's rendered prompt, byte for byte."""

import json
import sys

with open(sys.argv[1]) as file:
    sys.stdout.write(json.load(file)["prompt"])
