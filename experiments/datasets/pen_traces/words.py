"""Short texts of common and of made-up words; no word is in two splits."""

import hashlib

import numpy as np

_COMMON = """
a about above after again air all almost along also always am an and animal answer any
are around as ask at away back be because been before began being below between big book
both boy but by call came can car carry change children city close come could country
cut day did different do does done door down each earth eat end enough even every
example eye face family far father feet few find first follow food for form found four
from get girl give go good got great group grow had hand hard has have he head hear help
her here high him his home house how idea if important in into is it just keep kind know
land large last late learn leave left let letter life light like line list little live
long look made make man many may me mean men might mile miss more most mother mountain
move much must my name near need never new next night no not now number of off often oil
old on once one only open or other our out over own page paper part people picture place
plant play point put question quick quite read really right river run said same saw say
school sea second see seem sentence set she should show side small so some something
sometimes song soon sound spell start state still stop story study such take talk tell
than that the their them then there these they thing think this those thought three
through time to together too took tree try turn two under until up us use very walk want
was watch water way we well went were what when where which while white who why will
with without word work world would write year you young your
"""
_ONSETS = """
b c d f g h j k l m n p qu r s t v w x y z bl br ch cl cr dr fl fr gl gr pl pr sc sh sk
sl sm sn sp st sw th tr tw wh
"""
_VOWELS = "a e i o u y ai au ea ee ie oa oo ou"
_CODAS = """
b c d f g k l m n p r s t v x z ck ld ll mp nd ng nk nt rd rk rn rt sh sk ss st th tch
ze ve
"""
_OPEN = 0.1  # share of the syllables without a coda
_STOPS = ".,!?"
SPLITS = ("train", "validation", "test")


def split_of(word: str) -> str:
    """The split of a word: one of ten is for validation, one for test."""
    draw = hashlib.sha256(word.lower().encode()).digest()[0] % 10
    return {0: "test", 1: "validation"}.get(draw, "train")


def draw_text(rng: np.random.Generator, split: str, *, max_length: int) -> str:
    """Draws words of a split until the next would make the text too long.

    Some begin with a capital or end with a stop; some are numbers, or two words with a
    hyphen or an apostrophe between.

    Args:
      rng: draws the words.
      split: train, validation or test.
      max_length: most characters of the text.
    """
    words: list[str] = []
    # Texts of every length, as lines are.
    length = int(rng.integers(max(1, max_length // 2), max_length + 1))
    while True:
        word = _draw_word(rng)
        if split_of(word) != split:
            continue
        word = _decorate(rng, word)
        if len(" ".join([*words, word])) > length:
            if words:
                return " ".join(words)
            continue
        words.append(word)


def _draw_word(rng: np.random.Generator) -> str:
    kind = rng.random()
    if kind < 0.45:
        return _choose(rng, _COMMON)
    if kind < 0.55:
        return str(rng.integers(0, 10 ** rng.integers(1, 5)))
    return "".join(_draw_syllable(rng) for _ in range(rng.integers(1, 3)))


def _draw_syllable(rng: np.random.Generator) -> str:
    syllable = _choose(rng, _ONSETS) + _choose(rng, _VOWELS)
    return syllable if rng.random() < _OPEN else syllable + _choose(rng, _CODAS)


def _choose(rng: np.random.Generator, words: str) -> str:
    return str(rng.choice(words.split()))


def _decorate(rng: np.random.Generator, word: str) -> str:
    if word.isalpha():
        kind = rng.random()
        if kind < 0.05:
            word = word.upper()
        elif kind < 0.25:
            word = word[0].upper() + word[1:]
        if rng.random() < 0.05 and len(word) > 2:
            cut = int(rng.integers(1, len(word)))
            word = word[:cut] + str(rng.choice(["-", "'"])) + word[cut:]
    return word + str(rng.choice(list(_STOPS))) if rng.random() < 0.15 else word
