"""One optimisation step: gradients summed over microbatches, then an optax update.

It knows no model, device or file: those belong to `attnjax.parallel`, to the caller's
loop and to the experiments.
"""

from attnjax.train.accumulation import Batch as Batch
from attnjax.train.accumulation import Carry as Carry
from attnjax.train.accumulation import Loss as Loss
from attnjax.train.accumulation import LossFn as LossFn
from attnjax.train.accumulation import Params as Params
from attnjax.train.accumulation import accumulate_gradients as accumulate_gradients
from attnjax.train.step import Metrics as Metrics
from attnjax.train.step import TrainState as TrainState
from attnjax.train.step import TrainStep as TrainStep
from attnjax.train.step import init_state as init_state
from attnjax.train.step import make_train_step as make_train_step
from attnjax.train.weight_noise import WeightPosterior as WeightPosterior
from attnjax.train.weight_noise import WeightPrior as WeightPrior
from attnjax.train.weight_noise import add_weight_noise as add_weight_noise
from attnjax.train.weight_noise import best_weight_prior as best_weight_prior
from attnjax.train.weight_noise import init_weight_posterior as init_weight_posterior
from attnjax.train.weight_noise import sample_weights as sample_weights
from attnjax.train.weight_noise import weight_complexity as weight_complexity

# The names for users; the others are types for annotations.
__all__ = [
    "Loss",
    "TrainState",
    "WeightPosterior",
    "WeightPrior",
    "accumulate_gradients",
    "add_weight_noise",
    "best_weight_prior",
    "init_state",
    "init_weight_posterior",
    "make_train_step",
    "sample_weights",
    "weight_complexity",
]
