import torch

from isthmus.core.gaps import Gaps

G = torch.Generator().manual_seed(0)


def test_patterns_come_together_and_as_often():
    """Two cells that are missing together, in a third of the rows."""
    gone = torch.rand(3000, generator=G) < 1 / 3
    observed = torch.ones(3000, 4, dtype=torch.bool)
    observed[gone, 1:3] = False
    found = Gaps.of(observed, torch.randn(3000, 2, generator=G)).draw(torch.randn(4000, 2, generator=G), G)
    assert torch.equal(found[:, 1], found[:, 2])
    assert found[:, [0, 3]].all()
    assert abs(float((~found[:, 1]).double().mean()) - 1 / 3) < 0.03


def test_they_depend_on_the_code_where_they_did():
    z = torch.randn(3000, 2, generator=G)
    observed = torch.stack([z[:, 0] < 0.8, torch.rand(3000, generator=G) < 0.9], 1)
    new = torch.randn(4000, 2, generator=G)
    found = Gaps.of(observed, z).draw(new, G)
    assert float(new[~found[:, 0], 0].mean()) > 0.9
    assert abs(float(new[~found[:, 1], 0].mean())) < 0.25
    assert abs(float((~found[:, 0]).double().mean()) - float((z[:, 0] >= 0.8).double().mean())) < 0.03


def test_of_many_patterns_some_stand_for_all():
    observed = torch.rand(4000, 12, generator=G) < 0.7
    gaps = Gaps.of(observed, torch.randn(4000, 2, generator=G))
    assert len(gaps.patterns) <= 512
    found = gaps.draw(torch.randn(4000, 2, generator=G), G)
    assert abs(float(found.double().mean()) - 0.7) < 0.02
