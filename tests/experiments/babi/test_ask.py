"""Asking a run about a story: what is read, what is shown, what is refused."""

import io
import sys
from functools import partial

import numpy as np
import pytest

from attnjax.parallel import make_mesh
from experiments.babi.ask import Asked, Asker, draw_hops, read_stories
from experiments.babi.loading import load_run
from tests.experiments import commands

run = partial(commands.run, program="babi")
STORY = "Mary went to the hall.\nJohn went to the garden.\nWhere is Mary?\n"


@pytest.fixture
def ask(soft_run, monkeypatch, capsys):
    """Runs `ask` with lines on stdin: exit code, stdout, stderr."""

    def call(text, *arguments, folder=soft_run):
        data = text if isinstance(text, bytes) else text.encode()
        stdin = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8")
        monkeypatch.setattr(sys, "stdin", stdin)
        capsys.readouterr()
        code = run("ask", folder, *arguments)
        out, err = capsys.readouterr()
        return code, out, err

    return call


def test_each_hop_is_shown_for_each_fact(ask, soft_run):
    code, out, err = ask(STORY)
    assert code == 0, err
    head, first, second, last = out.splitlines()
    assert head.split() == ["hop", "1", "hop", "2", "hop", "3"]
    assert first.startswith("Mary went to the hall.")
    assert last.startswith("Where is Mary? ")
    asker = Asker(load_run(soft_run, mesh=make_mesh(1)))
    asked = asker(STORY.splitlines()[:2], "Where is Mary?")
    assert last == f"Where is Mary? {asked.answer}"
    shown = [[float(x) for x in line.replace("█", " ").split()[5:]] for line in
             (first, second)]  # fmt: skip
    np.testing.assert_allclose(np.transpose(shown), asked.weights, atol=0.00501)
    np.testing.assert_allclose(asked.weights.sum(-1), 1, rtol=1e-5)


def test_a_hard_network_shows_the_facts_that_it_chose(ask, hard_run):
    code, out, err = ask(STORY, folder=hard_run)
    assert code == 0, err
    _, first, second, _ = out.splitlines()
    weights = [line.split()[-1] for line in (first, second)]
    assert sorted(weights) == ["0.00", "1.00"]
    assert out.count("█" * 10) >= 2


def test_several_stories_and_questions_and_bAbIs_own_lines(ask, tmp_path):  # noqa: N802
    numbered = (
        "1 Mary went to the hall.\n2 Where is Mary? \thall\t1\n"
        "3 John went to the garden.\n4 Where is John?\tgarden\t3\n\n"
        "1 Bill went to the office.\n2 Where is Bill?\toffice\t1\n"
    )
    code, out, err = ask(numbered)
    assert code == 0, err
    blocks = out.split("\n\n")
    assert [block.count(" went to ") for block in blocks] == [1, 2, 1]
    path = tmp_path / "story"
    path.write_text(numbered)
    assert ask("", "--story", path)[:2] == (0, out)


def test_a_story_longer_than_memory_keeps_its_latest_facts(ask):
    facts = [f"Mary went to the {room}." for room in ("hall", "garden") * 30]
    code, out, err = ask("\n".join([*facts, "Where is Mary?"]))
    assert code == 0
    assert "story: 60 facts, of which the most recent 50 are kept (memory_size)" in err
    assert out.count(" went to ") == 50


BAD = {
    "nothing": ("", "story: expected facts and a question, got no lines"),
    "blanks": ("\n \n", "story: expected facts and a question, got no lines"),
    "no facts": (
        "Where is Mary?\n",
        "story: expected facts before 'Where is Mary?', got none",
    ),
    "no question": (
        "Mary went to the hall.\n",
        "story: expected a question, a line that ends with ?, got none after 'Mary",
    ),
    "no question in the second story": (
        f"{STORY}\nMary went to the hall.\n\n{STORY}",
        "story: expected a question, a line that ends with ?, got none after 'Mary",
    ),
    "unknown words": (
        "Mary went to the hall.\nWhere is Gandalf the grey?\n",
        "question: expected words of the training stories, got 'gandalf', 'grey' (use",
    ),
    "unknown words of a fact": (
        "Mary went to the hall.\nGandalf slept.\nWhere is Mary?\n",
        "story, fact 2: expected words of the training stories, got 'gandalf', 'slept'",
    ),
    "no words": ("Mary went to the hall.\n?\n", "question: expected words, got '?'"),
    "encoding": (
        b"Mary went to the hall.\nWhere is Zo\xeb?\n",
        "stdin: expected UTF-8, got byte 0xeb in line 2",
    ),
}


@pytest.mark.parametrize(("text", "message"), BAD.values(), ids=BAD)
def test_what_cannot_be_answered_is_named(text, message, ask):
    code, _, err = ask(text)
    assert code == 2
    assert f"error: {message}" in err


def test_no_facts_at_all_are_refused(soft_run):
    from experiments.errors import UserError

    asker = Asker(load_run(soft_run, mesh=make_mesh(1)))
    with pytest.raises(
        UserError, match=r"^story: expected at least one fact, got none"
    ):
        asker([], "Where is Mary?")


def test_lines_become_stories():
    lines = ["1 A.", "2 B.", "3 C?\tx\t1", "", "4 D.", "E?"]
    assert list(read_stories(lines)) == [(("A.", "B."), "C?"), (("D.",), "E?")]


def test_number_one_begins_a_story_as_in_babis_files():
    lines = ["1 A.", "2 C?\tx\t1", "1 B.", "2 D?\ty\t1", "1 E.", "10 F."]
    want = [(("A.",), "C?"), (("B.",), "D?"), (("E.", "F."), None)]
    assert list(read_stories(lines)) == want


def test_bars_keep_wide_characters_in_line():
    asked = Asked("どこ?", "駅", ("駅へ行った", "abc"), np.array([[0.96, 0.04]]))
    first, second = draw_hops(asked, "#").splitlines()[1:3]
    assert first == "駅へ行った  ########## 0.96"
    assert second == "abc                    0.04"
