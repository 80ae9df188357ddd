"""Inputs with one or more right outputs ("readings"): words that are pronounced.

The data sets are `cmudict.cmudict_builder.CMUdict` and
`made_up_words.MadeUpWords`, which needs no file.
"""
