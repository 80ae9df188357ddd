"""What translation asks of a model."""

from typing import Any, Protocol

from jax import Array


class EncoderDecoder(Protocol):
    """What a model must offer to be trained and searched here.

    Every `attnjax.models.SequenceModel` does. The memory is what `encode` returns, the
    carry what one decoding step passes to the next; both are the model's own trees.
    """

    def cross_entropy(
        self,
        source: Array,
        mask: Array,
        previous: Array,
        target: Array,
        target_mask: Array,
        rng: Array | None = None,
        *,
        smoothing: float = 0.0,
    ) -> Array:
        """Cross-entropy of the target, summed, in nats."""

    def align(
        self,
        source: Array,
        mask: Array,
        previous: Array,
        target: Array,
        target_mask: Array,
    ) -> Array:
        """Alignment of the target, weights [B, T, S]."""

    def __call__(
        self, source: Array, mask: Array, previous: Array, rng: Array | None = None
    ) -> tuple[Array, Array]:
        """Teacher-forced logits [B, T, V] and attention weights [B, T, S]."""

    def features_and_weights(
        self,
        source: Array,
        mask: Array,
        previous: Array,
        rng: Array | None = None,
        *,
        layer: int | None = None,
        heads: tuple[int, ...] = (),
    ) -> tuple[Array, Array]:
        """`features`, always with weights; of a Transformer, those asked for."""

    @property
    def output(self) -> tuple[Array, Array]:
        """Matrix [V, M] and bias [V] of the output layer, if the model has one."""

    def encode(self, source: Array, mask: Array) -> Any:
        """Encodes source ids [B, S] into a memory."""

    def start(self, memory: Any, size: int | None = None) -> Any:
        """The carry before the first target token, with room for `size` tokens."""

    def step(self, memory: Any, carry: Any, token: Array) -> tuple[Any, Array, Array]:
        """Decodes one token: carry, logits [B, V] and attention weights [B, S]."""
