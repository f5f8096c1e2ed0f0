"""What the files beside a checkpoint say of how it embeds or ranks texts.

sentence-transformers (https://sbert.net) describes a model as a row of modules: modules.json lists
them, each has a folder with a config.json, and a dense layer its tensors. The result is what
embedding.json of a weights folder says; `SETTINGS` has its keys and what they are if nothing does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cactus.errors import ModelFormatError, UnsupportedModel
from cactus.inputs.checks import short
from cactus.inputs.fields import Fields
from cactus.inputs.files import find_bytes, find_json, parse_json, parse_object
from cactus.weights.sources.encoders import Tensors, canonical, is_encoder
from cactus.weights.sources.known_embedders import (
    QWEN3_RERANKER,
    complete,
    is_reranker,
    known_settings,
)
from cactus.weights.sources.source import TOKENIZER_LIMIT, Embedding, SourceTensor

SETTINGS: dict[str, Any] = {
    "version": 1,
    "pooling": "mean",
    "normalize": False,
    "dimensions": 0,
    "max_tokens": 0,
    "prompts": {},
    "default_prompt": None,
    "lower_case": False,
    "dense": [],
    "matryoshka": None,
    "similarity": "cosine",
    "score": None,
}
"""0 dimensions and tokens are as many as the model itself has."""

MODULES = "modules.json"
SMALL_FILES = (MODULES, "config_sentence_transformers.json", "sentence_bert_config.json")
"""Files of the folder itself; the modules that the first one lists may have folders."""

_POOLINGS = {
    "cls": "cls",
    "mean": "mean",
    "max": "max",
    "mean_sqrt_len_tokens": "mean_sqrt_len",
    "lasttoken": "last",
}
_OLD_POOLINGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len",
    "pooling_mode_weightedmean_tokens": None,
    "pooling_mode_lasttoken": "last",
}
_ACTIVATIONS = {
    "Identity": "identity",
    "Tanh": "tanh",
    "ReLU": "relu",
    "GELU": "gelu",
    "SiLU": "silu",
    "Sigmoid": "sigmoid",
}
_SIMILARITIES = {"cosine": "cosine", "dot": "dot", "dot_product": "dot"}

_UNLIMITED = 1 << 20
"""tokenizer_config.json says of a tokenizer without a limit that it takes 10^30 tokens."""


def read_modules(folder: Path) -> list[dict[str, Any]]:
    """The modules of a folder by kind (the last word of their class) and path; [] without any.

    Raises `ModelFormatError` for anything but plain folder names in it.
    """
    data = find_bytes(folder / MODULES, 1 << 20)
    if data is None:
        return []
    where, listed = str(folder / MODULES), parse_json(data, str(folder / MODULES))
    if not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
        raise ModelFormatError(f"{where}: expected a list of modules")
    found = []
    for module in listed:
        kind, path = module.get("type"), module.get("path", "")
        path = "" if path == "." else path
        plain = isinstance(path, str) and path != ".." and not set(path) & set("/\\:\0")
        if not isinstance(kind, str) or not plain:
            raise ModelFormatError(
                f"{where}: a module of type {short(kind)} in {short(path)}, expected the "
                "name of a class and of a folder"
            )
        found.append({"kind": kind.rpartition(".")[2], "path": path})
    return found


def read_embedder(
    folder: Path,
    config: Mapping[str, Any],
    open_dense: Callable[[Path], Tensors],
) -> Embedding | None:
    """What a folder with a modules.json says; None where it has none, or none that pools.

    `open_dense` gives the tensors of a module's folder. Raises `UnsupportedModel` for a module
    that is not known, `ModelFormatError` for one that says what cannot be.
    """
    modules = read_modules(folder)
    kinds = [module["kind"] for module in modules]
    if "LogitScore" in kinds:
        return _yes_no(folder, modules, config)
    if "StaticEmbedding" in kinds or "Pooling" not in kinds:
        return None
    settings = base_settings(folder)
    heads: list[SourceTensor] = []
    for module in modules:
        where = folder / module["path"]
        kind, fields = module["kind"], _fields(where)
        if settings["normalize"] and kind != "Normalize":
            raise UnsupportedModel(f"{folder / MODULES}: {kind} follows Normalize")
        if kind == "Transformer":
            if module["path"]:
                raise UnsupportedModel(
                    f"{folder / MODULES}: the model lies in {module['path']}; give that folder"
                )
        elif kind == "Pooling":
            settings["pooling"] = _pooling(fields, settings["prompts"])
        elif kind == "Dense":
            settings["dense"].append(_dense(fields, open_dense(where), heads))
            settings["dimensions"] = fields.integer("out_features", 1, 1 << 17)
        elif kind == "Normalize":
            settings["normalize"] = True
        elif kind != "Dropout":
            raise UnsupportedModel(f"{folder / MODULES}: modules of the kind {kind} are not known")
    return Embedding("embed", settings, tuple(heads))


def base_settings(folder: Path) -> dict[str, Any]:
    """`SETTINGS` with limit, letters, prompts and similarity as the folder's files say."""
    bert = _object(folder / "sentence_bert_config.json")
    own = _object(folder / "config_sentence_transformers.json")
    limits = [
        fields.raw[key]
        for fields, key in (
            (bert, "max_seq_length"),
            (_object(folder / "tokenizer_config.json"), "model_max_length"),
        )
        if type(fields.raw.get(key)) is int and 0 < fields.raw[key] < _UNLIMITED
    ]
    settings = SETTINGS | {"dense": [], "prompts": _prompts(own)}
    settings["max_tokens"] = limits[0] if limits else 0
    settings["lower_case"] = bert.flag("do_lower_case", False)
    default = own.raw.get("default_prompt_name")
    if default is not None and default not in list(settings["prompts"]):
        raise own.error("default_prompt_name", "one of the prompts", default)
    settings["default_prompt"] = default
    similarity = own.raw.get("similarity_fn_name")
    settings["similarity"] = _SIMILARITIES.get(str(similarity or "cosine"), "cosine")
    return settings


