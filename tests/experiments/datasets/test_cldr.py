"""The embedded data: text as Babel prints it, links between the same fields."""

import datetime
import functools
import multiprocessing
import re
import socket
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from babel import dates, lists, numbers, units

from experiments.datasets.cldr import cldr_builder, links, values
from experiments.datasets.cldr.formatter import STYLES, Formatter, Spec
from experiments.datasets.cldr.locales import open_locale
from experiments.datasets.cldr.phrases import LONG, Phrases
from experiments.datasets.cldr.pretokenization import (
    Span,
    detokenize,
    join_text,
    pretokenize,
)
from experiments.errors import UserError

PAIRS = ("en-fr", "en-ja", "fr-en", "ja-en", "de-zh_Hans", "ko-th", "ar-he", "es-ru")
LOCALES = ("en", "fr", "ja", "de", "zh_Hans", "ko", "th", "ar", "he", "es", "ru", "hi")
N = 300

each_pair = pytest.mark.parametrize("pair", PAIRS)
each_locale = pytest.mark.parametrize("locale", LOCALES)

DAY, LATER = datetime.date(2024, 5, 3), datetime.date(2024, 5, 21)
AT, UNTIL = datetime.time(15, 30), datetime.time(17, 5)


def _phrases(pair: str) -> Phrases:
    return cldr_builder._phrases(pair)


@functools.cache
def _example(pair: str, split: str, i: int) -> tuple[str, str, str]:
    return _phrases(pair).pair(split, 0, i)


def _examples(pair: str, split: str = "test", n: int = N) -> list[tuple[str, str, str]]:
    return [_example(pair, split, i) for i in range(n)]


@functools.cache
def _formatter(locale: str) -> Formatter:
    return Formatter(locale)


def _links(alignment: str) -> dict[tuple[int, int], bool]:
    found = (re.fullmatch(r"(\d+)([-p])(\d+)", link) for link in alignment.split())
    return {(int(m[1]), int(m[3])): m[2] == "-" for m in found if m}


def _inverted(pair: str) -> float:
    """Returns the share of pairs of sure links that cross (Kendall's distance)."""
    crossed = total = 0
    for _, _, alignment in _examples(pair):
        sure = np.array(
            [link for link, is_sure in _links(alignment).items() if is_sure]
        )
        i, j = sure.reshape(-1, 2).T
        products = (i[:, None] - i) * (j[:, None] - j)
        crossed += (products < 0).sum()
        total += (products != 0).sum()
    return crossed / total


# Text.


@each_locale
def test_dates_and_times_are_printed_as_babel_prints_them(locale):
    here, form = open_locale(locale), _formatter(locale)
    for style in ("full", "long", "medium"):
        got = join_text(form.spans(Spec("date", style, (DAY,))))
        assert got == dates.format_date(DAY, style, here)
    for family, skeleton in (("date", "yMd"), ("month", "yMMMM"), ("quarter", "yQQQQ")):
        got = join_text(form.spans(Spec(family, skeleton, (DAY,))))
        assert got == dates.format_skeleton(skeleton, DAY, locale=here)
    got = join_text(form.spans(Spec("time", "short", (AT,))))
    assert got == dates.format_time(AT, "short", locale=here)


@each_locale
@pytest.mark.parametrize(
    "end", [LATER, datetime.date(2024, 7, 1), datetime.date(2025, 1, 2)]
)
def test_intervals_are_printed_as_babel_prints_them(locale, end):
    here, form = open_locale(locale), _formatter(locale)
    for style in ("yMMMEd", "yMMMd", "yMd"):
        got = join_text(form.spans(Spec("dates", style, (DAY, end))))
        assert got == dates.format_interval(DAY, end, style, locale=here)


@each_locale
@pytest.mark.parametrize("start", [(9, 5), (15, 30), (17, 1)])
def test_times_are_printed_as_babel_prints_them(locale, start):
    here, start = open_locale(locale), datetime.time(*start)
    cycle = "hm" if "h" in here.time_formats["short"].pattern else "Hm"
    got = join_text(_formatter(locale).spans(Spec("times", "hm", (start, UNTIL))))
    assert got == dates.format_interval(start, UNTIL, cycle, locale=here)


