"""An id that no table has is refused, not read as another."""

import jax
import numpy as np
import pytest
from flax import nnx

from attnjax.models.gpt import GPT, GPTConfig
from attnjax.models.marginal_cursor import MarginalCursor, MarginalCursorConfig
from attnjax.models.rnn_encdec import RNNEncoderDecoder, RNNEncoderDecoderConfig
from attnjax.models.rnnsearch import RNNSearch, RNNSearchConfig
from attnjax.models.seq2seq import Seq2Seq, Seq2SeqConfig
from attnjax.models.transformer import Transformer, TransformerConfig
from tests.models.test_gpt import GPT2
from tests.models.test_transformer import PAPER

SIZES = {
    "source_vocab_size": 5,
    "target_vocab_size": 7,
    "embed_dim": 4,
    "hidden_dim": 6,
}
RNNS = {
    RNNSearch: RNNSearchConfig(**SIZES, align_dim=3, readout_dim=4),
    RNNEncoderDecoder: RNNEncoderDecoderConfig(**SIZES, readout_dim=4),
    Seq2Seq: Seq2SeqConfig(**SIZES, num_layers=2),
    MarginalCursor: MarginalCursorConfig(**SIZES, align_dim=3, readout_dim=4),
}
TRANSFORMER = TransformerConfig(
    source_vocab_size=5,
    target_vocab_size=7,
    encoder_layers=1,
    decoder_layers=1,
    block=PAPER,
    share_embeddings=False,
)
MODELS = RNNS | {Transformer: TRANSFORMER}
GOOD = np.array([[1, 4]])


@pytest.mark.parametrize("kind", MODELS)
def test_ids_outside_either_vocabulary_are_named(kind):
    model = kind(MODELS[kind], rngs=nnx.Rngs(0))
    mask = np.ones_like(GOOD, bool)
    with pytest.raises(ValueError, match=r"^tokens: expected .* 0 to 4, got 5 \("):
        model(GOOD + 1, mask, GOOD)
    with pytest.raises(ValueError, match="tokens: expected ids from 0 to 6, got -1"):
        model(GOOD, mask, GOOD - 2)


def test_a_text_of_another_tokeniser_is_named():
    model = GPT(
        GPTConfig(vocab_size=5, num_layers=1, max_length=3, block=GPT2),
        rngs=nnx.Rngs(0),
    )
    assert model(GOOD)[0].shape == (1, 2, 5)
    with pytest.raises(ValueError, match="tokens: expected ids from 0 to 4, got 6"):
        model(GOOD + 2)
    with pytest.raises(ValueError, match="tokens: expected ids from 0 to 4, got 5"):
        model.step(model.start(1), GOOD[:, 1] + 1)


def test_what_is_compiled_takes_ids_whose_values_it_does_not_know():
    model = GPT(
        GPTConfig(vocab_size=5, num_layers=1, max_length=3, block=GPT2),
        rngs=nnx.Rngs(0),
    )
    logits = jax.jit(lambda tokens: model(tokens)[0])
    np.testing.assert_array_equal(logits(GOOD + 9), logits(np.full((1, 2), 4)))
