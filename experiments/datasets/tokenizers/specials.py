"""The special tokens that every vocabulary of sentences begins with."""

PAD, BOS, EOS, UNK = range(4)
SPECIALS = ("<pad>", "<s>", "</s>", "<unk>")
UNKNOWN = "⁇"  # how UNK is printed
