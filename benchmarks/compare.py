#!/usr/bin/env python3
"""Runs llama.cpp's llama-bench and `lapidary bench` side by side on the same weights and prints how many times faster we are.

    python3 benchmarks/compare.py LLAMA_BENCH MODEL.gguf [--bundle FILE.lap] [--threads 2] [--repeat 3] [--depth 4096,32768]

The two run in turns (A B A B ...), each number is the median of its turns, and the ratio is that of medians: what else
the machine does hits both. llama.cpp runs with flash attention. Rows: decoding from an empty state; a prompt of 512
tokens; 4 tokens at once, as drafted ones are checked, as multiples of one token's time; decoding with a long context
behind (ours is not computed, llama.cpp's is, which takes most of the time). Without --bundle the GGUF is compiled, to a
file that goes away. A model of the 12B's shape: benchmarks/make-gguf-shape.py.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
SHOWN = ("avx2", "avx512f", "avx512vnni", "avx512bf16", "avxvnni", "amx-int8", "amx-bf16", "dotprod", "i8mm", "sve")


def run(command):
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"compare.py: {' '.join(map(str, command))} ended with {result.returncode}:\n{result.stderr[-2000:]}")
    return json.loads(result.stdout)


class Sides:
    """Both programs; a measurement is seconds, by the name of its row."""

    def __init__(self, options, bundle):
        self.options, self.bundle = options, bundle
        self.about = None

    def theirs(self, prompt, generate, depth, samples):
        """Seconds of each of some runs."""
        command = [self.options.llama_bench, "-m", self.options.model, "-t", self.options.threads, "-fa", 1,
                   "-p", prompt, "-n", generate, "-d", depth, "-r", samples, "-o", "json"]
        return [time * 1e-9 for time in run(command)[0]["samples_ns"]]

    def ours(self, **flags):
        command = [self.options.lapidary, "bench", self.bundle, "--threads", self.options.threads, "--repeat", 1, "--json"]
        for name, value in flags.items():
            command += [f"--{name}", value]
        result = run(command)
        self.about = result
        return result


def measure(sides, options):
    """{row: (seconds of theirs, seconds of ours)}, one of each a turn."""
    rows = {}

    def add(row, theirs, ours):
        for list_, value in zip(rows.setdefault(row, ([], [])), (theirs, ours)):
            list_.append(value)

    for turn in range(options.repeat):
        print(f"turn {turn + 1} of {options.repeat}", file=sys.stderr)
        tokens = options.generate
        decode = sides.theirs(0, tokens, 0, 1)[0] / tokens
        ours = sides.ours(prompt=512, generate=tokens, batch=4, depth=0)
        add("decode", decode, 1 / ours["decode_tokens_per_second"])
        add("prefill 512", sides.theirs(512, 0, 0, 1)[0], 512 / ours["prefill_tokens_per_second"])
        # Its first runs of so few tokens are slow.
        add("4 at once", statistics.median(sides.theirs(4, 0, 0, 9)), ours["batch_s"])
    for depth in options.depth:
        # Filling its caches takes so long that one turn has to do.
        for turn in range(options.repeat if depth <= 8192 else 1):
            print(f"{depth} tokens of context", file=sys.stderr)
            theirs = sides.theirs(0, options.generate, depth, 1)[0] / options.generate
            ours = sides.ours(prompt=16, generate=options.generate, depth=depth)
            add(f"decode at {depth}", theirs, 1 / ours["decode_tokens_per_second"])
    return {row: tuple(map(statistics.median, times)) for row, times in rows.items()}


def show(options, sides, rows):
    about = sides.about
    features = [name for name in SHOWN if name in about["cpu"]["features"]]
    bandwidth, weights = about["read_bytes_per_second"], about["weight_bytes_per_decoded_token"]
    print(f"{options.model.name}: {weights / 1e9:.2f} GB of weights a token; {about['device']}; {' '.join(features)}")
    print(f"read bandwidth {bandwidth / 1e9:.1f} GB/s with {about['threads']} threads")
    print(f"\n{'':18}{'llama.cpp':>14}{'lapidary':>14}{'ratio':>9}")
    for row, (theirs, ours) in rows.items():
        tokens = {"prefill 512": 512, "4 at once": 4}.get(row, 1)
        print(f"{row:18}{tokens / theirs:10.2f} t/s{tokens / ours:10.2f} t/s{theirs / ours:8.2f}x")
    one = rows["decode"]
    print("\nagainst one's own decode:")
    for row, times in rows.items():
        if row == "4 at once":
            print(f"{row:18}" + "".join(f"{time / own:13.2f}x" for time, own in zip(times, one)) + "  the time of one token")
        elif row.startswith("decode at"):
            print(f"{row:18}" + "".join(f"{own / time:13.2f}x" for time, own in zip(times, one)) + "  the speed")
    if bandwidth:
        print(f"{'weights read':18}" + "".join(f"{weights / time / bandwidth:13.0%} " for time in one) + "  of the bandwidth")
    return {"model": options.model.name, "cpu": about["cpu"], "threads": about["threads"], "read_bytes_per_second": bandwidth,
            "weight_bytes_per_decoded_token": weights,
            "seconds": {row: {"llama.cpp": theirs, "lapidary": ours} for row, (theirs, ours) in rows.items()}}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("llama_bench", type=pathlib.Path)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--bundle", type=pathlib.Path)
    parser.add_argument("--compile-options", default="", help="for the bundle when there is none")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--generate", type=int, default=24)
    parser.add_argument("--depth", default="4096", help="lengths of context, with commas between; empty for none")
    parser.add_argument("--lapidary", type=pathlib.Path, default=ROOT / "build/bin/lapidary")
    parser.add_argument("--json", type=pathlib.Path, help="write the numbers here too")
    options = parser.parse_args()
    options.depth = [int(depth) for depth in options.depth.split(",") if depth]
    with tempfile.TemporaryDirectory(dir=options.model.parent) as folder:
        bundle = options.bundle
        if not bundle:
            bundle = pathlib.Path(folder) / "model.lap"
            print(f"compiling {options.model}", file=sys.stderr)
            subprocess.run([options.lapidary, "compile", options.model, *options.compile_options.split(), "-o", bundle],
                           check=True)
        sides = Sides(options, bundle)
        numbers = show(options, sides, measure(sides, options))
    if options.json:
        options.json.write_text(json.dumps(numbers, indent=1) + "\n")


if __name__ == "__main__":
    main()
