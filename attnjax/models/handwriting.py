"""Handwriting: pen points predicted one by one, and written from a text.

Graves 2013 (arXiv:1308.0850), sections 4 and 5: deep LSTM layers with skip connections
map each pen point to the density of the next. Given a text, the bottom layer moves a
soft window along it: the first attention.
"""

import dataclasses
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from attnjax.cells.aligners import Sizes, soft_window
from attnjax.cells.aligners.base import Aligner
from attnjax.cells.initializers import initializers
from attnjax.cells.recurrent import (
    RECURRENT_CELLS,
    RecurrentCell,
    clipped_peephole_lstm,
    init_layers,
)
from attnjax.cells.scan import scan
from attnjax.cells.window import (
    WindowLayersOutput,
    WindowLayersParams,
    WindowLayersState,
    window_layers,
)
from attnjax.core._checks import known_value
from attnjax.core.attend import Memory
from attnjax.core.gradients import clip_gradient
from attnjax.core.mixtures import pen_mixture_width
from attnjax.models._checks import check_positive, check_recurrent, check_tokens
from attnjax.models._methods import batched
from attnjax.models._parts import Params, VectorOutput, repeat_rows

POINT = 3  # dx, dy, end of stroke


@dataclasses.dataclass(frozen=True, kw_only=True)
class HandwritingConfig:
    """Sizes of a handwriting network; the defaults are the paper's for prediction."""

    num_symbols: int = 0
    """Number of characters that a text may have; 0 predicts without a text."""
    cell: Literal["gru", "lstm", "peephole_lstm"] = "peephole_lstm"
    """Recurrent cell of every layer."""
    hidden_dim: int = 400
    """Width of every layer."""
    num_layers: int = 3
    """Number of layers."""
    window_gaussians: int = 10
    """Number of Gaussians that the window over the text is a sum of."""
    points_per_character: float = 25.0
    """Pen points of a character, about: an untrained window moves by one part of so
    many at a step."""
    mixture_components: int = 20
    """Number of bivariate Gaussians of the next offset."""
    output_gradient_limit: float | None = 100.0
    """Largest absolute value of a derivative of the loss by an output of the network;
    larger ones are clipped at every step. None clips nothing."""
    cell_gradient_limit: float | None = 10.0
    """The same for what enters the gates of a layer, of peephole_lstm only."""
    init: Literal["paper", "glorot"] = "glorot"
    """Initial parameters: small normal ones, or Glorot uniform."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Dtype of computation; parameters are float32."""


class HandwritingOutput(NamedTuple):
    """What the network puts out at a step."""

    outputs: Array  # [..., 6*K + 1], which `pen_mixture` reads
    weights: Array  # [..., S], of the window; [..., 0] without a text


