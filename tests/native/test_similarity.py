"""Products of stored vectors with a query: right, and the same bits however they are shared."""

from __future__ import annotations

import numpy as np
import pytest

from cactus import native
from cactus.errors import InvalidRequest, NativeError
from cactus.native.similarity import dot_f16, padded
from tests.tolerances import assert_close


def made(count: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(count)
    vectors = random.standard_normal((count, width)).astype(np.float16)
    return vectors, random.standard_normal(width).astype(np.float32)


@pytest.mark.parametrize("isa", native.available_isas())
@pytest.mark.parametrize(("count", "width"), [(1, 16), (7, 384), (2_050, 272)])
def test_every_tier_gives_the_products(isa: str, count: int, width: int) -> None:
    vectors, query = made(count, width)
    exact = vectors.astype(np.float64) @ query.astype(np.float64)
    assert_close(dot_f16(vectors, query, 1, isa), exact, "f32")


def test_a_product_has_the_same_bits_in_any_company_thread_and_vector_tier() -> None:
    vectors, query = made(3_001, 384)
    together = dot_f16(vectors, query, 1)
    alone = [dot_f16(vectors[n : n + 1], query, 1)[0] for n in range(0, 3_001, 97)]
    assert np.array_equal(together[::97], alone)
    many = np.tile(vectors, (16, 1))  # so many that a second thread pays
    for isa in native.available_isas():
        one, three = (dot_f16(many, query, threads, isa) for threads in (1, 3))
        assert np.array_equal(one, three)
        assert isa == "scalar" or np.array_equal(one, np.tile(together, 16))


def test_no_vectors_give_no_products() -> None:
    assert dot_f16(np.zeros((0, 16), np.float16), np.zeros(16, np.float32)).shape == (0,)


def test_what_cannot_be_multiplied_is_said() -> None:
    with pytest.raises(InvalidRequest, match="width is 20 and count 3, expected a multiple of 16"):
        dot_f16(np.zeros((3, 20), np.float16), np.zeros(20, np.float32))
    with pytest.raises(ValueError, match=r"shape \(16,\), expected \(32,\)"):
        dot_f16(np.zeros((3, 32), np.float16), np.zeros(16, np.float32))
    with pytest.raises(NativeError, match="mmx"):
        dot_f16(np.zeros((3, 16), np.float16), np.zeros(16, np.float32), isa="mmx")
    assert [padded(n) for n in (1, 16, 17, 384)] == [16, 16, 32, 384]