@each_locale
@pytest.mark.parametrize("number", ["1", "2", "7.5", "1234.25"])
def test_amounts_are_printed_as_babel_prints_them(locale, number):
    here, form, n = open_locale(locale), _formatter(locale), Decimal(number)
    got = join_text(form.spans(Spec("number", "percent", (n,))))
    assert got == numbers.format_percent(
        n / 100, locale=here, decimal_quantization=False
    )
    for style in STYLES["price"]:
        got = join_text(form.spans(Spec("price", style, ("USD", n))))
        assert got == numbers.format_currency(n, "USD", locale=here, format_type=style)
    got = join_text(form.spans(Spec("unit", "short", ("length-kilometer", n))))
    assert got == units.format_unit(n, "length-kilometer", "short", locale=here)


@each_locale
def test_names_and_lists_are_printed_as_babel_prints_them(locale):
    here, form = open_locale(locale), _formatter(locale)
    named = [
        Spec("locale", "language", ("fr", "CA")),
        Spec("name", "language", ("ja",)),
    ]
    got = join_text(form.spans(Spec("list", "or", tuple(named))))
    names = [open_locale("fr_CA").get_display_name(here), here.languages["ja"]]
    assert got == lists.format_list(names, "or", here)


@each_pair
def test_tokens_restore_the_original_text(pair):
    phrases = _phrases(pair)
    for i in range(N):
        for side in (phrases.source, phrases.target):
            spans = side.spans(phrases.spec("train", 0, i))
            stored = " ".join(pretokenize(spans).texts)
            assert detokenize(stored) == join_text(spans).strip()


@each_locale
def test_every_digit_is_a_token(locale):
    units = pretokenize(_formatter(locale).spans(Spec("date", "full", (DAY,)))).texts
    assert all(len(unit) == 1 for unit in units if any(map(str.isdigit, unit)))


def test_a_locale_does_not_depend_on_locales_used_before():
    """In Babel 2.18, stand-alone French months are Japanese after Japanese ones."""
    assert open_locale("ja").months["stand-alone"]["wide"][2] == "2月"
    assert open_locale("fr").months["stand-alone"]["wide"][2] == "février"


# Links.


@each_pair
def test_links_are_in_range_and_reach_every_token(pair):
    for source, target, alignment in _examples(pair):
        found = _links(alignment)
        assert len(found) == len(alignment.split())
        assert {i for i, _ in found} == set(range(len(source.split())))
        assert {j for _, j in found} == set(range(len(target.split())))


@each_pair
def test_most_target_tokens_have_one_sure_link(pair):
    sure = [
        [j for (_, j), is_sure in _links(alignment).items() if is_sure]
        for _, _, alignment in _examples(pair)
    ]
    targets = sum(len(target.split()) for _, target, _ in _examples(pair))
    assert sum(len(set(js)) for js in sure) > 0.55 * targets
    assert sum(len(js) - len(set(js)) for js in sure) < 0.01 * targets


@each_pair
def test_surely_linked_digits_are_equal(pair):
    seen = 0
    for source, target, alignment in _examples(pair):
        one, two = source.split(), target.split()
        for (i, j), sure in _links(alignment).items():
            if sure and one[i].isdigit() and two[j].isdigit():
                seen += 1
                assert one[i] == two[j]
    assert seen > N


def test_links_equal_those_written_by_hand():
    """Friday , May 3 , 2 0 2 4 | 2 0 2 4 年 5 月 3 日 金曜日."""
    spec = Spec("date", "full", (DAY,))
    one, two = (_formatter(locale).spans(spec) for locale in ("en", "ja"))
    found = _links(links.align(one, pretokenize(one), two, pretokenize(two)))
    sure = {link for link, is_sure in found.items() if is_sure}
    assert sure == {(0, 9), (2, 5), (3, 7), (5, 0), (6, 1), (7, 2), (8, 3)}
    assert {(2, 6), (3, 8), (8, 4)} <= found.keys()  # 月 with May, 日 with 3, 年 with 4


