"""The Transformer and GPT as slow loops: one sentence, no padding, float64.

Parameters are nested dicts as checkpoints hold them: matrices [in, out], a stack's
leaves [L, ...]. `c` names the sizes and kinds of a block. Every position
recomputes all that it attends to; nothing is batched, cached or shared.
"""

import math

import numpy as np

from tests import oracles


def layer(params, index):
    """The parameters of one layer of a stack."""
    if isinstance(params, dict):
        return {name: layer(value, index) for name, value in params.items()}
    return params[index]


def linear(p, x):
    """W' x + b."""
    return p["w"].T @ x + p.get("b", 0)


def norm(p, x, c):
    """Ba 2016, eq. 4; Zhang & Sennrich 2019, eq. 4 where c["norm"] is "rms"."""
    centre = 0 if c["norm"] == "rms" else sum(x) / len(x)
    centred = np.array([v - centre for v in x])
    spread = math.sqrt(sum(v * v for v in centred) / len(x) + c["epsilon"])
    return p["scale"] * centred / spread + p.get("bias", 0)


ACTIVATIONS = {
    "relu": lambda v: max(v, 0.0),
    "gelu": lambda v: 0.5 * v * (1 + math.erf(v / math.sqrt(2))),
    "gelu-tanh": lambda v: (
        0.5 * v * (1 + math.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3)))
    ),
    "swiglu": lambda v: v / (1 + math.exp(-v)),
}


def mlp(p, x, c):
    """Vaswani 2017, eq. 2; Shazeer 2020, eq. 5 where there is a gate."""
    up = linear(p["up"], x)
    act = ACTIVATIONS[c["activation"]]
    if "gate" in p:
        gate = linear(p["gate"], x)
        hidden = [act(g) * u for g, u in zip(gate, up, strict=True)]
    else:
        hidden = [act(u) for u in up]
    return linear(p["down"], np.array(hidden))


