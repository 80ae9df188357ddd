"""Dynamic programmes over cursor paths: likelihood, posterior alignment, best path.

`transducer` has two cursors, over frames and over labels; `ctc` is its case with one
symbol at every frame. `hmm` has one cursor over
source positions, which moves once at each target step, as `jumps` lets it. Posteriors
are weights: `attnjax.read` takes them.
"""

from attnjax.core.lattice.ctc import CTCPath as CTCPath
from attnjax.core.lattice.ctc import CTCPosteriors as CTCPosteriors
from attnjax.core.lattice.ctc import ctc_best_path as ctc_best_path
from attnjax.core.lattice.ctc import ctc_log_likelihood as ctc_log_likelihood
from attnjax.core.lattice.ctc import ctc_loss as ctc_loss
from attnjax.core.lattice.ctc import ctc_posteriors as ctc_posteriors
from attnjax.core.lattice.hmm import HMMFilter as HMMFilter
from attnjax.core.lattice.hmm import hmm_entropy as hmm_entropy
from attnjax.core.lattice.hmm import hmm_filter as hmm_filter
from attnjax.core.lattice.hmm import hmm_log_likelihood as hmm_log_likelihood
from attnjax.core.lattice.hmm import hmm_posteriors as hmm_posteriors
from attnjax.core.lattice.hmm import hmm_predict as hmm_predict
from attnjax.core.lattice.hmm import hmm_update as hmm_update
from attnjax.core.lattice.hmm_paths import HMMPath as HMMPath
from attnjax.core.lattice.hmm_paths import hmm_best_path as hmm_best_path
from attnjax.core.lattice.hmm_paths import hmm_sample as hmm_sample
from attnjax.core.lattice.jumps import jump_log_probs as jump_log_probs
from attnjax.core.lattice.jumps import start_log_probs as start_log_probs
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
