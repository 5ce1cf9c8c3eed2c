"""Runs the suites of a finished build and adds them up; `scripts/test` builds and then calls this.

    python3 test/run.py [SUITE...]      suites: unit sanitized lit page server check fuzz (all of them unless named)

Each runner's own machine-readable output is counted, and a runner that dies, runs out of time or runs no test at all
counts as a failure. The last line of the output is `N passed, N failed`; the exit code is 0 when nothing failed.
Skipped tests (a CPU feature that the machine lacks) are neither passed nor failed; they are listed above that line.
"""

import collections
import concurrent.futures
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
ASAN = ROOT / "build-asan"
TSAN = ROOT / "build-tsan"
RESULTS = BUILD / "test-results"


class Tally:
    """What one runner reported."""

    def __init__(self, name, passed=0, failed=0, skipped=0, notes=()):
        self.name, self.passed, self.failed, self.skipped = name, passed, failed, skipped
        self.notes = list(notes)
        self.seconds = 0.0

    def finish(self, code):
        """A runner's exit code must agree with its report, and a runner without tests proves nothing."""
        if code != 0 and self.failed == 0:
            self.failed += 1
            self.notes.append(f"{self.name}: exit code {code} without a failed test in its report")
        if self.passed + self.failed + self.skipped == 0:
            self.failed += 1
            self.notes.append(f"{self.name}: no test was run")
        return self


def execute(command, timeout, **options):
    """Exit code of the command, its output passed through; -1 when it could not run or ran out of time."""
    try:
        return subprocess.run([str(word) for word in command], cwd=ROOT, timeout=timeout, **options).returncode
    except subprocess.TimeoutExpired:
        print(f"test/run.py: {command[0]} did not end within {timeout} s", flush=True)
    except OSError as error:
        print(f"test/run.py: cannot run {command[0]}: {error.strerror}", flush=True)
    return -1


def gtest(binary, label):
    """One process a core, each with its share of the cases."""
    shards = min(os.cpu_count() or 1, 8)
    reports = [RESULTS / f"{label}-{shard}.json" for shard in range(shards)]

    def runShard(shard):
        reports[shard].unlink(missing_ok=True)
        return execute([binary, "--gtest_brief=1", f"--gtest_output=json:{reports[shard]}"], 1800,
                       env={**os.environ, "GTEST_TOTAL_SHARDS": str(shards), "GTEST_SHARD_INDEX": str(shard)})

    with concurrent.futures.ThreadPoolExecutor(shards) as pool:
        codes = list(pool.map(runShard, range(shards)))
    tally = Tally(label)
    skipped = collections.Counter()
    for report in filter(pathlib.Path.exists, reports):
        for suite in json.loads(report.read_text())["testsuites"]:
            for case in suite["testsuite"]:
                if case.get("failures"):
                    tally.failed += 1
                    tally.notes.append(f"{label}: {suite['name']}.{case['name']}")
                elif case.get("result") == "COMPLETED":
                    tally.passed += 1
                else:
                    tally.skipped += 1
                    # Cases of one feature that the machine lacks are many: "3_matrix16" is one of "matrix16".
                    skipped[f"{suite['name']}.{re.sub('/[0-9]+_', '/', case['name'])}"] += 1
    tally.notes += [f"{label}: skipped {name}" + f" ({count} cases)" * (count > 1) for name, count in skipped.items()]
    return tally.finish(next((code for code in codes if code), 0))


def unitTests(build, prefix=""):
    binaries = sorted((build / "bin").glob("*-tests"))
    if not binaries:
        return [Tally(prefix + "unit").finish(0)]
    return [gtest(binary, prefix + binary.name) for binary in binaries]


def unit():
    return unitTests(BUILD)


def sanitized():
    return unitTests(ASAN, "asan-") + unitTests(TSAN, "tsan-")


def cacheEntry(name):
    for line in (BUILD / "CMakeCache.txt").read_text().splitlines():
        match = re.fullmatch(rf"{name}:\w+=(.*)", line)
        if match:
            return match.group(1)
    return ""


def lit():
    program = cacheEntry("LAPIDARY_LIT")
    if not program or not os.path.exists(program):
        return [Tally("lit", failed=1, notes=["lit: not found; run scripts/setup and configure again"])]
    report = RESULTS / "lit.xml"
    report.unlink(missing_ok=True)
    code = execute([program, "-sv", f"--xunit-xml-output={report}", BUILD / "test"], 3000)
    tally = Tally("lit")
    if report.exists():
        for case in xml.etree.ElementTree.parse(report).getroot().iter("testcase"):
            name = f"{case.get('classname')}.{case.get('name')}"
            if case.find("failure") is not None or case.find("error") is not None:
                tally.failed += 1
                tally.notes.append(f"lit: {name}")
            elif case.find("skipped") is not None:
                tally.skipped += 1
                tally.notes.append(f"lit: skipped {name}: {case.find('skipped').get('message')}")
            else:
                tally.passed += 1
    return [tally.finish(code)]


