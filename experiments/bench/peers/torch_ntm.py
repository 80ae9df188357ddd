"""The Neural Turing Machine in PyTorch: the same cell, as one would write it there."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from attnjax.models.ntm import NTMConfig
from experiments.bench.peers.torch_cells import tensor
from experiments.bench.peers.torch_device import synchronized


class NTM(nn.Module):
    """LSTM controller of one layer, one head of each kind; batches throughout."""

    def __init__(self, config: NTMConfig, params: Mapping[str, Any]) -> None:
        """Takes the parameters of attnjax's model.

        Args:
          config: sizes; one layer and one head of each kind.
          params: nested dict of arrays.
        """
        super().__init__()
        self.config = config
        machine, first = params["machine"], params["first"]
        lstm, reading, writing = (
            machine["layers"]["0"],
            machine["read_heads"],
            machine["write_heads"],
        )
        arrays = {
            "w": lstm["w"],
            "u": lstm["u"],
            "b": lstm["b"],
            "w_reads": machine["w_reads"],
            "w_heads": torch.cat([tensor(reading["w"]), tensor(writing["w"])], 1),
            "b_heads": torch.cat([tensor(reading["b"]), tensor(writing["b"])]),
            "hidden": first["layers"]["0"]["hidden"],
            "cell": first["layers"]["0"]["cell"],
            "read_scores": first["read_weights"][0],
            "write_scores": first["write_weights"][0],
            "reads": first["reads"][0],
            "w_output": params["output"]["w"],
            "b_output": params["output"]["b"],
        }
        for name, array in arrays.items():
            setattr(self, name, nn.Parameter(tensor(array)))

    def forward(self, x: Tensor) -> Tensor:
        """Logits [B, T, O] of inputs [B, T, I]."""
        B, (N, M) = len(x), (self.config.tape_size, self.config.tape_width)
        tape = x.new_full((B, N, M), 1e-6)
        hidden, cell, reads = (
            v.expand(B, -1) for v in (self.hidden, self.cell, self.reads)
        )
        read, write = (
            torch.softmax(scores, -1).expand(B, N)
            for scores in (self.read_scores, self.write_scores)
        )
        outputs = []
        P = M + 3 + 3
        for inputs in (x @ self.w + self.b).unbind(1):
            gates = inputs + reads @ self.w_reads + hidden @ self.u
            i, f, g, o = gates.chunk(4, -1)
            cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
            hidden = torch.sigmoid(o) * torch.tanh(cell)
            emitted = hidden @ self.w_heads + self.b_heads
            unit = functional.normalize(tape, dim=-1)
            read = address(unit, read, emitted[:, :P], M)
            # [B, 1, N] @ [B, N, M] -> [B, M]
            reads = torch.bmm(read[:, None], tape)[:, 0]
            write = address(unit, write, emitted[:, P : 2 * P], M)
            erase = torch.sigmoid(emitted[:, 2 * P : 2 * P + M])
            add = torch.tanh(emitted[:, 2 * P + M :])
            where = write[..., None]  # [B, N] -> [B, N, 1]
            tape = tape * (1 - where * erase[:, None]) + where * add[:, None]
            outputs.append(torch.cat([hidden, reads], -1))
        return torch.stack(outputs, 1) @ self.w_output + self.b_output


def address(unit: Tensor, last: Tensor, emitted: Tensor, width: int) -> Tensor:
    """Weights [B, N] from a unit tape [B, N, M] and what a head emits [B, P]."""
    emitted = emitted.clamp(-20, 20)
    key = torch.tanh(emitted[:, :width])
    strength, gate, exponent = emitted[:, width : width + 3, None].unbind(1)
    shift = torch.softmax(emitted[:, width + 3 :], -1)
    # [B, N, M] @ [B, M, 1] -> [B, N]
    cosine = torch.bmm(unit, functional.normalize(key, dim=-1)[..., None])[..., 0]
    content = torch.softmax(functional.softplus(strength) * cosine, -1)
    gate = torch.sigmoid(gate)
    mixed = gate * content + (1 - gate) * last
    shifted = (
        shift[:, :1] * mixed.roll(-1, -1)
        + shift[:, 1:2] * mixed
        + shift[:, 2:] * mixed.roll(1, -1)
    )
    return torch.softmax(
        (1 + functional.softplus(exponent)) * torch.log(shifted + 1e-12), -1
    )


def torch_ntm_step(
    config: NTMConfig,
    params: Mapping[str, Any],
    batch: Any,
    *,
    learning_rate: float,
    max_grad_norm: float,
    compiled: bool = False,
) -> Callable[[], Any]:
    """A training step: loss summed over bits, gradients clipped by norm, Adam.

    Args:
      config: sizes of the model.
      params: attnjax's parameters.
      batch: inputs, targets and mask.
      learning_rate: of Adam.
      max_grad_norm: global norm of the gradient.
      compiled: use `torch.compile`.
    """
    model: Any = NTM(config, params)
    inputs, targets, mask = map(tensor, batch)
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    run = torch.compile(model) if compiled else model

    def step() -> Any:
        optimizer.zero_grad()
        nats = functional.binary_cross_entropy_with_logits(
            run(inputs), targets, reduction="none"
        )
        loss = (nats * mask[..., None]).sum() / len(inputs)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), max_grad_norm)
        optimizer.step()
        return loss.detach()

    return partial(synchronized, step)
