"""Two texts read together: what stands around them, and which token is of which."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from cactus.errors import TokenizerError
from cactus.tokenizer.pair import PairFrame

VOCABULARY = {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "x": 3, "y": 4}


def backend(pair: str | None) -> Tokenizer:
    made = Tokenizer(models.WordLevel(VOCABULARY, "[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    if pair is not None:
        made.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", pair=pair, special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
        )
    return made


@pytest.mark.parametrize(
    ("pair", "ids"),
    [
        ("[CLS] $A [SEP] $B:1 [SEP]:1", [1, 3, 4, 2, 4, 2]),
        ("[CLS] $A [SEP] [SEP] $B [SEP]", [1, 3, 4, 2, 2, 4, 2]),
        (None, [3, 4, 4]),
    ],
    ids=["bert", "roberta", "none"],
)
def test_a_pair_is_joined_as_the_tokenizers_library_joins_it(
    pair: str | None, ids: list[int]
) -> None:
    made = backend(pair)
    frame = PairFrame.of(made.encode("x", "x"))
    assert frame.join([3, 4], [4]) == ids
    expected = made.encode("x y", "y")
    assert (expected.ids, frame.size) == (ids, len(ids) - 3)
    assert frame.join([], []) == [id for id in ids if id < 3]


def test_texts_that_do_not_stay_apart_are_refused() -> None:
    mixed = SimpleNamespace(ids=[3, 3], sequence_ids=[1, 0])
    with pytest.raises(TokenizerError, match="do not stay apart"):
        PairFrame.of(mixed)