def page():
    """The page in a browser, against a server that the tests play and, where the build has one, against the real one."""
    report = RESULTS / "page.json"
    report.unlink(missing_ok=True)
    tally = Tally("page")
    for program in ("chromium", "chromedriver"):
        if not shutil.which(program):
            return [Tally("page", failed=1, notes=[f"page: {program} is not installed; run scripts/setup"])]
    real = [BUILD / "bin/lapidary", BUILD / "test/tiny-bf16.lap"]
    if "\n  serve" not in subprocess.run([real[0], "--help"], capture_output=True, text=True).stdout:
        tally.skipped += 1
        tally.notes.append("page: skipped real_server: this build has no lapidary serve")
        real = []
    code = execute([sys.executable, ROOT / "test/tools/page/page.py", "--report", report, *real], 600)
    if report.exists():
        for entry in json.loads(report.read_text()):
            tally.passed += entry["ok"]
            tally.failed += not entry["ok"]
            if not entry["ok"]:
                tally.notes.append(f"page: {entry['name']}: {entry['message']}")
    return [tally.finish(code)]


def server():
    """Clients against a running server, with the Python that scripts/setup made."""
    program = BUILD / "python/bin/python"
    if not program.exists():
        return [Tally("server", failed=1, notes=["server: no build/python; run scripts/setup with a network"])]
    report = RESULTS / "server.json"
    report.unlink(missing_ok=True)
    code = execute([program, ROOT / "test/server/run.py", report], 600)
    tally = Tally("server")
    if report.exists():
        for entry in json.loads(report.read_text()):
            tally.passed += entry["state"] == "passed"
            tally.failed += entry["state"] == "failed"
            tally.skipped += entry["state"] == "skipped"
            if entry["state"] != "passed":
                tally.notes.append(f"server: {entry['state']} {entry['name']}")
    return [tally.finish(code)]


def check():
    report = RESULTS / "check.json"
    report.unlink(missing_ok=True)
    code = execute([sys.executable, ROOT / "scripts/check", "--json", report], 900)
    tally = Tally("check")
    if report.exists():
        for entry in json.loads(report.read_text()):
            tally.passed += entry["ok"]
            tally.failed += not entry["ok"]
            if not entry["ok"]:
                tally.notes.append(f"check: {entry['name']}")
    return [tally.finish(code)]


def fuzzOne(binary, seconds):
    """A fuzz target passes when it finds nothing. What it does find stays in build-asan/fuzz/NAME for the repair."""
    work = ASAN / "fuzz" / binary.name
    corpus, found = work / "corpus", work / "found"
    corpus.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(found, ignore_errors=True)
    found.mkdir()
    command = [binary, f"-max_total_time={seconds}", "-timeout=20", "-rss_limit_mb=2048", "-print_final_stats=1",
               f"-artifact_prefix={found}/", corpus]
    seeds = ROOT / "test/fuzz/corpus" / binary.name
    if seeds.is_dir():
        command.append(seeds)
    with open(work / "log", "w") as log:
        code = execute(command, seconds + 300, stdout=log, stderr=subprocess.STDOUT)
    text = (work / "log").read_text(errors="replace")
    runs = re.search(r"stat::number_of_executed_units:\s*(\d+)", text)
    if code != 0 or not runs or int(runs.group(1)) == 0:
        print("".join(text.splitlines(keepends=True)[-40:]), flush=True)
        return Tally(binary.name, failed=1, notes=[f"fuzz: {binary.name}, see {work.relative_to(ROOT)}"])
    return Tally(binary.name, passed=1, notes=[f"fuzz: {binary.name}: {runs.group(1)} inputs in {seconds} s"])


def fuzz():
    seconds = int(os.environ.get("LAPIDARY_FUZZ_SECONDS", "30"))
    binaries = sorted((ASAN / "bin").glob("*Fuzz"))
    total = Tally("fuzz")
    with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
        for one in pool.map(lambda binary: fuzzOne(binary, seconds), binaries):
            total.passed += one.passed
            total.failed += one.failed
            total.notes += one.notes
    return [total.finish(0)]


SUITES = {"unit": unit, "sanitized": sanitized, "lit": lit, "page": page, "server": server, "check": check, "fuzz": fuzz}


def main():
    names = sys.argv[1:] or list(SUITES)
    unknown = [name for name in names if name not in SUITES]
    if unknown:
        print(f"test/run.py: no suite is called {unknown[0]}; there are {', '.join(SUITES)}", file=sys.stderr)
        return 2
    RESULTS.mkdir(parents=True, exist_ok=True)
    tallies = []
    if {"unit", "lit", "page", "server"} & set(names):
        # Bundles that several suites run; compiling them is part of what is tested.
        if execute(["cmake", "--build", BUILD, "--target", "test-bundles"], 1800) != 0:
            tallies.append(Tally("test-bundles", failed=1, notes=["test-bundles: compiling test/models/tiny failed"]))
    for name in names:
        print(f"== {name}", flush=True)
        start = time.monotonic()
        part = SUITES[name]()
        part[0].seconds = time.monotonic() - start
        tallies += part

    print("\n== summary")
    for tally in tallies:
        for note in tally.notes:
            print(note)
    for tally in tallies:
        print(f"{tally.name:24} {tally.passed:5} passed {tally.failed:4} failed {tally.skipped:4} skipped"
              f"  {tally.seconds:6.1f} s")
    passed = sum(tally.passed for tally in tallies)
    failed = sum(tally.failed for tally in tallies)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


sys.exit(main())
