"""Writes checkpoints of any configuration with random weights, with Python's standard library alone.

The weights are such that activations keep their size from layer to layer, as trained ones do: a matrix's entries have
the spread 1 / sqrt(columns), norms are about 1. And a matrix's entries are whole numbers up to 127 times a power of two,
with a 127 in each block of 32: q8_0 holds them without loss, so that it, too, has to give the exact result.
"""

import array
import json
import math
import pathlib
import random
import shutil
import struct

DTYPES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}
TINY = pathlib.Path(__file__).resolve().parent.parent / "models/tiny"


def defaultConfig():
    """Small, and with every part of the model in it; the tokens are those of the tiny checkpoint's tokenizer."""
    return {
        "architectures": ["Gemma4UnifiedForConditionalGeneration"], "model_type": "gemma4_unified",
        "tie_word_embeddings": True, "image_token_id": 2042, "video_token_id": 2046, "audio_token_id": 2043,
        "boi_token_id": 2040, "eoi_token_id": 2044, "boa_token_id": 2041, "eoa_token_index": 2045,
        "text_config": {
            "model_type": "gemma4_unified_text", "vocab_size": 2048, "hidden_size": 64, "intermediate_size": 96,
            "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
            "global_head_dim": 32, "num_global_key_value_heads": 1, "attention_k_eq_v": True, "sliding_window": 24,
            "final_logit_softcapping": 30.0, "rms_norm_eps": 1e-6, "hidden_activation": "gelu_pytorch_tanh",
            "max_position_embeddings": 512, "tie_word_embeddings": True, "use_bidirectional_attention": "vision",
            "bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0,
            "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
            "rope_parameters": {
                "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
                "full_attention": {"rope_type": "proportional", "partial_rotary_factor": 0.25,
                                   "rope_theta": 1000000.0}}},
        "vision_config": {"model_type": "gemma4_unified_vision", "patch_size": 4, "pooling_kernel_size": 3,
                          "mm_embed_dim": 48, "mm_posemb_size": 70, "output_proj_dims": 48, "rms_norm_eps": 1e-6},
        "audio_config": {"model_type": "gemma4_unified_audio", "audio_embed_dim": 80, "rms_norm_eps": 1e-6}}


def layerShapes(text, index):
    """(query heads, key heads, head size, width of the feed-forward part, whether V is K) of a layer."""
    full = text["layer_types"][index] == "full_attention"
    heads, keyHeads, size = text["num_attention_heads"], text["num_key_value_heads"], text["head_dim"]
    width, keysAreValues = text["intermediate_size"], full and text.get("attention_k_eq_v", False)
    if "per_layer_config" in text:
        own = text["per_layer_config"].get(str(index), {})
        return (own.get("num_attention_heads", heads), own.get("num_key_value_heads", keyHeads),
                own.get("head_dim", size), own.get("intermediate_size", width), keysAreValues)
    if full:
        size = text.get("global_head_dim", 512)
        if keysAreValues:
            keyHeads = text.get("num_global_key_value_heads") or keyHeads
    return heads, keyHeads, size, width, keysAreValues


