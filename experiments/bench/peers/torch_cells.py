"""The recurrent workloads in PyTorch: fused GRU and LSTM, the decoder as a loop."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from experiments.bench.peers.torch_device import DEVICE, autocast, synchronized
from experiments.bench.recurrent_arrays import decoder_arrays, random_array, source_mask
from experiments.bench.shapes import DecoderSpec, RecurrentSpec, StackSpec


def torch_gru(spec: RecurrentSpec, dtype: str) -> Callable[[], Any]:
    """Forward and backward pass of `nn.GRU`, one kernel for all steps."""
    return _module_call(nn.GRU(spec.M, spec.D, batch_first=True), spec, dtype)


def torch_lstm(spec: RecurrentSpec, dtype: str) -> Callable[[], Any]:
    """Forward and backward pass of `nn.LSTM`, one kernel for all steps."""
    return _module_call(nn.LSTM(spec.M, spec.D, batch_first=True), spec, dtype)


def torch_deep_lstm(spec: StackSpec, dtype: str) -> Callable[[], Any]:
    """Forward and backward pass of `nn.LSTM` layers with skip connections."""
    B, T, M, D, L = spec
    return _module_call(DeepLSTM(M, D, L), RecurrentSpec(B, T, M, D), dtype)


class DeepLSTM(nn.Module):
    """Every layer takes the input and the states of the layer below."""

    def __init__(self, M: int, D: int, L: int) -> None:
        super().__init__()
        widths = (M, *[M + D] * (L - 1))
        self.layers = nn.ModuleList(nn.LSTM(w, D, batch_first=True) for w in widths)

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """The states of all layers side by side, [B, T, L*D]."""
        states: list[Tensor] = []
        for layer in self.layers:
            inputs = torch.cat([x, *states[-1:]], dim=-1)
            states.append(layer(inputs)[0])
        return (torch.cat(states, dim=-1),)


def torch_decoder(spec: DecoderSpec, dtype: str) -> Callable[[], Any]:
    """Forward and backward pass of the decoder, with the arrays of attnjax's."""
    decoder, inputs = Decoder(spec), decoder_inputs(spec)
    mask = tensor(source_mask(spec))
    return _call(
        lambda *x: decoder(*x, mask), list(decoder.parameters()), inputs, dtype
    )


class Decoder(nn.Module):
    """RNNSearch: the products that do not depend on the state are outside the loop."""

    def __init__(self, spec: DecoderSpec) -> None:
        super().__init__()
        params, _ = decoder_arrays(spec)
        arrays = params.aligner._asdict() | params.layers[0]._asdict()
        arrays["w_context"] = params.w_context
        for name, array in arrays.items():
            setattr(self, name, nn.Parameter(tensor(array)))

    def forward(
        self, embedded: Tensor, values: Tensor, state: Tensor, mask: Tensor
    ) -> Tensor:
        """Outputs [B, T, D+E] from embeddings [B, T, M] and values [B, S, E]."""
        D = state.shape[-1]
        keys = values @ self.w_keys
        inputs = embedded @ self.w + self.b
        outputs = []
        for x in inputs.unbind(1):
            query = (state @ self.w_query)[:, None]  # [B, A] -> [B, 1, A]
            hidden = torch.tanh(query + keys)
            scores = (hidden @ self.v).masked_fill(~mask, -torch.inf)
            weights = torch.softmax(scores, dim=-1).to(values.dtype)
            # [B, 1, S] @ [B, S, E] -> [B, E]
            context = torch.bmm(weights[:, None], values)[:, 0]
            outputs.append(torch.cat([state, context], dim=-1))
            x = x + context @ self.w_context
            gates = torch.sigmoid(x[:, : 2 * D] + state @ self.u_gates)
            update, reset = gates.chunk(2, dim=-1)
            recurrent = (reset * state) @ self.u_candidate
            candidate = torch.tanh(x[:, 2 * D :] + recurrent)
            state = state + update * (candidate - state)
        return torch.stack(outputs, dim=1)


def decoder_inputs(spec: DecoderSpec) -> list[Tensor]:
    """Embeddings, values and initial state, which require gradients."""
    _, inputs = decoder_arrays(spec)
    return [
        tensor(inputs[name]).requires_grad_()
        for name in ("embedded", "values", "start")
    ]


def tensor(array: Any) -> Tensor:
    """A copy of an array, on the device on which PyTorch computes."""
    return torch.tensor(np.asarray(array)).to(DEVICE)


def _module_call(module: nn.Module, spec: RecurrentSpec, dtype: str) -> Any:
    x = tensor(random_array(4, spec.B, spec.T, spec.M)).requires_grad_()
    module.to(DEVICE)
    return _call(lambda x: module(x)[0], list(module.parameters()), [x], dtype)


def _call(
    run: Callable[..., Tensor], params: list[Any], inputs: list[Tensor], dtype: str
) -> Callable[[], Any]:
    """The output and the gradients of inputs and parameters; bfloat16 is autocast."""
    cotangent: list[Tensor] = []

    def call() -> Any:
        with autocast(dtype):
            y = run(*inputs)
        if not cotangent:
            cotangent.append(tensor(random_array(20, *y.shape)))
        return y, torch.autograd.grad(y, [*inputs, *params], cotangent[0].to(y.dtype))

    return partial(synchronized, call)
