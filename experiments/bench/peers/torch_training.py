"""Training steps in PyTorch, as a careful user would write them.

RNNSearch has a fused bidirectional `nn.GRU` on packed sequences as its encoder and
`torch_cells.Decoder`; the Transformer is `torch_transformer`. Output layer, dropout,
label smoothing, gradient clipping and (fused) Adam are those of the config.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from attnjax.models.rnnsearch import RNNSearchConfig
from attnjax.models.transformer import TransformerConfig
from experiments.bench.peers.torch_cells import Decoder, tensor
from experiments.bench.peers.torch_device import DEVICE, autocast, synchronized
from experiments.bench.peers.torch_transformer import Transformer
from experiments.bench.shapes import DecoderSpec
from experiments.bench.transformer_configs import build
from experiments.translate.config import Config


class RNNSearch(nn.Module):
    """`attnjax.models.rnnsearch` with a tied output layer, with maxout or tanh."""

    def __init__(self, config: RNNSearchConfig) -> None:
        super().__init__()
        M, D, L = config.embed_dim, config.hidden_dim, config.readout_dim
        spec = DecoderSpec(0, 0, 0, D, M, 2 * D, config.align_dim, L, 0)
        self.source = nn.Embedding(config.source_vocab_size, M)
        self.target = nn.Embedding(config.target_vocab_size, M)
        self.encoder = nn.GRU(M, D, batch_first=True, bidirectional=True)
        self.start = nn.Linear(D, D, bias=False)
        self.decoder = Decoder(spec)
        self.readout = nn.Linear(D + M + 2 * D, L * (2 if config.maxout else 1))
        self.bias = nn.Parameter(torch.zeros(config.target_vocab_size))
        self.maxout, self.drop = config.maxout, nn.Dropout(config.dropout)

    def forward(self, source: Tensor, previous: Tensor) -> Tensor:
        """Logits [B, T, V]."""
        mask = source != 0
        packed = pack_padded_sequence(
            self.drop(self.source(source)),
            mask.sum(1).cpu(),
            batch_first=True,
            enforce_sorted=False,
        )
        states, _ = self.encoder(packed)
        values, _ = pad_packed_sequence(
            states, batch_first=True, total_length=source.shape[1]
        )
        values = self.drop(values)
        D = values.shape[-1] // 2
        embedded = self.drop(self.target(previous))
        # The initial state depends on the backward direction at the first token.
        first = torch.tanh(self.start(values[:, 0, D:]))
        out = self.decoder(embedded, values, first, mask)  # state and context
        units = self.readout(torch.cat([out[..., :D], embedded, out[..., D:]], -1))
        if self.maxout:
            units = units.unflatten(-1, (-1, 2)).amax(-1)  # [B, T, 2*L] -> [B, T, L]
        else:
            units = torch.tanh(units)
        return nn.functional.linear(self.drop(units), self.target.weight, self.bias)


def torch_model(config: Any) -> nn.Module:
    """The PyTorch module of a config; the Transformer gets attnjax's parameters."""
    if isinstance(config, TransformerConfig):
        return Transformer(config, build(config)[1])
    return RNNSearch(config).to(DEVICE)


def torch_steps(
    config: Config, source: np.ndarray, target: np.ndarray, *, compiled: bool = False
) -> dict[str, Callable[[], Any]]:
    """Forward pass, forward and backward pass, and whole step of a config.

    Args:
      config: of model, loss and optimiser.
      source: ids [B, S].
      target: ids [B, T].
      compiled: whether to use `torch.compile`, which compiles the backward pass too.
    """
    torch.manual_seed(config.seed)
    module: Any = torch_model(config.model)
    return module_steps(
        torch.compile(module) if compiled else module, config, source, target
    )


def module_steps(
    model: Any, config: Config, source: np.ndarray, target: np.ndarray
) -> dict[str, Callable[[], Any]]:
    """Forward pass, forward and backward pass, and whole step of a module."""
    optimizer = torch.optim.Adam(
        model.parameters(),
        lr=config.optimizer.learning_rate,
        betas=(0.9, config.optimizer.beta2),
        eps=config.optimizer.epsilon,
        fused=True,
    )
    ids, labels = tensor(source).long(), tensor(target).long()
    previous = torch.cat([torch.ones_like(labels[:, :1]), labels[:, :-1]], dim=1)

    def forward() -> Tensor:
        with autocast(config.model.dtype):
            logits = model(ids, previous)
        # [B, T, V] -> [B*T, V]; [B, T] -> [B*T]
        return nn.functional.cross_entropy(
            logits.float().flatten(0, 1),
            labels.flatten(),
            ignore_index=0,
            label_smoothing=config.label_smoothing,
            reduction="sum",
        )

    def backward() -> Tensor:
        optimizer.zero_grad()
        loss = forward()
        (loss / (labels != 0).sum()).backward()
        return loss

    def step() -> Tensor:
        loss = backward()
        if config.optimizer.max_grad_norm is not None:
            nn.utils.clip_grad_norm_(model.parameters(), config.optimizer.max_grad_norm)
        optimizer.step()
        return loss

    parts = {"forward": forward, "backward": backward, "step": step}
    return {name: partial(synchronized, part) for name, part in parts.items()}
