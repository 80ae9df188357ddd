"""Small folders in Hugging Face's format, and what their models compute, in NumPy.

The loops take the tensors by Hugging Face's names, in float64, one position at a time,
and import nothing of ours.
"""

import json
import math

import numpy as np

V, M, F, H, N, L, T = 29, 12, 17, 3, 1, 2, 11
D = M // H
ROPE = {"rope_type": "default", "rope_theta": 50.0}

GPT2 = {
    "model_type": "gpt2",
    "vocab_size": V,
    "n_embd": M,
    "n_head": H,
    "n_layer": L,
    "n_positions": T,
    "n_inner": F,
}
FAMILY = {
    "vocab_size": V,
    "hidden_size": M,
    "intermediate_size": F,
    "num_hidden_layers": L,
    "num_attention_heads": H,
    "num_key_value_heads": N,
    "max_position_embeddings": T,
    "rope_parameters": ROPE,
}
LLAMA = {"model_type": "llama"} | FAMILY
MISTRAL = {"model_type": "mistral", "sliding_window": 4} | FAMILY
QWEN2 = {"model_type": "qwen2"} | FAMILY
MARIAN = {
    "model_type": "marian",
    "vocab_size": V,
    "d_model": M,
    "encoder_layers": 1,
    "decoder_layers": L,
    "encoder_attention_heads": H,
    "decoder_attention_heads": H,
    "encoder_ffn_dim": F,
    "decoder_ffn_dim": F,
    "max_position_embeddings": T,
    "activation_function": "swish",
    "scale_embedding": True,
    "pad_token_id": V - 1,
    "eos_token_id": 0,
    "decoder_start_token_id": V - 1,
}


def _linear(name, rows, columns, bias):
    return {f"{name}.weight": (rows, columns)} | (
        {f"{name}.bias": (rows,)} if bias else {}
    )


def _norm(name):
    return {f"{name}.weight": (M,), f"{name}.bias": (M,)}


def _gpt2(settings):
    del settings
    shapes = {"wte.weight": (V, M), "wpe.weight": (T, M)} | _norm("ln_f")
    for i in range(L):
        shapes |= _norm(f"h.{i}.ln_1") | _norm(f"h.{i}.ln_2")
        for name, rows, columns in (  # [in, out]
            ("attn.c_attn", M, 3 * M),
            ("attn.c_proj", M, M),
            ("mlp.c_fc", M, F),
            ("mlp.c_proj", F, M),
        ):
            shapes |= {f"h.{i}.{name}.weight": (rows, columns)}
            shapes |= {f"h.{i}.{name}.bias": (columns,)}
    return {f"transformer.{name}": shape for name, shape in shapes.items()}


def _llama(settings):
    V = settings["vocab_size"]
    qkv = settings["model_type"] == "qwen2"
    shapes = {"embed_tokens.weight": (V, M), "norm.weight": (M,)}
    for i in range(L):
        own = f"layers.{i}.self_attn"
        shapes |= _linear(f"{own}.q_proj", H * D, M, qkv)
        shapes |= _linear(f"{own}.k_proj", N * D, M, qkv)
        shapes |= _linear(f"{own}.v_proj", N * D, M, qkv)
        shapes |= _linear(f"{own}.o_proj", M, H * D, False)
        for part in ("gate_proj", "up_proj"):
            shapes |= _linear(f"layers.{i}.mlp.{part}", F, M, False)
        shapes |= _linear(f"layers.{i}.mlp.down_proj", M, F, False)
        shapes |= {f"layers.{i}.input_layernorm.weight": (M,)}
        shapes |= {f"layers.{i}.post_attention_layernorm.weight": (M,)}
    shapes = {f"model.{name}": shape for name, shape in shapes.items()}
    return shapes | {"lm_head.weight": (V, M)}


def _marian(settings):
    V = settings["vocab_size"]
    shapes = {}
    for side, layers in (("encoder", 1), ("decoder", L)):
        kinds = ("self_attn",) if side == "encoder" else ("self_attn", "encoder_attn")
        for i in range(layers):
            name = f"{side}.layers.{i}"
            for kind in kinds:
                shapes |= _norm(f"{name}.{kind}_layer_norm")
                for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
                    shapes |= _linear(f"{name}.{kind}.{part}", M, M, True)
            shapes |= _linear(f"{name}.fc1", F, M, True)
            shapes |= _linear(f"{name}.fc2", M, F, True)
            shapes |= _norm(f"{name}.final_layer_norm")
    shapes = {f"model.{name}": shape for name, shape in shapes.items()}
    return shapes | {"model.shared.weight": (V, M), "final_logits_bias": (1, V)}


def tensors_of(settings, seed=0):
    """Random tensors of every name that a model of these settings has."""
    kind = settings["model_type"]
    shapes = {"gpt2": _gpt2, "marian": _marian}.get(kind, _llama)(settings)
    rng = np.random.default_rng(seed)
    return {
        name: rng.normal(0, 0.4, shape).astype(np.float32)
        for name, shape in shapes.items()
    }


