"""Configs: every field is checked before anything is built from it, and errors name the field."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from cactus import models
from cactus.errors import ModelFormatError, UnsupportedModel
from cactus.models.base import Architecture, known_architectures, load_architecture
from tests.models.golden import FOLDER, NAMES, load

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "vocab_size": 320,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
}

LFM2: dict[str, Any] = {
    "model_type": "lfm2",
    "vocab_size": 320,
    "hidden_size": 64,
    "intermediate_size": 96,
    "block_auto_adjust_ff_dim": False,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "norm_eps": 1e-5,
    "layer_types": ["conv", "full_attention", "conv"],
}


def llama(**changes: Any) -> Architecture:
    return load_architecture({**LLAMA, **changes})


def lfm2(**changes: Any) -> Architecture:
    return load_architecture({**LFM2, **changes})


def qwen3(**changes: Any) -> Architecture:
    return load_architecture({**LLAMA, "model_type": "qwen3", **changes})


def shape(architecture: Architecture, name: str) -> tuple[int, ...]:
    return {weight.name: weight.shape for weight in architecture.weights}[name]


def test_known_architectures_are_the_files_of_the_package() -> None:
    files = {path.stem for path in Path(models.__file__).parent.glob("*.py")}
    shared = {"__init__", "abilities", "base", "encoder", "uses"}
    shared |= {"dual", "qwen_vision", "vision", "vit"}  # of models that see
    assert {name.replace("-", "_") for name in known_architectures()} == files - shared
    assert {"llama", "bert", "xlm-roberta", "whisper"} <= set(known_architectures())


def test_what_a_config_gives() -> None:
    config = llama(tie_word_embeddings=True, head_dim=32).config
    assert (config.vocab_size, config.hidden_size, config.context_length) == (320, 64, 512)
    assert (config.heads, config.kv_heads, config.head_dim, config.tied) == (4, 2, 32, True)
    assert llama(num_key_value_heads=None).config.kv_heads == 4
    assert llama().config.head_dim == 16
    assert not llama().config.tied
    assert lfm2().config.tied


@pytest.mark.fault("F10")
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("hidden_size", 0),
        ("hidden_size", -64),
        ("hidden_size", 72),
        ("hidden_size", 1 << 40),
        ("hidden_size", 64.0),
        ("hidden_size", "64"),
        ("hidden_size", True),
        ("hidden_size", None),
        ("hidden_size", [64]),
        ("vocab_size", 0),
        ("vocab_size", 1 << 31),
        ("intermediate_size", 0),
        ("intermediate_size", 100),
        ("intermediate_size", 10**12),
        ("num_hidden_layers", 0),
        ("num_hidden_layers", 10**9),
        ("num_attention_heads", 0),
        ("num_attention_heads", 12),
        ("num_attention_heads", 10**9),
        ("num_key_value_heads", 0),
        ("num_key_value_heads", 3),
        ("num_key_value_heads", 8),
        ("head_dim", 0),
        ("head_dim", 7),
        ("head_dim", 17),
        ("head_dim", 24),
        ("head_dim", 1 << 20),
        ("max_position_embeddings", 0),
        ("max_position_embeddings", 1 << 31),
        ("rms_norm_eps", 0),
        ("rms_norm_eps", -1e-5),
        ("rms_norm_eps", math.nan),
        ("rms_norm_eps", math.inf),
        ("rms_norm_eps", "small"),
        ("rms_norm_eps", 10**400),
        ("rope_theta", 0),
        ("rope_theta", math.nan),
        ("tie_word_embeddings", 1),
        ("tie_word_embeddings", "yes"),
        ("rope_parameters", 5),
        ("rope_scaling", ["linear"]),
        ("attention_bias", "no"),
        ("model_type", 5),
        ("model_type", None),
    ],
)
def test_a_lying_field_is_named(field: str, value: Any) -> None:
    with pytest.raises(ModelFormatError, match=rf"^config\.json: {field}: want .*, got "):
        llama(**{field: value})


@pytest.mark.fault("F10")
@pytest.mark.parametrize("field", sorted(set(LLAMA) - {"num_key_value_heads"}))
def test_a_missing_field_is_named(field: str) -> None:
    raw = {key: value for key, value in LLAMA.items() if key != field}
    with pytest.raises(ModelFormatError, match=rf"{field}: want .*, got 'nothing'"):
        load_architecture(raw)


def test_a_long_value_is_not_printed_whole() -> None:
    with pytest.raises(ModelFormatError) as error:
        llama(hidden_size="9" * 10_000)
    assert len(str(error.value)) < 300


@pytest.mark.fault("F10")
@pytest.mark.parametrize("raw", [[], 5, None, "llama"])
def test_a_config_that_is_no_object(raw: Any) -> None:
    with pytest.raises(ModelFormatError, match="want a JSON object"):
        load_architecture(raw)


@pytest.mark.parametrize(
    "model_type", ["gpt2", "base", "fields", "__init__", "../llama", "llama.py", "", "x" * 10_000]
)
def test_an_unknown_architecture_lists_the_known_ones(model_type: str) -> None:
    with pytest.raises(UnsupportedModel, match="known: bert, clip, gemma3, gemma3_text, ") as error:
        llama(model_type=model_type)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attention_bias": True}, "attention_bias is true, but .* bias"),
        ({"mlp_bias": True}, "mlp_bias is true, but .* bias"),
        ({"hidden_act": "gelu"}, "hidden_act 'gelu' is not supported; known: silu"),
        ({"rope_scaling": {"type": "dynamic", "factor": 4.0}}, "type 'dynamic' is not supported"),
        ({"rope_parameters": {"rope_type": "dynamic"}}, "rope_type 'dynamic'"),
        ({"rope_parameters": {"partial_rotary_factor": 0.5}}, "partial_rotary_factor"),
    ],
)
def test_features_that_are_not_there_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UnsupportedModel, match=message):
        llama(**changes)


@pytest.mark.fault("F16")
def test_nothing_in_a_config_is_imported_or_run(caplog: pytest.LogCaptureFixture) -> None:
    hostile = {
        "auto_map": {"AutoModelForCausalLM": "modeling_evil.Evil"},
        "trust_remote_code": True,
        "_attn_implementation_internal": "os.system",
        "architectures": ["EvilForCausalLM"],
        "unknown": {"deep": [1, 2, 3]},
    }
    with caplog.at_level("INFO", "cactus"):
        assert llama(**hostile).config == llama().config
    assert "auto_map is ignored" in caplog.text


def test_both_spellings_of_rotary_settings_agree() -> None:
    scaling = {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 128,
    }
    old = llama(rope_theta=5e5, rope_scaling=scaling).config.rope
    new = llama(rope_parameters={**scaling, "rope_theta": 5e5}).config.rope
    assert old == new
    assert old != llama(rope_theta=5e5).config.rope
    oldest = llama(rope_scaling={"type": "linear", "factor": 4.0}).config.rope
    plain = llama(rope_parameters={"rope_theta": 10_000.0, "rope_type": "default"}).config.rope
    assert plain == llama().config.rope
    assert [4 * f for f in oldest.inv_freq] == pytest.approx(plain.inv_freq, rel=1e-6)
    assert plain.inv_freq[:2] == (1.0, pytest.approx(10_000 ** (-1 / 8)))


@pytest.mark.fault("F10")
@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"factor": 0.5}, "factor"),
        ({"factor": None}, "factor"),
        ({"high_freq_factor": 1.0}, "high_freq_factor"),
        ({"low_freq_factor": 0}, "low_freq_factor"),
        ({"original_max_position_embeddings": 0}, "original_max_position_embeddings"),
        ({"rope_theta": -1}, "rope_theta"),
        ({"rope_type": 3}, "rope_type"),
    ],
)
def test_lying_rotary_settings_are_named(changes: dict[str, Any], field: str) -> None:
    scaling = {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 128,
        **changes,
    }
    with pytest.raises(ModelFormatError, match=rf"rope_parameters: {field}: want"):
        llama(rope_parameters=scaling)


YARN = json.loads((Path(__file__).parents[1] / "golden" / "yarn.json").read_text())


@pytest.mark.parametrize("case", YARN, ids=range(len(YARN)))
@pytest.mark.parametrize("spelling", ["rope_parameters", "rope_scaling"])
def test_yarn_is_that_of_transformers(case: dict[str, Any], spelling: str) -> None:
    settings = {"type": "yarn", **case["settings"]}
    if spelling == "rope_parameters":
        settings["rope_type"] = settings.pop("type")
    sizes = {"hidden_size": 128, "num_attention_heads": 2, "head_dim": 64}
    rope = llama(**sizes, max_position_embeddings=131072, **{spelling: settings}).config.rope
    assert rope.scale == pytest.approx(case["scale"], rel=1e-12)
    assert rope.inv_freq == pytest.approx(case["inv_freq"], rel=2e-6)  # there in f32


@pytest.mark.parametrize(
    ("settings", "length", "context"),
    [
        # A published configuration, stretched as its model card says.
        ({"factor": 4.0, "original_max_position_embeddings": 32768}, 32768, 131072),
        ({"factor": 4.0, "original_max_position_embeddings": 32768}, 40960, 131072),
        ({"factor": 4.0, "original_max_position_embeddings": 32768}, 131072, 131072),
        ({"factor": 2.0}, 1000, 2000),
        ({"original_max_position_embeddings": 1000}, 4000, 4000),
        ({"factor": 1e6, "original_max_position_embeddings": 1 << 24}, 4000, 1 << 24),
    ],
)
def test_the_context_of_yarn_is_the_stretched_one(
    settings: dict[str, Any], length: int, context: int
) -> None:
    config = llama(
        max_position_embeddings=length, rope_scaling={"rope_type": "yarn", **settings}
    ).config
    assert config.context_length == context


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"factor": 0.5}, "factor"),
        ({"factor": "4"}, "factor"),
        ({"beta_fast": -1}, "beta_fast"),
        ({"beta_slow": [1]}, "beta_slow"),
        ({"truncate": 1}, "truncate"),
        ({"attention_factor": 0}, "attention_factor"),
        ({"mscale": -1}, "mscale"),
        ({"original_max_position_embeddings": 0}, "original_max_position_embeddings"),
        ({"rope_theta": 1}, "rope_theta"),
    ],
)
def test_lying_yarn_settings_are_named(changes: dict[str, Any], field: str) -> None:
    scaling = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64} | changes
    with pytest.raises(ModelFormatError, match=rf"rope_parameters: {field}: want"):
        llama(rope_parameters=scaling)


def test_lfm2_layers_by_type_and_by_index() -> None:
    by_type = lfm2()
    del (raw := dict(LFM2))["layer_types"]
    assert load_architecture({**raw, "full_attn_idxs": [1]}).weights == by_type.weights
    all_attention = load_architecture(raw)
    assert all_attention.config.layer_types == ("full_attention",) * 3  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"layer_types": ["conv"]}, "layer_types"),
        ({"layer_types": ["conv", "mamba", "conv"]}, "layer_types"),
        ({"layer_types": "conv"}, "layer_types"),
        ({"layer_types": [1, [2], {}]}, "layer_types"),
        ({"layer_types": None, "full_attn_idxs": [3]}, "full_attn_idxs"),
        ({"layer_types": None, "full_attn_idxs": [-1]}, "full_attn_idxs"),
        ({"layer_types": None, "full_attn_idxs": 1}, "full_attn_idxs"),
        ({"layer_types": None, "full_attn_idxs": [[0]]}, "full_attn_idxs"),
        ({"conv_L_cache": 0}, "conv_L_cache"),
        ({"conv_L_cache": 1}, "conv_L_cache"),
        ({"conv_L_cache": 10**6}, "conv_L_cache"),
        ({"block_auto_adjust_ff_dim": 1}, "block_auto_adjust_ff_dim"),
        ({"block_auto_adjust_ff_dim": True, "block_multiple_of": 0}, "block_multiple_of"),
        (
            {"block_auto_adjust_ff_dim": True, "block_ffn_dim_multiplier": -1},
            "block_ffn_dim_multiplier",
        ),
        (
            {
                "block_auto_adjust_ff_dim": True,
                "block_ffn_dim_multiplier": 1e3,
                "intermediate_size": 9999,
            },
            "intermediate_size",
        ),
        ({"norm_eps": 0}, "norm_eps"),
    ],
)
def test_lying_lfm2_fields_are_named(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(ModelFormatError, match=rf"config\.json: {field}: want"):
        lfm2(**changes)


def test_lfm2_convolution_bias_is_refused() -> None:
    with pytest.raises(UnsupportedModel, match="conv_bias is true"):
        lfm2(conv_bias=True)


@pytest.mark.parametrize(
    ("changes", "size"),
    [
        # As in the released LFM2-350M and LFM2-1.2B: 6656 -> 4608 and 12288 -> 8192.
        ({"intermediate_size": 6656}, 4608),
        ({"intermediate_size": 12288}, 8192),
        ({"block_ff_dim": 12288}, 8192),
        ({"intermediate_size": 300, "block_multiple_of": 16}, 208),
        ({"intermediate_size": 300, "block_multiple_of": 16, "block_ffn_dim_multiplier": 1.5}, 304),
        ({"intermediate_size": 144, "block_ffn_dim_multiplier": None}, 96),
        ({"intermediate_size": 144, "block_auto_adjust_ff_dim": False}, 144),
    ],
)
def test_lfm2_feed_forward_sizes(changes: dict[str, Any], size: int) -> None:
    architecture = lfm2(**{"block_auto_adjust_ff_dim": True, **changes})
    assert architecture.config.intermediate_size == size
    assert shape(architecture, "model.layers.0.feed_forward.w1.weight") == (size, 64)


def test_old_lfm2_word_for_tying() -> None:
    assert not lfm2(tie_embedding=False).tied
    assert "lm_head.weight" in {weight.name for weight in lfm2(tie_embedding=False).weights}


def test_qwen3_heads_have_their_own_size() -> None:
    assert qwen3().config.head_dim == 128
    assert shape(qwen3(), "model.layers.1.self_attn.q_proj.weight") == (512, 64)
    assert shape(qwen3(head_dim=32), "model.layers.1.self_attn.k_norm.weight") == (32,)
    # A hidden size that the number of heads does not divide is no mistake here.
    assert qwen3(num_attention_heads=6).config.heads == 6
    assert qwen3(layer_types=["full_attention"] * 2, sliding_window=4096).config == qwen3().config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attention_bias": True}, "attention_bias is true"),
        ({"hidden_act": "gelu"}, "hidden_act 'gelu'"),
        ({"rope_scaling": {"rope_type": "dynamic"}}, "rope_type 'dynamic'"),
    ],
)
def test_qwen3_features_that_are_not_there_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UnsupportedModel, match=message):
        qwen3(**changes)


def shapes(name: str) -> dict[str, tuple[int, ...]]:
    return {key: value.shape for key, value in load(name).tensors.items()}


@pytest.mark.fault("F09")
def test_tensors_are_checked_by_name() -> None:
    architecture, good = load("lfm2").architecture, shapes("lfm2")
    architecture.check(good)
    conv = "model.layers.0.conv.conv.weight"
    architecture.check({**good, conv: (64, 1, 3)})
    for bad in ((64, 3, 1), (64, 4), (3, 64), (64,)):
        with pytest.raises(ModelFormatError, match=r"conv\.conv\.weight: want \[64, 3\]"):
            architecture.check({**good, conv: bad})
    missing = {key: value for key, value in good.items() if key != conv}
    with pytest.raises(ModelFormatError, match=r"conv\.conv\.weight \[64, 3\] is missing"):
        architecture.check(missing)
    with pytest.raises(ModelFormatError, match=r"q_proj\.bias belongs to no module of a lfm2"):
        architecture.check({**good, "model.layers.1.self_attn.q_proj.bias": (64,)})


def test_copies_that_old_checkpoints_carry_are_no_mistake() -> None:
    architecture, good = load("llama").architecture, shapes("llama")
    architecture.check({**good, "model.layers.0.self_attn.rotary_emb.inv_freq": (8,)})
    architecture.check({**good, "lm_head.weight": (256, 64)})
    untied = load("llama_untied")
    without = {key: v for key, v in shapes("llama_untied").items() if key != "lm_head.weight"}
    with pytest.raises(ModelFormatError, match=r"lm_head\.weight \[300, 64\] is missing"):
        untied.architecture.check(without)


def test_the_golden_configs_are_plain_json() -> None:
    for name in NAMES:
        raw = json.loads((load(name).folder / "config.json").read_text())
        assert load_architecture(raw).config == load(name).architecture.config


def seeing(name: str, **changes: Any) -> Architecture:
    """A tiny model that sees; `vision__x` changes what its tower's config says of x."""
    raw = json.loads((FOLDER / name / "config.json").read_text())
    for key, value in changes.items():
        part, _, inner = key.partition("__")
        place = raw[f"{part}_config"] if inner else raw
        place[inner or key] = value
    return load_architecture(raw)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("lfm2_vl", {"vision__num_patches": 15}, "num_patches: want a square number"),
        ("lfm2_vl", {"vision__patch_size": 0}, "patch_size: want an integer from 1"),
        ("lfm2_vl", {"vision__num_channels": 4}, "num_channels: want 3"),
        ("lfm2_vl", {"vision__num_attention_heads": 5}, "num_attention_heads: want even heads"),
        ("lfm2_vl", {"vision_config": None}, "vision_config: want an object"),
        ("lfm2_vl", {"text_config": []}, "want a JSON object"),
        ("lfm2_vl", {"image_token_id": 320}, "image_token_id: want an integer from 0 to 319"),
        ("lfm2_vl", {"vision_feature_layer": -2}, "vision_feature_layer: want -1"),
        ("lfm2_vl", {"vision__hidden_act": "relu"}, "hidden_act 'relu' is not supported"),
        ("lfm2_vl", {"projector_hidden_act": "silu"}, "projector_hidden_act 'silu'"),
        ("smolvlm", {"vision__image_size": 3}, "image_size: want an integer from 4"),
        ("smolvlm", {"scale_factor": 0}, "scale_factor: want an integer from 1"),
        ("gemma3", {"mm_tokens_per_image": 8}, "mm_tokens_per_image: want a square number"),
        ("gemma3", {"mm_tokens_per_image": 25}, "whose root divides 6 patches"),
        ("gemma3", {"mm_tokens_per_image": 289}, "mm_tokens_per_image: .* from 1 to 256"),
        ("gemma3", {"vision__model_type": "vit"}, "model_type 'vit' is not supported"),
        ("gemma3", {"image_token_index": 320}, "image_token_index: .* from 0 to 319"),
        ("qwen2_vl", {"text__rope_parameters": {"mrope_section": [1, 2]}}, "mrope_section"),
        ("qwen2_vl", {"text__rope_parameters": {"mrope_section": [1, 2, 3]}}, "make 16 pairs"),
        ("qwen2_5_vl", {"vision__window_size": 7}, "window_size: want an integer from 8"),
        ("qwen2_5_vl", {"vision__fullatt_block_indexes": [3]}, "layers from 0 to 2"),
        ("qwen2_5_vl", {"vision__fullatt_block_indexes": 1}, "layers from 0 to 2"),
        ("qwen2_5_vl", {"vision__hidden_act": "gelu"}, "hidden_act 'gelu' is not supported"),
        ("qwen3_vl", {"vision__deepstack_visual_indexes": [1, 0]}, "layers in their order"),
        ("qwen3_vl", {"vision__deepstack_visual_indexes": [0, 3]}, "layers of the tower"),
        ("qwen3_vl", {"vision__num_position_embeddings": 17}, "want a square number"),
        ("siglip2", {"vision__num_patches": 17}, "want a square number"),
        ("clip", {"projection_dim": 0}, "projection_dim: want an integer from 1"),
        ("clip", {"text__num_attention_heads": 3}, "heads of whole 16s"),
    ],
)
def test_what_a_model_that_sees_cannot_be_is_named(
    name: str, changes: dict[str, Any], message: str
) -> None:
    seeing(name)
    with pytest.raises((ModelFormatError, UnsupportedModel), match=message):
        seeing(name, **changes)


