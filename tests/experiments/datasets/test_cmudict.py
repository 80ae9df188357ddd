"""The dictionary's editions, and a split by word."""

import gzip

import pytest

from experiments.datasets.cmudict.cmudict_builder import CMUdict
from experiments.datasets.cmudict.lexicon import decode, parse_lexicon
from experiments.datasets.readings.datasets import SPLITS, split_of
from experiments.datasets.readings.made_up_words import MadeUpWords
from experiments.errors import UserError

NEW = """\
aalborg AO1 L B AO0 R G # place, danish
aalborg(2) AA1 L B AO0 R G
'bout B AW1 T
read R EH1 D
read(2) R IY1 D
"""
OLD = """\
;;; # CMUdict  --  Major Version: 0.07
#HASH-MARK  HH AE1 M AA2 R K
READ  R EH1 D
READ(1)  R IY1 D
D\u00c9J\u00c0  D EY2 ZH AA1
"""


def test_the_later_edition():
    found = parse_lexicon(NEW.split("\n"), "x", stress=True)
    assert found == {
        "aalborg": (
            ("AO1", "L", "B", "AO0", "R", "G"),
            ("AA1", "L", "B", "AO0", "R", "G"),
        ),
        "'bout": (("B", "AW1", "T"),),
        "read": (("R", "EH1", "D"), ("R", "IY1", "D")),
    }


def test_the_old_edition_is_latin_1_with_comments_and_variants_from_one():
    found = parse_lexicon(decode(OLD.encode("latin-1")).split("\n"), "x")
    assert found == {
        "#hash-mark": (("HH", "AE", "M", "AA", "R", "K"),),
        "read": (("R", "EH", "D"), ("R", "IY", "D")),
        "déjà": (("D", "EY", "ZH", "AA"),),
    }
    assert decode(OLD.encode()) == OLD  # UTF-8 where it is valid


def test_readings_that_become_equal_without_stress_are_one():
    lines = ["record R EH1 K ER0 D", "record(2) R EH0 K ER1 D", "record(3) R IH0 K AO1"]
    assert len(parse_lexicon(lines, "x", stress=True)["record"]) == 3
    assert parse_lexicon(lines, "x")["record"] == (
        ("R", "EH", "K", "ER", "D"),
        ("R", "IH", "K", "AO"),
    )


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            ["read R EH1 D", "lead"],
            "x:2: expected a word and its phones, got no p",
        ),
        (["Hello, world"], "x:1: expected a word and its phones, got 'world'"),
        (["read # R EH1 D"], "x:1: expected a word and its phones, got no phones"),
        ([";;; nothing", ""], "x: expected words with their phones, got none"),
    ],
)
def test_another_file_is_named(lines, message):
    with pytest.raises(UserError, match=message):
        parse_lexicon(lines, "x")


def words(n):
    return [f"w{i}" for i in range(n)]


def write(folder, count=300, extra=""):
    text = "".join(
        f"{w} W {'AH0' if i % 2 else 'AH1'}\n" for i, w in enumerate(words(count))
    )
    (folder / "cmudict.dict.gz").write_bytes(gzip.compress((text + extra).encode()))


def test_no_word_is_in_two_splits_and_each_has_all_of_its_readings(tmp_path):
    extra = "".join(f"{w}(2) V IY1\n" for w in words(300))
    write(tmp_path, extra=extra)
    data = CMUdict(raw_dir=tmp_path, data_dir=tmp_path / "made", split_seed=3)
    splits = {name: data.load(name) for name in SPLITS}
    found = ["".join(e.symbols) for entries in splits.values() for e in entries]
    assert sorted(found) == sorted(words(300))
    for name, entries in splits.items():
        for entry in entries:
            assert split_of("".join(entry.symbols), 3) == name
            assert len(entry.readings) == 2


def test_a_word_stays_in_its_split_when_others_are_added():
    """Shares of 10,000 words are within five standard deviations."""
    of = [split_of(word, 0) for word in words(10_000)]
    assert abs(of.count("test") - 1_000) < 150
    assert abs(of.count("validation") - 200) < 70
    assert [split_of(word, 1) for word in words(10_000)] != of


def test_bad_folders_are_named(tmp_path):
    for raw_dir, message in (
        (None, "raw_dir: expected the folder of cmudict.dict, got none"),
        (tmp_path / "absent", "raw_dir: expected a folder, got nothing of that name"),
        (tmp_path, "raw_dir: expected files, got an empty folder"),
    ):
        with pytest.raises(UserError, match=message):
            CMUdict(raw_dir=raw_dir).load("train")
    (tmp_path / "other").write_text("x")
    with pytest.raises(
        UserError, match=r"expected one of cmudict\.dict, cmudict-0\.7b"
    ):
        CMUdict(raw_dir=tmp_path).load("train")
    (tmp_path / "cmudict.dict.gz").write_bytes(gzip.compress(b"read R EH1 D")[:-3])
    with pytest.raises(UserError, match="expected a whole gzip file"):
        CMUdict(raw_dir=tmp_path, data_dir=tmp_path / "made").load("train")
    write(tmp_path, count=3)
    with pytest.raises(UserError, match="expected enough words for every split"):
        CMUdict(raw_dir=tmp_path, data_dir=tmp_path / "made").load("train")


def test_the_real_dictionary(shared, tmp_path):
    """Counts of words, found by another way: grep and cut."""
    data = CMUdict(raw_dir=shared / "data" / "cmudict", data_dir=tmp_path)
    splits = {name: data.load(name) for name in SPLITS}
    entries = [e for some in splits.values() for e in some]
    assert len(entries) == len({e.symbols for e in entries}) == 126_052
    phones = {p for e in entries for reading in e.readings for p in reading}
    assert len(phones) == 39
    assert all(len(set(e.readings)) == len(e.readings) for e in entries)


def test_made_up_words_differ_and_follow_their_rules():
    data = MadeUpWords(train=50, validation=7, test=11)
    splits = {name: data.load(name) for name in SPLITS}
    assert [len(splits[name]) for name in SPLITS] == [50, 7, 11]
    entries = [e for some in splits.values() for e in some]
    assert len({e.symbols for e in entries}) == 68
    for entry in entries:
        word, phones = "".join(entry.symbols), " ".join(entry.readings[0])
        assert ("K S" in phones) == ("x" in word or "cks" in word or "cs" in word)
        assert any(v in phones for v in ("EY", "IY", "AY", "OW", "UW")) == (
            word[-1] == "e"
        )
    with pytest.raises(UserError, match="expected 1 to 20,000 made-up words"):
        MadeUpWords(test=0).load("test")
