"""Attention as one idea: score -> weights -> context.

The public names, a line each, in the order data flows. Functions, cells and models
are flat; `attnjax.decode`, `attnjax.train`, `attnjax.parallel` and `attnjax.align` are
namespaces. `attnjax.viz` needs matplotlib, `attnjax.pretrained` needs safetensors:
import them on their own.
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
from attnjax.core.frequencies import rope_scaling_yarn as rope_scaling_yarn
from attnjax.core.frequencies import yarn_attention_factor as yarn_attention_factor
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
from attnjax.core.weights import unnormalised as unnormalised
from attnjax.core.location import location_aware as location_aware
from attnjax.core.location import location_features as location_features
from attnjax.core.addressing import address as address
from attnjax.core.addressing import content_weights as content_weights
from attnjax.core.addressing import interpolate as interpolate
from attnjax.core.addressing import circular_shift as circular_shift
from attnjax.core.addressing import sharpen as sharpen
from attnjax.core.addressing import erase_tape as erase_tape
from attnjax.core.addressing import add_to_tape as add_to_tape
from attnjax.core.ranking import margin_ranking as margin_ranking
from attnjax.core.ranking import sequential_hardmax as sequential_hardmax
from attnjax.core.ranking import time_preferences as time_preferences
from attnjax.core.sentences import position_encoding as position_encoding
from attnjax.core.sentences import sum_words as sum_words
from attnjax.core.sentences import fact_ages as fact_ages
from attnjax.core.sentences import with_empty_slots as with_empty_slots
from attnjax.core.windows import diagonal as diagonal
from attnjax.core.windows import local_p as local_p
from attnjax.core.windows import soft_window as soft_window
from attnjax.core.context import read as read
from attnjax.core.attend import attend as attend
from attnjax.core.attend import attend_heads as attend_heads
from attnjax.core.attend import Attended as Attended
from attnjax.core.attend import Memory as Memory
from attnjax.core.mlp import mlp as mlp
from attnjax.core.mlp import gated_mlp as gated_mlp
from attnjax.core.mlp import elementwise as elementwise
from attnjax.core.norms import layer_norm as layer_norm
from attnjax.core.norms import rms_norm as rms_norm
from attnjax.core.losses import token_cross_entropy as token_cross_entropy
from attnjax.core.losses import linear_cross_entropy as linear_cross_entropy
from attnjax.core.guidance import alignment_cross_entropy as alignment_cross_entropy
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
from attnjax.cells.recurrent import RecurrentCell as RecurrentCell
from attnjax.cells.recurrent import RECURRENT_CELLS as RECURRENT_CELLS
from attnjax.cells.recurrent import step_layers as step_layers
from attnjax.cells.recurrent import scan_layers as scan_layers
from attnjax.cells.recurrent import bidirectional_layers as bidirectional_layers
from attnjax.cells.aligners import Aligner as Aligner
from attnjax.cells.aligners import ALIGNERS as ALIGNERS
from attnjax.cells.rnnsearch import rnnsearch as rnnsearch
from attnjax.cells.rnnsearch import initial_carry as initial_carry
from attnjax.cells.rnnsearch import RNNSearchOutput as RNNSearchOutput
from attnjax.cells.rnnsearch import RNNSearchParams as RNNSearchParams
from attnjax.cells.rnnsearch import RNNSearchState as RNNSearchState
from attnjax.cells.ntm import ntm as ntm
from attnjax.cells.ntm import NTMParams as NTMParams
from attnjax.cells.ntm import NTMOutput as NTMOutput
from attnjax.cells.ntm import NTMState as NTMState
from attnjax.cells.luong import luong as luong
from attnjax.cells.luong import LuongParams as LuongParams
from attnjax.cells.luong import LuongOutput as LuongOutput
from attnjax.cells.luong import LuongState as LuongState
from attnjax.cells.hop import hop as hop
from attnjax.cells.hop import HopParams as HopParams
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
from attnjax.models._sequence_model import SequenceModel as SequenceModel
from attnjax.models.rnn_encdec import RNNEncoderDecoder as RNNEncoderDecoder
from attnjax.models.rnn_encdec import RNNEncoderDecoderConfig as RNNEncoderDecoderConfig
from attnjax.models.rnnsearch import RNNSearch as RNNSearch
from attnjax.models.rnnsearch import RNNSearchConfig as RNNSearchConfig
from attnjax.models.transducer import Transducer as Transducer
from attnjax.models.transducer import TransducerConfig as TransducerConfig
from attnjax.models.ntm import NTM as NTM
from attnjax.models.ntm import NTMConfig as NTMConfig
from attnjax.models.rnn import RNN as RNN
from attnjax.models.rnn import RNNConfig as RNNConfig
from attnjax.models.transformer import Transformer as Transformer
from attnjax.models.transformer import TransformerConfig as TransformerConfig
from attnjax.models.gpt import GPT as GPT
from attnjax.models.gpt import GPTConfig as GPTConfig
from attnjax.models.memory_network import MemoryNetwork as MemoryNetwork
from attnjax.models.memory_network import MemoryNetworkConfig as MemoryNetworkConfig
from attnjax.models.memn2n import MemN2N as MemN2N
from attnjax.models.memn2n import MemN2NConfig as MemN2NConfig
from attnjax.models._block_config import BlockConfig as BlockConfig
from attnjax.models.flax_attention import attention_fn as attention_fn
from attnjax.models.state import split as split
from attnjax.models.state import split_abstract as split_abstract

# namespaces: decoding, one optimisation step, where arrays live, alignments as links
from attnjax import decode as decode
from attnjax import train as train
from attnjax import parallel as parallel
from attnjax import align as align
