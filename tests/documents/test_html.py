"""HTML as people see it: no scripts, no navigation, paragraphs and headings apart."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cactus.documents.readers.html import html
from cactus.documents.types import Document
from cactus.documents.unread import Unread
from tests.documents.made import headings, parts


def read(text: str) -> Document:
    found, blocks, metadata = html(text, 1 << 20)
    return Document(found, blocks, "html", metadata)


def test_paragraphs_headings_lists_and_entities() -> None:
    found = read(
        "<!DOCTYPE html><html><head><title> The\n title </title><meta name=author content=Ada>"
        "</head><body><h1>One<a class=headerlink href=#x>¶</a></h1><p>A <b>bold</b>\n word &amp; "
        "more.<p>Next<br>line<ul><li>x<li>y</ul><h2>Two</h2>End"
    )
    assert found.text.rstrip() == (
        "One\n\nA bold word & more.\n\nNext\nline\n\n- x\n- y\n\nTwo\n\nEnd"
    )
    assert headings(found) == [(1, "One"), (2, "Two")]
    assert found.metadata == {"title": "The title", "author": "Ada"}


def test_scripts_styles_navigation_and_hidden_parts_are_left_out() -> None:
    found = read(
        "<nav><ul><li>Home</ul></nav><script>if (a<b) x</script><style>p {}</style>"
        "<div class='navheader x'>Up<div>Next</div></div><div role=navigation>Menu</div>"
        "<p hidden>No</p><svg><text>No</text></svg><noscript>No</noscript><p>Text</p>"
    )
    assert found.text.strip() == "Text"


@pytest.mark.parametrize("section", ["<![CDA[x]]>", "<![if IE]>", "<![ x[y]]>", "<![temp[z]]>"])
def test_sections_that_nobody_knows_are_left_out(section: str) -> None:
    assert read(f"<p>One</p>{section}<p>Two</p>").text.split() == ["One", "Two"]


def test_a_navigation_that_never_ends_does_not_swallow_the_page() -> None:
    assert "Text" in read("<nav><p>Menu</p><h1>Title</h1><p>Text</p>").text


def test_code_keeps_its_lines_and_tables_their_header() -> None:
    found = read(
        "<p>See</p><pre>def f():\n    return 1\n</pre><table><tr><th>a</th><th>b</th></tr>"
        "<tr><td><p>1</p></td><td>2\n3</td></tr></table><p>after"
    )
    assert parts(found, "code") == ["def f():\n    return 1\n"]
    assert parts(found, "table") == ["a | b\n1 | 2 3\n"]
    assert [block.title for block in found.blocks if block.kind == "table"] == ["a | b"]


@pytest.mark.fault("F72")
def test_text_over_the_limit_is_refused() -> None:
    with pytest.raises(Unread, match="too large"):
        html("<p>" + "word " * 100, 100)


PIECES = st.lists(
    st.sampled_from(
        [
            *("<p>", "</p>", "<h1>", "</h1>", "<h2>", "<pre>", "</pre>", "<table>", "</table>"),
            *("<tr>", "<td>", "</tr>", "<nav>", "</nav>", "<li>", "<br>", "<title>", "</title>"),
            *("text ", "\n", " ", "&amp;", "<!-- c -->", "<script>", "</script>", "<", "a<b", "¶"),
        ]
    ),
    max_size=40,
).map("".join)


@given(PIECES)
@example("<h1><pre><li><h1></pre>")
def test_blocks_cover_the_text_in_order_whatever_it_is(text: str) -> None:
    found = read(text)
    at = 0
    for block in found.blocks:
        assert block.start == at < block.end
        at = block.end
    assert at == len(found.text)
