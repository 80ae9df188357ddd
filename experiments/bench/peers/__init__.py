"""The same computations written with PyTorch, Flax or CTranslate2.

Nothing here is timed by itself: `cases` calls it. Packages are imported only when used.
"""
