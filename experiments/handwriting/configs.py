"""Named configs of runs that write; measured figures are in RESULTS.md.

pen-traces: lines of generated writing, each with its text.
  Paper: Graves 2013 (arXiv:1308.0850), section 5, with a smaller network and Adam.
  Expect: -387 nats a line on words that it has not seen, legible writing, and the
    window on the character that is written at 96 % of the points.
  Cost: six minutes of one CPU core.
  Run: python -m experiments.handwriting train pen-traces

omniglot-prediction: characters of fifty alphabets, predicted without a text.
  Paper: the same, section 4, on other data, with a smaller network and Adam.
  Expect: not run to its end here.
  Cost: not yet measured.
  Run: python -m experiments.handwriting train omniglot-prediction --data.raw-dir DIR

iam-prediction: lines of English of 221 writers, predicted without the text.
  Paper: the same, section 4: three layers of 400 LSTM cells, skip connections, 20
    Gaussians, RMSProp; the derivatives of the outputs clipped at 100. One layer of 900
    is --model.num-layers 1 --model.hidden-dim 900.
  Expect: -1041 nats a line and a squared error of 0.41 a point, as published without
    weight noise, and -1058 with --weight-noise.kind adaptive. Not run here: the data
    are free after registration.
  Cost: days on one CPU core.
  Run: python -m experiments.handwriting train iam-prediction --data.raw-dir DIR

iam-synthesis: the same lines, written from their text.
  Paper: the same, section 5: the network above with a window of ten Gaussians.
  Expect: -1097 nats a line and 0.23 a point, as published without weight noise, and
    -1128 with it. Not run here.
  Cost: days on one CPU core.
  Run: python -m experiments.handwriting train iam-synthesis --data.raw-dir DIR

smoke: four steps of a tiny network. Seconds.
"""

import dataclasses

from attnjax.models.handwriting import HandwritingConfig
from experiments.datasets.iam_ondb.iam_ondb_builder import IAMOnDB
from experiments.datasets.omniglot_strokes.omniglot_strokes_builder import (
    OmniglotStrokes,
)
from experiments.datasets.pen_traces.pen_traces_builder import PenTraces
from experiments.handwriting.config import Config
from experiments.training.optimizer import OptimizerConfig

PEN_TRACES = Config(
    data=PenTraces(),
    model=HandwritingConfig(
        hidden_dim=128,
        num_layers=2,
        mixture_components=10,
        points_per_character=16.0,  # a generated letter has about so many
    ),
    optimizer=OptimizerConfig(
        learning_rate=4e-3,
        lr_schedule="cosine",
        beta2=0.999,
        max_grad_norm=50.0,  # a line's gradient is the sum over its points
    ),
    steps=2_000,
    eval_every=250,
    save_every=250,
)

OMNIGLOT = Config(
    data=OmniglotStrokes(),
    model=HandwritingConfig(hidden_dim=128, num_layers=2),
    with_text=False,
    optimizer=PEN_TRACES.optimizer,
    batch_size=64,
    steps=2_000,
    eval_every=250,
    save_every=250,
)

IAM_PREDICTION = Config(
    data=IAMOnDB(),
    model=HandwritingConfig(),
    with_text=False,
    optimizer=OptimizerConfig(name="rmsprop", learning_rate=1e-4, max_grad_norm=None),
    batch_size=32,
    num_buckets=8,
    steps=50_000,
)
IAM_SYNTHESIS = dataclasses.replace(IAM_PREDICTION, with_text=True)

SMOKE = Config(
    data=PenTraces(train=16, validation=4, test=4, max_text_length=8),
    model=HandwritingConfig(
        hidden_dim=7, num_layers=2, window_gaussians=3, mixture_components=2
    ),
    batch_size=4,
    num_buckets=1,
    steps=4,
    log_every=1,
    eval_every=2,
    save_every=2,
)

CONFIGS: dict[str, tuple[str, Config]] = {
    "smoke": ("Four steps of a tiny network that writes.", SMOKE),
    "pen-traces": ("Generated lines of writing, with their texts.", PEN_TRACES),
    "omniglot-prediction": (
        "Characters of fifty alphabets, predicted without a text.",
        OMNIGLOT,
    ),
    "iam-prediction": (
        "Lines of IAM-OnDB, predicted without their text.",
        IAM_PREDICTION,
    ),
    "iam-synthesis": ("Lines of IAM-OnDB, written from their text.", IAM_SYNTHESIS),
}
