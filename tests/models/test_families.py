"""What the configs of single families say, and the lies and features that are refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from cactus.errors import ModelFormatError, UnsupportedModel
from cactus.models.base import Architecture, load_architecture

COMMON: dict[str, Any] = {
    "vocab_size": 320,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-6,
}


def config(model_type: str, **changes: Any) -> Any:
    return load_architecture({**COMMON, "model_type": model_type, **changes}).config


def attentions(model_type: str, **changes: Any) -> list[dict[str, Any]]:
    """The attributes of every attention of the graph that is run."""
    architecture = load_architecture({**COMMON, "model_type": model_type, **changes})
    return [node.attrs for node in architecture.build().nodes if node.op == "attention"]


def names(architecture: Architecture) -> set[str]:
    return {weight.name.removeprefix("model.layers.0.") for weight in architecture.weights}


def test_qwen2_has_biases_on_queries_keys_and_values_only() -> None:
    weights = names(load_architecture({**COMMON, "model_type": "qwen2"}))
    assert {f"self_attn.{part}_proj.bias" for part in "qkv"} < weights
    assert not weights & {"self_attn.o_proj.bias", "mlp.down_proj.bias"}


@pytest.mark.parametrize("family", ["qwen2", "qwen3"])
@pytest.mark.parametrize(
    ("changes", "windows"),
    [
        ({}, (0, 0, 0, 0)),
        # As published: a window is named, and not used.
        ({"use_sliding_window": False, "sliding_window": 100, "max_window_layers": 0}, (0,) * 4),
        ({"use_sliding_window": True}, (0, 0, 0, 0)),
        ({"use_sliding_window": True, "sliding_window": 100}, (0, 0, 0, 0)),
        (
            {"use_sliding_window": True, "sliding_window": 100, "max_window_layers": 3},
            (0, 0, 0, 100),
        ),
        (
            {
                "use_sliding_window": True,
                "sliding_window": 100,
                "layer_types": ["full_attention", "sliding_attention"] * 2,
            },
            (0, 100, 0, 100),
        ),
        ({"layer_types": ["full_attention"] * 4, "sliding_window": 100}, (0, 0, 0, 0)),
    ],
)
def test_qwen_windows(family: str, changes: dict[str, Any], windows: tuple[int, ...]) -> None:
    assert config(family, **changes).windows == windows
    assert tuple(attrs["window"] for attrs in attentions(family, **changes)) == windows


SLIDING = {"use_sliding_window": True, "sliding_window": 100, "max_window_layers": 2}


@pytest.mark.parametrize("family", ["qwen2", "qwen3"])
@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"use_sliding_window": 1}, "use_sliding_window"),
        ({**SLIDING, "sliding_window": 0}, "sliding_window"),
        ({**SLIDING, "sliding_window": "far"}, "sliding_window"),
        ({**SLIDING, "sliding_window": 1 << 40}, "sliding_window"),
        ({**SLIDING, "max_window_layers": -1}, "max_window_layers"),
        ({"layer_types": "full_attention"}, "layer_types"),
        ({"layer_types": ["full_attention"]}, "layer_types"),
        ({"layer_types": []}, "layer_types"),
        ({"layer_types": 5}, "layer_types"),
        ({"layer_types": [["full_attention"], {}, None, 3]}, "layer_types"),
        ({"layer_types": ["full_attention"] * 3 + ["chunked_attention"]}, "layer_types"),
        # Layers with a window, but use_sliding_window is false.
        ({"layer_types": ["sliding_attention"] * 4, "sliding_window": 100}, "sliding_window"),
    ],
)
def test_lying_qwen_fields_are_named(family: str, changes: dict[str, Any], field: str) -> None:
    with pytest.raises(ModelFormatError, match=rf"config\.json: {field}: want"):
        config(family, **changes)


@pytest.mark.parametrize(
    ("changes", "rotates"),
    [
        ({}, (True, True, True, False)),
        ({"no_rope_layer_interval": 2}, (True, False, True, False)),
        ({"no_rope_layers": [1, 0, 0, 1]}, (True, False, False, True)),
        # A config cut to fewer layers may keep the longer list.
        ({"no_rope_layers": [0, 1, 1, 1, 0, 0]}, (False, True, True, True)),
    ],
)
def test_smollm3_layers_without_positions(
    changes: dict[str, Any], rotates: tuple[bool, ...]
) -> None:
    assert config("smollm3", **changes).rotates == rotates
    graph = load_architecture({**COMMON, "model_type": "smollm3", **changes}).build()
    ropes = {node.name for node in graph.nodes if node.op == "rope"}
    assert ropes == {
        f"model.layers.{i}.self_attn.{part}_rope"
        for i, rotary in enumerate(rotates)
        if rotary
        for part in "qk"
    }


def test_smollm3_windows_are_of_layers_without_positions() -> None:
    changes = {"use_sliding_window": True, "sliding_window": 64}
    assert config("smollm3", **changes).windows == (0, 0, 0, 64)
    assert config("smollm3", sliding_window=64).windows == (0, 0, 0, 0)
    assert config("smollm3").tied


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"no_rope_layers": [1, 0, 1]}, "no_rope_layers"),
        ({"no_rope_layers": [1, 0, 1, 2]}, "no_rope_layers"),
        ({"no_rope_layers": [True, False, True, True]}, "no_rope_layers"),
        ({"no_rope_layers": "1011"}, "no_rope_layers"),
        ({"no_rope_layers": [[1], [0], [1], [1]]}, "no_rope_layers"),
        ({"no_rope_layer_interval": 0}, "no_rope_layer_interval"),
        ({"no_rope_layer_interval": 2.0}, "no_rope_layer_interval"),
        ({"use_sliding_window": "yes"}, "use_sliding_window"),
    ],
)
def test_lying_smollm3_fields_are_named(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(ModelFormatError, match=rf"config\.json: {field}: want"):
        config("smollm3", **changes)


def test_gemma3_as_published() -> None:
    """The keys of the 270m and 1b checkpoints, which leave some to their defaults."""
    published = {"sliding_window": 512, "rope_theta": 1e6, "rope_local_base_freq": 1e4}
    got = config("gemma3_text", num_hidden_layers=7, rope_scaling=None, **published)
    assert got.windows == (512,) * 5 + (0, 512)
    assert (got.head_dim, got.tied, got.score_scale) == (256, True, 1 / 16)
    assert got.rope.inv_freq[1] == pytest.approx(1e6 ** (-2 / 256))
    assert got.local_rope.inv_freq[1] == pytest.approx(1e4 ** (-2 / 256))
    for attrs, window in zip(
        attentions("gemma3_text", num_hidden_layers=7, **published), got.windows, strict=True
    ):
        assert (attrs["window"], attrs["scale"]) == (window, 1 / 16)


def test_gemma3_rotary_settings_by_kind_of_layer() -> None:
    old = {
        "rope_theta": 5e5,
        "rope_local_base_freq": 2e4,
        "rope_scaling": {"rope_type": "linear", "factor": 8.0},
    }
    new = {
        "full_attention": {"rope_theta": 5e5, "rope_type": "linear", "factor": 8.0},
        "sliding_attention": {"rope_theta": 2e4, "rope_type": "default"},
    }
    layers = {"layer_types": ["sliding_attention", "full_attention"] * 2, "head_dim": 32}
    first = config("gemma3_text", **layers, **old)
    assert first == config("gemma3_text", **layers, rope_parameters=new)
    assert first.windows == (4096, 0, 4096, 0)
    assert first.rope.inv_freq[0] == 1 / 8
    assert first.local_rope.inv_freq[0] == 1


def test_gemma3_norms_are_offset() -> None:
    architecture = load_architecture({**COMMON, "model_type": "gemma3_text"})
    for weight in architecture.weights:
        assert weight.offset == (1.0 if "norm" in weight.name else 0.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attn_logit_softcapping": 50.0}, "attn_logit_softcapping is set"),
        ({"final_logit_softcapping": 30.0}, "final_logit_softcapping is set"),
        ({"attention_bias": True}, "attention_bias is true"),
        ({"hidden_activation": "gelu"}, "hidden_activation 'gelu'"),
        ({"model_type": "gemma3n"}, "model_type 'gemma3n' is not supported; known: .*gemma3_text"),
    ],
)
def test_gemma3_features_that_are_not_there_are_named(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UnsupportedModel, match=message):
        config(**{"model_type": "gemma3_text", **changes})


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"sliding_window": None}, "sliding_window"),
        ({"sliding_window": -1}, "sliding_window"),
        ({"sliding_window_pattern": 0}, "sliding_window_pattern"),
        ({"query_pre_attn_scalar": 0}, "query_pre_attn_scalar"),
        ({"query_pre_attn_scalar": "256"}, "query_pre_attn_scalar"),
        ({"layer_types": ["sliding_attention"]}, "layer_types"),
        ({"rope_local_base_freq": -1}, "rope_local_base_freq"),
        ({"rope_parameters": {"rope_theta": 1e4}}, "rope_parameters"),
        ({"rope_parameters": {"full_attention": {}, "sliding_attention": 3}}, "rope_parameters"),
        ({"head_dim": 100}, "head_dim"),
    ],
)
def test_lying_gemma3_fields_are_named(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(ModelFormatError, match=rf"config\.json: {field}: want"):
        config("gemma3_text", **changes)


GRANITE = {
    "embedding_multiplier": 12.0,
    "attention_multiplier": 0.015625,
    "residual_multiplier": 0.22,
    "logits_scaling": 8.0,
}


def test_granite_factors() -> None:
    graph = load_architecture({**COMMON, "model_type": "granite", **GRANITE}).build()
    factors = [node.attrs["factor"] for node in graph.nodes if node.op == "scale"]
    assert factors == [12.0, *[0.22] * 8, 1 / 8]
    assert {attrs["scale"] for attrs in attentions("granite", **GRANITE)} == {0.015625}
    # A factor of 1 computes nothing; the scale of scores is 1, too, where nothing is said of it.
    plain = load_architecture({**COMMON, "model_type": "granite"}).build()
    assert not any(node.op == "scale" for node in plain.nodes)
    assert {attrs["scale"] for attrs in attentions("granite")} == {1.0}


@pytest.mark.parametrize("field", sorted(GRANITE))
@pytest.mark.parametrize("value", [0, -1.0, "1", True, float("nan"), [1.0]])
def test_lying_granite_factors_are_named(field: str, value: Any) -> None:
    with pytest.raises(ModelFormatError, match=rf"config\.json: {field}: want a number"):
        config("granite", **{field: value})


def longrope(**changes: Any) -> dict[str, Any]:
    """Half of each head of 16 rotates; trained with 64 positions, stretched to 512."""
    factors = {"short_factor": [1.0, 1.5, 2.0, 2.5], "long_factor": [2.0, 4.0, 8.0, 16.0]}
    return {
        "partial_rotary_factor": 0.5,
        "original_max_position_embeddings": 64,
        "rope_scaling": {"type": "longrope", **factors, **changes},
    }


def test_phi3_rotates_a_part_of_each_head() -> None:
    whole, part = config("phi3").rope, config("phi3", partial_rotary_factor=0.5).rope
    assert (len(whole.inv_freq), len(part.inv_freq)) == (8, 4)
    assert part.inv_freq[1] == pytest.approx(10_000 ** (-1 / 4))
    new = {"rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 0.5}}
    assert config("phi3", **new).rope == part


def test_phi3_longrope() -> None:
    """Its context is what the short factors were made for."""
    got, plain = config("phi3", **longrope()), config("phi3", partial_rotary_factor=0.5)
    assert (got.context_length, plain.context_length) == (64, 512)
    ratios = [a / b for a, b in zip(plain.rope.inv_freq, got.rope.inv_freq, strict=True)]
    assert ratios == pytest.approx([1.0, 1.5, 2.0, 2.5])
    # sqrt(1 + ln 8 / ln 64)
    assert got.rope.scale == pytest.approx(1.5**0.5)
    assert config("phi3", **longrope(attention_factor=1.25)).rope.scale == 1.25
    old = longrope()
    old["rope_scaling"]["type"] = "su"
    assert config("phi3", **old) == got


def test_phi3_windows_are_of_all_layers() -> None:
    assert config("phi3", sliding_window=2047).window == 2047
    assert config("phi3", sliding_window=None).window == 0


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"sliding_window": -1}, "sliding_window"),
        ({"partial_rotary_factor": 0}, "partial_rotary_factor"),
        ({"partial_rotary_factor": 1.5}, "partial_rotary_factor"),
        (longrope(short_factor=None), "rope_scaling: short_factor"),
        (longrope(short_factor=[1.0] * 8), "rope_scaling: short_factor"),
        (longrope(short_factor="1"), "rope_scaling: short_factor"),
        (longrope(short_factor=[1.0, 0.0, 1.0, 1.0]), "rope_scaling: short_factor"),
        (longrope(short_factor=[1.0, "2", 1.0, 1.0]), "rope_scaling: short_factor"),
        (longrope(attention_factor=0), "rope_scaling: attention_factor"),
        (longrope(original_max_position_embeddings=0), "rope_scaling: original_max"),
    ],
)
def test_lying_phi3_fields_are_named(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(ModelFormatError, match=rf"config\.json: {field}.*: want"):
        config("phi3", **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "type 'linear' is not supported"),
        ({"attention_bias": True}, "attention_bias is true"),
        ({"hidden_act": "gelu"}, "hidden_act 'gelu'"),
    ],
)
def test_phi3_features_that_are_not_there_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UnsupportedModel, match=message):
        config("phi3", **changes)
