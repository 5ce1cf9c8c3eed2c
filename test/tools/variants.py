"""Compiles small random checkpoints of many configurations and self-tests what comes out.

    variants.py LAPIDARY WORK [--quant SCHEME]... [--jobs N] [--margins] [NAME...]

`lapidary selftest` compares the generated code with the reference interpreter on that very checkpoint, and
`compare-reference`, found on the PATH, does so over a long prompt; both with the code of every instruction set that this
machine has. Prints a line that fails for each configuration that does, and a last line
with the counts; with --margins also the worst error of each, as a share of its bound.
"""

import argparse
import concurrent.futures
import copy
import json
import os
import pathlib
import shutil
import subprocess
import sys

import checkpoint

# Which configuration takes which scheme is their numbers' affair: together they take all.
SCHEMES = ["q8_0", "q4_k_m", "iq4_nl", "q2_k", "nvfp4", "int4_group128", "q3_k", "mxfp4", "fp8_e4m3", "q5_1", "ternary",
           "int8_channel", "nf4", "q4_0", "q5_k", "q4_1", "q5_0", "q6_k"]

SLIDING, FULL = "sliding_attention", "full_attention"


def text(**fields):
    """A configuration that differs from the default in its decoder; None takes a field out of the file."""
    def change(config):
        for key, value in fields.items():
            if value is None:
                config["text_config"].pop(key)
            else:
                config["text_config"][key] = value
    return change


def null(*keys):
    """Fields that are written, as null."""
    def change(config):
        for key in keys:
            target = config if key in config else config["text_config"]
            target[key] = None
    return change


def layers(*types, **fields):
    return text(num_hidden_layers=len(types), layer_types=list(types), **fields)


def rope(factor):
    def change(config):
        config["text_config"]["rope_parameters"]["full_attention"]["partial_rotary_factor"] = factor
    return change


def vision(**fields):
    return lambda config: config["vision_config"].update(fields)


def untied(config):
    config["tie_word_embeddings"] = config["text_config"]["tie_word_embeddings"] = False


def perLayer(config):
    fields = config["text_config"]
    for key in ("global_head_dim", "num_global_key_value_heads"):
        del fields[key]
    fields["per_layer_config"] = {"0": {"intermediate_size": 40}, "1": {"num_key_value_heads": 1, "head_dim": 24},
                                  "2": {"num_attention_heads": 3, "num_key_value_heads": 1, "head_dim": 36}}


def both(*changes):
    def change(config):
        for one in changes:
            one(config)
    return change


def asItIs(config):
    pass


# Name to a change of checkpoint.defaultConfig(), or to that and how the files are written.
CONFIGURATIONS = {
    "default": asItIs,
    "no-vision": null("vision_config"),
    "no-audio": null("audio_config"),
    "text-alone": null("vision_config", "audio_config"),
    "own-values": text(attention_k_eq_v=False),
    "own-values-field-absent": text(attention_k_eq_v=None),
    "causal-vision": null("use_bidirectional_attention"),
    "no-softcap": null("final_logit_softcapping"),
    "softcap-5": text(final_logit_softcapping=5.0),
    "untied": untied,
    "f16": (asItIs, {"dtype": "F16"}),
    "f32": (asItIs, {"dtype": "F32"}),
    "shards": (asItIs, {"shards": 3}),
    "reference-names": (asItIs, {"published": False}),
    "hidden-20": text(hidden_size=20, intermediate_size=17),
    "hidden-36": text(hidden_size=36, intermediate_size=77),
    "hidden-100": text(hidden_size=100, intermediate_size=33),
    "hidden-33": text(hidden_size=33, intermediate_size=5),
    "heads-3-of-6": text(num_attention_heads=3, num_key_value_heads=1, head_dim=6, global_head_dim=10),
    "heads-6-of-10": text(num_attention_heads=6, num_key_value_heads=2, head_dim=10, global_head_dim=6,
                          num_global_key_value_heads=3),
    "heads-4-of-34": text(head_dim=34, global_head_dim=34, num_global_key_value_heads=4),
    "heads-1-of-2": text(num_attention_heads=1, num_key_value_heads=1, head_dim=2, global_head_dim=2),
    "head-72-of-full-200": text(head_dim=72, global_head_dim=200),
    "same-head-size": text(head_dim=32, global_head_dim=32),
    "full-key-heads-4": text(num_global_key_value_heads=4),
    "full-key-heads-null": null("num_global_key_value_heads"),
    "vocabulary-2049": text(vocab_size=2049),
    "vocabulary-2103": text(vocab_size=2103, hidden_size=20),
    "all-sliding": layers(SLIDING, SLIDING, SLIDING),
    "all-full": layers(FULL, FULL, FULL),
    "full-first": layers(FULL, SLIDING, FULL, SLIDING),
    "one-sliding-layer": layers(SLIDING),
    "one-full-layer": layers(FULL),
    "seven-layers-by-default": both(text(num_hidden_layers=7), layers(*[SLIDING] * 5, FULL, FULL)),
    "per-layer": perLayer,
    "window-1": text(sliding_window=1),
    "window-2": text(sliding_window=2),
    "window-16": text(sliding_window=16),
    "window-17": text(sliding_window=17),
    "window-beyond-context": text(sliding_window=4096),
    "rotary-1": rope(1.0),
    "rotary-0": rope(0.0),
    "rotary-0.3": rope(0.3),
    "short-context": text(max_position_embeddings=37),
    "large-eps": text(rms_norm_eps=0.1),
    "patch-of-48": vision(patch_size=16),
    "patch-of-1": vision(patch_size=1, pooling_kernel_size=1, mm_embed_dim=5, output_proj_dims=5),
    "audio-frame-7": lambda config: config["audio_config"].update(audio_embed_dim=7),
}

