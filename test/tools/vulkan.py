"""Runs a bundle that has code for the CPU and for Vulkan on both and compares what they answer.

Usage: vulkan.py LAPIDARY BUNDLE
"""

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request

lapidary, bundle = sys.argv[1:]
small = "binding=400000,workgroups=7"


def run(arguments, limits=""):
    result = subprocess.run(
        [lapidary] + arguments,
        capture_output=True,
        text=True,
        env=dict(os.environ, LAPIDARY_VULKAN_LIMITS=limits),
    )
    if result.returncode != 0:
        print(f"FAILED: {' '.join(arguments)} ({limits})\n{result.stderr}")
    return result


def report(what, good):
    print(f"{what}: {'ok' if good else 'FAILED'}")


def selftest(limits):
    result = run(["selftest", bundle, "--device", "vulkan", "--json"], limits)
    tests = json.loads(result.stdout)["tests"] if result.stdout else []
    return len(tests) >= 6 and all(test["pass"] for test in tests)


def answer(options, limits=""):
    """The ids of an answer, sampled so that they are not all alike."""
    result = run(
        ["run", bundle, "--raw", "-p", "one two three four", "--max-tokens", "24", "--temperature", "0.8", "--seed", "5",
         "--json", "--context", "512"] + options,
        limits,
    )
    return json.loads(result.stdout)["ids"] if result.stdout else None


report("selftest", selftest(""))
report("selftest of a card", selftest("staging=1"))
report("selftest in windows", selftest("binding=2000000,workgroups=5,staging=1,allocation=40000000"))
expected = answer([])
assert expected and len(set(expected)) > 5, expected
vulkan = ["--device", "vulkan"]
report("answers", answer(vulkan) == expected)
report("answers in small windows", answer(vulkan + ["--skip-selftest", "--draft", "off"], small) == expected)
report("drafts", answer(vulkan + ["--draft", "3"]) == expected)
for layers in (0, 2, 4):
    report(f"{layers} layers", answer(vulkan + ["--skip-selftest", "--draft", "2", "-ngl", str(layers)]) == expected)

requests = "".join(
    json.dumps({"id": str(index), "prompt": "one two three " * (index + 1), "max_tokens": 8 + index, "temperature": 0}) + "\n"
    for index in range(5)
)


with open(bundle + ".requests", "w") as file:
    file.write(requests)


def batch(options):
    output = bundle + ".answers"
    if os.path.exists(output):
        os.remove(output)
    run(["batch", bundle, bundle + ".requests", output, "--parallel", "3", "--context", "256"] + options)
    with open(output) as file:
        return [json.loads(line).get("text") for line in file]


report("batch", batch(vulkan) == batch([]) and len(batch([])) == 5)


def loseDevice():
    """What a server answers before and after its device is lost, twice each time, and how it ends."""
    server = subprocess.Popen(
        [lapidary, "serve", bundle, "--port", "0", "--parallel", "1", "--context", "256", "--device", "vulkan",
         "--draft", "off"],
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ, LAPIDARY_VULKAN_LIMITS="lost=9", LAPIDARY_SKIP_SELFTEST="1"),
    )
    answers = []
    try:
        url = next(line for line in server.stderr if "http://" in line).split()[-1]
        for count in (2, 20, 2, 20):
            body = json.dumps({"prompt": "one two three", "max_tokens": count, "ignore_eos": True}).encode()
            try:
                with urllib.request.urlopen(url + "/v1/completions", body, 60) as reply:
                    answers.append(reply.status)
            except urllib.error.HTTPError as error:
                answers.append((error.code, "device was lost" in error.read().decode()))
        with urllib.request.urlopen(url + "/health", timeout=60) as reply:
            answers.append(reply.status)
        server.send_signal(signal.SIGTERM)
        answers.append(server.wait(60))
    finally:
        server.kill()
    if answers != [200, (500, True), (500, True), (500, True), 200, 0]:
        print(answers)
        return False
    return True


report("a server that loses its device", loseDevice())