def write(folder, settings, tensors):
    """Writes config.json and model.safetensors."""
    from safetensors.numpy import save_file

    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(settings))
    save_file(tensors, folder / "model.safetensors")
    return folder


def write_parts(folder, settings, parts):
    """Writes config.json, one file for each part, and the index that names them."""
    from safetensors.numpy import save_file

    (folder / "config.json").write_text(json.dumps(settings))
    index = {}
    for number, tensors in enumerate(parts, start=1):
        name = f"model-{number:05d}-of-{len(parts):05d}.safetensors"
        save_file(tensors, folder / name)
        index |= dict.fromkeys(tensors, name)
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps({"metadata": {}, "weight_map": index}))


def _softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def _layer_norm(t, name, x):
    centred = x - x.mean()
    scaled = centred / math.sqrt((centred**2).mean() + 1e-5)
    return scaled * t[f"{name}.weight"] + t[f"{name}.bias"]


def gpt2_logits(tensors, tokens, *, output=None, scale=None):
    """Logits [T, V] of a GPT-2; `scale(layer)` multiplies the scores."""
    t = {k.removeprefix("transformer."): np.float64(x) for k, x in tensors.items()}
    scale = scale or (lambda i: D**-0.5)
    stream = [
        t["wte.weight"][token] + t["wpe.weight"][j] for j, token in enumerate(tokens)
    ]

    def conv(name, x):
        return x @ t[f"{name}.weight"] + t[f"{name}.bias"]

    for i in range(L):
        qkv = [
            conv(f"h.{i}.attn.c_attn", _layer_norm(t, f"h.{i}.ln_1", x)) for x in stream
        ]
        after = []
        for j, x in enumerate(stream):
            heads = []
            for h in range(H):
                at = slice(h * D, (h + 1) * D)
                query = qkv[j][:M][at]
                scores = [
                    scale(i) * (query @ qkv[k][M : 2 * M][at]) for k in range(j + 1)
                ]
                weights = _softmax(np.array(scores))
                heads.append(
                    sum(w * qkv[k][2 * M :][at] for k, w in enumerate(weights))
                )
            x = x + conv(f"h.{i}.attn.c_proj", np.concatenate(heads))
            y = conv(f"h.{i}.mlp.c_fc", _layer_norm(t, f"h.{i}.ln_2", x))
            gelu = (
                0.5 * y * (1 + np.tanh(math.sqrt(2 / math.pi) * (y + 0.044715 * y**3)))
            )
            after.append(x + conv(f"h.{i}.mlp.c_proj", gelu))
        stream = after
    output = t["wte.weight"] if output is None else np.float64(output)
    return np.array([output @ _layer_norm(t, "ln_f", x) for x in stream])


def llama_logits(tensors, tokens, *, window=None, frequencies=None, factor=1.0):
    """Logits [T, V] of the Llama family; the window counts the token itself."""
    t = {k.removeprefix("model."): np.float64(x) for k, x in tensors.items()}
    if frequencies is None:
        frequencies = [ROPE["rope_theta"] ** (-2 * i / D) for i in range(D // 2)]

    def linear(name, x):
        return t[f"{name}.weight"] @ x + t.get(f"{name}.bias", 0)

    def norm(name, x):
        return x / math.sqrt((x**2).mean() + 1e-6) * t[f"{name}.weight"]

    def rotate(x, position):
        rotated = np.empty(D)
        for i, frequency in enumerate(frequencies):
            a, b, angle = x[i], x[i + D // 2], position * frequency
            rotated[i] = factor * (a * math.cos(angle) - b * math.sin(angle))
            rotated[i + D // 2] = factor * (b * math.cos(angle) + a * math.sin(angle))
        return rotated

    stream = [t["embed_tokens.weight"][token] for token in tokens]
    for layer in range(L):
        name = f"layers.{layer}"
        normed = [norm(f"{name}.input_layernorm", x) for x in stream]
        q, k, v = (
            [linear(f"{name}.self_attn.{part}_proj", x) for x in normed]
            for part in "qkv"
        )
        after = []
        for j, x in enumerate(stream):
            seen = range(max(0, j - window + 1) if window else 0, j + 1)
            heads = []
            for h in range(H):
                own = slice(h * D, (h + 1) * D)
                shared = slice(h * N // H * D, (h * N // H + 1) * D)
                query = rotate(q[j][own], j)
                scores = [query @ rotate(k[s][shared], s) / math.sqrt(D) for s in seen]
                weights = _softmax(np.array(scores))
                heads.append(
                    sum(w * v[s][shared] for w, s in zip(weights, seen, strict=True))
                )
            x = x + linear(f"{name}.self_attn.o_proj", np.concatenate(heads))
            y = norm(f"{name}.post_attention_layernorm", x)
            gate = linear(f"{name}.mlp.gate_proj", y)
            hidden = gate / (1 + np.exp(-gate)) * linear(f"{name}.mlp.up_proj", y)
            after.append(x + linear(f"{name}.mlp.down_proj", hidden))
        stream = after
    output = t.get("lm_head.weight", t["embed_tokens.weight"])
    return np.array([output @ norm("norm", x) for x in stream])
