"""Tokenisers: detokenising inverts, words have their positions, files are atomic."""

import io

import numpy as np
import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.datasets.pairs.tokenized import TokenizerConfig
from experiments.datasets.tokenizers.sentences import (
    BOS,
    EOS,
    PAD,
    SPECIALS,
    UNK,
    SentencePiece,
    WordVocabulary,
    load_tokenizer,
)
from experiments.errors import UserError

TEXT = [
    "the cat sat on the mat",
    "the dog sat on the cat",
    "a cat, a dog and a mat",
    "dogs and cats sat down on mats",
    "down the mat sat the dog",
]
TOKENIZERS = {
    "unigram": SentencePiece.train(TEXT, 24),
    "bpe": SentencePiece.train(TEXT, 24, model="bpe"),
    "words": WordVocabulary.train(TEXT, 12),
}
every = pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS)
pieces_only = pytest.mark.parametrize("name", ["unigram", "bpe"])
quick = settings(deadline=None, max_examples=100)


@pieces_only
@quick
@given(text=st.text(alphabet="acdst,on \t\n\u00a0"))
def test_detokenizing_restores_the_text_but_for_runs_of_whitespace(name, text):
    tokenizer = TOKENIZERS[name]
    assert tokenizer.detokenize(tokenizer.tokenize(text)) == " ".join(text.split())


@every
@quick
@given(data=st.data())
def test_words_are_those_of_the_detokenized_text(tokenizer, data):
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size - 1)))
    words = tokenizer.detokenize(ids).split()
    groups = tokenizer.words(ids)
    assert [tokenizer.detokenize([ids[i] for i in group]) for group in groups] == words
    positions = [i for group in groups for i in group]
    assert positions == sorted(set(positions))


@every
@quick
@given(text=st.text(alphabet="acdst▁z, \u3000x"))
def test_words_of_tokenized_text_are_its_words(tokenizer, text):
    assert len(tokenizer.words(tokenizer.tokenize(text))) == len(text.split())


@every
def test_special_ids_are_the_same_in_every_vocabulary(tokenizer):
    assert tuple(tokenizer.ids_to_tokens([PAD, BOS, EOS, UNK])) == SPECIALS
    assert tokenizer.ids_to_tokens(range(tokenizer.vocab_size))[:4] == list(SPECIALS)


@every
def test_detokenizing_stops_at_eos_and_drops_padding(tokenizer):
    ids = tokenizer.tokenize("the cat")
    assert tokenizer.detokenize([BOS, *ids, EOS, *ids, PAD]) == "the cat"
    assert tokenizer.detokenize(np.array([*ids, EOS, PAD, PAD], np.int32)) == "the cat"
    groups = tokenizer.words([BOS, *ids, EOS, *ids])
    assert [i - 1 for group in groups for i in group] == list(range(len(ids)))


def test_words_without_a_leading_space_or_with_several():
    tokenizer = TOKENIZERS["unigram"]
    space, c, a = (tokenizer._model.piece_to_id(p) for p in ("▁", "c", "a"))
    assert tokenizer.words([c, a, space, c]) == [[0, 1], [2, 3]]
    assert tokenizer.words([space, space, c, space]) == [[0, 1, 2, 3]]
    assert tokenizer.words([space]) == []


@pieces_only
def test_unknown_characters_keep_their_place_in_the_word(name):
    tokenizer = TOKENIZERS[name]
    ids = tokenizer.tokenize("the c日t sat")
    assert UNK in ids
    assert tokenizer.detokenize(ids) == "the c⁇t sat"


@pieces_only
def test_the_same_text_gives_the_same_vocabulary(name, tmp_path):
    again = SentencePiece.train(iter(TEXT), 24, model=name)
    again.save(tmp_path, "again")
    TOKENIZERS[name].save(tmp_path, "first")
    first, second = (tmp_path / f"{name}.model" for name in ("first", "again"))
    assert first.read_bytes() == second.read_bytes()


def test_word_vocabulary_keeps_the_most_frequent_words_and_sorts_ties():
    # Counted by hand: c 3 times; b and d twice; a and e once.
    tokenizer = WordVocabulary.train(["c b d", "d c b c", "e a"], 4 + 4)
    assert tokenizer.ids_to_tokens(range(4, 8)) == ["c", "b", "d", "a"]
    assert tokenizer.tokenize("a b c d e") == [7, 5, 4, 6, UNK]
    assert tokenizer.detokenize([7, UNK]) == "a ⁇"


def test_word_vocabulary_is_smaller_if_the_text_has_fewer_words():
    assert WordVocabulary.train(["a b"], 30_000).vocab_size == 6


@every
def test_a_loaded_tokenizer_equals_the_saved_one(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "run", "source")
    loaded = load_tokenizer(tmp_path / "run", "source")
    everything = range(tokenizer.vocab_size)
    assert type(loaded) is type(tokenizer)
    assert loaded.ids_to_tokens(everything) == tokenizer.ids_to_tokens(everything)
    assert loaded.tokenize(TEXT[0]) == tokenizer.tokenize(TEXT[0])
    assert len(list((tmp_path / "run").iterdir())) == 1


def test_saving_another_kind_replaces_the_first_file(tmp_path):
    for tokenizer in TOKENIZERS.values():
        tokenizer.save(tmp_path, "source")
        assert type(load_tokenizer(tmp_path, "source")) is type(tokenizer)


