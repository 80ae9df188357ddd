"""Multi30k: what the files say, in their order, and never stale."""

import gzip
import io
import urllib.error
import urllib.request

import pytest
import tensorflow_datasets as tfds

from experiments.datasets.multi30k import multi30k_builder
from experiments.datasets.multi30k.multi30k_builder import Multi30k
from experiments.datasets.pairs.datasets import Pair, load_pairs, read_pairs
from experiments.datasets.pairs.tokenized import TokenizerConfig, tokenize_pairs
from experiments.datasets.pairs.training_batches import TokenBatches
from experiments.errors import UserError

STEMS = ["train", "val", "test_2016_flickr", "test_2017_flickr", "test_2017_mscoco"]


@pytest.fixture
def raw(tmp_path):
    """A small folder like the real one: each line says its file and number."""
    folder = tmp_path / "raw"
    folder.mkdir()
    for stem in STEMS:
        for language in ("en", "de", "fr", "cs"):
            if language == "cs" and "2017" in stem:
                continue
            lines = [f"{stem} {language} {i}\n" for i in range(3 + len(stem))]
            with gzip.open(folder / f"{stem}.{language}.gz", "wt") as file:
                file.writelines(lines)
    return folder


def dataset(raw, tmp_path, pair="en-de"):
    return Multi30k(pair=pair, raw_dir=raw, data_dir=tmp_path / "data")


def test_every_split_holds_its_lines_in_order(raw, tmp_path):
    data = dataset(raw, tmp_path)
    assert data.splits == ("train", "validation", *STEMS[2:])
    for split, stem in zip(data.splits, STEMS, strict=True):
        expected = [
            Pair(f"{stem} en {i}", f"{stem} de {i}") for i in range(3 + len(stem))
        ]
        assert read_pairs(data, split) == expected
        assert list(load_pairs(data, split)) == expected
        assert data.load(split)[2] == expected[2]


def test_pairs_are_directed(raw, tmp_path):
    data = dataset(raw, tmp_path, "fr-en")
    assert read_pairs(data, "validation")[1] == Pair("val fr 1", "val en 1")


def test_czech_has_no_later_test_sets(raw, tmp_path):
    data = dataset(raw, tmp_path, "cs-de")
    assert data.splits == ("train", "validation", "test_2016_flickr")
    with pytest.raises(
        UserError,
        match=r"split: expected one of train, validation, test_2016_flickr, got 'test'",
    ):
        data.load("test")


def test_no_break_spaces_become_spaces_and_lines_are_stripped(raw, tmp_path):
    text = "Ein\u00a0Mann  sitzt. \n" * 6
    (raw / "val.de.gz").unlink()
    (raw / "val.de").write_text(text, encoding="utf-8")  # plain files work as well
    assert read_pairs(dataset(raw, tmp_path), "validation")[0].target == (
        "Ein Mann  sitzt."
    )


def test_changed_files_are_built_again(raw, tmp_path):
    data = dataset(raw, tmp_path)
    assert read_pairs(data, "validation")[0].target == "val de 0"
    with gzip.open(raw / "val.de.gz", "wt") as file:
        file.writelines(f"neu {i}\n" for i in range(6))
    assert read_pairs(data, "validation")[0].target == "neu 0"


def test_the_second_use_does_not_build_again(raw, tmp_path, monkeypatch):
    data = dataset(raw, tmp_path)
    first = read_pairs(data, "train")

    def never(*args):
        raise AssertionError("built twice")

    monkeypatch.setattr(multi30k_builder.Builder, "_generate_examples", never)
    assert read_pairs(data, "train") == first


