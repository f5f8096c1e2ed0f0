"""Which kind of document a file is, by its name and by how it begins."""

from __future__ import annotations

import re
from posixpath import splitext

# Kinds with a reader, and the suffixes of their files.
_SUFFIXES = {
    "text": "txt text asc nfo",
    "log": "log out err",
    "markdown": "md markdown mdown mkd mdx rmd qmd",
    "rst": "rst rest",
    "pod": "pod",
    "asciidoc": "adoc asciidoc",
    "org": "org",
    "latex": "tex latex ltx",
    "html": "html htm xhtml xht shtml",
    "pdf": "pdf",
    "docx": "docx docm dotx",
    "pptx": "pptx pptm ppsx potx",
    "xlsx": "xlsx xlsm xltx",
    "epub": "epub",
    "csv": "csv tsv tab",
    "json": "json geojson ipynb webmanifest",
    "jsonl": "jsonl ndjson",
    "email": "eml",
    "subtitles": "srt vtt",
    "recording": "wav mp3 m4a m4b aac flac ogg oga opus wma aiff aif amr mp4 m4v mov mkv webm avi",
    "code": (
        "py pyi pyx pxd rb pl pm t php js mjs cjs jsx ts tsx mts vue svelte java kt kts scala "
        "groovy gradle clj cljs edn c h cc cpp cxx hh hpp hxx inl ino m mm cs fs fsx vb swift go "
        "rs zig nim d dart lua r jl hs lhs ml mli elm ex exs erl hrl lisp lsp cl el scm rkt f f90 "
        "f95 for pas ada adb ads asm s sql sh bash zsh fish ps1 psm1 bat cmd awk sed tcl vim mk "
        "cmake css scss sass less xml xsd xsl xslt svg wsdl plist yaml yml toml ini cfg conf "
        "properties proto thrift graphql gql tf hcl nix diff patch po pot sv svh v vhd "
        "vhdl cu cuh cl glsl hlsl wgsl sol move bzl bazel bib sty cls"
    ),
}

PICTURE = "a picture"
"""What `refused` says of pictures, which are for an embedder that sees."""

# Kinds that are not read, and what they are.
_UNREAD = {
    PICTURE: "png jpg jpeg gif bmp tif tiff webp heic heif ico psd ai eps raw cr2 nef xcf avif",
    "an archive": "zip tar tgz bz2 xz zst 7z rar jar war whl deb rpm iso dmg cab lz4 apk",
    "a program": "exe dll so dylib a o obj lib bin class pyc pyo wasm elf ko",
    "a font": "ttf otf woff woff2 eot",
    "weights or a data set": "gguf safetensors pt pth onnx npy npz pkl h5 hdf5 parquet arrow",
    "a database": "sqlite sqlite3 db mdb accdb",
    "an older Word file; save it as .docx": "doc dot",
    "an older Excel file; save it as .xlsx": "xls xlt xlsb",
    "an older PowerPoint file; save it as .pptx": "ppt pps",
    "not a kind that is read; save it as .docx or .pdf": "rtf odt ods odp pages numbers key wpd",
}

# What a suffix does not tell by its own name.
_LANGUAGES = {
    "py": "python", "pyi": "python", "rb": "ruby", "pl": "perl", "pm": "perl", "js": "javascript",
    "mjs": "javascript", "cjs": "javascript", "jsx": "javascript", "ts": "typescript",
    "tsx": "typescript", "mts": "typescript", "kt": "kotlin", "cc": "c++", "cpp": "c++",
    "cxx": "c++", "hh": "c++", "hpp": "c++", "hxx": "c++", "inl": "c++", "h": "c", "cs": "c#",
    "fs": "f#", "rs": "rust", "jl": "julia", "hs": "haskell", "ml": "ocaml", "ex": "elixir",
    "exs": "elixir", "erl": "erlang", "sh": "shell", "bash": "shell", "zsh": "shell",
    "ps1": "powershell", "yml": "yaml", "mk": "make", "tf": "terraform", "el": "emacs lisp",
}  # fmt: skip

_NAMES = {"makefile": "code", "dockerfile": "code", "cmakelists.txt": "code", "readme": "text"}

_KINDS = {suffix: kind for kind, suffixes in _SUFFIXES.items() for suffix in suffixes.split()}
_REFUSED = {suffix: what for what, suffixes in _UNREAD.items() for suffix in suffixes.split()}

BINARY_KINDS = frozenset({"pdf", "docx", "pptx", "xlsx", "epub"})
"""Kinds whose files are not text."""

_HTML = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*)?<(?:!doctype\s+html|html[\s>])", re.I)


_MARKUP = ("rst", "markdown", "pod", "asciidoc", "org", "latex")


def suffix_of(name: str) -> str:
    """The suffix of a name in small letters, without its dot.

    Of ``a.rst.txt`` and ``a.rst.gz`` it is ``rst``.
    """
    stem, suffix = splitext(without_gz(name.rsplit("/", 1)[-1].lower()))
    if suffix == ".txt" and _KINDS.get(inner := splitext(stem)[1][1:]) in _MARKUP:
        return inner
    return suffix[1:]


def without_gz(name: str) -> str:
    """The name of what is in a file that gzip has made."""
    return name[:-3] if name.lower().endswith(".gz") else name


def kind_of(name: str) -> str | None:
    """The kind of a file by its name; None where that does not tell."""
    base = name.rsplit("/", 1)[-1].lower()
    return _NAMES.get(base) or _KINDS.get(suffix_of(name))


def refused(name: str) -> str | None:
    """What a file that is not read is, by its name; None for one that may be."""
    return _REFUSED.get(suffix_of(name))


def language_of(name: str) -> str:
    """The programming language of source code, by its name."""
    suffix = suffix_of(name)
    return _LANGUAGES.get(suffix, suffix or name.rsplit("/", 1)[-1].lower())


def kind_by_content(data: bytes) -> str | None:
    """The kind of a file whose name does not tell, by how it begins; None for other text."""
    if data.startswith(b"%PDF-"):
        return "pdf"
    if data.startswith(b"PK\x03\x04"):
        # The names of the first members stand in the first few kilobytes.
        head = data[:4096]
        for kind, mark in (
            ("epub", b"application/epub+zip"),
            ("docx", b"word/"),
            ("pptx", b"ppt/"),
            ("xlsx", b"xl/"),
        ):
            if mark in head:
                return kind
    return "html" if _HTML.match(data[:1024]) else None
