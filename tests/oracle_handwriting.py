"""Graves 2013 (arXiv:1308.0850), sections 4 and 5, as slow loops.

NumPy, float64, one line at a time, weights as the paper prints them (`W @ x`). The
densities are written by their covariance matrices, not by the paper's correlations.
"""

import numpy as np

from tests import oracles


def density_parts(outputs, bias=0.0):
    """Eqs. 18 to 22, and 61, 62: e, and (pi, mean, covariance) of each component."""
    K = (len(outputs) - 1) // 6
    end = 1 / (1 + np.exp(outputs[0]))
    pi, mu_x, mu_y, s_x, s_y, rho = outputs[1:].reshape(6, K)
    pi = np.exp(pi * (1 + bias) - np.max(pi * (1 + bias)))
    s_x, s_y, rho = np.exp(s_x - bias), np.exp(s_y - bias), np.tanh(rho)
    components = [
        (
            pi[k] / pi.sum(),
            np.array([mu_x[k], mu_y[k]]),
            np.array(
                [
                    [s_x[k] ** 2, rho[k] * s_x[k] * s_y[k]],
                    [rho[k] * s_x[k] * s_y[k], s_y[k] ** 2],
                ]
            ),
        )
        for k in range(K)
    ]
    return end, components


def density(outputs, point, bias=0.0):
    """Eq. 23: the density of an offset, times the probability of the end."""
    end, components = density_parts(outputs, bias)
    total = 0.0
    for pi, mean, covariance in components:
        away = point[:2] - mean
        square = away @ np.linalg.solve(covariance, away)
        norm = 2 * np.pi * np.sqrt(np.linalg.det(covariance))
        total += pi * np.exp(-square / 2) / norm
    return total * (end if point[2] == 1 else 1 - end)


def window_layers(params, points, text):
    """Eqs. 47 to 53, and the outputs of eq. 53: of every point, outputs and phi.

    `params["layers"]` are those of `oracles.lstm`, one for each layer; text is one-hot
    [U, E]. phi has one position more than the text.
    """
    D = len(params["layers"][0]["b_i"])
    carries = [(np.zeros(D), np.zeros(D)) for _ in params["layers"]]
    U, E = text.shape
    K = len(params["b_window"]) // 3
    window, kappa = np.zeros(E), np.zeros(K)
    outputs, phis = [], []
    for x in points:
        inputs = np.concatenate([x, window])
        carries[0] = oracles.lstm(params["layers"][0], carries[0], inputs)
        h = carries[0][0]
        emitted = params["W_window"] @ h + params["b_window"]
        alpha, beta, step = np.exp(emitted).reshape(3, K)
        kappa = kappa + step
        phi = oracles.soft_window(alpha, beta, kappa, U + 1)
        window = phi[:U] @ text
        hidden = [h]
        for n, layer in enumerate(params["layers"][1:], start=1):
            inputs = np.concatenate([x, window, hidden[-1]])
            carries[n] = oracles.lstm(layer, carries[n], inputs)
            hidden.append(carries[n][0])
        y = params["b_y"] + sum(
            W @ h for W, h in zip(params["W_y"], hidden, strict=True)
        )
        outputs.append(y)
        phis.append(phi)
    return np.array(outputs), np.array(phis)
