"""How a checkpoint makes vectors or scores of states: embedding.json of its weights folder."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from cactus.embed.pooling import KINDS, Pooling
from cactus.errors import InvalidRequest, ModelFormatError, UnsupportedModel
from cactus.inputs.checks import short
from cactus.inputs.fields import Fields
from cactus.inputs.files import find_json
from cactus.inputs.versions import wrong_version

FILE = "embedding.json"
VERSION = 1

MOST_TOKENS = 1 << 24
MOST_WIDTH = 1 << 17
MOST_VOCABULARY = 1 << 22

ACTIVATIONS = ("identity", "tanh", "gelu", "relu", "silu")

# What a text is searched for as, and what a checkpoint may call that.
_NAMES = {"query": ("query",), "document": ("document", "passage", "corpus")}


@dataclass(frozen=True, slots=True)
class Norm:
    """A layer norm, by the names of its tensors."""

    weight: str
    bias: str | None
    eps: float


@dataclass(frozen=True, slots=True)
class Dense:
    """A dense layer behind the pooling: norm(activation(weight @ x + bias))."""

    weight: str
    bias: str | None
    activation: str
    norm: Norm | None


@dataclass(frozen=True, slots=True)
class Score:
    """How well two texts fit: what a cross-encoder says of them.

    "head": the number that the dense layers end in. "yes_no": how much more probable the token
    `yes` is than `no` behind the `template`, which has {query} and {document}.
    """

    kind: Literal["head", "yes_no"]
    activation: Literal["sigmoid", "identity"] = "sigmoid"
    template: str = ""
    yes: int = 0
    no: int = 0

    @property
    def parts(self) -> tuple[str, str, str]:
        """The template before the query, between query and document, and behind the document."""
        before, _, rest = self.template.partition("{query}")
        between, _, after = rest.partition("{document}")
        return before, between, after


@dataclass(frozen=True, slots=True)
class Settings:
    """What a checkpoint's files say of its vectors.

    `dimensions` are those of a vector, `max_tokens` the most tokens of a text, special ones
    included; None: what the model itself says. `prompts` are texts that come before a text, by
    name; `default_prompt` is one of these names. `matryoshka`: sizes that a vector may be cut to.
    `strip`: white space around a text is not part of it. `skip_tokens` are left out of a text.
    `pad`: a text is filled up to so many tokens with this one.
    """

    pooling: Pooling = "mean"
    normalize: bool = False
    dimensions: int | None = None
    max_tokens: int | None = None
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt: str | None = None
    lower_case: bool = False
    strip: bool = False
    dense: tuple[Dense, ...] = ()
    matryoshka: tuple[int, ...] = ()
    similarity: Literal["cosine", "dot"] = "cosine"
    skip_tokens: frozenset[int] = frozenset()
    score: Score | None = None
    pad: tuple[int, int] | None = None

    def prompt(self, name: str | None) -> str:
        """The text that comes before a text; None: the default one, "": none.

        "query" and "document" are nothing where the checkpoint makes no difference. Raises
        InvalidRequest for another name that it does not have.
        """
        if name is None:
            name = self.default_prompt
        if not name:
            return ""
        for spelling in _NAMES.get(name, (name,)):
            if spelling in self.prompts:
                return self.prompts[spelling]
        if name in _NAMES:
            return ""
        there = ", ".join(map(repr, {**_NAMES, **self.prompts}))
        raise InvalidRequest(f"prompt must be one of {there}, got {short(name)}")


def read_settings(folder: Path) -> Settings:
    """The settings of a weights folder; without embedding.json those of any language model.

    Raises ModelFormatError and UnsupportedModel naming the file and the field.
    """
    path = folder / FILE
    raw = find_json(path)
    if raw is None:
        return Settings()
    fields = Fields(raw, str(path))
    version = fields.integer("version", 0, 2**31 - 1)
    if wrong := wrong_version(str(path), "version", version, VERSION, "convert the model again"):
        raise ModelFormatError(wrong)
    dimensions = fields.integer("dimensions", 1, MOST_WIDTH)
    prompts = _prompts(fields)
    default = _text(fields, "default_prompt")
    if default is not None and default not in prompts:
        raise fields.error("default_prompt", "one of the names in prompts", default)
    return Settings(
        pooling=cast(Pooling, fields.choice("pooling", KINDS)),
        normalize=fields.flag("normalize"),
        dimensions=dimensions,
        max_tokens=fields.integer("max_tokens", 1, MOST_TOKENS),
        prompts=prompts,
        default_prompt=default,
        lower_case=fields.flag("lower_case", False),
        strip=fields.flag("strip", True),
        dense=tuple(_dense(each) for each in _objects(fields, "dense")),
        matryoshka=tuple(_integers(fields, "matryoshka", 1, dimensions)),
        similarity=cast(Any, fields.choice("similarity", ("cosine", "dot"), "cosine")),
        skip_tokens=frozenset(_integers(fields, "skip_tokens", 0, MOST_VOCABULARY)),
        score=_score(fields.object("score")),
        pad=_pad(fields.object("pad")),
    )


def _pad(fields: Fields | None) -> tuple[int, int] | None:
    if fields is None:
        return None
    return fields.integer("length", 1, 1 << 16), fields.integer("token", 0, MOST_VOCABULARY)


def _prompts(fields: Fields) -> dict[str, str]:
    prompts = fields.raw.get("prompts")
    if prompts is None:
        return {}
    if not isinstance(prompts, dict) or not all(isinstance(each, str) for each in prompts.values()):
        raise fields.error("prompts", "an object of texts", prompts)
    return dict(prompts)


def _dense(fields: Fields) -> Dense:
    norm = fields.object("norm")
    return Dense(
        _name(fields, "weight"),
        _text(fields, "bias"),
        fields.choice("activation", ACTIVATIONS, "identity"),
        None
        if norm is None
        else Norm(_name(norm, "weight"), _text(norm, "bias"), norm.number("eps", 0, 0.1, 1e-5)),
    )


def _score(fields: Fields | None) -> Score | None:
    if fields is None:
        return None
    kind = fields.choice("kind", ("head", "yes_no"))
    activation = cast(Any, fields.choice("activation", ("sigmoid", "identity"), "sigmoid"))
    if kind == "yes_no":
        template = _name(fields, "template")
        if re.findall(r"\{query\}|\{document\}", template) != ["{query}", "{document}"]:
            raise fields.error("template", "a text with {query}, then {document}", template)
        yes, no = (fields.integer(each, 0, MOST_VOCABULARY) for each in ("yes", "no"))
        return Score("yes_no", activation, template=template, yes=yes, no=no)
    labels = fields.integer("labels", 1, MOST_WIDTH, 1)
    if labels != 1:
        raise UnsupportedModel(
            f"{fields.where}: the head has {labels} labels; a model that ranks texts has one"
        )
    return Score("head", activation)


def _objects(fields: Fields, name: str) -> list[Fields]:
    value = fields.raw.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise fields.error(name, "a list of objects", value)
    return [Fields(each, f"{fields.where}: {name}[{n}]") for n, each in enumerate(value)]


def _integers(fields: Fields, name: str, low: int, high: int) -> list[int]:
    value = fields.raw.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise fields.error(name, "a list of whole numbers", value)
    return [Fields({name: each}, fields.where).integer(name, low, high) for each in value]


def _text(fields: Fields, name: str) -> str | None:
    value = fields.raw.get(name)
    if value is not None and not isinstance(value, str):
        raise fields.error(name, "a text", value)
    return value


def _name(fields: Fields, name: str) -> str:
    value = _text(fields, name)
    if not value:
        raise fields.error(name, "a text", value)
    return value