@pytest.mark.parametrize(
    "name", ["lfm2_vl", "smolvlm", "gemma3", "qwen2_vl", "qwen2_5_vl", "qwen3_vl"]
)
@pytest.mark.parametrize("said", [None, [], 7])
def test_what_the_text_of_a_model_that_sees_says_it_is_counts_for_nothing(
    name: str, said: Any
) -> None:
    raw = json.loads((FOLDER / name / "config.json").read_text())
    expected = load_architecture(raw).config
    raw["text_config"]["model_type"] = said
    assert load_architecture(raw).config == expected
    del raw["text_config"]["model_type"]
    assert load_architecture(raw).config == expected
    assert expected.model_type == name


def test_a_tower_whose_layers_all_see_the_whole_tile_wants_no_windows() -> None:
    axes = []
    for layers in ([1], [0, 1, 2]):
        graph = seeing("qwen2_5_vl", vision__fullatt_block_indexes=layers).build_tower()
        axes.append({node.attrs["within"] for node in graph.nodes if "within" in node.attrs})
    assert axes == [{None, 2}, {None}]


def test_the_first_lfm2_vl_checkpoints_used_other_words() -> None:
    old = seeing("lfm2_vl", model_type="lfm2-vl", image_token_index=9, image_token_id=None)
    config: Any = old.config
    assert (config.model_type, config.vision.image_token_id) == ("lfm2_vl", 9)


def test_what_fills_no_groups_gets_zeros() -> None:
    config: Any = seeing("lfm2_vl").config
    vision = config.vision
    assert (vision.true_head_dim, vision.head_dim) == (24, 32)
    assert (vision.true_intermediate_size, vision.intermediate_size) == (72, 96)
    assert (vision.pixels, vision.patch_width) == (48, 64)