def rotate(x, position, frequencies):
    """Su 2021, eq. 34: rotates the pair (i, i + D/2) by position * frequency_i."""
    D = len(x)
    rotated = np.array(x)
    for i in range(D // 2):
        angle = position * frequencies[i]
        a, b = x[i], x[i + D // 2]
        rotated[i] = a * math.cos(angle) - b * math.sin(angle)
        rotated[i + D // 2] = b * math.cos(angle) + a * math.sin(angle)
    return rotated


def sinusoid(position, M):
    """Vaswani 2017, section 3.5."""
    return np.array(
        [
            (math.sin if i % 2 == 0 else math.cos)(
                position / 10_000 ** (2 * (i // 2) / M)
            )
            for i in range(M)
        ]
    )


def scaled_dot(p, head, query, keys):
    """Vaswani 2017, eq. 1, for one query."""
    del p, head
    return oracles.scaled_dot(query, keys)


SCORES = {
    "scaled_dot": scaled_dot,
    "dot": lambda p, h, q, k: oracles.dot(q, k),
    "additive": lambda p, h, q, k: oracles.additive(q, k, p["score"][h]),
    "bilinear": lambda p, h, q, k: oracles.bilinear(q, k, p["score"][h]),
    "cosine": lambda p, h, q, k: p["score"][h] * oracles.cosine(q, k),
}


def attention(p, x, states, c, *, seen=None, at=None, score="scaled_dot", bias=None):
    """Vaswani 2017, section 3.2.2, for one position x; and the mean weights of heads.

    `seen` are the indices of the `states` that are attended to; `at` is the index of x
    in self-attention, for RoPE; `bias(head, j)` is added to the scores.
    """
    H, N = c["num_heads"], c["num_kv_heads"]
    D = len(linear(p["query"], x)) // H
    seen = range(len(states)) if seen is None else seen
    contexts, every = [], []
    for h in range(H):
        own = slice(h * D, (h + 1) * D)
        shared = slice((h * N // H) * D, (h * N // H + 1) * D)
        query = linear(p["query"], x)[own]
        keys = np.array([linear(p["keys"], states[j])[shared] for j in seen])
        values = np.array([linear(p["values"], states[j])[shared] for j in seen])
        if at is not None and c["positions"] == "rope":
            frequencies = c["frequencies"](D)
            factor = c.get("attention_factor", 1.0)  # of YaRN
            query = factor * rotate(query, at, frequencies)
            keys = factor * np.array(
                [rotate(k, j, frequencies) for j, k in zip(seen, keys, strict=True)]
            )
        scores = SCORES[score](p, h, query, keys)
        if c.get("logit_softcap") and at is not None:
            scores = np.array(
                [c["logit_softcap"] * math.tanh(s / c["logit_softcap"]) for s in scores]
            )
        if bias is not None:
            scores = scores + np.array([bias(h, j) for j in seen])
        weights = oracles.masked_softmax(scores, np.ones(len(keys), bool))
        contexts.append(oracles.read(weights, values))
        full = np.zeros(len(states))
        full[list(seen)] = weights
        every.append(full)
    asked = [every[h] for h in c.get("heads_of_weights", range(H))]
    return linear(p["output"], np.concatenate(contexts)), np.mean(asked, axis=0)


def sublayer(p, x, c, f):
    """x + f(norm(x)), or norm(x + f(x))."""
    if c["pre_norm"]:
        return x + f(norm(p, x, c))
    return norm(p, x + f(x), c)


def block(p, xs, c, *, causal, source=None, score="scaled_dot", bias=None):
    """One block over all positions of a sentence; also the weights [T, S]."""
    T = len(xs)
    inner = [norm(p["self_attention_norm"], x, c) if c["pre_norm"] else x for x in xs]
    first = 0 if c.get("sliding_window") is None else -c["sliding_window"]
    after, weights = [], []
    for t in range(T):
        start = max(0, t + first) if first else 0
        seen = range(start, t + 1) if causal else range(T)
        own_bias = None if bias is None else (lambda h, j, t=t: bias(h, t, j))
        read, given = attention(
            p["self_attention"], inner[t], inner, c, seen=seen, at=t, bias=own_bias
        )
        total = xs[t] + read
        after.append(
            total if c["pre_norm"] else norm(p["self_attention_norm"], total, c)
        )
        weights.append(given)
    xs = after
    if source is not None:
        given = [
            attention(
                p["cross_attention"],
                norm(p["cross_attention_norm"], x, c) if c["pre_norm"] else x,
                source,
                c,
                score=score,
            )
            for x in xs
        ]
        weights = [w for _, w in given]
        totals = [x + read for x, (read, _) in zip(xs, given, strict=True)]
        xs = [
            y if c["pre_norm"] else norm(p["cross_attention_norm"], y, c)
            for y in totals
        ]
    feed = [sublayer(p["mlp_norm"], x, c, lambda y: mlp(p["mlp"], y, c)) for x in xs]
    return feed, np.array(weights)


def stack(p, xs, c, *, layers, **kind):
    """All blocks, the norm after them where blocks are pre-norm; weights by layer."""
    every = []
    for index in range(layers):
        xs, weights = block(layer(p["blocks"], index), xs, c, **kind)
        every.append(weights)
    if c["pre_norm"]:
        xs = [norm(p["norm"], x, c) for x in xs]
    return xs, every


def embed(p, table, ids, c, side, scale):
    """Rows of a table, with positions added where they are added."""
    xs = [table[i] * scale for i in ids]
    if c["positions"] == "sinusoidal":
        xs = [x + sinusoid(t, len(x)) for t, x in enumerate(xs)]
    if c["positions"] == "learned":
        xs = [x + p[side][t] for t, x in enumerate(xs)]
    return xs


def transformer(p, source, previous, c, *, layers, score="scaled_dot", of=None):
    """Vaswani 2017, section 3: logits [T, V], and weights of a block.

    It is block number `of`, by default the last but one.
    """
    encoder_layers, decoder_layers = layers
    target_table = p["target_embedding"]
    source_table = p.get("source_embedding", target_table)
    scale = math.sqrt(target_table.shape[1])
    xs = embed(p, source_table, source, c, "source_positions", scale)
    states, _ = stack(p["encoder"], xs, c, layers=encoder_layers, causal=False)
    ys = embed(p, target_table, previous, c, "target_positions", scale)
    out, weights = stack(
        p["decoder"],
        ys,
        c,
        layers=decoder_layers,
        causal=True,
        source=states,
        score=score,
    )
    logits = np.array([p.get("w_output", target_table) @ y for y in out])
    return logits, weights[max(0, decoder_layers - 2) if of is None else of]


def gpt(p, tokens, c, *, layers, bias=None):
    """Radford 2019, section 2.3: logits [T, V] of one text."""
    xs = embed(p, p["embedding"], tokens, c, "positions", 1.0)
    out, weights = stack(p["decoder"], xs, c, layers=layers, causal=True, bias=bias)
    table = p.get("w_output", p["embedding"])
    return np.array([table @ x for x in out]), weights[-1]
