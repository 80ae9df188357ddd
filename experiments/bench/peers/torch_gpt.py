"""GPT-2 in PyTorch, as a careful user would write it.

Fused query, key and value projection, `F.scaled_dot_product_attention` and fused AdamW;
gradient clipping, learning-rate schedule and weight-decay mask are those of the config.
"""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from attnjax import BlockConfig
from attnjax.models.gpt import GPTConfig
from experiments.bench.peers.torch_device import DEVICE, autocast, synchronize
from experiments.datasets.text.windows import IGNORE_INDEX
from experiments.language_model.config import Config
from experiments.training.optimizer import OptimizerConfig

Tree = Any  # nested dicts of arrays


class Block(nn.Module):
    """A pre-norm block: causal self-attention, then an MLP with GELU."""

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
        """Activations [B, T, M] -> [B, T, M]."""
        joined = self.qkv(self.self_attention_norm(x))
        # [B, T, 3*M] -> [B, T, 3, H, D] -> three of [B, T, H, D]
        query, keys, values = joined.unflatten(-1, (3, self.heads, -1)).unbind(2)
        # [B, T, H, D] -> [B, H, T, D], the layout of PyTorch's attention
        context = F.scaled_dot_product_attention(
            query.transpose(1, 2),
            keys.transpose(1, 2),
            values.transpose(1, 2),
            is_causal=True,
        )
        # [B, H, T, D] -> [B, T, H*D]
        x = x + self.output(context.transpose(1, 2).flatten(2))
        return x + self.down(self.gelu(self.up(self.mlp_norm(x))))


class GPT(nn.Module):
    """`attnjax.models.gpt` with learned positions, GELU and a tied output layer."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        block = config.block
        self.embedding = nn.Embedding(config.vocab_size, block.d_model)
        self.positions = nn.Parameter(torch.empty(config.max_length, block.d_model))
        self.blocks = nn.Sequential(*(Block(block) for _ in range(config.num_layers)))
        self.norm = nn.LayerNorm(block.d_model, block.norm_epsilon, bias=block.use_bias)

    def forward(self, ids: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy in nats of targets [B, T]; `IGNORE_INDEX` is ignored."""
        x = self.embedding(ids) + self.positions[: ids.shape[1]]
        logits = F.linear(self.norm(self.blocks(x)), self.embedding.weight)
        # [B, T, V] -> [B*T, V]; [B, T] -> [B*T]
        return F.cross_entropy(
            logits.float().flatten(0, 1), targets.flatten(), ignore_index=IGNORE_INDEX
        )


class TorchTrainer:
    """The same training in PyTorch; implements `gpt_task.Trainer`."""

    def __init__(
        self, config: Config, model: GPTConfig, params: Tree, *, compiled: bool
    ) -> None:
        """Initialises the model with the parameters of attnjax.

        Args:
          config: training settings; `steps` is the length of the schedule.
          model: the model's config, with its vocabulary size.
          params: of `attnjax.GPT`, as `attnjax.models.state.split` returns them.
          compiled: whether to use `torch.compile`.
        """
        self.model = GPT(model)
        tensors = {
            k: torch.tensor(np.asarray(x)) for k, x in state_dict(params).items()
        }
        self.model.load_state_dict(tensors)
        self.model.to(DEVICE)
        self._call = torch.compile(self.model) if compiled else self.model
        self._dtype, self._microbatches = model.dtype, config.accumulation_steps
        self._settings, self._steps = config.optimizer, config.steps
        self._optimizer = torch.optim.AdamW(
            decay_groups(self.model, config.optimizer.weight_decay),
            lr=config.optimizer.learning_rate,
            betas=(0.9, config.optimizer.beta2),
            eps=1e-8,
            fused=True,
        )
        self._step = 0

    def step(self, windows: np.ndarray) -> None:
        """Takes an optimisation step; on a GPU it is only enqueued."""
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate(self._settings, self._step, self._steps)
        self._optimizer.zero_grad(set_to_none=True)
        # Microbatches have equally many tokens, so the mean of their means is exact.
        for part in np.split(windows, self._microbatches):
            (self._mean_loss(part) / self._microbatches).backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self._settings.max_grad_norm)
        self._optimizer.step()
        self._step += 1

    def wait(self) -> None:
        """Waits until the device has finished all steps."""
        synchronize()

    def loss(self, windows: np.ndarray) -> tuple[float, int]:
        """The summed cross-entropy of the targets, in nats, and their number."""
        count = int((windows[:, 1:] != IGNORE_INDEX).sum())
        with torch.no_grad():
            return float(self._mean_loss(windows)) * count, count

    def _mean_loss(self, windows: np.ndarray) -> Tensor:
        ids = torch.from_numpy(windows).to(DEVICE).long()
        with autocast(self._dtype):
            return self._call(ids[:, :-1].clamp(min=0), ids[:, 1:])


def state_dict(params: Tree) -> dict[str, Any]:
    """The parameters of `attnjax.GPT`, renamed for `GPT.load_state_dict`."""
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
    """Parameters by their names in one block; the leading axis of layers is kept."""
    attention, mlp = blocks["self_attention"], blocks["mlp"]
    parts = [_linear(attention[name], "qkv") for name in ("query", "keys", "values")]
    return {
        **{k: np.concatenate([part[k] for part in parts], axis=1) for k in parts[0]},
        **_linear(attention["output"], "output"),
        **_linear(mlp["up"], "up"),
        **_linear(mlp["down"], "down"),
        **_norm(blocks["self_attention_norm"], "self_attention_norm"),
        **_norm(blocks["mlp_norm"], "mlp_norm"),
    }


def _linear(linear: Tree, name: str) -> dict[str, np.ndarray]:
    # [L, in, out] -> [L, out, in]
    weight = {f"{name}.weight": np.swapaxes(linear["w"], -1, -2)}
    return weight | ({f"{name}.bias": linear["b"]} if "b" in linear else {})


def _norm(norm: Tree, name: str) -> dict[str, np.ndarray]:
    weight = {f"{name}.weight": norm["scale"]}
    return weight | ({f"{name}.bias": norm["bias"]} if "bias" in norm else {})


def decay_groups(model: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Parameter groups of AdamW: matrices have weight decay, scales and biases not."""
    every = list(model.parameters())
    return [
        {"params": [p for p in every if p.ndim >= 2], "weight_decay": decay},
        {"params": [p for p in every if p.ndim < 2], "weight_decay": 0.0},
    ]


def learning_rate(settings: OptimizerConfig, step: int, steps: int) -> float:
    """The learning rate of a step: linear warm-up, then cosine decay."""
    peak, warmup = settings.learning_rate, settings.warmup_steps
    if step < warmup:
        return peak * step / warmup
    progress = min(1.0, (step - warmup) / max(1, steps - warmup))
    cosine = 0.5 * (1 + math.cos(math.pi * progress))
    return peak * (settings.end_lr_ratio + (1 - settings.end_lr_ratio) * cosine)