def describe(
    folder: Path,
    name: str,
    config: dict[str, Any],
    sources: Sequence[SourceTensor],
    open_dense: Callable[[Path], Tensors],
) -> tuple[Embedding | None, dict[str, Any], Tensors, list[str]]:
    """How a checkpoint embeds or ranks texts: None where it does neither alone.

    With it come the config and the tensors as our model has them, without those of a head, and
    notes for the user. `name` is what the model is called. Raises as `read_embedder` does.
    """
    encodes = is_encoder(config)
    tensors = canonical(config, sources) if encodes else {each.name: each for each in sources}
    classes = config.get("architectures")
    task = str(classes[0]) if isinstance(classes, list) and classes else ""
    notes: list[str] = []
    if task.endswith("ForSequenceClassification"):
        embedding = _cross_encoder(folder, config, tensors)
        if config["model_type"] == "bert":
            config = config | {"sep_token_id": _token_id(folder, "sep_token", "[SEP]")}
    else:
        found = read_embedder(folder, config, open_dense)
        if found is None and config["model_type"] == "qwen3" and is_reranker(name):
            found = yes_no(folder, *(_token_id(folder, "", text) for text in ("yes", "no")))
        if config["model_type"] == "model2vec":
            found, config = _static(folder, config, tensors)
        said = found is not None
        if found is None and encodes:
            found = Embedding("embed", base_settings(folder))
            if not known_settings(name):
                notes.append(f"no {MODULES}, so an embedding is taken to be the mean of the states")
        if found is None:
            return None, config, tensors, notes
        embedding = found
        if found.use == "embed":
            embedding = replace(found, settings=complete(found.settings, name, said=said))
    for unused in [each for each in tensors if each.startswith(("pooler.", "head."))]:
        del tensors[unused]
    if not encodes:
        tensors = {_decoder_name(each): tensor for each, tensor in tensors.items()}
        tensors = {each: replace(tensor, name=each) for each, tensor in tensors.items()}
        if "lm_head.weight" not in tensors:
            config = config | {"tie_word_embeddings": True}
    return embedding, config, tensors, notes


def _static(
    folder: Path, config: dict[str, Any], tensors: Tensors
) -> tuple[Embedding, dict[str, Any]]:
    """A table of vectors: the mean of those of a text's known tokens."""
    table = tensors.get("embed_tokens.weight")
    if table is None or len(table.shape) != 2:
        raise ModelFormatError(f"{folder}: no matrix is called embeddings")
    rows, width = table.shape
    settings = base_settings(folder)
    settings["normalize"] = Fields(config).flag("normalize", True)
    settings["max_tokens"] = Fields(config).integer("max_length", 0, 1 << 24, 0)
    unknown = _unknown_token(folder)
    settings["skip_tokens"] = [] if unknown is None else [unknown]
    return Embedding("embed", settings), config | {"vocab_size": rows, "hidden_dim": width}


