"""Tests of the page of `lapidary serve` in headless Chromium, against a server whose answers each test decides.

    page.py [--report FILE.json] [--shot FILE.png] [--only WORD] [LAPIDARY BUNDLE]

With LAPIDARY and BUNDLE one more test talks to a real server. The report is a list of {name, ok, message}.
"""

import base64
import json
import socket
import subprocess
import sys
import time
import traceback

import access_tests  # noqa: F401  each puts its tests into TESTS
import chat_tests  # noqa: F401
import content_tests  # noqa: F401
import media_tests  # noqa: F401
import mockserver
import webdriver
from support import PAGE, TESTS, content, expect, fresh, idle, send


def freePort():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def real_server(page, lapidary, bundle):
    port = freePort()
    server = subprocess.Popen([lapidary, "serve", bundle, "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.1)
        page.open(f"http://127.0.0.1:{port}/")
        page.run("localStorage.clear()")
        page.reload()
        page.wait("return document.querySelector('#model').textContent !== ''")
        page.click("#open-settings")
        page.type("[name=temperature]", "0")
        page.click("#settings .main")
        send(page, "What is 7 + 12?")
        idle(page)
        expect(content(page), "19")
        assert "tokens/s" in page.text(".assistant .stats")
        expect([entry for entry in page.console() if entry["level"] == "SEVERE"], [], "the console")
    finally:
        server.terminate()
        server.wait(20)


def main():
    arguments = sys.argv[1:]
    options = {}
    while arguments and arguments[0].startswith("--"):
        name = arguments.pop(0)
        options[name] = arguments.pop(0)
    report, mock, page = [], mockserver.Mock(PAGE), webdriver.Browser()

    def run(name, body):
        start = time.monotonic()
        try:
            body()
            message = ""
        except Exception as error:  # a test that cannot go on has failed, and the next one begins anew
            message = f"{error}" if isinstance(error, AssertionError) else traceback.format_exc()
        report.append({"name": name, "ok": not message, "message": message})
        print(f"{'ok  ' if not message else 'FAIL'} {name} ({time.monotonic() - start:.1f} s) {message}", flush=True)

    def one(function):
        fresh(page, mock)
        function(page, mock)
        expected = ("example.org", "400 (Bad Request)", "Trusted", "Content Security Policy", "unsafe-eval")
        bad = [entry["message"] for entry in page.console() if entry["level"] == "SEVERE"]
        expect([entry for entry in bad if not any(word in entry for word in expected)], [], "the console")

    try:
        for function in TESTS:
            if options.get("--only", "") in function.__name__:
                run(function.__name__, lambda: one(function))
        if arguments:
            run("real_server", lambda: real_server(page, *arguments))
            if "--shot" in options:
                with open(options["--shot"], "wb") as file:
                    file.write(base64.b64decode(page.screenshot()))
    finally:
        page.close()
        mock.close()
    if "--report" in options:
        with open(options["--report"], "w") as file:
            json.dump(report, file)
    sys.exit(not all(entry["ok"] for entry in report))


main()