# Where a block scheme has something to get wrong that a number does not: sizes, formats, and what weights are shared.
QUANTIZED = [name for name in CONFIGURATIONS
             if name.startswith(("default", "own-values", "untied", "f16", "f32", "hidden", "heads", "vocabulary", "all-",
                                 "per-layer", "window-17", "rotary-0", "patch", "audio"))]


def lapidaryRun(arguments, variant=None):
    environment = dict(os.environ, LAPIDARY_THREADS="2")
    environment.pop("LAPIDARY_CPU", None)
    if variant:
        environment["LAPIDARY_CPU"] = variant
    return subprocess.run([str(word) for word in arguments], capture_output=True, text=True, timeout=300,
                          env=environment)


def examine(lapidary, work, name, scheme, variants):
    """A list of what is wrong, and the worst error as a share of its bound by variant."""
    change, options = CONFIGURATIONS[name], {}
    if isinstance(change, tuple):
        change, options = change
    config = copy.deepcopy(checkpoint.defaultConfig())
    change(config)
    folder = work / f"{name}-{scheme}"
    checkpoint.writeCheckpoint(folder, config, **options)
    bundle = folder / "model.lap"
    own = options.get("dtype", "BF16").lower()
    # What differs is to be the order of sums alone: 8-bit inputs would round differently where a sum's last bit does.
    quant = own if scheme == "own" else scheme
    result = lapidaryRun([lapidary, "compile", folder, "--quant", quant, "--activations", "f32", "-o", bundle])
    problems, margins = [], {}
    if result.returncode != 0:
        return [f"compile: exit code {result.returncode}: {result.stderr.strip()[-300:]}"], margins
    expected = ["text", "decode"] + ["image", "video"] * bool(config["vision_config"]) + ["audio"] * bool(config["audio_config"])
    for variant in variants:
        result = lapidaryRun([lapidary, "selftest", bundle, "--json"], variant)
        if result.returncode not in (0, 1) or not result.stdout:
            problems.append(f"{variant}: exit code {result.returncode}: {result.stderr.strip()[-300:]}")
            continue
        tests = json.loads(result.stdout)["tests"]
        if [test["name"] for test in tests] != expected:
            problems.append(f"{variant}: expected the tests {expected}, found {[test['name'] for test in tests]}")
        long = lapidaryRun(["compare-reference", folder, bundle], variant)
        if long.returncode not in (0, 1) or not long.stdout:
            problems.append(f"{variant}: compare-reference: exit code {long.returncode}: {long.stderr.strip()[-300:]}")
            continue
        tests = [{"name": f"{test['name']} {what}", "error": test[f"{what}_error"], "bound": test[f"{what}_bound"]}
                 for test in tests for what in ("logits", "embeddings") if f"{what}_error" in test]
        tests.append({"name": "long prompt", **json.loads(long.stdout)})
        problems += [f"{variant}: {test['name']}: error {test['error']}, bound {test['bound']}"
                     for test in tests if not test["error"] <= test["bound"]]
        margins[variant] = {test["name"]: test["error"] / test["bound"] for test in tests}
    # Random weights answer with anything; what matters is that it ends well.
    result = lapidaryRun([lapidary, "run", bundle, "--raw", "-p", "Hi", "--max-tokens", "3"])
    if result.returncode != 0:
        problems.append(f"run: exit code {result.returncode}: {result.stderr.strip()[-300:]}")
    if not problems:
        shutil.rmtree(folder)
    return problems, margins


def usableVariants():
    """The instruction sets among those we compile for that this machine has."""
    flags = pathlib.Path("/proc/cpuinfo").read_text().split()
    needs = {"avx512": {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}, "avx2": {"avx2", "fma", "f16c", "bmi2"}}
    return [name for name, features in needs.items() if features <= set(flags)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("lapidary")
    parser.add_argument("work", type=pathlib.Path)
    parser.add_argument("--quant", action="append", help="own (the checkpoint's format), a scheme or a recipe; unless given own, and a scheme where it matters")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--margins", action="store_true")
    parser.add_argument("names", nargs="*", metavar="NAME")
    arguments = parser.parse_args()
    shutil.rmtree(arguments.work, ignore_errors=True)
    variants = usableVariants()
    cases = [(name, scheme) for name in arguments.names or CONFIGURATIONS
             for scheme in arguments.quant or
             (["own", SCHEMES[QUANTIZED.index(name) % len(SCHEMES)]] if name in QUANTIZED else ["own"])]
    failed, margins = 0, {}
    with concurrent.futures.ThreadPoolExecutor(max_workers=arguments.jobs) as pool:
        jobs = [pool.submit(examine, arguments.lapidary, arguments.work, *case, variants) for case in cases]
        for (name, scheme), job in zip(cases, jobs):
            problems, found = job.result()
            failed += bool(problems)
            for problem in problems:
                print(f"FAIL {name} {scheme}: {problem}", flush=True)
            for variant, shares in found.items():
                test = max(shares, key=shares.get)
                margins.setdefault((scheme, variant), []).append((shares[test], name, test))
                if arguments.margins:
                    print(f"{name} {scheme} {variant}: {shares[test]:.3f} of the bound ({test})", flush=True)
    for (scheme, variant), found in margins.items():
        share, name, test = max(found)
        print(f"worst of {scheme} {variant}: {share:.2f} of its bound ({name}, {test})")
    print(f"{len(cases) - failed} of {len(cases)} configurations agree, each with {' and '.join(variants)}")
    return 1 if failed or not variants else 0


sys.exit(main())
