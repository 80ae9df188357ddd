"""Memory networks as slow loops: what the cell and the two models are held to.

NumPy, float64, imports nothing of ours. Features are spelled out as long vectors, as
the first paper prints them, where ours are sums of rows of tables. A story is a list of
facts, the oldest first; a sentence is a list of word ids, none of them 0.
"""

import math

import numpy as np

from tests.oracles import hardmax, masked_softmax

# --- Sukhbaatar et al. 2015, end-to-end memory networks -------------------------


def position_encoding(J, D):
    """The authors' code: 1 + 4 (k - (D+1)/2) (j - (J+1)/2) / (D J), from 1; [J, D]."""
    return np.array(
        [
            [
                1 + 4 * (k - (D + 1) / 2) * (j - (J + 1) / 2) / (D * J)
                for k in range(1, D + 1)
            ]
            for j in range(1, J + 1)
        ]
    ).reshape(J, D)


def printed_position_encoding(J, D):
    """Section 4.1 as printed: (1 - j/J) - (k/d) (1 - 2 j/J)."""
    return np.array(
        [
            [(1 - j / J) - (k / D) * (1 - 2 * j / J) for k in range(1, D + 1)]
            for j in range(1, J + 1)
        ]
    )


def embed_sentence(table, words, encode=True):
    """m = sum_j l_j * A x_j; a bag of words has l = 1."""
    D = table.shape[1]
    factors = position_encoding(len(words), D) if encode else np.ones((len(words), D))
    total = np.zeros(D)
    for j, word in enumerate(words):
        total += factors[j] * table[word]
    return total


def ages(story):
    """How many facts came after each: the newest has age 0."""
    return [len(story) - 1 - i for i in range(len(story))]


def hop(query, keys, values, mask, weighting="softmax", matrix=None):
    """p = softmax(u' m_i), o = sum_i p_i c_i, and u' = H u + o."""
    match = [sum(u * m for u, m in zip(query, key, strict=True)) for key in keys]
    if weighting == "softmax":
        p = masked_softmax(match, mask)
    elif weighting == "hardmax":
        p = hardmax(match, mask)
    else:
        p = np.array([e if m else 0.0 for e, m in zip(match, mask, strict=True)])
    out = np.zeros(len(values[0]))
    for i, weight in enumerate(p):
        out += weight * values[i]
    return (query if matrix is None else matrix @ query) + out, p


def end_to_end(p, story, question, *, hops, tying, encode=True, weighting="softmax"):
    """Logits [V] and the weights of each hop, one story at a time.

    `p` holds A, C and their temporal kin T_A, T_C: lists over hops, one for each
    matrix of the paper, and B, W, H (or None).
    """
    u = embed_sentence(p["B"], question, encode)
    every = []
    for k in range(hops):
        keys = [
            embed_sentence(p["A"][k], s, encode) + p["T_A"][k][age]
            for s, age in zip(story, ages(story), strict=True)
        ]
        values = [
            embed_sentence(p["C"][k], s, encode) + p["T_C"][k][age]
            for s, age in zip(story, ages(story), strict=True)
        ]
        matrix = p["H"] if tying == "layer-wise" else None
        if story:
            u, weights = hop(u, keys, values, [True] * len(story), weighting, matrix)
        else:
            u, weights = (u if matrix is None else matrix @ u), np.zeros(0)
        every.append(weights)
    return p["W"] @ u, every


# --- Weston, Chopra & Bordes 2014, memory networks ------------------------------


def margin_ranking(positive, negative, margin):
    """max(0, gamma - s(x, y) + s(x, y-))."""
    return max(0.0, margin - positive + negative)


def phi_x(question, found, V):
    """Of the input: words of the question first, then those of the found facts.

    The last three dimensions are those of time, which are not used here.
    """
    features = np.zeros(3 * V + 3)
    for word in question:
        features[word] += 1
    for fact in found:
        for word in fact:
            features[V + word] += 1
    return features


def phi_y(sentence, V):
    """Of a memory, or of a word to answer with: features of their own."""
    features = np.zeros(3 * V + 3)
    for word in sentence:
        features[2 * V + word] += 1
    return features


def phi_t(x, y, y_, V):
    """Of write times: is x older than y, x older than y', y older than y'."""
    features = np.zeros(3 * V + 3)
    features[3 * V :] = [x < y, x < y_, y < y_]
    return features


def match(U, left, right):
    """s(x, y) = Phi_x(x)' U' U Phi_y(y)."""
    return float((U @ left) @ (U @ right))


def preference(U, question, found, story, x, i, j, V):
    """s_Ot(x, m_i, m_j), with x written at time `x`; a memory's time is its place."""
    right = phi_y(story[i], V) - phi_y(story[j], V) + phi_t(x, i, j, V)
    return match(U, phi_x(question, found, V), right)


def select(U, question, found, story, x, V, time):
    """O: the best memory; with time, the winner of comparisons in the order written."""
    if not time:
        all_ = [match(U, phi_x(question, found, V), phi_y(fact, V)) for fact in story]
        return max(range(len(story)), key=lambda i: (all_[i], -i))
    best = 0
    for i in range(1, len(story)):
        if preference(U, question, found, story, x, best, i, V) < 0:
            best = i
    return best


def memory_network(p, story, question, *, hops, V, time):
    """The facts selected, one a hop, and the scores s_R of every word."""
    found, x = [], len(story)  # the question is newer than every memory
    for _ in range(hops):
        facts = [story[i] for i in found]
        found.append(select(p["U_O"], question, facts, story, x, V, time))
        x = found[-1]
    left = phi_x(question, [story[i] for i in found], V)
    return found, [match(p["U_R"], left, phi_y([w], V)) for w in range(V)]


def ranking_loss(p, story, question, supports, answer, *, V, margin, time):
    """Eq. 6, summed over wrong memories and words; with time, the older one first."""
    total, x = 0.0, len(story)
    for k, o in enumerate(supports):
        facts = [story[i] for i in supports[:k]]
        left = phi_x(question, facts, V)
        for i in range(len(story)):
            if i == o:
                continue
            if time:
                older, newer = min(o, i), max(o, i)
                s = preference(p["U_O"], question, facts, story, x, older, newer, V)
                total += max(0.0, margin - (s if older == o else -s))
            else:
                total += margin_ranking(
                    match(p["U_O"], left, phi_y(story[o], V)),
                    match(p["U_O"], left, phi_y(story[i], V)),
                    margin,
                )
        x = o
    left = phi_x(question, [story[i] for i in supports], V)
    right = match(p["U_R"], left, phi_y([answer], V))
    for w in range(1, V):
        if w != answer:
            wrong = match(p["U_R"], left, phi_y([w], V))
            total += margin_ranking(right, wrong, margin)
    return total


def softmax_cross_entropy(logits, label):
    """-log p of the label."""
    peak = max(logits)
    return (
        peak + math.log(math.fsum(math.exp(x - peak) for x in logits)) - logits[label]
    )


def language_model(p, words, *, hops, size, linear, query=0.1):
    """Section 5: logits [V] after the last word; the words before are the memory."""
    recent = [(age, w) for age, w in enumerate(reversed(words))][:size]
    keys = [p["A"][w] + p["T_A"][age] for age, w in recent]
    values = [p["C"][w] + p["T_C"][age] for age, w in recent]
    u = np.full(p["A"].shape[1], query)
    every = []
    for _ in range(hops):
        u, weights = hop(u, keys, values, [True] * len(recent), "softmax", p["H"])
        u = np.array([x if i < linear else max(x, 0.0) for i, x in enumerate(u)])
        every.append(weights)
    return p["W"] @ u, every