def tensors(config, published=True):
    """Name to shape. The embedders' names are the published checkpoint's, or those that the reference writes."""
    text = config["text_config"]
    hidden = text["hidden_size"]
    prefix = "model.language_model."
    shapes = {prefix + "embed_tokens.weight": (text["vocab_size"], hidden)}
    for index in range(text["num_hidden_layers"]):
        heads, keyHeads, size, width, keysAreValues = layerShapes(text, index)
        layer = f"{prefix}layers.{index}."
        for norm in ("input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm",
                     "post_feedforward_layernorm"):
            shapes[f"{layer}{norm}.weight"] = (hidden,)
        shapes[layer + "layer_scalar"] = (1,)
        attention = layer + "self_attn."
        shapes[attention + "q_proj.weight"] = (heads * size, hidden)
        shapes[attention + "k_proj.weight"] = (keyHeads * size, hidden)
        if not keysAreValues:
            shapes[attention + "v_proj.weight"] = (keyHeads * size, hidden)
        shapes[attention + "o_proj.weight"] = (hidden, heads * size)
        shapes[attention + "q_norm.weight"] = (size,)
        shapes[attention + "k_norm.weight"] = (size,)
        shapes[layer + "mlp.gate_proj.weight"] = (width, hidden)
        shapes[layer + "mlp.up_proj.weight"] = (width, hidden)
        shapes[layer + "mlp.down_proj.weight"] = (hidden, width)
    shapes[prefix + "norm.weight"] = (hidden,)
    if not config["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (text["vocab_size"], hidden)
    vision = config.get("vision_config")
    if vision:
        width = vision["mm_embed_dim"]
        pixels = 3 * (vision["patch_size"] * vision["pooling_kernel_size"]) ** 2
        embedder = "model.embed_vision." if published else "model.vision_embedder."
        for norm, size in (("patch_ln1", pixels), ("patch_ln2", width), ("pos_norm", width)):
            shapes[f"{embedder}{norm}.weight"] = shapes[f"{embedder}{norm}.bias"] = (size,)
        shapes[embedder + "patch_dense.weight"] = (width, pixels)
        shapes[embedder + "patch_dense.bias"] = (width,)
        shapes[embedder + "pos_embedding"] = (vision["mm_posemb_size"], 2, width)
        last = "multimodal_embedder." if published else ""
        shapes[f"model.embed_vision.{last}embedding_projection.weight"] = (hidden, width)
    if config.get("audio_config"):
        shapes["model.embed_audio.embedding_projection.weight"] = (hidden, config["audio_config"]["audio_embed_dim"])
    return shapes


def randomValues(chance, name, shape):
    if len(shape) > 1:
        columns = shape[-1]
        unit = 2.0 ** round(math.log2(math.sqrt(3 / columns) / 127))
        values = array.array("f", [unit * (byte - 127) for byte in chance.randbytes(math.prod(shape))])
        for row in range(0, len(values), columns):
            for place in range(row, row + columns):
                if (place - row) % 32 == 0 or values[place] > 127 * unit:
                    values[place] = math.copysign(127 * unit, values[place])
        return values
    middle, spread = (0.0, 0.3) if name.endswith("bias") else (1.0, 0.3)
    if name.endswith(("q_norm.weight", "k_norm.weight")):
        # Attention has no scale of its own: trained norms hold it.
        middle, spread = shape[0] ** -0.25, 0.3 * shape[0] ** -0.25
    if name.endswith("layer_scalar"):
        spread = 0.1
    return array.array("f", [middle + spread * (2 * chance.random() - 1) for _ in range(shape[0])])


def encode(values, dtype):
    if dtype == "F32":
        return values.tobytes()
    if dtype == "F16":
        return struct.pack(f"<{len(values)}e", *values)
    return array.array("H", values.tobytes())[1::2].tobytes()


def writeSafetensors(path, content):
    """`content`: name to (dtype, shape, bytes)."""
    header, offset = {}, 0
    for name, (dtype, shape, data) in content.items():
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, _, data in content.values():
            file.write(data)


def writeCheckpoint(folder, config, dtype="BF16", shards=1, published=True, seed=1):
    """A whole checkpoint folder; `shards` above 1: as many files and their index."""
    folder.mkdir(parents=True)
    chance = random.Random(seed)
    config = {"dtype": DTYPES[dtype], **config}
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"):
        shutil.copy(TINY / name, folder)
    content = {name: (dtype, shape, encode(randomValues(chance, name, shape), dtype))
               for name, shape in tensors(config, published).items()}
    if shards == 1:
        writeSafetensors(folder / "model.safetensors", content)
        return
    index = {}
    for shard in range(shards):
        file = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        part = dict(list(content.items())[shard::shards])
        writeSafetensors(folder / file, part)
        index.update(dict.fromkeys(part, file))
    total = sum(len(data) for _, _, data in content.values())
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {"total_size": total}, "weight_map": index}))
