"""Inputs with one or more right outputs ("readings"): words, or sounds of digits.

The data sets are `cmudict.cmudict_builder.CMUdict`, `made_up_words.MadeUpWords`, which
needs no file, and `spoken_digits.spoken_digits_builder.SpokenDigits`.
"""
