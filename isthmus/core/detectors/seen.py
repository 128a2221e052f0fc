"""What detectors look at: rows as networks see them, flat, and what of a finding belongs to which entry of a row."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from isthmus.core.parts import size

if TYPE_CHECKING:
    from isthmus.core.autoencoder import Net


def flat(net: Net, x: Tensor, observed: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Features (B, F), 0 where nothing was observed, and where something was; None where that is everywhere."""
    features = net.likelihood.represent(x, observed).flatten(1)
    if observed is None:
        return features, None
    there = net.likelihood.reach(observed).flatten(1)
    return features * there, there


def numbers(net: Net) -> Tensor:
    """Whether a feature is a number (F,), and not one level of several."""
    if net.likelihood.features_shape == net.shape:
        return torch.ones(size(net.shape), dtype=torch.bool)
    owned = _owned(net)
    return (owned & (owned.sum(1, keepdim=True) == 1)).any(0)


def by_entry(net: Net, features: Tensor) -> Tensor:
    """What features bring (B, F) as what entries of x bring (B, *shape): the levels of a category belong together."""
    if net.likelihood.features_shape != net.shape:
        features = features @ _owned(net).to(features).T
    return features.reshape(-1, *net.shape)


def as_rows(net: Net, features: Tensor) -> Tensor:
    """Mean features (B, F) as x (B, *shape): of levels the likeliest."""
    if net.likelihood.features_shape == net.shape:
        return features.reshape(-1, *net.shape)
    owned = _owned(net)
    columns = [features[:, own].argmax(1).to(features) if own.sum() > 1 else features[:, own][:, 0] for own in owned]
    return torch.stack(columns, 1)


def _owned(net: Net) -> Tensor:
    """(entries of x, F): which features stand for an entry."""
    n = size(net.shape)
    each = torch.eye(n, dtype=torch.bool).reshape(n, *net.shape)
    return net.likelihood.reach(each.to(next(net.parameters()).device)).flatten(1)