def _unknown_token(folder: Path) -> int | None:
    """The id that stands for what a vocabulary lacks, as tokenizer.json has it."""
    model = _tokenizer_model(folder)
    if type(model.get("unk_id")) is int:
        return int(model["unk_id"])
    return _word(model, model.get("unk_token"))


def _decoder_name(name: str) -> str:
    """A decoder that was saved without its head has no prefix."""
    return name if name.startswith(("model.", "lm_head.")) else f"model.{name}"


def _token_id(folder: Path, named: str, text: str) -> int:
    """The id of a token that tokenizer_config.json names, `text` if it does not."""
    given = _object(folder / "tokenizer_config.json").raw.get(named) or text
    content = given.get("content") if isinstance(given, Mapping) else given
    found = _word(_tokenizer_model(folder), content)
    if found is None:
        raise ModelFormatError(
            f"{folder / 'tokenizer.json'}: the vocabulary has no token {short(content)}"
        )
    return found


def _tokenizer_model(folder: Path) -> Mapping[str, Any]:
    """What tokenizer.json says of its model; {} where there is none."""
    where = folder / "tokenizer.json"
    data = find_bytes(where, TOKENIZER_LIMIT)
    model = parse_object(data, str(where)).get("model") if data is not None else None
    return model if isinstance(model, Mapping) else {}


def _word(model: Mapping[str, Any], text: object) -> int | None:
    """The id of a token in a tokenizer's vocabulary that has ids by texts."""
    vocabulary = model.get("vocab")
    if not isinstance(vocabulary, Mapping) or not isinstance(text, str):
        return None
    found = vocabulary.get(text)
    return found if type(found) is int else None


def _cross_encoder(folder: Path, config: Mapping[str, Any], tensors: Tensors) -> Embedding:
    """A model with a score head, by the names of its architecture."""
    kind = config["model_type"]
    layers: list[tuple[str, str]]
    settings = base_settings(folder) | {"pooling": "cls"}
    if kind == "bert":
        layers = [("pooler.dense", "tanh"), ("classifier", "identity")]
    elif kind in ("roberta", "xlm-roberta"):
        layers = [("classifier.dense", "tanh"), ("classifier.out_proj", "identity")]
    elif kind == "modernbert":
        layers = [("head.dense", "gelu"), ("classifier", "identity")]
        settings["pooling"] = Fields(config).choice("classifier_pooling", ("cls", "mean"), "cls")
    elif "score.weight" in tensors:
        layers, settings["pooling"] = [("score", "identity")], "last"
    else:
        raise UnsupportedModel(
            f"{folder / 'config.json'}: a score head of a {kind} model is not supported"
        )
    heads: list[SourceTensor] = []
    for name, activation in layers:
        settings["dense"].append(_layer(name, activation, tensors, heads))
    if kind == "modernbert":
        norm: dict[str, Any] = {"eps": Fields(config).number("norm_eps", 1e-13, 1e-1, 1e-5)}
        for part in ("weight", "bias"):
            norm[part] = _moved(f"head.norm.{part}", f"dense.0.norm.{part}", tensors, heads)
        settings["dense"][0]["norm"] = norm
    last = settings["dense"][-1]["weight"]
    labels = next(head.shape[0] for head in heads if head.name == last)
    if labels != 1:
        raise UnsupportedModel(
            f"{folder / 'config.json'}: the head has {labels} labels; only models with one score "
            "rank texts"
        )
    settings["dimensions"] = 1
    settings["score"] = {
        "kind": "head",
        "labels": 1,
        "activation": _score_activation(folder, config),
        "template": None,
    }
    return Embedding("rerank", settings, tuple(heads))


