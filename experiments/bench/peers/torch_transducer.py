"""The transducer's loss of other libraries: loss and gradient of the logits."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

from experiments.bench.peers.torch_device import DEVICE, synchronized


def warprnnt_call(logits: np.ndarray, labels: np.ndarray) -> Callable[[], Any]:
    """Loss and gradient by warprnnt_numba, which compiles its loops.

    Args:
      logits: shape [B, T, U + 1, V].
      labels: shape [B, U]; the blank is 0.
    """
    from warprnnt_numba import RNNTLossNumba

    loss = RNNTLossNumba(blank=0, reduction="sum")
    return _call(loss, logits, labels)


def torchaudio_call(logits: np.ndarray, labels: np.ndarray) -> Callable[[], Any]:
    """Loss and gradient by torchaudio; arguments as of `warprnnt_call`."""
    from torchaudio.functional import rnnt_loss

    return _call(partial(rnnt_loss, blank=0, reduction="sum"), logits, labels)


def _call(
    loss: Callable[..., Any], logits: np.ndarray, labels: np.ndarray
) -> Callable[[], Any]:
    B, T, columns = logits.shape[:3]
    given = torch.tensor(logits, device=DEVICE, requires_grad=True)
    sizes = [
        torch.full((B,), size, dtype=torch.int32, device=DEVICE)
        for size in (T, columns - 1)
    ]
    targets = torch.tensor(labels, device=DEVICE)

    def step() -> Any:
        given.grad = None
        total = loss(given, targets, *sizes)
        total.backward()
        return total.detach(), given.grad

    return partial(synchronized, step)
