"""Attention as one idea: score -> weights -> context.

The public names, a line each, in the order data flows. Pictures are
`attnjax.viz`, imported on its own because it needs matplotlib.
"""

# core: pure functions, one query at a time
from attnjax.core.masks import padding as padding
from attnjax.core.masks import causal as causal
from attnjax.core.masks import sliding_window as sliding_window
from attnjax.core.masks import segments as segments
from attnjax.core.masks import AttentionMask as AttentionMask
from attnjax.core.positions import sinusoidal as sinusoidal
from attnjax.core.positions import learned as learned
from attnjax.core.positions import apply_rope as apply_rope
from attnjax.core.frequencies import rope_frequencies as rope_frequencies
from attnjax.core.frequencies import rope_scaling_ntk as rope_scaling_ntk
from attnjax.core.frequencies import rope_scaling_llama3 as rope_scaling_llama3
from attnjax.core.biases import alibi as alibi
from attnjax.core.biases import alibi_slopes as alibi_slopes
from attnjax.core.biases import relative_bias as relative_bias
from attnjax.core.biases import relative_buckets as relative_buckets
from attnjax.core.scores import additive as additive
from attnjax.core.scores import dot as dot
from attnjax.core.scores import scaled_dot as scaled_dot
from attnjax.core.scores import cosine as cosine
from attnjax.core.scores import bilinear as bilinear
from attnjax.core.scores import concat as concat
from attnjax.core.scores import softcap as softcap
from attnjax.core.weights import masked_softmax as masked_softmax
from attnjax.core.weights import sparsemax as sparsemax
from attnjax.core.weights import hardmax as hardmax
from attnjax.core.weights import sigmoid as sigmoid
from attnjax.core.weights import softmax_with_sink as softmax_with_sink
from attnjax.core.windows import diagonal as diagonal
from attnjax.core.windows import local_p as local_p
from attnjax.core.context import read as read
from attnjax.core.attend import attend as attend
from attnjax.core.attend import attend_heads as attend_heads
from attnjax.core.attend import attention_fn as attention_fn
from attnjax.core.attend import Attended as Attended
from attnjax.core.attend import Memory as Memory
from attnjax.core.mlp import mlp as mlp
from attnjax.core.mlp import gated_mlp as gated_mlp
from attnjax.core.mlp import elementwise as elementwise
from attnjax.core.norms import layer_norm as layer_norm
from attnjax.core.norms import rms_norm as rms_norm
from attnjax.core.losses import token_cross_entropy as token_cross_entropy
from attnjax.core.losses import linear_cross_entropy as linear_cross_entropy
from attnjax.core.dropout import dropout as dropout

# cells: one time step, and any cell over time
from attnjax.cells.gru import gru as gru
from attnjax.cells.gru import gru_inputs as gru_inputs
from attnjax.cells.gru import gru_recur as gru_recur
from attnjax.cells.gru import GRUParams as GRUParams
from attnjax.cells.lstm import lstm as lstm
from attnjax.cells.lstm import lstm_inputs as lstm_inputs
from attnjax.cells.lstm import lstm_recur as lstm_recur
from attnjax.cells.lstm import LSTMParams as LSTMParams
from attnjax.cells.lstm import LSTMState as LSTMState
from attnjax.cells.aligners import ALIGNERS as ALIGNERS
from attnjax.cells.rnnsearch import rnnsearch as rnnsearch
from attnjax.cells.rnnsearch import initial_carry as initial_carry
from attnjax.cells.rnnsearch import Readout as Readout
from attnjax.cells.rnnsearch import RNNSearchParams as RNNSearchParams
from attnjax.cells.rnnsearch import RNNSearchState as RNNSearchState
from attnjax.cells.luong import luong as luong
from attnjax.cells.luong import LuongParams as LuongParams
from attnjax.cells.luong import LuongReadout as LuongReadout
from attnjax.cells.luong import LuongState as LuongState
from attnjax.cells.scan import scan as scan
from attnjax.cells.scan import bidirectional as bidirectional
from attnjax.transformer.block import AttentionParams as AttentionParams
from attnjax.transformer.block import BlockDesign as BlockDesign
from attnjax.transformer.block import BlockParams as BlockParams
from attnjax.transformer.block import MLPParams as MLPParams
from attnjax.transformer.block import LinearParams as LinearParams
from attnjax.transformer.block import NormParams as NormParams
from attnjax.transformer.block import EncoderMemory as EncoderMemory
from attnjax.transformer.cache import KVCache as KVCache
from attnjax.transformer.cache import init_cache as init_cache
from attnjax.transformer.attention import Attention as Attention
from attnjax.transformer.stack import transformer_stack as transformer_stack
from attnjax.transformer.stack import TransformerOutput as TransformerOutput
from attnjax.transformer.head_scores import HEAD_SCORES as HEAD_SCORES

# models: own parameters, call cells and core
from attnjax.models.rnn_encdec import RNNEncoderDecoder as RNNEncoderDecoder
from attnjax.models.rnn_encdec import RNNEncoderDecoderConfig as RNNEncoderDecoderConfig
from attnjax.models.rnnsearch import RNNSearch as RNNSearch
from attnjax.models.rnnsearch import RNNSearchConfig as RNNSearchConfig
from attnjax.models.transformer import Transformer as Transformer
from attnjax.models.transformer import TransformerConfig as TransformerConfig
from attnjax.models.gpt import GPT as GPT
from attnjax.models.gpt import GPTConfig as GPTConfig
from attnjax.models._block_config import BlockConfig as BlockConfig
from attnjax.models.state import split as split

# decode: from a step function to hypotheses
from attnjax.decode import greedy as greedy
from attnjax.decode import sample as sample
from attnjax.decode import beam_search as beam_search
from attnjax.decode import Hypotheses as Hypotheses
from attnjax.decode import score_sequences as score_sequences
from attnjax.decode import SequenceScores as SequenceScores
from attnjax.decode import ensemble as ensemble
from attnjax.decode import keep_top_k as keep_top_k
from attnjax.decode import keep_top_p as keep_top_p
from attnjax.decode import keep_min_p as keep_min_p

# train, parallel: one step of optimisation, and where arrays live
from attnjax.train import make_train_step as make_train_step
from attnjax.train import init_state as init_state
from attnjax.train import Loss as Loss
from attnjax.train import TrainState as TrainState
from attnjax.parallel import start_distributed as start_distributed
from attnjax.parallel import is_main_process as is_main_process
from attnjax.parallel import make_mesh as make_mesh
from attnjax.parallel import replicate as replicate
from attnjax.parallel import replicated_sharding as replicated_sharding
from attnjax.parallel import make_global_batch as make_global_batch
from attnjax.parallel import batch_sharding as batch_sharding
from attnjax.parallel import process_rows as process_rows

# align: what to do with alignments
from attnjax.align import hard_alignment as hard_alignment
from attnjax.align import sparse_alignment as sparse_alignment
from attnjax.align import merge_subwords as merge_subwords
from attnjax.align import replace_unknown as replace_unknown
from attnjax.align import symmetrise as symmetrise
from attnjax.align import alignment_error_rate as alignment_error_rate
from attnjax.align import Alignment as Alignment
from attnjax.align import AlignmentScore as AlignmentScore
from attnjax.align import alignment as alignment
from attnjax.align import parse_pharaoh as parse_pharaoh
from attnjax.align import format_pharaoh as format_pharaoh
from attnjax.align import read_pharaoh as read_pharaoh
from attnjax.align import write_pharaoh as write_pharaoh
