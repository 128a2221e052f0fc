"""A network and its detector at use: batches of tensors in, what is found about each row out."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import replace

import torch
from torch import Tensor

from isthmus import devices
from isthmus.core.autoencoder import Net
from isthmus.core.parts import Detector, Surprise
from isthmus.core.pca import PCA
from isthmus.data.batches import in_order
from isthmus.data.targets import wanted_of
from isthmus.errors import DataError
from isthmus.training.loop import chunk_rows


class Scorer:
    """What a model says of rows that are tensors already.

    Args:
        sparse: rows are mostly zeros, of which nothing is told one by one.
    """

    def __init__(self, net: Net, detector: Detector, *, sparse: bool = False):
        self.net, self.sparse = net.eval(), sparse
        self.detector = detector.eval()

    @property
    def device(self) -> torch.device:
        return next(self.net.parameters()).device

    @property
    def chunk(self) -> int:
        """Rows that are looked at together."""
        return chunk_rows(self.net)

    @property
    def stretch(self) -> int:
        """Rows that are read together: what is found does not depend on cuts at its multiples, to the last bit."""
        return 8 * self.chunk

    def threads(self) -> AbstractContextManager[None]:
        """As many as the work of a chunk can feed."""
        numbers = [*self.net.parameters(), *self.detector.state_dict().values()]
        return devices.threads_for(self.chunk * sum(t.numel() for t in numbers), self.device)

    def mean(self, b: Mapping[str, Tensor]) -> Tensor:
        """What comes back (B, *shape)."""
        return self.net.decode(self.net.encode(b["x"], b.get("observed")), b.get("condition")).mean

    def means(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """What comes back for rows, all of it in the place that it keeps: pieces that stay, between activations that
        go, would keep the place of these taken.
        """
        whole, at = torch.zeros(0), 0
        for b in in_order(tensors, self.chunk):
            found = self.mean(b)
            if not at:
                whole = found.new_empty(len(tensors["x"]), *found.shape[1:])
            whole[at : at + len(found)] = found
            at += len(found)
        return whole

    def surprise(self, b: Mapping[str, Tensor], explain: bool = True) -> Surprise:
        """What the detector says of each row, and with ``explain`` where that comes from."""
        found = self.detector(self.net, b["x"], b.get("observed"), b.get("condition"), explain=explain)
        if not self.sparse:
            return found
        # of sparse rows what is there is told, and all zeros together: else every row had as many reasons as columns
        told = found.entries * (b["x"] != 0)
        return replace(found, entries=told, rest=found.rest + (found.entries - told).flatten(1).sum(1))

    def nats(self, b: Mapping[str, Tensor]) -> Tensor:
        """−log p(x | z) and what the code costs, float64 (B,)."""
        trace = self.net.trace(**b)
        nats = -trace.p.log_probs(trace.x, trace.observed).flatten(1).sum(1, dtype=torch.float64)
        return nats + self.net.code_nats(trace.code)

    def paid(self, b: Mapping[str, Tensor]) -> Tensor:
        """What windows bring to the score, (B, channels + 1): what is missing brings as much as the rest of its
        channel, and the last is what belongs to none.
        """
        found = self.surprise(b)
        channels = found.entries.sum(2)
        if "observed" in b:
            there = b["observed"].to(channels)
            channels = (found.entries * there).sum(2) / there.mean(2).clamp(min=1e-9)
        return torch.cat([channels, found.rest[:, None]], dim=1)

    @torch.inference_mode()
    def linear_errors(self, pca: PCA | None, tensors: Mapping[str, Tensor]) -> tuple[float, float]:
        """Squared error per row of same-size PCA and of the mean row, in the network's features: against the target
        where there is one, which PCA finds by taking the row onto the plane of the targets.
        """
        if not self.net.bottleneck.narrows:
            raise DataError("A code that holds the whole row has no PCA of its size beside it.")
        if pca is None:
            raise DataError(
                "This model was fitted without PCA beside it (no held-out rows, a random start). "
                "Fit again with validation=0.1."
            )
        likelihood = self.net.likelihood
        by_pca = by_mean = count = 0.0
        for b in in_order(tensors, self.chunk):
            x = likelihood.represent(b["x"], b.get("observed")).flatten(1).cpu()
            clean = wanted_of(b)
            wanted = likelihood.represent(clean["x"], clean.get("observed")).flatten(1).cpu()
            there = None
            if "observed" in clean:
                there = likelihood.reach(clean["observed"]).flatten(1).cpu().to(x)
            by_pca += float(likelihood.error(wanted, there, pca.reconstruct(x)).sum())
            by_mean += float(likelihood.error(wanted, there, pca.mean.expand_as(wanted)).sum())
            count += len(x)
        return by_pca / count, by_mean / count
