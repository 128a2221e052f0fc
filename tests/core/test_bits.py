import numpy as np
import pytest

from isthmus.core.bits import Bits
from isthmus.core.scan import unit

G = np.random.default_rng(0)


@pytest.fixture
def rows():
    return unit(G.normal(size=(500, 16)))


def test_few_bits_differ_where_the_angle_is_small(rows):
    bits = Bits.fit(rows)
    other = unit(rows + 0.05 * G.normal(size=rows.shape))
    differing = np.unpackbits(bits.of(rows) ^ bits.of(other), axis=1).mean(1)
    # on average the angle ÷ π, about the middle
    a, b = rows - bits.middle, other - bits.middle
    angle = np.arccos(np.einsum("nd,nd->n", a, b) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1))
    assert differing.mean() == pytest.approx((angle / np.pi).mean(), rel=0.1)


@pytest.mark.parametrize("width", [3, 64, 100, 130])
def test_there_are_whole_words_of_them(width):
    bits = Bits.fit(G.normal(size=(10, width)).astype(np.float32))
    assert bits.of(np.zeros((2, width), np.float32)).shape[1] % 8 == 0
    assert bits.planes.shape[1] >= max(128, width)


def test_without_faiss_the_same_rows_are_found(rows, monkeypatch):
    bits = Bits.fit(rows)
    bits.bits = bits.of(rows)
    queries = unit(G.normal(size=(10, 16)))

    def apart(places):
        bytes_ = bits.of(queries)[:, None] ^ bits.bits[places]
        return np.sort(np.unpackbits(bytes_, axis=2).sum(2), axis=1)

    with_faiss = apart(bits.nearest(queries, 20))
    monkeypatch.setattr("isthmus.core.bits._faiss", lambda: None)
    assert np.array_equal(with_faiss, apart(bits.nearest(queries, 20)))
