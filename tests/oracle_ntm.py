"""The Neural Turing Machine as a slow loop: one sequence, float64.

Parameters are one flat dict named by letters, shaped so that `W @ x`. The controller
is in "layers.", its matrix for what was read is "layers.C" with the gate's suffix.
"""

import numpy as np

from tests import oracles
from tests.oracle_models import advance_stack, begin, layers


def run(p, xs, heads):
    """Every step's logits, reads, read weights and write weights, and the last tape.

    `heads` is (read heads, write heads). The first layer may be feed-forward: then it
    has only "W", "C" and "b".
    """
    H, W = heads
    stack = layers(p, "layers")
    carries = None
    if "U_i" in stack[0]:
        carries = [begin(q, p["h_0"][n]) for n, q in enumerate(stack)]
        carries = [(h, p["c_0"][n]) for n, (h, _) in enumerate(carries)]
    tape, width = p["tape"], p["tape"].shape[1]
    read_w = [oracles.masked_softmax(s, np.ones(len(s), bool)) for s in p["read_0"]]
    write_w = [oracles.masked_softmax(s, np.ones(len(s), bool)) for s in p["write_0"]]
    reads = p["r_0"]
    steps = []
    for x in xs:
        inputs = (("W", x), ("C", np.concatenate(list(reads))))
        if carries is None:
            q = stack[0]
            hidden = np.tanh(q["W"] @ x + q["C"] @ inputs[1][1] + q["b"])
        else:
            carries, hidden = advance_stack(stack, carries, *inputs)
        emitted = np.split(p["R"] @ hidden + p["b_R"], H)
        read_w = [
            oracles.address(tape, last, oracles.head(e, width))
            for last, e in zip(read_w, emitted, strict=True)
        ]
        reads = [oracles.read(w, tape) for w in read_w]
        emitted = np.split(p["S"] @ hidden + p["b_S"], W)
        write_w = [
            oracles.address(tape, last, oracles.head(e[: -2 * width], width))
            for last, e in zip(write_w, emitted, strict=True)
        ]
        tape = oracles.write_tape(
            tape,
            [
                (w, oracles.sigma(e[-2 * width : -width]), np.tanh(e[-width:]))
                for w, e in zip(write_w, emitted, strict=True)
            ],
        )
        output = np.concatenate([hidden, *reads])
        steps.append((p["V"] @ output + p["b_V"], reads, read_w, write_w))
    return [np.array(x) for x in zip(*steps, strict=True)], tape
