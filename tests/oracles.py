"""The papers as slow loops: what every implementation is held to.

NumPy, float64, one sentence at a time, matrices as the papers print them (they
multiply a column from the left, `W @ x`). Nothing here imports anything of
ours, and where an algorithm can be had in two ways, the other one is here.
"""

import itertools
import math

import numpy as np


def sigma(x):
    """The logistic function."""
    return 1 / (1 + np.exp(-np.asarray(x, np.float64)))


# --- scores: one query [D], keys [S, D] -> [S] --------------------------------


def additive(query, keys, v):
    """Bahdanau 2015, A.1.2: e_j = v' tanh(q + k_j), q and k_j projected before."""
    return np.array(
        [
            sum(v[a] * math.tanh(query[a] + key[a]) for a in range(len(v)))
            for key in keys
        ]
    )


def dot(query, keys):
    """Luong 2015, eq. 8, "dot": e_j = q' k_j."""
    return np.array(
        [sum(q * k for q, k in zip(query, key, strict=True)) for key in keys]
    )


def scaled_dot(query, keys):
    """Vaswani 2017, eq. 1: e_j = q' k_j / sqrt(D)."""
    return dot(query, keys) / math.sqrt(len(query))


def cosine(query, keys):
    """Graves 2014 (NTM), eq. 6: e_j = q' k_j / (|q| |k_j|); 0 for a zero vector."""

    def one(key):
        norms = math.sqrt(sum(q * q for q in query) * sum(k * k for k in key))
        return sum(q * k for q, k in zip(query, key, strict=True)) / (norms or 1)

    return np.array([one(key) for key in keys])


def bilinear(query, keys, matrix):
    """Luong 2015, eq. 8, "general": e_j = q' W k_j."""
    D, E = matrix.shape
    return np.array(
        [
            sum(query[d] * matrix[d, e] * key[e] for d in range(D) for e in range(E))
            for key in keys
        ]
    )


def concat(query, keys, matrix, v):
    """Luong 2015, eq. 8, "concat": e_j = v' tanh(W [q; k_j]), W of shape [A, D+E]."""
    return np.array([v @ np.tanh(matrix @ np.concatenate([query, k])) for k in keys])


# --- weights: scores [S], mask [S] -> [S] -------------------------------------


def masked_softmax(scores, mask):
    """Bahdanau 2015, eq. 6, over the positions where `mask` holds."""
    weights = np.zeros(len(scores))
    open_ = [j for j in range(len(scores)) if mask[j]]
    if open_:
        peak = max(scores[j] for j in open_)
        total = math.fsum(math.exp(scores[j] - peak) for j in open_)
        for j in open_:
            weights[j] = math.exp(scores[j] - peak) / total
    return weights


def sparsemax(scores, mask):
    """Martins 2016, eq. 1-2: the nearest point of the simplex, by trying supports.

    On a fixed support the projection is `e - tau`; of all supports that give a
    point of the simplex, the one nearest to the scores wins. No sorting.
    """
    best, best_distance = np.zeros(len(scores)), np.inf
    open_ = [j for j in range(len(scores)) if mask[j]]
    for size in range(1, len(open_) + 1):
        for support in map(list, itertools.combinations(open_, size)):
            point = np.zeros(len(scores))
            tau = (math.fsum(scores[j] for j in support) - 1) / size
            point[support] = [scores[j] - tau for j in support]
            distance = math.fsum((point[j] - scores[j]) ** 2 for j in open_)
            if (point >= 0).all() and distance < best_distance:
                best, best_distance = point, distance
    return best


def hardmax(scores, mask):
    """All weight on the first of the highest scores."""
    weights = np.zeros(len(scores))
    open_ = [j for j in range(len(scores)) if mask[j]]
    if open_:
        weights[max(open_, key=lambda j: (scores[j], -j))] = 1
    return weights


def sigmoid(scores, mask):
    """Ramapuram 2024, eq. 3: every position on its own."""
    return np.array([sigma(s) if m else 0.0 for s, m in zip(scores, mask, strict=True)])


def read(weights, values):
    """Bahdanau 2015, eq. 5: c = sum_j a_j h_j."""
    context = np.zeros(values.shape[1])
    for weight, value in zip(weights, values, strict=True):
        context += weight * value
    return context


