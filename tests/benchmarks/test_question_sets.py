"""From published questions to pages without their headings, and to what answers them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

POD = """=head1 NAME

perlfaq9 - Test

=head1 Data: Numbers

=head2 Why is C<int()> broken?

See C<floor> or C<int>.

=head2 Contributors

=head2 Not a question

C<floor>
"""
RST = """======
 Title
======

Part One
========

Why ``this``?
-------------

Because ``that``.

========
Part Two
========

And after it?
-------------

Nothing.
"""
HTML = """<h1 class="title"><a id="a"></a>Chapter 7. Basics</h1>
<div class="section"><h2 class="title"><a id="b"></a>7.1. What is a <em>package</em>?</h2></div>
<p>A file of <code class="literal">dpkg</code>.</p></div>
<div class="section"><h2 class="title">7.2. More</h2></div><div class="section">
<h3 class="title">7.2.1. Which?</h3><p>All.</p></div><div class="navfooter">Next</div>"""
CRANFIELD = ".I 1\n.T\nwings\n.A\nx\n.W\nwings\nfly .\n.I 2\n.T\n.A\n.B\n.W\n.I 3\n.T\n.W\nflow .\n"


@pytest.fixture
def sources(load: Any) -> Any:
    return load("question_sources")


def test_answers_in_pod_lose_their_question_and_keep_their_section(sources: Any) -> None:
    pages = sources.with_phrases(sources.pod_pages("perlfaq9", POD))
    assert [page.name for page in pages] == ["perlfaq9/001.pod", "perlfaq9/002.pod"]
    ((question, phrases),) = pages[0].questions
    assert question == "Why is int() broken?"
    assert question not in pages[0].text and pages[0].text.startswith("=head1 Data: Numbers\n")
    assert phrases == ("floor",)  # "int" is in the question
    assert pages[1].questions == ()


def test_answers_in_rst_end_before_the_next_heading(sources: Any) -> None:
    first, second = sources.rst_pages("design", RST)
    assert first.questions[0][0] == "Why this?"
    assert first.text == "Part One\n========\n\nBecause ``that``.\n"
    assert second.text == "Part Two\n========\n\nNothing.\n"


def test_answers_in_html_end_before_the_next_section(sources: Any) -> None:
    first, second = sources.html_pages("basics", HTML)
    assert first.questions[0][0] == "What is a package?"
    assert "7.1" not in first.text and "<h1>Chapter 7. Basics</h1>" in first.text
    assert second.questions[0][0] == "Which?"
    assert "All." in second.text and "Next" not in second.text


def test_judgements_count_queries_in_the_order_of_the_file(sources: Any, tmp_path: Path) -> None:
    (tmp_path / "cran.all.1400").write_text(CRANFIELD)
    (tmp_path / "cran.qry").write_text(
        ".I 001\n.W\nhow do\nwings fly .\n.I 004\n.W\nwhat flows .\n"
    )
    (tmp_path / "cranqrel").write_text("1 1 1\n1 2 1\n2 3 4\n2 1 5\n")
    assert [page.name for page in sources.cranfield(tmp_path)] == ["0001.txt", "0003.txt"]
    assert sources.cranfield_queries(tmp_path) == [
        ("how do wings fly .", {"0001.txt": 4}),  # 2 has no text
        ("what flows .", {"0003.txt": 1}),
    ]


def test_half_a_set_has_no_answer_to_the_other_questions(load: Any, tmp_path: Path) -> None:
    sets = load("question_sets")
    for name in ("00/00.txt", "00/01.txt", "01/00.txt"):
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / name).write_text(name)
    asked = [sets.Asked(name, {name: 1}) for name in ("00/01.txt", "01/00.txt")]
    half, outside = sets.QuestionSet("set", tmp_path / "set", tuple(asked)).half()
    assert [each.text for each in half.questions] == ["00/01.txt"]
    assert [each.text for each in outside] == ["01/00.txt"] and not outside[0].relevant
    assert sorted(path.name for path in half.folder.rglob("*.txt")) == ["00.txt", "01.txt"]
