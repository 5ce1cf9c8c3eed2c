"""Companions: answers with drafts are those without, with both heads; what does not fit a model is refused by name.

    draft.py LAPIDARY MODELS WORK

The tiny companion gets a clustered head in three ways: all clusters looked into, which must draft as without clusters;
the best 16 of 64; and one whose only cluster that counts has no token of any answer, whose drafts must all be wrong.
"""

import json
import pathlib
import random
import shutil
import struct
import subprocess
import sys

lapidary, models, work = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
shutil.rmtree(work, ignore_errors=True)
work.mkdir(parents=True)
PROMPTS = ["Tell a story.", "What is the capital of Norway?", "What is 7 + 12?"]
VOCABULARY, WIDTH, CLUSTERS = 2048, 128, 64


def companion(name, change, extra=()):
    """A copy of the tiny companion with an altered configuration and more tensors (name, type, shape, bytes)."""
    folder = work / name
    shutil.copytree(models / "tiny-assistant", folder)
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))
    original = (folder / "model.safetensors").read_bytes()
    size = struct.unpack("<Q", original[:8])[0]
    header, body = json.loads(original[8:8 + size]), original[8 + size:]
    for key, kind, shape, data in extra:
        header[key] = {"dtype": kind, "shape": shape, "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + body)
    return folder


def clustered(name, top, order, centroids):
    def change(config):
        config.update(use_ordered_embeddings=True, num_centroids=CLUSTERS, centroid_intermediate_top_k=top)
    bf16 = b"".join(struct.pack("<f", value)[2:] for value in centroids)
    return companion(name, change, [
        ("masked_embedding.centroids.weight", "BF16", [CLUSTERS, WIDTH], bf16),
        ("masked_embedding.token_ordering", "I64", [VOCABULARY], struct.pack(f"<{VOCABULARY}q", *order))])


def compileWith(folder, *options):
    bundle = folder.with_suffix(".lap")
    run = subprocess.run([lapidary, "compile", models / "tiny", "--assistant", folder, "--activations", "f32", *options,
                          "-o", bundle], capture_output=True, text=True)
    return bundle, run


def answers(bundle, draft):
    result = []
    for prompt in PROMPTS:
        run = subprocess.run([lapidary, "run", bundle, "-p", prompt, "--max-tokens", "60", "--temperature", "0", "--json",
                              "--draft", draft], capture_output=True, text=True, check=True)
        result.append(json.loads(run.stdout))
    return result


def report(name, ok, detail=""):
    print(f"{name}: {'ok' if ok else 'FAILED ' + str(detail)}", flush=True)


def drafted(runs):
    return [(run["drafted_tokens"], run["accepted_tokens"], run["steps"]) for run in runs]


def checkBundle(name, bundle, run, plain):
    """The runs with 3 drafts, if all of the bundle's answers are the plain ones and its self-test passes."""
    if run.returncode:
        report(name, False, run.stderr)
        return None
    test = subprocess.run([lapidary, "selftest", bundle], capture_output=True, text=True)
    runs = {draft: answers(bundle, draft) for draft in ("3", "auto", "off")}
    same = all([one["ids"] for one in many] == plain for many in runs.values())
    none = all(one["drafted_tokens"] == 0 for one in runs["off"])
    if test.returncode or "draft " not in test.stdout or not same or not none:
        report(name, False, (test.stdout, runs))
        return None
    return runs["3"]


rng = random.Random(7)
plainBundle, plainRun = compileWith(companion("plain", lambda config: None))
plain = [run["ids"] for run in answers(plainBundle, "off")]
full = checkBundle("full head", plainBundle, plainRun, plain)
if full:
    report("full head", sum(run["accepted_tokens"] for run in full) > 20, drafted(full))

shuffled = list(range(VOCABULARY))
rng.shuffle(shuffled)
noise = [rng.uniform(-1, 1) for _ in range(CLUSTERS * WIDTH)]
runs = checkBundle("all clusters", *compileWith(clustered("all", CLUSTERS, shuffled, noise)), plain)
if runs and full:
    report("all clusters", drafted(runs) == drafted(full), (drafted(runs), drafted(full)))
runs = checkBundle("some clusters", *compileWith(clustered("some", 16, shuffled, noise)), plain)
if runs:
    report("some clusters", 0 < sum(run["drafted_tokens"] for run in runs))
# Of equal clusters the first one counts.
said = {token for ids in plain for token in ids}
order = sorted(range(VOCABULARY), key=lambda token: token in said)
runs = checkBundle("wrong cluster", *compileWith(clustered("wrong", 1, order, [0.0] * (CLUSTERS * WIDTH))), plain)
if runs:
    report("wrong cluster", sum(run["accepted_tokens"] for run in runs) == 0 < sum(run["drafted_tokens"] for run in runs),
           drafted(runs))

quantized, run = compileWith(work / "plain", "--quant", "q8_0", "--kv", "q8_0")
test = subprocess.run([lapidary, "selftest", quantized], capture_output=True, text=True)
report("quantized", run.returncode == 0 and test.returncode == 0, run.stderr + test.stdout)


def refused(name, words, change, extra=()):
    _, run = compileWith(companion(name, change, extra))
    missing = [word for word in words if word not in run.stderr]
    report("refused " + name, run.returncode == 1 and not missing, (run.stderr, missing))


def ofText(**fields):
    return lambda config: config["text_config"].update(**fields)


refused("width", ["config.json: backbone_hidden_size", "(256)", "512"], lambda config: config.update(backbone_hidden_size=512))
refused("vocabulary", ["text_config.vocab_size", "2048", "1024"], ofText(vocab_size=1024))
refused("window", ["text_config.sliding_window", "128", "64"], ofText(sliding_window=64))
refused("heads", ["layer 0: num_key_value_heads", "(4)", "2"], ofText(num_key_value_heads=2))
refused("sharing", ["num_kv_shared_layers", "(4)", "2"], ofText(num_kv_shared_layers=2))
refused("kind", ["model_type", "gemma4_unified_assistant"], lambda config: config.update(model_type="gemma4"))
refused("field", ["speed"], lambda config: config.update(speed=9))
refused("tensor", ["assistant.more.weight"], lambda config: None, [("more.weight", "F32", [1], bytes(4))])
refused("clusters", ["num_centroids", "2048", "100"],
        lambda config: config.update(use_ordered_embeddings=True, num_centroids=100))
refused("ordering", ["masked_embedding.token_ordering", "each token below 2048 once", "element 1"],
        lambda config: config.update(use_ordered_embeddings=True, num_centroids=CLUSTERS),
        [("masked_embedding.token_ordering", "I64", [VOCABULARY], bytes(8 * VOCABULARY))])
