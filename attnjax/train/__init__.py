"""One optimisation step: gradients summed over microbatches, then an optax update.

It knows no model, device or file: those belong to `attnjax.parallel`, to the caller's
loop and to the experiments.
"""

from attnjax.train.accumulation import Batch as Batch
from attnjax.train.accumulation import Loss as Loss
from attnjax.train.accumulation import LossFn as LossFn
from attnjax.train.accumulation import Params as Params
from attnjax.train.accumulation import accumulate_gradients as accumulate_gradients
from attnjax.train.step import Metrics as Metrics
from attnjax.train.step import TrainState as TrainState
from attnjax.train.step import TrainStep as TrainStep
from attnjax.train.step import init_state as init_state
from attnjax.train.step import make_train_step as make_train_step

# The names for users; the others are types for annotations.
__all__ = [
    "Loss",
    "TrainState",
    "accumulate_gradients",
    "init_state",
    "make_train_step",
]
