#!/usr/bin/env python3
"""Writes the GGUF files that llama.cpp's converter would make of a Gemma 4 Unified checkpoint: needs numpy alone.

    python3 make-gguf.py CHECKPOINT OUT.gguf [--type f32|f16|bf16|q8_0|q4_0|q4_k] [--mmproj MMPROJ.gguf]

Matrices get the type, the rest is F32. Unlike the converter it says in the image projection's file how many soft tokens
an image may have (clip.vision.image_max_pixels), which the test checkpoint needs. Blocks are filled in the simplest way:
a scale by the largest magnitude, or by the range.
"""

import argparse
import json
import pathlib
import struct

import numpy as np

U32, I32, F32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9
NORMAL, CONTROL, USER_DEFINED, BYTE = 1, 3, 4, 6
# The converter's list: tokens that are shown even where special ones are not.
SHOWN = {"<|channel>", "<channel|>", "<|tool_call>", "<tool_call|>", "<|tool_response>", "<tool_response|>", '<|"|>'}


def toF16(values):
    return values.astype("<f2").tobytes()


def toBf16(values):
    bits = np.ascontiguousarray(values, "<f4").view("<u4").astype(np.uint64)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("<u2").tobytes()


def divide(values, scale):
    return np.divide(values, scale, out=np.zeros_like(values), where=scale != 0)


def nibbles(codes):
    """The first half of each row's codes low, the second half high."""
    half = codes.shape[-1] // 2
    return (codes[..., :half] | codes[..., half:] << 4).astype(np.uint8)


def joined(*parts):
    return np.concatenate([np.ascontiguousarray(part).view(np.uint8).reshape(part.shape[0], -1) for part in parts],
                          axis=1).tobytes()


def toQ8(values):
    blocks = values.reshape(-1, 32)
    scale = (np.abs(blocks).max(1, keepdims=True) / 127).astype("<f2")
    codes = np.rint(divide(blocks, scale.astype("f4"))).clip(-127, 127).astype(np.int8)
    return joined(scale, codes)


def toQ4(values):
    blocks = values.reshape(-1, 32)
    largest = np.take_along_axis(blocks, np.abs(blocks).argmax(1)[:, None], 1)
    scale = (largest / -8).astype("<f2")
    codes = (np.rint(divide(blocks, scale.astype("f4"))) + 8).clip(0, 15).astype(np.uint8)
    return joined(scale, nibbles(codes))


def toQ4K(values):
    blocks = values.reshape(-1, 8, 32)
    low = np.minimum(blocks.min(2), 0)
    step = (blocks.max(2).clip(0) - low) / 15
    d = (step.max(1, keepdims=True) / 63).astype("<f2")
    dmin = (-low.min(1, keepdims=True) / 63).astype("<f2")
    scales = np.rint(divide(step, d.astype("f4"))).clip(0, 63).astype(np.uint8)
    mins = np.rint(divide(-low, dmin.astype("f4"))).clip(0, 63).astype(np.uint8)
    step = (d.astype("f4") * scales)[..., None]
    shifted = blocks + (dmin.astype("f4") * mins)[..., None]
    codes = np.rint(divide(shifted, step)).clip(0, 15).astype(np.uint8)
    # Six bits each: the first four of both in bytes of their own, whose upper bits the last four share.
    packed = np.empty((len(blocks), 12), np.uint8)
    packed[:, 0:4] = scales[:, :4] | scales[:, 4:] >> 4 << 6
    packed[:, 4:8] = mins[:, :4] | mins[:, 4:] >> 4 << 6
    packed[:, 8:12] = scales[:, 4:] & 15 | mins[:, 4:] << 4
    return joined(d, dmin, packed, nibbles(codes.reshape(-1, 4, 64)).reshape(len(blocks), -1))


# Name: number in the file, general.file_type, columns of a block, writer.
TYPES = {
    "f32": (0, 0, 1, lambda values: values.astype("<f4").tobytes()),
    "f16": (1, 1, 1, toF16),
    "bf16": (30, 32, 1, toBf16),
    "q8_0": (8, 7, 32, toQ8),
    "q4_0": (2, 2, 32, toQ4),
    "q4_k": (12, 14, 256, toQ4K),
}


