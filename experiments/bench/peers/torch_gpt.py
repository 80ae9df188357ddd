"""GPT-2 in PyTorch: what a careful user would write.

One product for queries, keys and values, PyTorch's own attention, AdamW in one fused
call; clipping, schedule and weights that decay as in our config. `torch.compile` is
asked for by the caller.
"""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from attnjax import BlockConfig
from attnjax.models.gpt import GPTConfig
from experiments.bench.peers.torch_device import DEVICE, autocast, finish
from experiments.datasets.text.windows import NOTHING
from experiments.language_model.config import Config
from experiments.training.config import OptimizerConfig

Tree = Any  # nested dicts of arrays


class Block(nn.Module):
    """Attention to the past, then two layers; each reads what is normalised."""

    def __init__(self, config: BlockConfig) -> None:
        super().__init__()
        M, width, bias = config.d_model, config.d_ff, config.use_bias
        self.heads = config.num_heads
        self.self_attention_norm = nn.LayerNorm(M, config.norm_epsilon, bias=bias)
        self.qkv = nn.Linear(M, 3 * M, bias=bias)
        self.output = nn.Linear(M, M, bias=bias)
        self.mlp_norm = nn.LayerNorm(M, config.norm_epsilon, bias=bias)
        self.up = nn.Linear(M, width, bias=bias)
        self.down = nn.Linear(width, M, bias=bias)
        self.gelu = nn.GELU("tanh" if config.activation == "gelu-tanh" else "none")

    def forward(self, x: Tensor) -> Tensor:
        """Positions [B, T, M] transformed."""
        joined = self.qkv(self.self_attention_norm(x))
        # [B, T, 3M] -> 3 of [B, H, T, D]
        query, keys, values = joined.unflatten(-1, (3, self.heads, -1)).unbind(2)
        read = F.scaled_dot_product_attention(
            query.transpose(1, 2),
            keys.transpose(1, 2),
            values.transpose(1, 2),
            is_causal=True,
        )
        x = x + self.output(read.transpose(1, 2).flatten(2))
        return x + self.down(self.gelu(self.up(self.mlp_norm(x))))


class GPT(nn.Module):
    """`attnjax.models.gpt` with learned positions, GELU and a tied output."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        block = config.block
        self.embedding = nn.Embedding(config.vocab_size, block.d_model)
        self.positions = nn.Parameter(torch.empty(config.max_length, block.d_model))
        self.blocks = nn.Sequential(*(Block(block) for _ in range(config.num_layers)))
        self.norm = nn.LayerNorm(block.d_model, block.norm_epsilon, bias=block.use_bias)

    def forward(self, ids: Tensor, targets: Tensor) -> Tensor:
        """Nats a target of ids [B, T], those that are `NOTHING` left out."""
        x = self.embedding(ids) + self.positions[: ids.shape[1]]
        logits = F.linear(self.norm(self.blocks(x)), self.embedding.weight)
        return F.cross_entropy(
            logits.float().flatten(0, 1), targets.flatten(), ignore_index=NOTHING
        )


class TorchLearner:
    """A GPT that learns in PyTorch; see `experiments.bench.cases.gpt.Learner`."""

    def __init__(
        self, config: Config, model: GPTConfig, params: Tree, *, compiled: bool
    ) -> None:
        """Takes over the weights of ours before training.

        Args:
          config: how to train; `steps` is the length of the schedule.
          model: sizes, with the vocabulary.
          params: of `attnjax.GPT`, as `attnjax.models.state.split` gives them.
          compiled: whether the model goes through `torch.compile`.
        """
        self.model = GPT(model)
        tensors = {k: torch.tensor(np.asarray(x)) for k, x in named(params).items()}
        self.model.load_state_dict(tensors)
        self.model.to(DEVICE)
        self._call = torch.compile(self.model) if compiled else self.model
        self._dtype, self._parts = model.dtype, config.accumulate
        self._settings, self._steps = config.optimizer, config.steps
        self._optimizer = torch.optim.AdamW(
            decaying(self.model, config.optimizer.weight_decay),
            lr=config.optimizer.learning_rate,
            betas=(0.9, config.optimizer.beta2),
            eps=1e-8,
            fused=True,
        )
        self._done = 0

    def step(self, crops: np.ndarray) -> None:
        """See `Learner`."""
        for group in self._optimizer.param_groups:
            group["lr"] = rate(self._settings, self._done, self._steps)
        self._optimizer.zero_grad(set_to_none=True)
        for part in np.split(crops, self._parts):  # of equally many tokens
            (self._loss(part) / self._parts).backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self._settings.clip_norm)
        self._optimizer.step()
        self._done += 1

    def wait(self) -> None:
        """See `Learner`."""
        finish()

    def nats(self, crops: np.ndarray) -> tuple[float, int]:
        """See `Learner`."""
        count = int((crops[:, 1:] != NOTHING).sum())
        with torch.no_grad():
            return float(self._loss(crops)) * count, count

    def _loss(self, crops: np.ndarray) -> Tensor:
        ids = torch.from_numpy(crops).to(DEVICE).long()
        with autocast(self._dtype):
            return self._call(ids[:, :-1].clamp(min=0), ids[:, 1:])


def named(params: Tree) -> dict[str, Any]:
    """Parameters of `attnjax.GPT` by the names here."""
    result = {
        "embedding.weight": params["embedding"],
        "positions": params["positions"],
        **_norm(params["decoder"]["norm"], "norm"),
    }
    blocks = params["decoder"]["blocks"]
    for i in range(len(blocks["mlp_norm"]["scale"])):
        result |= {f"blocks.{i}.{k}": x[i] for k, x in _block(blocks).items()}
    return result


def _block(blocks: Tree) -> dict[str, np.ndarray]:
    """The blocks' weights by their names in one; the axis of layers is kept."""
    attention, feed = blocks["self_attention"], blocks["mlp"]
    parts = [_linear(attention[name], "qkv") for name in ("query", "keys", "values")]
    return {
        **{k: np.concatenate([part[k] for part in parts], axis=1) for k in parts[0]},
        **_linear(attention["output"], "output"),
        **_linear(feed["up"], "up"),
        **_linear(feed["down"], "down"),
        **_norm(blocks["self_attention_norm"], "self_attention_norm"),
        **_norm(blocks["mlp_norm"], "mlp_norm"),
    }


def _linear(linear: Tree, name: str) -> dict[str, np.ndarray]:
    weight = {f"{name}.weight": np.swapaxes(linear["w"], -1, -2)}
    return weight | ({f"{name}.bias": linear["b"]} if "b" in linear else {})


def _norm(norm: Tree, name: str) -> dict[str, np.ndarray]:
    weight = {f"{name}.weight": norm["scale"]}
    return weight | ({f"{name}.bias": norm["bias"]} if "bias" in norm else {})


def decaying(model: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Parameters in two groups: matrices and tables decay, scales and biases do not."""
    every = list(model.parameters())
    return [
        {"params": [p for p in every if p.ndim >= 2], "weight_decay": decay},
        {"params": [p for p in every if p.ndim < 2], "weight_decay": 0.0},
    ]


def rate(settings: OptimizerConfig, step: int, steps: int) -> float:
    """The learning rate of a step: a linear rise, then half a cosine."""
    peak, warmup = settings.learning_rate, settings.warmup
    if step < warmup:
        return peak * step / warmup
    share = min(1.0, (step - warmup) / max(1, steps - warmup))
    fall = 0.5 * (1 + math.cos(math.pi * share))
    return peak * (settings.final + (1 - settings.final) * fall)
