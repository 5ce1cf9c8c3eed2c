"""Runs the tests of the server and writes what became of each: python run.py REPORT.json [NAME...]"""

import json
import pathlib
import sys
import time
import unittest


class Report(unittest.TextTestResult):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.entries = []

    def startTest(self, test):
        super().startTest(test)
        self.started = time.monotonic()

    def put(self, test, state):
        self.entries.append({"name": test.id(), "state": state,
                             "seconds": round(time.monotonic() - getattr(self, "started", time.monotonic()), 2)})

    def addSuccess(self, test):
        super().addSuccess(test)
        self.put(test, "passed")

    def addFailure(self, test, error):
        super().addFailure(test, error)
        self.put(test, "failed")

    def addError(self, test, error):
        super().addError(test, error)
        self.put(test, "failed")

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.put(test, "skipped")


def main():
    here = pathlib.Path(__file__).resolve().parent
    sys.path.insert(0, str(here))
    loader = unittest.TestLoader()
    if sys.argv[2:]:
        loader.testNamePatterns = [f"*{name}*" for name in sys.argv[2:]]
    suite = loader.discover(str(here), "test_*.py")
    result = unittest.TextTestRunner(resultclass=Report, verbosity=1).run(suite)
    for entry in sorted(result.entries, key=lambda entry: -entry["seconds"])[:5]:
        print(f"{entry['seconds']:7.1f} s  {entry['name']}")
    pathlib.Path(sys.argv[1]).write_text(json.dumps(result.entries))
    return 0 if result.wasSuccessful() else 1


if __name__ == "__main__":
    sys.exit(main())
