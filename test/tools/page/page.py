"""Tests of the page of `lapidary serve` in headless Chromium, against a server whose answers each test decides.

    page.py [--report FILE.json] [--shot FILE.png] [--only WORD] [LAPIDARY BUNDLE]

With LAPIDARY and BUNDLE, the tiny checkpoint's, one more test talks to a real server; --shot makes a picture of it. The report is a list of {name, ok, message}.
"""

import json
import sys
import time
import traceback

import access_tests  # noqa: F401  each puts its tests into TESTS
import chat_tests  # noqa: F401
import content_tests  # noqa: F401
import media_tests  # noqa: F401
import mockserver
import realserver
import webdriver
from support import PAGE, TESTS, expect, fresh


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
            run("real_server", lambda: realserver.check(page, *arguments, options.get("--shot")))
    finally:
        page.close()
        mock.close()
    if "--report" in options:
        with open(options["--report"], "w") as file:
            json.dump(report, file)
    sys.exit(not all(entry["ok"] for entry in report))


main()