def test_building_prints_nothing(raw, tmp_path, capfd):
    read_pairs(dataset(raw, tmp_path), "train")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: (raw / "val.de.gz").unlink(), r"raw_dir: expected val\.de \(or"),
        (lambda raw: (raw / "train.en.gz").unlink(), r"raw_dir: expected train\.en \("),
        (
            lambda raw: (raw / "test_2017_flickr.en.gz").unlink(),
            r"raw_dir: expected test_2017_flickr\.en \(or with \.gz\), got no such",
        ),
        (
            lambda raw: (raw / "val.de.gz").write_bytes(gzip.compress(b"a\n" * 5)),
            r"files: expected equally many lines, got 6 in .*val\.en\.gz and 5 in "
            r".*val\.de\.gz",
        ),
        (
            lambda raw: (raw / "val.de.gz").write_bytes(
                (raw / "val.de.gz").read_bytes()[:-9]
            ),
            r"val\.de\.gz: expected a whole gzip file",
        ),
    ],
)
def test_invalid_folders_are_refused_and_leave_no_build(raw, tmp_path, change, message):
    change(raw)
    data = dataset(raw, tmp_path)
    for _ in range(2):  # a failed build must not be used the second time
        with pytest.raises(UserError, match=message):
            data.load("train")
    assert not list((tmp_path / "data").glob("multi30k/*/*/*"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "raw_dir: expected a folder, got nothing of that name"),
        (lambda path: path.mkdir(), "raw_dir: expected files, got an empty folder"),
        (lambda path: path.touch(), "raw_dir: expected a folder, got a file"),
    ],
)
def test_missing_folders_are_refused(tmp_path, make, message):
    make(tmp_path / "none")
    with pytest.raises(UserError, match=message):
        dataset(tmp_path / "none", tmp_path).load("train")


def test_unknown_pairs_are_refused(raw, tmp_path):
    with pytest.raises(
        UserError, match=r"pair: expected one of en-de, .*, got 'en-ja'"
    ):
        dataset(raw, tmp_path, "en-ja").load("train")


def test_the_error_without_a_network_says_what_to_do(tmp_path, monkeypatch):
    def offline(url, timeout):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(urllib.request, "urlopen", offline)
    data = Multi30k(data_dir=tmp_path)
    with pytest.raises(
        UserError,
        match=r"raw_dir: expected to download https:.*point --data\.raw-",
    ):
        data.load("train")
    assert not list(tmp_path.glob("multi30k/*/*/*"))


def test_files_are_downloaded_if_no_folder_is_given(raw, tmp_path, monkeypatch):
    def download(manager, urls):
        return {
            split: [raw / url.rsplit("/", 1)[1] for url in pair]
            for split, pair in urls.items()
        }

    monkeypatch.setattr(urllib.request, "urlopen", lambda url, timeout: io.BytesIO())
    monkeypatch.setattr(tfds.download.DownloadManager, "download", download)
    data = Multi30k(pair="de-fr", data_dir=tmp_path / "data")
    assert read_pairs(data, "test_2017_mscoco")[4] == Pair(
        "test_2017_mscoco de 4", "test_2017_mscoco fr 4"
    )


def test_the_real_files_have_the_published_counts(shared, tmp_path):
    data = Multi30k(raw_dir=shared / "data" / "multi30k", data_dir=tmp_path)
    # Counts and first line: from the files, by `zcat | wc -l` and `zcat | head -1`.
    counts = {split: len(data.load(split)) for split in data.splits}
    assert list(counts.values()) == [29_000, 1_014, 1_000, 1_000, 461]
    train = read_pairs(data, "train")
    assert train[0] == Pair(
        "Two young, White males are outside near many bushes.",
        "Zwei junge weiße Männer sind im Freien in der Nähe vieler Büsche.",
    )
    assert not any(
        "\u00a0" in text or text != text.strip() for p in train for text in p
    )
    # Words, because BPE takes seconds to learn and pads as little.
    source, target = TokenizerConfig(kind="words").train(train)
    batches = TokenBatches(tokenize_pairs(train, source, target), batch_tokens=2048)
    assert len(batches.shapes) == 8
    assert batches.efficiency >= 0.85