class Writer:
    def __init__(self):
        self.keys, self.infos, self.data = [], [], []
        self.size = 0

    @staticmethod
    def text(value):
        encoded = value.encode()
        return struct.pack("<Q", len(encoded)) + encoded

    def value(self, kind, value):
        if kind == STRING:
            return self.text(value)
        return struct.pack({U32: "<I", I32: "<i", F32: "<f", BOOL: "<?"}[kind], value)

    def key(self, name, kind, value):
        self.keys.append(self.text(name) + struct.pack("<I", kind) + self.value(kind, value))

    def array(self, name, kind, values):
        self.keys.append(self.text(name) + struct.pack("<IIQ", ARRAY, kind, len(values)) +
                         b"".join(self.value(kind, value) for value in values))

    def tensor(self, name, values, type):
        number, _, columns, write = TYPES[type]
        if values.shape[-1] % columns:
            raise SystemExit(f"{name}: rows of {values.shape[-1]} are no whole blocks of {type}")
        data = write(np.ascontiguousarray(values))
        self.declare(name, values.shape, number, len(data))
        self.data.append(data + bytes(-len(data) % 32))

    def declare(self, name, shape, number, size):
        """A tensor of the type `number` whose `size` bytes follow those of the ones before, padded to 32."""
        shape = shape[::-1]
        self.infos.append(self.text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, number, self.size))
        self.size += size + -size % 32

    def header(self):
        header = b"GGUF" + struct.pack("<IQQ", 3, len(self.infos), len(self.keys))
        header += b"".join(self.keys) + b"".join(self.infos)
        return header + bytes(-len(header) % 32)

    def write(self, path):
        path.write_bytes(self.header() + b"".join(self.data))


def readTensors(folder):
    tensors = {}
    for path in sorted(folder.glob("*.safetensors")):
        content = path.read_bytes()
        size, = struct.unpack_from("<Q", content)
        for name, info in json.loads(content[8:8 + size]).items():
            if name == "__metadata__":
                continue
            begin, end = (8 + size + offset for offset in info["data_offsets"])
            raw = np.frombuffer(content[begin:end], {"BF16": "<u2", "F16": "<f2", "F32": "<f4"}[info["dtype"]])
            values = (raw.astype("<u4") << 16).view("<f4") if info["dtype"] == "BF16" else raw.astype("<f4")
            tensors[name] = values.reshape(info["shape"])
    return tensors


LAYER = {
    "input_layernorm.weight": "attn_norm.weight", "self_attn.q_proj.weight": "attn_q.weight",
    "self_attn.k_proj.weight": "attn_k.weight", "self_attn.v_proj.weight": "attn_v.weight",
    "self_attn.o_proj.weight": "attn_output.weight", "self_attn.q_norm.weight": "attn_q_norm.weight",
    "self_attn.k_norm.weight": "attn_k_norm.weight", "post_attention_layernorm.weight": "post_attention_norm.weight",
    "pre_feedforward_layernorm.weight": "ffn_norm.weight", "mlp.gate_proj.weight": "ffn_gate.weight",
    "mlp.up_proj.weight": "ffn_up.weight", "mlp.down_proj.weight": "ffn_down.weight",
    "post_feedforward_layernorm.weight": "post_ffw_norm.weight", "layer_scalar": "layer_output_scale.weight",
}
OTHER = {
    "model.language_model.embed_tokens.weight": "token_embd.weight",
    "model.language_model.norm.weight": "output_norm.weight", "lm_head.weight": "output.weight",
}
MEDIA = {
    "model.embed_vision.embedding_projection.weight": "mm.input_projection.weight",
    "model.embed_audio.embedding_projection.weight": "mm.a.input_projection.weight",
    "model.vision_embedder.patch_dense.weight": "v.patch_embd.weight",
    "model.vision_embedder.patch_dense.bias": "v.patch_embd.bias",
    "model.vision_embedder.patch_ln1.weight": "v.patch_norm.1.weight",
    "model.vision_embedder.patch_ln1.bias": "v.patch_norm.1.bias",
    "model.vision_embedder.patch_ln2.weight": "v.patch_norm.2.weight",
    "model.vision_embedder.patch_ln2.bias": "v.patch_norm.2.bias",
    "model.vision_embedder.pos_norm.weight": "v.patch_norm.3.weight",
    "model.vision_embedder.pos_norm.bias": "v.patch_norm.3.bias",
    "model.vision_embedder.pos_embedding": "v.position_embd.weight",
}


