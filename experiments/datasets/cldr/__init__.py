"""Parallel phrases generated from CLDR for any two locales, with gold alignments.

`values` samples, `phrases` composes, `formatter` prints, `pretokenization` splits, and
`links` aligns; `cldr_builder` stores the result. Nothing is read or downloaded.
"""
