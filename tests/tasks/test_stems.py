import pytest

from isthmus.tasks.searching.stems import stem


@pytest.mark.parametrize(
    ("words", "root"),
    [("caresses caress", "caress"), ("connected connecting connection connections", "connect"),
     ("plastered", "plaster"), ("hopping hop hops", "hop"), ("hoping hope", "hope"), ("happy", "happi"), ("sky", "sky"),
     ("generalizations generalization", "gener"), ("controlling", "control"), ("flies", "fli"),
     ("agreed agree", "agre"), ("filing", "file"), ("rational", "ration"), ("electricity electrical", "electr"),
     ("adoption", "adopt"), ("a1b2", "a1b2"), ("naïve", "naïve")],
)  # fmt: skip
def test_endings(words, root):
    assert {stem(word) for word in words.split()} == {root}
