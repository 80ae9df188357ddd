"""The Transformer's parts: block, stack, attention slot, KV cache, head scores.

Pure functions `(params, x) -> x` over batches [B, T, M]. Recurrent cells are in
`cells`, modules that own parameters in `models`.
"""
