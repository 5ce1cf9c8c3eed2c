"""Checks that logit biases, penalties and stop texts do what they say, by run and by batch.

    bias.py LAPIDARY BUNDLE ANSWER

ANSWER is what `lapidary run --json` prints for "What is 7 + 12?" without them.
"""

import json
import os
import subprocess
import sys

LAPIDARY, BUNDLE, ANSWER = sys.argv[1:]
PROMPT = "What is 7 + 12?"
first = json.load(open(ANSWER))["ids"][0]


def run(*options):
    command = [LAPIDARY, "run", BUNDLE, "-p", PROMPT, "--temperature", "0", "--max-tokens", "30", "--json", *options]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


forbidden = run("--logit-bias", f"{first}=-inf")
print("forbidden:", "ok" if first not in forbidden["ids"] and forbidden["ids"] else forbidden)

# A token that is made the best by far comes for ever, until a penalty that counts it takes over.
bias = ["--logit-bias", f"{first}=1000"]
always, never = run(*bias), run(*bias, "--presence-penalty", "100", "--frequency-penalty", "100", "--repeat-last-n", "-1")
right = always["ids"] == [first] * 30 and 9 <= never["ids"].count(first) <= 11
print("repeated:", "ok" if right else (always["ids"], never["ids"]))

stop = {"prompt": PROMPT, "temperature": 0, "stop": ["nothing", "9"]}
lines = [dict(stop, stop="9"), stop, {"prompt": PROMPT, "temperature": 0, "logit_bias": {str(first): False}},
         {"prompt": PROMPT, "temperature": 0, "max_tokens": 5, "logit_bias": {str(first): 1000}},
         dict(stop, stop=[1]), dict(stop, logit_bias={"x": 1}), dict(stop, min_p=2)]
source, target = ANSWER + ".in.jsonl", ANSWER + ".out.jsonl"
if os.path.exists(target):
    os.remove(target)
with open(source, "w") as file:
    file.writelines(json.dumps(line) + "\n" for line in lines)
subprocess.run([LAPIDARY, "batch", BUNDLE, source, target, "--context", "256"], check=True, capture_output=True)
answers = [json.loads(line) for line in open(target)]
texts = [answer.get("text") for answer in answers]
expected = ["1", "1", forbidden["text"]]
errors = ["stop: expected a string or a list", "'x=1' is not ID=BIAS", "min_p"]
right = texts[:3] == expected and answers[3]["completion_tokens"] == 5 and answers[0]["finish_reason"] == "stop"
right = right and all(error in answer["error"]["message"] for error, answer in zip(errors, answers[4:]))
print("batch:", "ok" if right else answers)