def textName(name):
    prefix = "model.language_model.layers."
    if not name.startswith(prefix):
        return OTHER.get(name)
    index, part = name[len(prefix):].split(".", 1)
    return f"blk.{index}.{LAYER[part]}"


def writeTokenizer(writer, folder, generation):
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    config = json.loads((folder / "tokenizer_config.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    added = {token["content"]: token for token in tokenizer["added_tokens"]}
    ids = vocabulary | {content: token["id"] for content, token in added.items()}
    tokens = sorted(ids, key=ids.get)

    def kind(token):
        if token in SHOWN:
            return USER_DEFINED
        if token in added:
            return CONTROL if added[token]["special"] else USER_DEFINED
        return BYTE if token.startswith("<0x") and len(token) == 6 else NORMAL

    writer.key("tokenizer.ggml.model", STRING, "gemma4")
    writer.array("tokenizer.ggml.tokens", STRING, tokens)
    writer.array("tokenizer.ggml.scores", F32, [-1000.0] * len(tokens))
    writer.array("tokenizer.ggml.token_type", I32, [kind(token) for token in tokens])
    merges = tokenizer["model"]["merges"]
    writer.array("tokenizer.ggml.merges", STRING,
                 [merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    for name, key in (("bos", "bos_token"), ("eos", "eos_token"), ("unknown", "unk_token"), ("padding", "pad_token"),
                      ("mask", "mask_token")):
        if config.get(key) in ids:
            writer.key(f"tokenizer.ggml.{name}_token_id", U32, ids[config[key]])
    writer.array("tokenizer.ggml.suppress_tokens", I32, generation.get("suppress_tokens", []))
    template = folder / "chat_template.jinja"
    if template.exists():
        writer.key("tokenizer.chat_template", STRING, template.read_text())
    writer.key("tokenizer.ggml.add_space_prefix", BOOL, False)
    writer.key("tokenizer.ggml.add_bos_token", BOOL, True)


def startText(folder, config, generation, fileType):
    """A writer with all keys of the text model's file and the one tensor that is no weight."""
    text = config["text_config"]
    writer = Writer()
    writer.key("general.architecture", STRING, "gemma4")
    writer.key("general.file_type", U32, fileType)
    writer.key("general.quantization_version", U32, 2)
    for key, name, kind in (("temperature", "temp", F32), ("top_k", "top_k", I32), ("top_p", "top_p", F32)):
        if key in generation:
            writer.key(f"general.sampling.{name}", kind, generation[key])
    sliding = [kind == "sliding_attention" for kind in text["layer_types"]]
    rope = text["rope_parameters"]
    full, local = text["global_head_dim"], text["head_dim"]
    for key, value in (
        ("block_count", text["num_hidden_layers"]), ("context_length", text["max_position_embeddings"]),
        ("embedding_length", text["hidden_size"]), ("feed_forward_length", text["intermediate_size"]),
        ("attention.head_count", text["num_attention_heads"]), ("attention.sliding_window", text["sliding_window"]),
        ("attention.key_length", full), ("attention.value_length", full), ("attention.key_length_swa", local),
        ("attention.value_length_swa", local), ("attention.shared_kv_layers", 0),
        ("embedding_length_per_layer_input", 0), ("rope.dimension_count", full), ("rope.dimension_count_swa", local),
    ):
        writer.key("gemma4." + key, U32, value)
    writer.array("gemma4.attention.head_count_kv", I32,
                 [text["num_key_value_heads" if local else "num_global_key_value_heads"] for local in sliding])
    writer.array("gemma4.attention.sliding_window_pattern", BOOL, sliding)
    writer.key("gemma4.attention.layer_norm_rms_epsilon", F32, text["rms_norm_eps"])
    writer.key("gemma4.rope.freq_base", F32, rope["full_attention"]["rope_theta"])
    writer.key("gemma4.rope.freq_base_swa", F32, rope["sliding_attention"]["rope_theta"])
    if text.get("final_logit_softcapping"):
        writer.key("gemma4.final_logit_softcapping", F32, text["final_logit_softcapping"])
    writeTokenizer(writer, folder, generation)
    turning = int(full * rope["full_attention"]["partial_rotary_factor"] / 2)
    writer.tensor("rope_freqs.weight", np.array([1.0] * turning + [1e30] * (full // 2 - turning), "f4"), "f32")
    return writer


def writeText(folder, config, generation, tensors, type, path):
    writer = startText(folder, config, generation, TYPES[type][1])
    for name, values in tensors.items():
        if name not in MEDIA:
            writer.tensor(textName(name), values, type if values.ndim > 1 else "f32")
    writer.write(path)


def writeMedia(config, processor, tensors, type, path):
    text, vision, audio = config["text_config"], config["vision_config"], config["audio_config"]
    side = vision["patch_size"] * vision["pooling_kernel_size"]
    writer = Writer()
    writer.key("general.architecture", STRING, "clip")
    writer.key("general.file_type", U32, TYPES[type][1])
    writer.key("general.quantization_version", U32, 2)
    for kind, projector, width in (("vision", "gemma4uv", vision["mm_embed_dim"]),
                                   ("audio", "gemma4ua", audio["audio_embed_dim"])):
        writer.key(f"clip.has_{kind}_encoder", BOOL, True)
        writer.key(f"clip.{kind}.projector_type", STRING, projector)
        writer.key(f"clip.{kind}.projection_dim", U32, text["hidden_size"])
        writer.key(f"clip.{kind}.embedding_length", U32, width)
        for part in ("block_count", "feed_forward_length", "attention.head_count"):
            writer.key(f"clip.{kind}.{part}", U32, 0)
        writer.key(f"clip.{kind}.attention.layer_norm_epsilon", F32, 1e-6)
    writer.key("clip.vision.patch_size", U32, vision["patch_size"])
    writer.key("clip.vision.projector.scale_factor", U32, vision["pooling_kernel_size"])
    writer.key("clip.vision.image_size", U32, 224)
    tokens = processor["image_processor"]["max_soft_tokens"]
    writer.key("clip.vision.image_max_pixels", U32, tokens * side * side)
    writer.array("clip.vision.image_mean", F32, [0.0] * 3)
    writer.array("clip.vision.image_std", F32, [1.0] * 3)
    for name, stored in MEDIA.items():
        values = tensors[name]
        if name.endswith("patch_dense.weight") or ".patch_ln1." in name:
            # A plane a color, rather than three colors a pixel.
            values = np.moveaxis(values.reshape(*values.shape[:-1], -1, 3), -1, -2).reshape(values.shape)
        elif name.endswith("pos_embedding"):
            values = values.transpose(1, 0, 2)
        quantized = stored.startswith("mm.") and values.shape[-1] % TYPES[type][2] == 0
        writer.tensor(stored, values, type if quantized else "f32")
    writer.write(path)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("checkpoint", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--type", choices=TYPES, default="bf16")
    parser.add_argument("--mmproj", type=pathlib.Path)
    options = parser.parse_args()
    folder = options.checkpoint
    config = json.loads((folder / "config.json").read_text())
    generation = json.loads((folder / "generation_config.json").read_text())
    tensors = readTensors(folder)
    writeText(folder, config, generation, tensors, options.type, options.out)
    if options.mmproj:
        processor = json.loads((folder / "processor_config.json").read_text())
        writeMedia(config, processor, tensors, options.type, options.mmproj)


if __name__ == "__main__":
    main()
