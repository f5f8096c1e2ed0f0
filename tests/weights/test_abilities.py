"""What a model can do: one statement in its model file, and every refusal from that."""

from __future__ import annotations

from typing import get_args

import pytest

from cactus import Model
from cactus.errors import UnsupportedModel
from cactus.models.abilities import ABILITIES, Ability
from cactus.weights import catalog
from cactus.weights.abilities import check_ability, refusal
from cactus.weights.catalog import CATALOG

KNOWN: tuple[Ability, ...] = get_args(Ability)


@pytest.mark.parametrize("ability", KNOWN)
def test_an_ability_is_a_method_of_a_model_and_some_model_has_it(ability: Ability) -> None:
    method = {"see": "chat"}.get(ability, ability)  # which takes images, too
    assert callable(getattr(Model, method))
    assert any(ability in able for able in ABILITIES.values())


@pytest.mark.parametrize("architecture", ABILITIES)
@pytest.mark.parametrize("ability", KNOWN)
def test_a_refusal_says_what_the_model_can_do_and_which_models_can_what_it_cannot(
    architecture: str, ability: Ability
) -> None:
    if ability in ABILITIES[architecture]:
        check_ability("some", architecture, ability)
        return
    with pytest.raises(UnsupportedModel, match=rf"^some \({architecture}\) cannot ") as caught:
        check_ability("some", architecture, ability)
    text = str(caught.value)
    able, _, others = text.partition("; models that ")
    assert f"Model.{ABILITIES[architecture][0]}" in able and "; cactus list shows all" in others
    named = [entry for entry in CATALOG if entry.name in others]
    assert named and all(ability in entry.abilities for entry in named)
    assert named[0].package is not None or len(named) > 1


def test_what_no_model_can_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "CATALOG", ())
    assert str(refusal("some", "llama", "see")) == (
        "some (llama) cannot look at images: it can chat, complete text and embed text (cactus "
        "run, Model.chat or cactus_complete); no model of this version can"
    )


def test_of_an_unknown_architecture_whoever_loads_it_speaks() -> None:
    check_ability("some", "cactaceae", "chat")
    assert str(refusal("some", "cactaceae", "chat")).startswith("some (cactaceae) cannot chat; mo")


def test_every_model_of_the_catalog_that_runs_has_an_ability() -> None:
    assert all(entry.runs == bool(entry.abilities) for entry in CATALOG)
