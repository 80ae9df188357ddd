"""Named configs of question-answering runs; measured figures are in RESULTS.md."""

from attnjax.models.end_to_end_memory_network import EndToEndMemoryNetworkConfig
from attnjax.models.memory_network import MemoryNetworkConfig
from experiments.babi.config import Config
from experiments.datasets.babi.babi_builder import BAbI
from experiments.datasets.simulated_world.simulated_world_builder import SimulatedWorld
from experiments.training.optimizer import OptimizerConfig

BATCH = 32
EPOCH_1K = 562  # steps: 18,000 training questions of twenty tasks in batches of 32
EPOCH_1K_TASK = 28  # 900 questions of one task
EPOCH_10K = 5_343  # 171,000 questions of nineteen tasks
LINEAR, SOFT, HALVE = 30, 60, 15  # epochs


def _sgd(rate: float, *, begin: int, every: int) -> OptimizerConfig:
    """Gradient descent as published: rates and norms of gradients summed over 32."""
    return OptimizerConfig(
        name="sgd",
        learning_rate=rate * BATCH,  # gradients here are means over the batch
        lr_schedule="step",
        decay_begin=begin,
        decay_every=every,
        decay_ratio=0.5,
        max_grad_norm=40 / BATCH,
        clip_each_array=True,  # clipped by one global norm, task 15 is not learned
    )


JOINT_1K = Config(
    data=BAbI(),
    model=EndToEndMemoryNetworkConfig(embed_dim=50),
    optimizer=_sgd(0.005, begin=LINEAR * EPOCH_1K, every=HALVE * EPOCH_1K),
    linear_start_steps=LINEAR * EPOCH_1K,
    steps=(LINEAR + SOFT) * EPOCH_1K,
    batch_size=BATCH,
    eval_every=10 * EPOCH_1K,
    save_every=0,
    log_every=EPOCH_1K,
)

SMOKE = Config(
    data=SimulatedWorld(train=200, test=50),
    model=EndToEndMemoryNetworkConfig(),
    optimizer=_sgd(0.01, begin=2, every=2),
    linear_start_steps=2,
    steps=4,
    batch_size=16,
    eval_every=4,
    save_every=2,
    log_every=2,
)

WORLD = Config(
    data=SimulatedWorld(),
    model=MemoryNetworkConfig(),
    optimizer=OptimizerConfig(
        learning_rate=1e-3, lr_schedule="linear", max_grad_norm=None
    ),
    steps=3_000,
    batch_size=BATCH,
    eval_every=500,
    save_every=0,
    log_every=100,
)

CONFIGS: dict[str, tuple[str, Config]] = {
    "joint-1k": ("End to end.", JOINT_1K),
    "world": ("Memory network on simulated world.", WORLD),
    "smoke": ("Four steps.", SMOKE),
}
