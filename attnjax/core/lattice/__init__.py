"""Dynamic programmes over cursor paths: likelihood, posterior alignment, best path.

`transducer` has two cursors, over frames and over labels.
"""

from attnjax.core.lattice.transducer import TransducerPosteriors as TransducerPosteriors
from attnjax.core.lattice.transducer import transducer_arcs as transducer_arcs
from attnjax.core.lattice.transducer import transducer_entropy as transducer_entropy
from attnjax.core.lattice.transducer import (
    transducer_log_likelihood as transducer_log_likelihood,
)
from attnjax.core.lattice.transducer import (
    transducer_posteriors as transducer_posteriors,
)
from attnjax.core.lattice.transducer_loss import transducer_loss as transducer_loss
from attnjax.core.lattice.transducer_paths import TransducerPath as TransducerPath
from attnjax.core.lattice.transducer_paths import (
    transducer_best_path as transducer_best_path,
)
from attnjax.core.lattice.transducer_paths import transducer_sample as transducer_sample
