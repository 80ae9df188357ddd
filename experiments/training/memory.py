"""Memory that a training process gets once and keeps."""

import ctypes

# Of glibc's <malloc.h>; the values mean: never give back, never map apart, one heap.
_SETTINGS = {"trim threshold": (-1, -1), "mmap max": (-4, 0), "arena max": (-8, 1)}


def keep_freed_memory() -> bool:
    """Lets the C allocator keep large freed blocks instead of returning them.

    XLA on the CPU takes the temporaries of a step, hundreds of MiB, anew for every
    step. glibc asks the system for blocks of that size and returns them at once, and
    the system clears every page again: a seventh of an RNNSearch step on Multi30k.
    Call it before threads start, that is before JAX is imported.

    Returns:
      Whether the allocator is one that can be told (glibc).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    done = [mallopt(*setting) for setting in _SETTINGS.values()]
    return all(done)
