"""Runs `lapidary batch` and compares every answer with `lapidary run`'s.

    batch.py LAPIDARY BUNDLE GOLDEN FOLDER
"""

import base64
import json
import os
import signal
import subprocess
import sys
import time

LAPIDARY, BUNDLE, GOLDEN, FOLDER = sys.argv[1:]
failed = False


def report(name, problems):
    global failed
    failed |= bool(problems)
    print(f"{name}: {'FAIL ' + repr(problems[:3]) if problems else 'ok'}", flush=True)


def write(name, lines):
    path = os.path.join(FOLDER, name)
    with open(path, "w") as file:
        for line in lines:
            file.write((line if isinstance(line, str) else json.dumps(line)) + "\n")
    return path


def batch(source, target, *options):
    return subprocess.run([LAPIDARY, "batch", BUNDLE, source, target, *options], capture_output=True, text=True)


def read(path):
    with open(path) as file:
        return [json.loads(line) for line in file]


def alone(request, media):
    """What `lapidary run` answers."""
    path = write("messages.json", [{key: request[key] for key in ("messages", "options") if key in request}])
    command = [LAPIDARY, "run", BUNDLE, "--json"]
    if "prompt" in request:
        command += ["-p", request["prompt"]]
    else:
        command += ["--messages", path]
    for key, option in (("max_tokens", "--max-tokens"), ("temperature", "--temperature"), ("seed", "--seed")):
        if key in request:
            command += [option, str(request[key])]
    result = subprocess.run(command + media, capture_output=True, text=True)
    return json.loads(result.stdout)


def compare(requests, answers, media):
    problems = []
    if len(requests) != len(answers):
        return [f"{len(answers)} answers to {len(requests)} requests"]
    for index, (request, answer) in enumerate(zip(requests, answers)):
        expected = alone(request, media[index])
        found = [answer.get(key) for key in ("line", "id", "text", "finish_reason", "prompt_tokens", "completion_tokens")]
        wanted = [index + 1, request.get("id"), expected["text"], expected["finish_reason"],
                  expected["prompt_tokens"], len(expected["ids"])]
        if found != wanted:
            problems.append((found, wanted))
    return problems


# Text, images and sounds by path and as base64, sampled and not.
requests, media = [], []
for index, text in enumerate(["What is 7 + 12?", "What is 3 + 4?", "Tell me a story.", "Reverse: abc", "Count to five."]):
    requests.append({"id": f"text-{index}", "prompt": text, "temperature": 0, "max_tokens": 12 + 5 * index})
    media.append([])
requests.append({"id": 7, "prompt": "Tell me a story.", "seed": 5, "max_tokens": 20})
media.append([])
for case, kind, option in (("image_digits", "image", "--image"), ("audio_keys", "audio", "--audio")):
    description = json.load(open(os.path.join(GOLDEN, case, "case.json")))
    file = os.path.join(GOLDEN, case, f"{kind}0.{'png' if kind == 'image' else 'wav'}")
    with open(file, "rb") as stream:
        data = base64.b64encode(stream.read()).decode()
    for medium in (os.path.relpath(file, FOLDER), {"base64": data}):
        requests.append({"messages": description["messages"], "media": [medium], "temperature": 0, "max_tokens": 8})
        media.append([option, file])
source, target = write("in.jsonl", requests), os.path.join(FOLDER, "out.jsonl")
result = batch(source, target, "--parallel", "3", "--context", "1024")
report("answers", compare(requests, read(target), media) if result.returncode == 0 else [result.stderr])

# Each line has an answer, whatever it is.
bad = ["no json", "[1]", {"id": "x"}, {"prompt": "Hello", "bogus": 1}, {"prompt": "Hello", "max_tokens": 0}, "",
       {"prompt": "Hello", "temperature": "hot"}, {"messages": [{"role": "nobody", "content": "x"}]},
       {"messages": [{"role": "user", "content": [{"type": "image"}]}], "media": ["none.png"]},
       {"messages": [{"role": "user", "content": [{"type": "image"}]}], "media": []},
       {"messages": [{"role": "user", "content": [{"type": "image"}]}], "media": [{"base64": "!!"}]},
       {"prompt": "word " * 2000}, {"id": [1], "prompt": "Hello"}, {"prompt": "Hello", "seed": -1},
       {"id": "good", "prompt": "What is 7 + 12?", "temperature": 0}]
