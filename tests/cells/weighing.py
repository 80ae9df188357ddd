"""The weights of each aligner of RNNSearch, as the loops of the papers."""

import numpy as np

from tests import oracles
from tests.oracle_models import additive_weights


def _open(annotations):
    return np.ones(len(annotations), bool)


def _dot(p, i, state, annotations, previous):
    """Luong's "dot", with the two directions of a source state added up."""
    n = len(state)
    keys = annotations[:, :n] + annotations[:, n:]
    return oracles.masked_softmax(oracles.dot(state, keys), _open(annotations))


def _bilinear(p, i, state, annotations, previous):
    scores = oracles.bilinear(state, annotations, p["W_b"])
    return oracles.masked_softmax(scores, _open(annotations))


def _local_p(p, i, state, annotations, previous):
    """Luong 2015, eqs. 9 and 10: p_t = S sigma(v_p' tanh(W_p h)), half width 10."""
    share = oracles.sigma(p["v_p"] @ np.tanh(p["W_p"] @ state))
    position = len(annotations) * share
    factor = oracles.local_p(position, _open(annotations), 10.0)
    return factor * additive_weights(p, i, state, annotations)


def _location(p, i, state, annotations, previous):
    """Chorowski 2015, eqs. 8 to 10; at first all weight is on the first position."""
    if previous is None:
        previous = np.eye(len(annotations))[0]
    keys = np.array([p["U_a"] @ h + p["b_l"] for h in annotations])
    scores = oracles.location_aware(
        p["W_a"] @ state, keys, previous, p["F"], p["U_l"], p["v_a"]
    )
    return oracles.masked_softmax(scores, _open(annotations))


def _content(p, i, state, annotations, previous):
    """Graves 2014, eqs. 5 and 6, of tanh keys and a softplus strength."""
    *key, strength = p["W_c"] @ state + p["b_c"]
    return oracles.content_weights(
        np.tanh(key), annotations, np.log(1 + np.exp(strength))
    )


def _shift(p, i, state, annotations, previous):
    """Graves 2014, eqs. 5 to 9; at first all weight is on the first position."""
    if previous is None:
        previous = np.eye(len(annotations))[0]
    head = oracles.head(p["W_n"] @ state + p["b_n"], annotations.shape[1])
    return oracles.address(annotations, previous, head)


class _Window(np.ndarray):
    """Weights that remember the centres that they were made with."""

    centres: np.ndarray


def _window(p, i, state, annotations, previous):
    """Graves 2013, eqs. 46 to 51; the centres start at 0."""
    importance, sharpness, step = np.exp(p["W_g"] @ state + p["b_g"]).reshape(3, -1)
    centres = step + (0 if previous is None else previous.centres)
    weights = oracles.soft_window(importance, sharpness, centres, len(annotations))
    weights = weights.view(_Window)
    weights.centres = centres
    return weights


def _diagonal(p, i, state, annotations, previous):
    return oracles.diagonal(i, len(annotations), len(annotations))


WEIGH = {
    "additive": additive_weights,
    "dot": _dot,
    "bilinear": _bilinear,
    "local-p": _local_p,
    "location": _location,
    "content": _content,
    "shift": _shift,
    "window": _window,
    "diagonal": _diagonal,
}
