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


def _diagonal(p, i, state, annotations, previous):
    return oracles.diagonal(i, len(annotations), len(annotations))


WEIGH = {
    "additive": additive_weights,
    "dot": _dot,
    "bilinear": _bilinear,
    "local-p": _local_p,
    "location": _location,
    "diagonal": _diagonal,
}
