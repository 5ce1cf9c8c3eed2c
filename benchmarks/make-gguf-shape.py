#!/usr/bin/env python3
"""Writes a GGUF file of the 12B's shape with random but valid blocks, for speed and memory, not for answers: needs numpy.

    python3 benchmarks/make-gguf-shape.py OUT.gguf --type q4_0|q4_k_m|q8_0|bf16 [--layers 48]

Nothing is encoded, so that 7 GB take a minute: blocks are drawn whole, with scales that give weights a deviation of 0.02,
and repeat after some megabytes. Types of tensors are those that llama-quantize chooses: the table in q6_k beside 4-bit
matrices, and in q4_k_m also a part of the values and of the MLP's second matrices. `--layers 6` is one period of the
model: five sliding layers and a full one.
"""

import argparse
import importlib.util
import json
import pathlib
import tempfile

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
TINY = ROOT / "test/models/tiny"
DEVIATION = 0.02
POOL_BLOCKS = 1 << 16


def loadWriter():
    spec = importlib.util.spec_from_file_location("make_gguf", ROOT / "test/models/make-gguf.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def half(values):
    return values.astype("<f2").view(np.uint8).reshape(len(values), -1)


def randomBytes(random, columns):
    return random.integers(0, 256, (POOL_BLOCKS, columns), np.uint8)


def signs(random):
    """Scales of either sign take away the mean of codes that are not symmetric."""
    return random.choice([-1.0, 1.0], (POOL_BLOCKS, 1))


def bf16(random):
    values = (random.standard_normal((POOL_BLOCKS, 256)) * DEVIATION).astype("<f4")
    return (values.view("<u4") >> 16).astype("<u2").view(np.uint8)


def q8_0(random):
    return np.concatenate([half(np.full((POOL_BLOCKS, 1), DEVIATION / 73)),
                           random.integers(-127, 128, (POOL_BLOCKS, 32), np.int8).view(np.uint8)], axis=1)


def q4_0(random):
    return np.concatenate([half(signs(random) * DEVIATION / 4.6), randomBytes(random, 16)], axis=1)


def q4_k(random):
    """Eight scales and the same eight minimums of six bits; the middle code is about zero."""
    scales = random.integers(16, 64, (POOL_BLOCKS, 8), np.uint8)
    packed = np.empty((POOL_BLOCKS, 12), np.uint8)
    packed[:, 0:4] = packed[:, 4:8] = scales[:, :4] | scales[:, 4:] >> 4 << 6
    packed[:, 8:12] = (scales[:, 4:] & 15) * 17
    step = np.full((POOL_BLOCKS, 1), DEVIATION / (40 * 4.6))
    return np.concatenate([half(step), half(7.5 * step), packed, randomBytes(random, 128)], axis=1)


def q6_k(random):
    scales = random.integers(20, 128, (POOL_BLOCKS, 16)) * random.choice([-1, 1], (POOL_BLOCKS, 16))
    return np.concatenate([randomBytes(random, 192), scales.astype(np.int8).view(np.uint8),
                           half(np.full((POOL_BLOCKS, 1), DEVIATION / (80 * 18.5)))], axis=1)


# Number in the file, weights and bytes of a block, what fills POOL_BLOCKS of them.
BLOCKS = {"bf16": (30, 256, 512, bf16), "q8_0": (8, 32, 34, q8_0), "q4_0": (2, 32, 18, q4_0),
          "q4_k": (12, 256, 144, q4_k), "q6_k": (14, 256, 210, q6_k), "f32": (0, 1, 4, None)}
# general.file_type, type of matrices, type of the table.
MIXES = {"bf16": (32, "bf16", "bf16"), "q8_0": (7, "q8_0", "q8_0"), "q4_0": (2, "q4_0", "q6_k"),
         "q4_k_m": (15, "q4_k", "q6_k")}


def isFull(layer, layers):
    return (layer + 1) % 6 == 0 or layer == layers - 1


def makeConfig(layers):
    """The 12B's config.json with this many layers, in what the writer looks at."""
    return {"text_config": {
        "hidden_size": 3840, "intermediate_size": 15360, "num_hidden_layers": layers, "num_attention_heads": 16,
        "num_key_value_heads": 8, "num_global_key_value_heads": 1, "head_dim": 256, "global_head_dim": 512,
        "sliding_window": 1024, "final_logit_softcapping": 30.0, "rms_norm_eps": 1e-6, "max_position_embeddings": 262144,
        "layer_types": ["full_attention" if isFull(layer, layers) else "sliding_attention" for layer in range(layers)],
        "rope_parameters": {"sliding_attention": {"rope_theta": 10000.0},
                            "full_attention": {"rope_theta": 1000000.0, "partial_rotary_factor": 0.25}}}}


def moreBits(index, count):
    return index < count // 8 or index >= 7 * count // 8 or (index - count // 8) % 3 == 2


def tensors(layers, mix):
    """Yields (name, shape, type)."""
    _, matrix, table = MIXES[mix]
    hidden, ffn, heads = 3840, 15360, 16
    mixed = {True: "q6_k", False: matrix} if mix == "q4_k_m" else {True: matrix, False: matrix}
    values = [layer for layer in range(layers) if not isFull(layer, layers)]
    yield "token_embd.weight", (262144, hidden), table
    yield "output_norm.weight", (hidden,), "f32"
    for layer in range(layers):
        full = isFull(layer, layers)
        head, keys = (512, 1) if full else (256, 8)
        name = f"blk.{layer}."
        for norm in ("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"):
            yield f"{name}{norm}.weight", (hidden,), "f32"
        yield name + "layer_output_scale.weight", (1,), "f32"
        yield name + "attn_q_norm.weight", (head,), "f32"
        yield name + "attn_k_norm.weight", (head,), "f32"
        yield name + "attn_q.weight", (heads * head, hidden), matrix
        yield name + "attn_k.weight", (keys * head, hidden), matrix
        if not full:
            yield name + "attn_v.weight", (keys * head, hidden), mixed[moreBits(values.index(layer), len(values))]
        yield name + "attn_output.weight", (hidden, heads * head), matrix
        yield name + "ffn_gate.weight", (ffn, hidden), matrix
        yield name + "ffn_up.weight", (ffn, hidden), matrix
        yield name + "ffn_down.weight", (hidden, ffn), mixed[moreBits(layer, layers)]


def writeTokenizer(folder):
    """The tiny checkpoint's tokenizer, filled up to the 12B's vocabulary, where the writer finds it."""
    tokenizer = json.loads((TINY / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    for index in range(len(vocabulary), 262144):
        vocabulary[f"<unused_{index}>"] = index
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    for name in ("tokenizer_config.json", "chat_template.jinja"):
        (folder / name).write_bytes((TINY / name).read_bytes())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--type", choices=MIXES, required=True)
    parser.add_argument("--layers", type=int, default=48)
    options = parser.parse_args()
    if options.layers < 1:
        parser.error("--layers: expected 1 or more")
    make = loadWriter()
    random = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as folder:
        writeTokenizer(pathlib.Path(folder))
        writer = make.startText(pathlib.Path(folder), makeConfig(options.layers),
                                json.loads((TINY / "generation_config.json").read_text()), MIXES[options.type][0])
    parts = []
    for name, shape, type in tensors(options.layers, options.type):
        number, weights, size, _ = BLOCKS[type]
        size = int(np.prod(shape)) // weights * size
        writer.declare(name, shape, number, size)
        parts.append((size, type))
    pools = {type: memoryview(BLOCKS[type][3](random).tobytes()) for _, type in parts if type != "f32"}
    with open(options.out, "wb") as file:
        file.write(writer.header() + b"".join(writer.data))
        for size, type in parts:
            if type == "f32":
                file.write(np.ones(size // 4, "<f4").tobytes())
            else:
                # From another block each time, so that no two tensors are equal.
                begin = int(random.integers(0, POOL_BLOCKS // 2)) * BLOCKS[type][2]
                left = size
                while left:
                    part = pools[type][begin:begin + left]
                    file.write(part)
                    left -= len(part)
                    begin = 0
            file.write(bytes(-size % 32))


if __name__ == "__main__":
    main()
