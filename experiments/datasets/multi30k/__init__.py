"""Multi30k, task 1: image captions in English, German, French and Czech."""