@pytest.mark.parametrize("suffix", [".model", ".json"])
def test_the_error_for_a_damaged_file_names_it(suffix, tmp_path):
    kind = "bpe" if suffix == ".model" else "words"
    got = "expected a tokeniser, got" if suffix == ".model" else "cannot be read: "
    TOKENIZERS[kind].save(tmp_path, "target")
    file = tmp_path / f"target{suffix}"
    file.write_bytes(file.read_bytes()[:-7])
    with pytest.raises(UserError, match=rf"target\{suffix}: {got}"):
        load_tokenizer(tmp_path, "target")


def test_a_second_file_of_the_same_name_is_refused(tmp_path):
    TOKENIZERS["words"].save(tmp_path, "target")
    (tmp_path / "target.model").write_bytes(b"of another run")
    with pytest.raises(UserError, match=r"target\.model or target\.json, got both"):
        load_tokenizer(tmp_path, "target")


def test_a_sentencepiece_model_with_other_special_ids_is_refused(tmp_path):
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(  # with its own default ids
        sentence_iterator=iter(TEXT), model_writer=written, vocab_size=23, minloglevel=2
    )
    (tmp_path / "source.model").write_bytes(written.getvalue())
    with pytest.raises(
        UserError,
        match=r"source\.model: expected a tokeniser, got a SentencePiece model with "
        r"pad, bos, eos, unk = \(-1, 1, 2, 0\), not 0, 1, 2, 3",
    ):
        load_tokenizer(tmp_path, "source")


def test_the_error_for_a_missing_file_names_it(tmp_path):
    with pytest.raises(UserError, match=r"expected source\.model or source\.json, got"):
        load_tokenizer(tmp_path, "source")


@pytest.mark.parametrize(
    ("text", "size", "message"),
    [
        (TEXT, 4000, r"vocab_size: expected at most \d+ for this text, got 4000"),
        (
            TEXT,
            9,
            r"vocab_size: expected at least \d+ \(one for each character\), got 9",
        ),
        ([], 40, "expected training text with words, got none"),
        (["", "  "], 40, "expected training text with words, got none"),
    ],
)
@pytest.mark.parametrize("model", ["unigram", "bpe"])
def test_vocabulary_sizes_that_the_text_does_not_support_are_refused(
    text, size, message, model
):
    with pytest.raises(UserError, match=message):
        SentencePiece.train(text, size, model=model)


@pytest.mark.parametrize(
    ("text", "size", "message"),
    [
        (
            TEXT,
            4,
            r"vocab_size: expected more than 4 \(so many tokens are special\), got 4",
        ),
        (["", " "], 40, "expected training text with words, got none"),
    ],
)
def test_word_vocabularies_without_words_are_refused(text, size, message):
    with pytest.raises(UserError, match=message):
        WordVocabulary.train(text, size)


def test_config_trains_a_tokeniser_for_each_side_or_one_for_both():
    pairs = [(text, text.upper(), "") for text in TEXT]
    source, target = TokenizerConfig(source_vocab_size=24, target_vocab_size=23).train(
        pairs
    )
    assert (source.vocab_size, target.vocab_size) == (24, 23)
    assert target.detokenize(target.tokenize("THE CAT")) == "THE CAT"
    source, target = TokenizerConfig(
        kind="bpe", source_vocab_size=40, joint=True
    ).train(pairs)
    assert source is target
    assert source.detokenize(source.tokenize("the CAT")) == "the CAT"
    words, _ = TokenizerConfig(kind="words", source_vocab_size=9).train(pairs)
    assert words.vocab_size == 9


def test_config_errors_name_the_side():
    config = TokenizerConfig(source_vocab_size=24, target_vocab_size=4000)
    with pytest.raises(UserError, match=r"^target vocabulary: vocab_size: expected at"):
        config.train(zip(TEXT, TEXT, strict=True))


@pieces_only
@pytest.mark.parametrize("blank", [" ", ""], ids=["words", "no words"])
def test_one_long_line_is_learnt_from_as_a_whole(name, blank):
    """SentencePiece itself skips a line of more than 65,536 bytes."""
    line = blank.join(["ab", "ba", "cd", "dc"] * 9_000) + "xyz"
    assert len(line.encode()) > 65_536
    tokenizer = SentencePiece.train([line], 13, model=name)
    ids = tokenizer.tokenize(line)
    assert UNK not in ids
    assert tokenizer.detokenize(ids) == line
    assert len(ids) < len(line)  # some pieces are longer than a character


@pieces_only
@pytest.mark.parametrize(
    "rare", ["▅", "\0", "<s>", "</s>", "<unk>", "<pad>", "⁇", "\ue000", "\ufeff", "日"]
)
def test_no_character_of_the_training_text_is_unknown(name, rare):
    """SentencePiece skips lines with ▅, and does not count what is in <s>."""
    tokenizer = SentencePiece.train([*TEXT, f"a {rare}t"], 25, model=name)
    ids = tokenizer.tokenize(f"the {rare} dog")
    assert UNK not in ids
    assert tokenizer.detokenize(ids) == f"the {rare} dog"
    text = "".join(tokenizer.ids_to_tokens(ids)).replace("▁", " ")
    assert text.strip() == f"the {rare} dog"
    assert len(tokenizer.words(ids)) == 3


def test_characters_can_be_asked_for():
    tokenizer = SentencePiece.train(TEXT, 24, characters="éß")
    assert UNK not in tokenizer.tokenize("thé ßat")
