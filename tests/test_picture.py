"""Pictures are sound SVG, whatever people call their columns."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from isthmus.errors import FileError
from isthmus.picture import Picture, bars, histogram, image_grid, line_chart, scatter, tidy

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "]]></style><script>",
    "a\x00b\x1bc\ud800",
    "&amp; ' \"",
    "",
    "名前 🜁",
    "x" * 5000,
]


def drawings(name: str) -> list[Picture]:
    rng = np.random.default_rng(0)
    values = rng.gamma(2.0, size=50)
    image = rng.random((6, 8))
    return [
        line_chart({name: (range(50), values)}, x_label=name, y_label=name, marks={name + "!": 1.0}),
        histogram({name: values, "b": values + 1}, threshold=3, threshold_label=name, x_label=name),
        scatter(rng.normal(size=(50, 2)), color=values, color_labels=(name, name), labels={3: name}, x_label=name),
        bars([name, "b"], [0.5, -0.2], marks=[0.4, np.nan], value_label=name, mark_label=name, percent=True),
        image_grid([[image, image], [image, image]], [name, "b"], tops=[name, "b"]),
    ]


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_name_stays_text(name):
    for picture in drawings(name):
        root = ET.fromstring(picture.svg)  # sound XML
        tags = {element.tag.rpartition("}")[2] for element in root.iter()}
        assert tags <= {"svg", "style", "text", "title", "line", "path", "rect", "circle", "image"}
        for element in root.iter():
            assert not any(attribute.startswith("on") for attribute in element.attrib)
            assert element.get("href", "data:image/png").startswith("data:image/png")


@pytest.mark.parametrize(
    "values",
    [[], [np.nan, np.inf], [1.0], [2.0] * 9, [-3e300, 3e300], [0.0, 1e-300], [-5.0, 1e9], [None, 1.0, 2.0]],
    ids=str,
)
def test_any_numbers_can_be_drawn(values):
    known = [np.nan if v is None else v for v in values]
    pictures = [
        line_chart({"a": (range(len(values)), values)}, marks={"b": np.nan}),
        histogram({"a": values}, threshold=np.inf),
        histogram({"a": values, "b": [0.0, 1.0]}, threshold=0.5),
        scatter(np.column_stack([known, known]), color=known),
        bars([str(i) for i in range(len(values))], known),
    ]
    for picture in pictures:
        assert "nan" not in picture.svg
        assert "inf" not in picture.svg
        ET.fromstring(picture.svg)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 1), np.uint8),
        np.zeros((4, 4, 3), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.full((4, 4), 65535, np.uint16),
        np.full((4, 4), np.nan),
        np.ones((4, 4), bool),
    ],
    ids=lambda image: f"{image.dtype}{image.shape}",
)
def test_every_kind_of_image_goes_into_the_page(image):
    assert "data:image/png;base64," in image_grid([[image]]).svg


def test_the_far_tail_of_a_histogram_is_gathered_at_its_end():
    rng = np.random.default_rng(0)
    values = np.append(rng.normal(size=1000), 1e6)
    assert "and beyond" in histogram(values).svg
    assert "and beyond" not in histogram(rng.uniform(size=1000)).svg


def test_save_chooses_by_the_ending(tmp_path):
    picture = histogram([1.0, 2.0])
    assert picture.save(tmp_path / "a.svg").read_text() == picture.svg == picture._repr_svg_()
    assert picture.save(tmp_path / "a.html").read_text().startswith("<!doctype html>")
    with pytest.raises(FileError, match=r"as \.svg or \.html"):
        picture.save(tmp_path / "a.png")


def test_numbers_for_people():
    assert [tidy(v) for v in (-0.0, 999.0, 12300.0, -2e6)] == ["0", "999", "12.3k", "−2M"]