class Handwriting(nnx.Module):
    """LSTM layers with skip connections, a soft window, and a mixture density.

    Every row starts with states of 0 and its window before the text.
    """

    def __init__(self, config: HandwritingConfig, *, rngs: nnx.Rngs) -> None:
        _check(config)
        self.config = config
        D, E, init = config.hidden_dim, config.num_symbols, initializers(config.init)
        widths = (POINT + E, *[POINT + E + D] * (config.num_layers - 1))
        layers = init_layers(rngs.params, widths, D, self._cell, init)
        sizes = Sizes(D=D, E=E, A=1)
        aligner = self._aligner.init(rngs.params(), sizes, init) if E else ()
        self.layers = Params(WindowLayersParams(layers, aligner))
        outputs = pen_mixture_width(config.mixture_components)
        self.output = VectorOutput(config.num_layers * D, outputs, init, rngs=rngs)

    @batched
    def encode(self, text: Array, mask: Array) -> Memory | None:
        """Makes the memory that the window reads, with one position after the end.

        Args:
          text: characters from 0 to num_symbols - 1, shape [B, S]; each row has one
            position or more of padding behind it.
          mask: True = a character, shape [B, S].

        Returns:
          One-hot characters as values; the mask includes the position after the last
          character, whose value is 0. None without a text.

        Raises:
          ValueError: if a shape is another, or, where that is known, a row has no
            padding behind its text, or a character is out of range.
          TypeError: if characters are no integers, or `mask` is not boolean.
        """
        E = self.config.num_symbols
        if not E:
            return None
        check_tokens("text", text, "BS", E, mask)
        _check_room(mask)
        values = jax.nn.one_hot(text, E, dtype=self.config.dtype)
        values = jnp.where(mask[..., None], values, 0)  # [B, S, E]
        after = jnp.roll(mask, 1, axis=1).at[:, 0].set(False)
        keys = self._aligner.project_keys((), values)
        return Memory(keys, values, mask | after)

    def start(self, memory: Memory | None, batch_size: int) -> WindowLayersState:
        """Returns the carry before the first point, leaves [B, ...]."""
        config = self.config
        hidden = jnp.zeros(config.hidden_dim, config.dtype)
        context = jnp.zeros(config.num_symbols, config.dtype)
        layers = (self._cell.initial_carry(hidden),) * config.num_layers
        state = repeat_rows(WindowLayersState(layers, (), context), batch_size)
        if memory is None:
            return state
        params = self.layers(config.dtype).aligner
        centres = jax.vmap(partial(self._aligner.initial_carry, params))(memory)
        return state._replace(aligner=centres)

    @batched
    def step(
        self, memory: Memory | None, carry: WindowLayersState, x: Array
    ) -> tuple[WindowLayersState, HandwritingOutput]:
        """Takes one point of each row.

        Args:
          memory: the result of `encode`.
          carry: the result of `start` or of the last step.
          x: points, shape [B, 3].

        Returns:
          The new carry, and the density of the next point.

        Raises:
          ValueError: if `x` has another shape, or there is no memory of the text that
            the network reads.
        """
        self._check_text(memory)
        _check_points("x", x, "B")
        params = self.layers(self.config.dtype)
        x = x.astype(self.config.dtype)

        def advance(carry: Any, x: Array, memory: Any) -> Any:
            return self._layers(params, carry, x, memory=memory)

        carry, out = jax.vmap(advance)(carry, x, memory)
        return carry, self._emit(out)

    @batched
    def __call__(
        self,
        memory: Memory | None,
        points: Array,
        mask: Array | None = None,
        carry: WindowLayersState | None = None,
    ) -> tuple[WindowLayersState, HandwritingOutput]:
        """Takes whole lines of points.

        Args:
          memory: the result of `encode`.
          points: shape [B, T, 3].
          mask: True = a point, shape [B, T]; padding leaves the carry as it is.
          carry: before the first point; by default `start`.

        Returns:
          The carry after the last point, and the density of the point after each, whose
          leaves are [B, T, ...].

        Raises:
          ValueError: if `points` has another shape, or there is no memory of the text
            that the network reads.
        """
        self._check_text(memory)
        _check_points("points", points, "BT")
        params = self.layers(self.config.dtype)
        if carry is None:
            carry = self.start(memory, points.shape[0])
        x = points.astype(self.config.dtype)
        carry, out = scan(self._layers, params, carry, x, memory=memory, mask=mask)
        return carry, self._emit(out)

    @property
    def _cell(self) -> RecurrentCell:
        if self.config.cell != "peephole_lstm":
            return RECURRENT_CELLS[self.config.cell]
        return clipped_peephole_lstm(self.config.cell_gradient_limit)

    @property
    def _aligner(self) -> Aligner:
        config = self.config
        first_step = 1 / config.points_per_character
        return soft_window(config.window_gaussians, first_step=first_step)

    @property
    def _layers(self) -> Any:
        return partial(window_layers, aligner=self._aligner, cell=self._cell)

    def _check_text(self, memory: Memory | None) -> None:
        if memory is None and self.config.num_symbols:
            raise ValueError(
                "memory: expected the result of encode, got None (with num_symbols the "
                "network reads a text)"
            )

    def _emit(self, out: WindowLayersOutput) -> HandwritingOutput:
        outputs = self.output(out.hidden)
        limit = self.config.output_gradient_limit
        if limit is not None:
            outputs = clip_gradient(outputs, limit=limit)
        return HandwritingOutput(outputs, out.weights)


def _check(config: HandwritingConfig) -> None:
    check_recurrent(config)
    check_positive(config, "mixture_components")
    if config.num_symbols:
        check_positive(config, "num_symbols", "window_gaussians")
    positive = "points_per_character", "output_gradient_limit", "cell_gradient_limit"
    for name in positive:
        value = getattr(config, name)
        if value is not None and not value > 0:
            raise ValueError(f"{name}: expected more than 0, got {value}")


def _check_points(name: str, points: Array, axes: str) -> None:
    if points.ndim != len(axes) + 1 or points.shape[-1] != POINT:
        raise ValueError(
            f"{name}: expected shape [{', '.join(axes)}, {POINT}], got "
            f"{list(points.shape)} (dx, dy, end of stroke)"
        )


def _check_room(mask: Array) -> None:
    """Checks that a position of padding is behind each text, where this is known."""
    known = known_value(mask)
    full: Any = [] if known is None else known[:, -1].nonzero()[0]
    if len(full):
        raise ValueError(
            "mask: expected one position or more of padding behind each text, got none "
            f"in row {full[0]} (the window stops there)"
        )
