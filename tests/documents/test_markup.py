"""Headings, code and tables that people write in plain text."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cactus.documents.readers.code import code
from cactus.documents.readers.markup import front_matter, markdown, marked, rst
from cactus.documents.types import Block, Document, Skipped
from tests.documents.made import document, headings, parts, read


def read_markdown(text: str) -> Document:
    return Document(text, markdown(text), "markdown")


def read_rst(text: str) -> Document:
    return Document(text, rst(text), "rst")


def test_headings_of_markdown_are_found_in_all_their_forms() -> None:
    found = read_markdown(
        "# One #\n\ntext\n\n## Two ##\n###### Six\n#not one\n####### seven\n\nFirst\n=====\n\n"
        "Second\n---\n\n- item\n---\n\n    # code\n\nC#\n#\n"
    )
    assert headings(found) == [
        *((1, "One"), (2, "Two"), (6, "Six"), (1, "First"), (2, "Second"), (1, "")),
    ]


def test_what_is_in_fences_is_code_and_no_heading() -> None:
    found = read_markdown(
        "# A\n```python\n# not\n~~~\n```\ntext\n\n~~~~\n# not\n~~~\n```\n~~~~\n\n    indented\n\n"
        "    more\nafter\n\n- item\n\n    of the list\n"
    )
    assert headings(found) == [(1, "A")]
    assert parts(found, "code") == [
        "```python\n# not\n~~~\n```\n",
        "~~~~\n# not\n~~~\n```\n~~~~\n",
        "    indented\n\n    more\n",
    ]


def test_a_fence_that_is_never_closed_reaches_to_the_end() -> None:
    found = read_markdown("text\n\n```\n# not\n\nmore")
    assert (headings(found), parts(found, "code")) == ([], ["```\n# not\n\nmore"])


def test_a_table_of_markdown_knows_its_header() -> None:
    found = read_markdown("Text\n\n| a | b |\n|---|--:|\n| 1 | 2 |\n\nAfter")
    assert parts(found, "table") == ["| a | b |\n|---|--:|\n| 1 | 2 |\n"]
    assert [block.title for block in found.blocks if block.kind == "table"] == ["| a | b |"]


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("---\ntitle: A page\nDate: 2026-01-02\ntags: [a, b]\nlist:\n  - x\n---\n# A", 3),
        ("---\r\ntitle: A page\r\ndate: x\r\ntags: y\r\n...\r\n# A", 3),
        ("+++\ntitle = 'A page'\ndate = 1\ntags = 2\n+++\n# A", 3),
        ("---\nno end\n# A", 0),
        ("----\ntitle: A page\n----\n# A", 0),
        ("# A\n---\ntitle: b\n---\n", 0),
    ],
)
def test_front_matter_is_metadata_and_not_text(text: str, fields: int) -> None:
    start, found = front_matter(text)
    assert len(found) == fields
    if fields:
        assert found["title"] == "A page" and text[start:] == "# A"
    else:
        assert start == 0


def test_sections_of_rst_have_levels_in_the_order_of_their_marks() -> None:
    found = read_rst(
        "=====\nTitle\n=====\n\nPart\n====\n\ntext\n\nSub\n---\n\nOther\n=====\n\n"
        "==== ====\na    b\n==== ====\n1    2\n==== ====\n\n"
        "A paragraph\n\n----\n\nmore\n\n世界\n====\n"
    )
    assert headings(found) == [(1, "Title"), (2, "Part"), (3, "Sub"), (2, "Other"), (2, "世界")]


def test_literal_blocks_and_code_of_rst_are_code() -> None:
    found = read_rst(
        "Title\n=====\n\nAs in::\n\n    x = 1\n    ----\n\n    y = 2\n\nText.\n\n"
        ".. code-block:: python\n   :linenos:\n\n   def f():\n       pass\n\n"
        ".. note::\n\n   Text.\n"
    )
    assert parts(found, "code") == [
        "    x = 1\n    ----\n\n    y = 2\n\n",
        "   :linenos:\n\n   def f():\n       pass\n\n",
    ]
    assert headings(found) == [(1, "Title")]


@pytest.mark.parametrize(
    ("kind", "text", "titles", "codes"),
    [
        (
            "pod",
            "=pod\n\n=head1 NAME\n\ntext\n\n  code;\n\n  =head2 no\n\n=head2 Use B<it>\n\nx\n",
            [(1, "NAME"), (2, "Use B<it>")],
            ["  code;\n\n  =head2 no\n\n"],
        ),
        (
            "asciidoc",
            "= Book\n\n== Part\n\n----\n== no\n----\n\ntext\n",
            [(1, "Book"), (2, "Part")],
            ["----\n== no\n----\n"],
        ),
        (
            "org",
            "* One\n** Two\n#+BEGIN_SRC c\n* no\n#+END_SRC\ntext\n",
            [(1, "One"), (2, "Two")],
            ["#+BEGIN_SRC c\n* no\n#+END_SRC\n"],
        ),
        (
            "latex",
            "\\section{One}\ntext\n\\begin{verbatim}\n\\section{no}\n\\end{verbatim}\n"
            "\\subsection*{Two}\n",
            [(3, "One"), (4, "Two")],
            ["\\begin{verbatim}\n\\section{no}\n\\end{verbatim}\n"],
        ),
    ],
)
def test_other_markup_has_headings_and_code(
    kind: str, text: str, titles: list[tuple[int, str]], codes: list[str]
) -> None:
    found = Document(text, marked(text, kind), kind)
    assert (headings(found), parts(found, "code")) == (titles, codes)


def test_functions_and_classes_are_headings_in_many_languages(tmp_path: Path) -> None:
    files = {
        "a.py": (
            "import os\n\n@wraps\n# why\nclass A(B):\n    def f(self):\n        pass\n\n"
            "    async def g(self): ...\n\ndef h():\n    pass\n",
            [(1, "class A"), (2, "def f"), (2, "def g"), (1, "def h")],
        ),
        "a.rs": (
            "pub(crate) struct S {\n}\nimpl<T> S {\n    pub async fn f() {}\n}\n",
            [(1, "struct S"), (1, "impl S"), (2, "fn f")],
        ),
        "a.go": (
            "func (s *Server) Run() error {\n}\ntype X struct {\n}\n",
            [(1, "func Run"), (1, "type X")],
        ),
        "a.ts": (
            "export default class A {\n}\nexport async function f() {\n}\n",
            [(1, "class A"), (1, "function f")],
        ),
        "a.c": (
            "#include <x.h>\nint f(int);\nstruct s;\nstatic inline char *\n\nint main(void)\n{\n"
            "  return f(1);\n}\nstruct point {\n  int x;\n};\n",
            [(1, "main"), (1, "struct point")],
        ),
        "a.rb": ("module M\n  def empty?\n  end\nend\n", [(1, "module M"), (2, "def empty?")]),
        "a.yaml": ("type: x\nclass A\n", []),
    }
    for name, (text, titles) in files.items():
        found = document(tmp_path, name, text)
        assert headings(found) == titles, name
        assert "".join(parts(found, "code")) == text
    text = files["a.py"][0]
    (first, *_) = [block for block in code(text, "python") if block.kind == "heading"]
    assert text[first.start :].startswith("@wraps")


def test_a_file_of_nothing_but_headings_is_too_large(tmp_path: Path) -> None:
    found = read(tmp_path, "a.md", "#\n" * 1_000_001)
    assert isinstance(found, Skipped)
    assert str(found) == "a.md: too large (more than 1,000,000 headings and other blocks)"


@pytest.mark.fault("F71")
@pytest.mark.parametrize(
    "text",
    [
        "# " + " " * 900 + "x\n",
        "#" + " #" * 400 + "\n",
        "a" * 2 + "\n" + "=" * 900 + " \n",
        "`" * 900 + "\n",
        "|" + "-|" * 400 + "\n",
        "\\begin{verbatim}\n",
        "----\n-----\n",
        "a*&*&*&*&" * 40 + "(\n",
        "public " * 50 + "\n",
        "int " * 90 + "\n",
        "template <" * 30 + "\n",
        "text::\n\n",
        "[" * 300 + "\n",
    ],
)
def test_lines_made_to_be_slow_are_not(text: str) -> None:
    whole = text * (100_000 // len(text))
    used = time.process_time()
    for reader in (markdown, rst, lambda text: marked(text, "latex"), lambda text: code(text, "c")):
        reader(whole)
        marked(whole, "asciidoc")
    assert time.process_time() - used < 10


MARKS = st.lists(
    st.sampled_from(
        [
            *(
                "# A\n",
                "=\n",
                "====\n",
                "---\n",
                "```\n",
                "~~~\n",
                "    x\n",
                "\tx\n",
                "\n",
                "text\n",
            ),
            *("::\n", ".. code::\n", "| a |\n", "|-|\n", "- x\n", "=head1 B\n", "#+begin_src\n"),
            *("\\section{C}\n", "\\begin{verbatim}\n", "\\end{verbatim}\n", "def f():\n", "  @x\n"),
            *("\r\n", "\r", "x", " ", "int f(\n", "class A {\n", "----\n", "* D\n", "== E\n"),
        ]
    ),
    max_size=40,
).map("".join)


@given(MARKS)
@example("| a |\n|-|\n----\n")
def test_blocks_cover_the_text_in_order_whatever_it_is(text: str) -> None:
    kinds = ("pod", "asciidoc", "org", "latex")
    for blocks in (
        *(markdown(text), rst(text), code(text, "c"), code(text, "python")),
        *(marked(text, kind) for kind in kinds),
    ):
        at = 0
        for block in blocks:
            assert isinstance(block, Block) and block.start == at <= block.end
            assert block.start < block.end or block.kind == "heading"
            at = block.end
        assert at == len(text)