# --- location-aware -----------------------------------------------------------


def location_features(previous, filters):
    """Chorowski 2015, eq. 8: f_j = sum_r F_r alpha_{j+r}, r from -(R-1)/2 to (R-1)/2.

    `filters` has a row for each of K filters of odd width R; the result is [S, K].
    """
    S, (K, R) = len(previous), filters.shape
    features = np.zeros((S, K))
    for j in range(S):
        for r in range(R):
            neighbour = j + r - R // 2
            if 0 <= neighbour < S:
                features[j] += filters[:, r] * previous[neighbour]
    return features


def location_aware(query, keys, previous, filters, matrix, v):
    """Chorowski 2015, eq. 9: e_j = v' tanh(q + k_j + U f_j), q and k projected."""
    features = location_features(previous, filters)
    return np.array(
        [
            v @ np.tanh(query + k + matrix @ f)
            for k, f in zip(keys, features, strict=True)
        ]
    )


# --- windows ------------------------------------------------------------------


def diagonal(position, length, size, rate=1.0):
    """A cursor at min(rate * i, L - 1); its two neighbours divide the weight."""
    weights = np.zeros(size)
    if length:
        cursor = min(rate * position, length - 1)
        left = math.floor(cursor)
        weights[left] += 1 - (cursor - left)
        if left + 1 < length:
            weights[left + 1] += cursor - left
    return weights


def soft_window(importance, sharpness, centres, length):
    """Graves 2013, eq. 46, with u = 1 .. length."""
    return np.array(
        [
            sum(
                a * np.exp(-b * (k - u) ** 2)
                for a, b, k in zip(importance, sharpness, centres, strict=True)
            )
            for u in range(1, length + 1)
        ]
    )


def local_p(position, mask, half_width):
    """Luong 2015, eq. 10: exp(-(s-p)^2 / (2 sigma^2)) in [p-D, p+D], sigma = D/2.

    s counts from the first word, wherever padding is.
    """
    sigma_ = half_width / 2
    position = position + next((s for s, m in enumerate(mask) if m), 0)
    return np.array(
        [
            math.exp(-((s - position) ** 2) / (2 * sigma_**2))
            if m and position - half_width <= s <= position + half_width
            else 0.0
            for s, m in enumerate(mask)
        ]
    )


# --- addressing of the Neural Turing Machine ------------------------------------


def content_weights(key, tape, strength):
    """Graves 2014, eq. 5: exp(beta K[k, M_i]) / sum_j exp(beta K[k, M_j])."""
    similar = cosine(key, tape)
    return masked_softmax([strength * s for s in similar], [True] * len(similar))


def interpolate(gate, content, previous):
    """Graves 2014, eq. 7."""
    return np.array(
        [gate * c + (1 - gate) * p for c, p in zip(content, previous, strict=True)]
    )