result = batch(write("bad.jsonl", bad), os.path.join(FOLDER, "bad.out"), "--context", "1024")
answers = read(os.path.join(FOLDER, "bad.out")) if result.returncode == 0 else []
problems = [] if len(answers) == len(bad) else [result.stderr]
problems += [answer for answer in answers[:-1] if not answer.get("error", {}).get("message")]
problems += [answer for answer in answers[-1:] if answer.get("text") != "19" or answer["id"] != "good"]
problems += [answer for number, answer in enumerate(answers) if answer["line"] != number + 1]
report("errors", problems)

# Requests that begin alike.
system = "You are a careful assistant. " * 40
shared = [{"system": system, "prompt": f"What is {index} + 12?", "temperature": 0, "max_tokens": 6} for index in range(6)]
result = batch(write("shared.jsonl", shared), os.path.join(FOLDER, "shared.out"), "--parallel", "2", "--context", "2048",
               "--snapshot-memory", "100MB")
with_memory = read(os.path.join(FOLDER, "shared.out"))
batch(os.path.join(FOLDER, "shared.jsonl"), os.path.join(FOLDER, "single.out"), "--parallel", "1", "--context", "2048")
single = read(os.path.join(FOLDER, "single.out"))
problems = [] if len(with_memory) == len(single) == len(shared) else [len(with_memory), len(single), len(shared)]
problems += [(one, two) for one, two in zip(with_memory, single) if one.get("text") != two.get("text")]
if sum(answer["reused_tokens"] for answer in with_memory) < 200:
    problems.append([answer["reused_tokens"] for answer in with_memory])
report("shared", problems)


def stop_and_go_on(name, number):
    """Stops a run by a signal in the middle, again and again, until one comes to its end."""
    many = [{"id": index, "prompt": f"Tell me a story about {index}.", "temperature": 0, "max_tokens": 60}
            for index in range(24)]
    source, target = write(name + ".jsonl", many), os.path.join(FOLDER, name + ".out")
    batch(source, target + ".whole", "--parallel", "4", "--context", "1024", "--threads", "1")
    stops = 0
    for _ in range(60):
        before = os.path.getsize(target) if os.path.exists(target) else 0
        process = subprocess.Popen([LAPIDARY, "batch", BUNDLE, source, target, "--parallel", "4", "--context", "1024",
                                    "--threads", "1"], stderr=subprocess.PIPE)
        while process.poll() is None and (not os.path.exists(target) or os.path.getsize(target) <= before):
            time.sleep(0.001)
        process.send_signal(number)
        error = process.communicate()[1].decode()
        if process.returncode == 0:
            break
        stops += 1
        if process.returncode not in (-signal.SIGKILL, 130):
            return [(process.returncode, error)]
        if stops == 1 and number == signal.SIGKILL:
            # As if the kill had torn a line.
            with open(target, "a") as file:
                file.write('{"line": 99, "id')
    ids = lambda lines: [(line["line"], line["id"], line["text"]) for line in lines]
    problems = [] if stops > 0 else ["it was never stopped"]
    if ids(read(target)) != ids(read(target + ".whole")):
        problems.append((ids(read(target)), ids(read(target + ".whole"))))
    return problems


report("kill", stop_and_go_on("kill", signal.SIGKILL))
report("interrupt", stop_and_go_on("interrupt", signal.SIGINT))

# Outputs that are not this input's.
problems = []
result = batch(source, os.path.join(FOLDER, "kill.out"))
if result.returncode != 1 or "answers another input" not in result.stderr and "but the input only" not in result.stderr:
    problems.append(result.stderr)
notes = write("notes.txt", ["my notes"])
result = batch(source, notes)
if result.returncode != 1 or "is not one of an output of lapidary batch" not in result.stderr:
    problems.append(result.stderr)
if open(notes).read() != "my notes\n":
    problems.append("the notes are gone")
with open(notes, "w") as file:
    file.write('{"prompt": "hi"}')
result = batch(source, notes)
if result.returncode != 1 or "is not one of an output of lapidary batch" not in result.stderr:
    problems.append(result.stderr)
if open(notes).read() != '{"prompt": "hi"}':
    problems.append("the line without an end is gone")
report("foreign", problems)
sys.exit(1 if failed else 0)