def test_a_converted_hour_has_possible_links_with_the_hour_and_the_day_period():
    """3 : 3 0 ⎵PM | 1 5 : 3 0."""
    one, two = (
        _formatter(at).spans(Spec("time", "short", (AT,))) for at in ("en", "fr")
    )
    found = _links(links.align(one, pretokenize(one), two, pretokenize(two)))
    assert {link for link, sure in found.items() if sure} == {(2, 3), (3, 4)}
    assert {(0, 0), (0, 1), (4, 0), (4, 1), (1, 2)} <= found.keys()


def test_a_leading_zero_has_a_possible_link_with_the_digit():
    spans = [[Span(text, ("day",), "day")] for text in ("3", "03")]
    found = links.align(
        spans[0], pretokenize(spans[0]), spans[1], pretokenize(spans[1])
    )
    assert found == "0p0 0-1"


def test_japanese_reverses_word_order_and_french_keeps_it():
    assert _inverted("en-ja") > 0.12
    assert _inverted("en-fr") < 0.04
    assert _inverted("en-ja") > 4 * _inverted("en-fr")


# Splits.


@each_pair
def test_a_source_has_one_translation(pair):
    translation: dict[str, str] = {}
    for source, target, _ in _examples(pair, "train", 700) + _examples(pair):
        assert translation.setdefault(source, target) == target


def _values(spec: Spec) -> set[tuple[str, object]]:
    """Returns all values of a phrase, as `values` hashes them."""
    if spec.family == "list" and spec.values[0].family == "name":
        codes = [item.values[0] for item in spec.values]
        return {("names", f"{spec.values[0].style} {codes}")}
    if spec.family == "list":
        return set().union(*map(_values, spec.values))
    if spec.family == "locale":
        return {("names", f"locale {spec.values}")}
    found: set[tuple[str, object]] = set()
    for value in spec.values:
        if isinstance(value, datetime.datetime):
            found |= {("date", value.date().isoformat())}
            found |= {("time", f"{value.hour}:{value.minute}")}
        elif isinstance(value, Decimal):
            found |= {("number", value)}
        elif isinstance(value, datetime.date | datetime.time):
            family = spec.family.removesuffix("s")
            found |= {(family, values.value_key(family, value))}
    return found


def test_no_value_of_a_test_phrase_occurs_in_training():
    phrases = _phrases("en-ja")
    said = {
        split: [_values(phrases.spec(split, 0, i)) for i in range(n)]
        for split, n in (("train", 3000), ("validation", N), ("test", N))
    }
    for split in ("validation", "test"):
        assert all(said[split])  # every phrase has a value that can be held out
        other = set().union(
            *said["train"], *said[{"test": "validation"}.get(split, "test")]
        )
        assert other.isdisjoint(set().union(*said[split]))


def test_the_split_of_a_value_is_pinned():
    """Data sets built on different machines must not share test values."""
    may = {day: values.split_of("date", f"2024-05-{day:02}") for day in range(1, 32)}
    assert [day for day in may if may[day] == "test"] == [5, 9]
    assert [day for day in may if may[day] == "validation"] == [1, 16, 19, 27, 28]
    of = [values.split_of("number", n) for n in range(10_000)]
    assert 0.09 < of.count("test") / len(of) < 0.11
    assert 0.09 < of.count("validation") / len(of) < 0.11
    assert {values.number_split(Decimal(n)) for n in range(10)} == {"train"}
    assert values.number_split(Decimal("12.50")) == values.number_split(Decimal("12.5"))


def test_every_token_of_the_test_occurs_in_training():
    for side in (0, 1):
        known = {
            u for pair in _examples("en-ja", "train", 4000) for u in pair[side].split()
        }
        assert len(known) < 400
        assert {u for pair in _examples("en-ja") for u in pair[side].split()} <= known


@each_pair
def test_long_phrases_are_long_and_short_ones_common(pair):
    lengths = sorted(len(source.split()) for source, _, _ in _examples(pair))
    assert lengths[int(0.74 * N)] >= LONG
    assert lengths[int(0.4 * N)] < LONG
    assert lengths[-1] < 50


def test_a_phrase_is_pinned():
    """Computed by this code: the same on every Python version and machine."""
    assert _phrases("en-ja").pair("test", 0, 2)[:2] == (
        "Sep 5 ⏝–⏝ 2 9 , 2 3 5 0 or Mar 8 ⏝–⏝ 2 2 , 2 0 0 8",
        "2 3 5 0 年 9 月 5 日 ～ 2 9 日 または 2 0 0 8 年 3 月 8 日 ～ 2 2 日",
    )


