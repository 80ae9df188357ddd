"""One time step of one row: `(params, carry, x, *, memory) -> (carry, y)`.

Recurrent and decoder cells, aligners, initializers, and any cell over time (`scan`,
`recurrent`). No flax here: parameters are NamedTuples, and `models` own them.
"""
