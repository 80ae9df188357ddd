"""How each alignment of RNNSearch weighs, as the loops of the papers."""

import numpy as np

from tests import oracles
from tests.oracle_models import additive_weights


def _open(annotations):
    return np.ones(len(annotations), bool)


def _dot(p, i, state, annotations):
    """Luong's "dot" where the annotation's two directions are added up."""
    n = len(state)
    keys = annotations[:, :n] + annotations[:, n:]
    return oracles.masked_softmax(oracles.dot(state, keys), _open(annotations))


def _bilinear(p, i, state, annotations):
    scores = oracles.bilinear(state, annotations, p["W_b"])
    return oracles.masked_softmax(scores, _open(annotations))


def _local_p(p, i, state, annotations):
    """Luong 2015, eqs. 9 and 10: p_t = S sigma(v_p' tanh(W_p h)), half width 10."""
    share = oracles.sigma(p["v_p"] @ np.tanh(p["W_p"] @ state))
    position = len(annotations) * share
    factor = oracles.local_p(position, _open(annotations), 10.0)
    return factor * additive_weights(p, i, state, annotations)


def _diagonal(p, i, state, annotations):
    return oracles.diagonal(i, len(annotations), len(annotations))


WEIGH = {
    "additive": additive_weights,
    "dot": _dot,
    "bilinear": _bilinear,
    "local-p": _local_p,
    "diagonal": _diagonal,
}