def circular_shift(weights, shift):
    """Graves 2014, eq. 8: w~_i = sum_j w_j s(i - j), indices modulo N."""
    N, R = len(weights), len(shift)
    moved = np.zeros(N)
    for j in range(N):
        for r in range(R):
            moved[(j + r - R // 2) % N] += weights[j] * shift[r]
    return moved


def head(emitted, width):
    """What a head emits, in the ranges of section 3.3, clipped at 20."""
    x = np.clip(np.asarray(emitted), -20, 20)
    shift = np.exp(x[width + 3 :])
    return {
        "key": np.tanh(x[:width]),
        "strength": np.log(1 + np.exp(x[width])),
        "gate": sigma(x[width + 1]),
        "exponent": 1 + np.log(1 + np.exp(x[width + 2])),
        "shift": shift / shift.sum(),
    }


def address(tape, previous, head):
    """Eqs. 5 to 9 of one head."""
    content = content_weights(head["key"], tape, head["strength"])
    mixed = interpolate(head["gate"], content, previous)
    return sharpen(circular_shift(mixed, head["shift"]), head["exponent"])


def sharpen(weights, exponent):
    """Graves 2014, eq. 9: w_i^gamma / sum_j w_j^gamma."""
    powers = [w**exponent if w > 0 else 0.0 for w in weights]
    total = math.fsum(powers)
    return np.array([p / total if total else 0.0 for p in powers])


def write_tape(tape, heads):
    """Graves 2014, eqs. 3 and 4: (weights, erase, add) of heads; all erase first."""
    tape = np.array(tape, float)
    for weights, erase, _ in heads:
        for i, w in enumerate(weights):
            for m, e in enumerate(erase):
                tape[i, m] *= 1 - w * e
    for weights, _, add in heads:
        for i, w in enumerate(weights):
            for m, a in enumerate(add):
                tape[i, m] += w * a
    return tape


# --- losses -------------------------------------------------------------------


def log_softmax(logits):
    """log p_v = logit_v - log sum_u exp(logit_u)."""
    peak = max(logits)
    total = math.log(math.fsum(math.exp(x - peak) for x in logits))
    return np.array([x - peak - total for x in logits])


def token_cross_entropy(logits, label, smoothing=0.0):
    """Szegedy 2016, section 7: targets (1 - s) [v = label] + s / V, in nats."""
    V = len(logits)
    log_p = log_softmax(logits)
    target = [smoothing / V + (1 - smoothing) * (v == label) for v in range(V)]
    return -math.fsum(t * p for t, p in zip(target, log_p, strict=True))


# --- cells --------------------------------------------------------------------


def alignment_cross_entropy(weights, links):
    """Mean of -log w over the linked sources of each target; 0 without any."""
    nats = []
    for row, linked in zip(weights, links, strict=True):
        costs = [-np.log(row[s]) for s in range(len(row)) if linked[s]]
        nats.append(sum(costs) / len(costs) if costs else 0.0)
    return np.array(nats)


def gru(p, state, *inputs):
    """Bahdanau 2015, A.1.1: the state is reset before it meets U.

    z = sigma(W_z x + U_z s), r = sigma(W_r x + U_r s),
    s~ = tanh(W x + U [r s]), s' = (1 - z) s + z s~.
    `p` maps "W", "U", "b" and their "_z" and "_r" kin to arrays; each of
    `inputs` is a pair (suffixless name, vector), so that the decoder's
    C c is ("C", c) beside ("W", y). Cho 2014 (1406.1078, eq. 7) prints
    s' = z s + (1 - z) s~: the same cell with -W_z, -U_z.
    """

    def drive(gate):
        return sum(p[name + gate] @ x for name, x in inputs) + p.get("b" + gate, 0)

    z = sigma(drive("_z") + p["U_z"] @ state)
    r = sigma(drive("_r") + p["U_r"] @ state)
    candidate = np.tanh(drive("") + p["U"] @ (r * state))
    return (1 - z) * state + z * candidate


def lstm(p, carry, x):
    """Hochreiter 1997 with Gers' forget gate, as Graves 2013 eq. 7-11.

    `p["W_i"]`, `p["U_i"]`, `p["b_i"]` and so on for the gates i, f, o and the
    new content g; peepholes `p["P_i"]`, `p["P_f"]`, `p["P_o"]`, if there are any, are
    diagonals: i and f see the old cell, o the new one. carry = (h, c).
    """
    h, c = carry
    before = {k: p[f"W_{k}"] @ x + p[f"U_{k}"] @ h + p.get(f"b_{k}", 0) for k in "ifgo"}
    i, f = (sigma(before[k] + p.get(f"P_{k}", 0) * c) for k in "if")
    c = f * c + i * np.tanh(before["g"])
    o = sigma(before["o"] + p.get("P_o", 0) * c)
    return o * np.tanh(c), c


# --- gradients ----------------------------------------------------------------


def numerical_gradient(f, x, step=1e-5):
    """Central differences of a scalar function, entry by entry; x is [..] float64."""
    x = np.array(x, np.float64)
    gradient = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[index] += step
        down[index] -= step
        gradient[index] = (f(up) - f(down)) / (2 * step)
    return gradient


def numerical_gradients(f, tree, step=1e-5):
    """`numerical_gradient` for every array of a dict, the others held fixed."""
    return {
        name: numerical_gradient(lambda x, n=name: f({**tree, n: x}), array, step)
        for name, array in tree.items()
    }
