import torch

from isthmus.core.gaussians import Gaussians


def blobs(n=600, seed=0):
    """Three long clouds side by side: from a few rows nobody sees that they are long."""
    g = torch.Generator().manual_seed(seed)
    side = torch.randint(3, (n,), generator=g)
    x = torch.randn(n, 6, generator=g) * torch.tensor([2.0, 2.0, 1.0, 1.0, 0.5, 0.5])
    x[:, 4] += 3.0 * side
    return x, side


def seeds(side, few):
    y = torch.zeros(len(side), 3)
    y[few, side[few]] = 1
    return y


def test_rows_without_labels_tell_the_shape():
    wrong_with_all = wrong_alone = 0.0
    for seed in range(4):
        x, side = blobs(seed=seed)
        few = torch.cat([torch.nonzero(side == k)[:3, 0] for k in range(3)])
        with_all = Gaussians.fit(x, seeds(side, few)).told(x).argmax(1)
        alone = Gaussians.fit(x[few], seeds(side[few], torch.arange(9))).told(x).argmax(1)
        wrong_with_all += float((with_all != side).float().mean())
        wrong_alone += float((alone != side).float().mean())
    assert wrong_with_all < wrong_alone / 3


def test_with_every_label_it_is_linear_discriminant_analysis():
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    x, side = blobs()
    ours = Gaussians.fit(x, seeds(side, torch.arange(600))).told(x).argmax(1)
    theirs = LinearDiscriminantAnalysis().fit(x.numpy(), side.numpy()).predict(x.numpy())
    assert (ours.numpy() == theirs).mean() > 0.98


def test_a_class_without_a_label_does_not_break_it():
    x, side = blobs()
    few = torch.nonzero(side < 2)[:6, 0]
    told = Gaussians.fit(x, seeds(side, few)).told(x)
    assert told.isfinite().all()
    assert Gaussians.fit(torch.zeros(4, 2), torch.eye(4, 3)).told(torch.zeros(4, 2)).isfinite().all()