def test_a_phrase_is_a_function_of_its_index_in_any_process():
    code = (
        "from experiments.datasets.cldr.phrases import Phrases; import hashlib;"
        "p = Phrases('en', 'fr');"
        "print([p.pair('train', 7, i) for i in (5, 0, 3)])"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path.cwd())},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    here = [_phrases("en-fr").pair("train", 7, i) for i in (5, 0, 3)]
    assert seen == {f"{here}\n"}


# The data set.

SIZES = {"train": 40, "validation": 5, "test": 10}


def _no_network(*_: object, **__: object) -> None:
    raise AssertionError("tried to open a socket")


def test_a_split_holds_the_phrases(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(socket.socket, "connect", _no_network)
    monkeypatch.setattr(socket, "getaddrinfo", _no_network)
    for split, size in SIZES.items():
        stored = cldr_builder.load("en-fr", split, data_dir=tmp_path, **SIZES)
        assert len(stored) == size
        assert [tuple(pair) for pair in stored] == _examples("en-fr", split, size)
    assert capfd.readouterr().out == ""


def test_an_interrupted_build_is_not_used(tmp_path, monkeypatch):
    def stop(self, split, seed, index):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Phrases, "pair", stop)
        with pytest.raises(KeyboardInterrupt):
            cldr_builder.load("en-fr", "test", data_dir=tmp_path, **SIZES)
    assert not list(tmp_path.rglob("dataset_info.json"))
    assert len(cldr_builder.load("en-fr", "test", data_dir=tmp_path, **SIZES)) == 10


def _length_of_test(folder: Path) -> int:
    return len(cldr_builder.load("en-fr", "test", data_dir=folder, **SIZES))


def test_two_processes_can_build_at_once(tmp_path):
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert pool.map(_length_of_test, [tmp_path, tmp_path]) == [10, 10]


def test_missing_data_sets_are_generated_in_other_processes(
    tmp_path, monkeypatch, capfd
):
    """Errors there are ignored: opening the data set raises them again."""
    (tmp_path / "file").touch()
    impossible = cldr_builder.Cldr(data_dir=tmp_path / "file" / "data", **SIZES)
    possible = cldr_builder.Cldr(pair="en-ja", data_dir=tmp_path / "data", **SIZES)
    with monkeypatch.context() as patch:  # so that this process cannot generate it
        patch.delattr(cldr_builder.Builder, "_generate_examples")
        cldr_builder.generate([impossible, possible])
        stored = [tuple(pair) for pair in possible.load("test")]
    assert capfd.readouterr().err == ""
    assert stored == _examples("en-ja", "test", SIZES["test"])
    with pytest.raises(UserError, match="data_dir: expected a folder that can be read"):
        impossible.load("test")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    cldr_builder.generate([possible, possible])
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}


def test_other_settings_get_other_folders():
    names = {
        cldr_builder.config(cldr_builder.Cldr(pair=pair, train=train, seed=seed)).name
        for pair in ("en-fr", "en-ja")
        for train in (10, 11)
        for seed in (0, 1)
    }
    assert len(names) == 8


@pytest.mark.parametrize(
    ("pair", "about"),
    [("en-xx", r"\(xx: unknown\)"), ("en", ""), ("en-en", ""), ("", r"\(: unknown\)")],
)
def test_the_error_for_an_unknown_pair_lists_the_locales(pair, about):
    message = (
        rf"^pair: expected two different locales such as en-fr, got '{pair}' ?{about}; "
        r"the locales are aa .* zu, and with a script or territory such as zh_Hant"
    )
    with pytest.raises(UserError, match=message):
        cldr_builder.load(pair, "train")


def test_the_error_for_an_unknown_split_lists_the_splits():
    with pytest.raises(
        UserError, match=r"^split: expected one of train, validation, test, got 'dev'$"
    ):
        cldr_builder.load("en-fr", "dev")


def test_an_empty_split_is_refused():
    with pytest.raises(UserError, match=r"^test: expected at least 1 phrase, got 0$"):
        cldr_builder.load("en-fr", "train", test=0)