def _score_activation(folder: Path, config: Mapping[str, Any]) -> str:
    """What a score passes through: the sigmoid, unless the checkpoint names another function."""
    own = config.get("sentence_transformers")
    named = own.get("activation_fn") if isinstance(own, Mapping) else None
    named = named or config.get("sbert_ce_default_activation_function") or "Sigmoid"
    found = _ACTIVATIONS.get(str(named).rpartition(".")[2])
    if found not in ("identity", "sigmoid"):
        raise UnsupportedModel(
            f"{folder / 'config.json'}: scores pass through {short(named)}, expected Sigmoid "
            "or Identity"
        )
    return found


def _yes_no(
    folder: Path, modules: Sequence[Mapping[str, Any]], config: Mapping[str, Any]
) -> Embedding:
    """A language model that says yes or no."""
    path = next(module["path"] for module in modules if module["kind"] == "LogitScore")
    fields, last = _fields(folder / path), Fields(config).integer("vocab_size", 1, 1 << 22) - 1
    yes, no = (fields.integer(key, 0, last) for key in ("true_token_id", "false_token_id"))
    return yes_no(folder, yes, no)


def yes_no(folder: Path, yes: int, no: int) -> Embedding:
    """A reranker whose score is how much likelier the token `yes` is than `no`."""
    score = {"kind": "yes_no", "labels": 1, "activation": "sigmoid", "template": QWEN3_RERANKER}
    settings = base_settings(folder) | {"pooling": "last", "dimensions": 1}
    return Embedding("rerank", settings | {"score": score | {"yes": yes, "no": no}})


def _pooling(fields: Fields, prompts: Mapping[str, str]) -> str:
    if fields.has("pooling_mode"):
        given = fields.raw["pooling_mode"]
        modes = given if isinstance(given, list) else [given]
        known = [_POOLINGS.get(str(mode)) for mode in modes]
    else:
        known = [name for key, name in _OLD_POOLINGS.items() if fields.flag(key, False)]
        modes = known
    if len(known) != 1 or known[0] is None:
        raise UnsupportedModel(
            f"{fields.where}: pooling by {', '.join(map(str, modes)) or 'nothing'}; expected one "
            f"of {', '.join(_POOLINGS)}"
        )
    outside = not fields.flag("include_prompt", True)
    if outside and any(prompts.values()) and known[0] not in ("cls", "last"):
        raise UnsupportedModel(f"{fields.where}: include_prompt false is not supported")
    return known[0]


def _dense(fields: Fields, tensors: Tensors, heads: list[SourceTensor]) -> dict[str, Any]:
    name = str(fields.raw.get("activation_function", "Tanh"))
    activation = _ACTIVATIONS.get(name.rpartition(".")[2])
    if activation is None:
        raise UnsupportedModel(
            f"{fields.where}: activation_function {short(name)} is not one of "
            f"{', '.join(_ACTIVATIONS)}"
        )
    layer = _layer("linear", activation, tensors, heads)
    want = tuple(fields.integer(key, 1, 1 << 17) for key in ("out_features", "in_features"))
    weight = next(head for head in heads if head.name == layer["weight"])
    if weight.shape != want:
        raise fields.error("out_features, in_features", f"{list(weight.shape)}", list(want))
    return layer


def _layer(
    name: str, activation: str, tensors: Tensors, heads: list[SourceTensor]
) -> dict[str, Any]:
    """A dense layer, whose tensors are moved from `tensors` to `heads`."""
    number = len({head.name.split(".")[1] for head in heads})
    layer: dict[str, Any] = {"activation": activation}
    for part in ("weight", "bias"):
        layer[part] = _moved(f"{name}.{part}", f"dense.{number}.{part}", tensors, heads)
    if layer["weight"] is None:
        raise ModelFormatError(f"tensor {name}.weight is missing")
    return layer


def _moved(old: str, new: str, tensors: Tensors, heads: list[SourceTensor]) -> str | None:
    tensor = tensors.pop(old, None)
    if tensor is None:
        return None
    heads.append(replace(tensor, name=new))
    return new


def _prompts(fields: Fields) -> dict[str, str]:
    prompts = fields.raw.get("prompts") or {}
    if not isinstance(prompts, Mapping) or not all(
        isinstance(text, str) for pair in prompts.items() for text in pair
    ):
        raise fields.error("prompts", "texts by name", prompts)
    return dict(prompts)


def _fields(folder: Path) -> Fields:
    return _object(folder / "config.json")


def _object(path: Path) -> Fields:
    return Fields(find_json(path) or {}, str(path))
