"""What new rows are drawn with, beside the network: a density of codes, margins, gaps, and what must not come again.

.. math:: z \\sim \\hat p(z), \\quad x \\sim p(x \\mid z), \\quad x_j \\leftarrow F_j^{-1}(G_j(x_j)), \\quad
    \\text{which cells are missing} \\sim P(\\cdot \\mid z)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from isthmus.core.autoencoder import Net
from isthmus.core.gaps import Gaps
from isthmus.core.likelihoods import Columns, Mixed
from isthmus.core.margins import Margins
from isthmus.core.parts import Part, Prior, make, size
from isthmus.core.pca import linear_effect
from isthmus.core.posterior import Posterior
from isthmus.core.priors import PRIORS
from isthmus.core.priors.choice import TRIED, WIDEST, choose_prior
from isthmus.core.two_sample import told_apart
from isthmus.data.batches import in_order
from isthmus.data.seen import MOST, Seen
from isthmus.data.sparse import joined
from isthmus.errors import DataError
from isthmus.modalities.base import Modality
from isthmus.modalities.table import Table
from isthmus.training.loop import chunk_rows

if TYPE_CHECKING:
    import pyarrow as pa

#: Rows that are drawn to see what margins the network gives by itself.
_DRAWN = 4096
#: Fewer codes than this say nothing of a density, and more than so many need not be looked at.
_LEAST, _MOST = 50, 10_000
#: How often rows are drawn again that are training rows.
_ROUNDS = 100
#: Codes on which draws are told from rows; fewer say nothing.
_LEAST_TOLD_APART, _MOST_TOLD_APART = 100, 2000


@dataclass(frozen=True)
class Sampling:
    """``prior`` is None where the network's own is the best; ``nats`` are what held-out codes have under each.

    ``effect`` (d, c) is what a condition adds to a code. ``margins``, ``gaps`` and ``seen`` are for tables alone.
    """

    part: Part
    prior: Prior | None = None
    nats: Mapping[str, float] | None = None
    accuracy: float | None = None
    effect: Tensor | None = None
    margins: Margins | None = None
    gaps: Gaps | None = None
    seen: Seen | None = None
    #: of rows like others: the training rows, which must not come again either; not in the file
    also: Seen | None = None

    @classmethod
    @torch.no_grad()
    def fit(
        cls,
        net: Net,
        modality: Modality,
        tensors: Mapping[str, Any],
        held: Mapping[str, Any] | None = None,
        *,
        codes: tuple[Tensor, Tensor] | None = None,
        others: bool = False,
        flow: bool = False,
    ) -> Sampling:
        """Learn how to draw rows like those in ``tensors``; ``held`` are rows that were held out, which judge.

        Args:
            codes: The codes of the first rows (:func:`codes_of`), where they are known.
            others: These are not the rows that the network's own prior was fitted to.
            flow: Try a flow too, which takes longest.
        """
        known = {name: t[: _MOST if codes is None else len(codes[0])] for name, t in tensors.items()}
        means, z = codes_of(net, known) if codes is None else codes
        if held is None or len(held["x"]) < _LEAST:
            learn, judge = slice(None, -max(len(z) // 5, 1)), slice(-max(len(z) // 5, 1), None)
            test, said = z[judge], {name: t[judge] for name, t in known.items()}
        else:
            learn, said = slice(None), {name: t[:_MOST_TOLD_APART] for name, t in held.items()}
            test = codes_of(net, said)[1]
        self = cls._of_codes(net, known, z, z[learn], test, said.get("condition"), others, flow)
        generator = torch.Generator(z.device).manual_seed(0)
        if len(z) >= _LEAST_TOLD_APART:
            n = min(len(z), _MOST_TOLD_APART)
            drawn = self.codes(net, n, generator, {k: t[:n] for k, t in known.items() if k == "condition"})
            self = replace(self, accuracy=told_apart(z, drawn, generator))
        return replace(self, **self._of_table(net, modality, known, means, tensors, held, generator))

    def _of_table(
        self,
        net: Net,
        modality: Modality,
        known: Mapping[str, Tensor],
        codes: Tensor,
        tensors: Mapping[str, Tensor],
        held: Mapping[str, Tensor] | None,
        generator: torch.Generator,
    ) -> dict[str, Any]:
        """What only tables have: margins, gaps and rows that must not come again."""
        if not draws_cells(modality):
            return {}
        import pyarrow as pa

        x, observed = known["x"].cpu(), known["observed"].cpu() if "observed" in known else None
        some = [tensors] if held is None else [tensors, held]
        rows = pa.concat_tables([as_rows(modality, t["x"][:MOST], _there(t, MOST)) for t in some])
        found: dict[str, Any] = {"seen": Seen.of(rows.slice(0, MOST))}
        if observed is not None:
            found["gaps"] = Gaps.of(observed, codes.cpu())
        if modality.scaled:
            at = torch.arange(_DRAWN, device=codes.device) % len(codes)
            said = {name: t[at] for name, t in known.items() if name == "condition"}
            drawn, z = (t.cpu() for t in self._drawn(net, _DRAWN, generator, said, True))
            there = None if observed is None else observed[:, modality.scaled]
            # what will be missing does not count, as it does not among real rows
            kept = found["gaps"].draw(z, _on_cpu(generator))[:, modality.scaled] if "gaps" in found else None
            real = torch.from_numpy(modality.scaling.inverse(x[:, modality.scaled].numpy()))
            found["margins"] = Margins.of(drawn[:, modality.scaled], real, there, kept)
        return found

    @classmethod
    def _of_codes(
        cls,
        net: Net,
        known: Mapping[str, Tensor],
        z: Tensor,
        learn: Tensor,
        test: Tensor,
        said: Tensor | None,
        others: bool,
        flow: bool,
    ) -> Sampling:
        own = net.spec.prior
        if others and (len(z) < _LEAST or size(z.shape[1:]) > WIDEST):
            # too few to choose by, and what the others' codes look like is no help
            prior = make(PRIORS, "prior", Part("gaussian"), tuple(z.shape[1:]), net.seen_shape).to(z.device)
            prior.fit(z)
            return cls(Part("gaussian"), prior)
        if len(z) < _LEAST or size(z.shape[1:]) > WIDEST:
            return cls(own)
        net.renew_prior(said)
        known_as = None if own.kind in TRIED else (own, net.prior.log_prob(test))
        effect = None
        if said is not None:
            effect = linear_effect(known["condition"].cpu(), z.flatten(1).cpu()).to(z)
            learn = learn - (known["condition"][: len(learn)] @ effect.T).reshape(learn.shape)
            test = test - (said @ effect.T).reshape(test.shape)
        choice = choose_prior(learn, test, known_as, seen_shape=net.seen_shape, flow=flow)
        return cls(choice.part, choice.prior, choice.nats, effect=effect if choice.prior is not None else None)

    def codes(self, net: Net, n: int, generator: torch.Generator, said: Mapping[str, Tensor]) -> Tensor:
        """``n`` new codes, under the condition that is ``said`` for each."""
        if self.prior is None:
            net.renew_prior(said.get("condition"))
            return net.bottleneck.settled(net.prior.sample(n, generator))
        z = self.prior.sample(n, generator)
        if self.effect is not None:
            z = z + (said["condition"] @ self.effect.T).reshape(z.shape)
        return net.bottleneck.settled(z)

    def _drawn(
        self,
        net: Net,
        n: int,
        generator: torch.Generator,
        said: Mapping[str, Tensor],
        noise: bool,
        nameless: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        z = self.codes(net, n, generator, said)
        return torch.cat(list(_decoded(net, {"z": z, **said}, generator, noise, nameless))), z

    @torch.no_grad()
    def draw(
        self,
        net: Net,
        modality: Modality,
        n: int,
        generator: torch.Generator,
        said: Mapping[str, Tensor],
        *,
        noise: bool | None = None,
        copies: bool = False,
    ) -> Drawn:
        """``n`` rows as they were brought, under the condition that is ``said`` for each.

        Args:
            noise: Draw every entry from the likelihood too; None does so for the cells of tables, where the likeliest
                category of every row would be no sample of the column.
            copies: Let rows through that are training rows, cell by cell.
        """
        import pyarrow as pa

        cells = draws_cells(modality)
        noise = cells if noise is None else noise

        if not cells:
            pieces = _decoded(net, {"z": self.codes(net, n, generator, said), **said}, generator, noise)
            if modality.sparse:  # never all at once
                return Drawn(joined([modality.from_tensors(piece.cpu()) for piece in pieces]))
            return Drawn(modality.from_tensors(torch.cat(list(pieces)).cpu()))

        nameless = _nameless(modality, net)

        def once(some: Mapping[str, Tensor], n: int) -> pa.Table:
            x, z = (t.cpu() for t in self._drawn(net, n, generator, some, noise, nameless))
            there = None if self.gaps is None else self.gaps.draw(z, _on_cpu(generator))
            raw = self.margins(x[:, modality.scaled]).numpy() if self.margins is not None and noise else None
            return as_rows(modality, x, there, raw)

        rows, refused = once(said, n), 0
        for _ in range(0 if copies else _ROUNDS):
            again = np.flatnonzero(self._copies(rows))
            if not len(again):
                break
            refused += len(again)
            at = torch.from_numpy(again)
            new = once({name: t[at.to(t.device)] for name, t in said.items()}, len(at))
            place = np.arange(n)
            place[again] = n + np.arange(len(again))
            rows = pa.concat_tables([rows, new]).take(place)
        if not copies and (left := int(self._copies(rows).sum())):
            raise DataError(
                f"{left:,} of {n:,} rows are training rows cell by cell, however often they are drawn again: columns "
                "of so few values allow hardly any others. Say copies=True (--copies) to have them all the same."
            )
        return Drawn(rows, refused)

    def _copies(self, rows: pa.Table) -> np.ndarray:
        """Which rows are training rows, cell by cell (n,)."""
        found = np.zeros(len(rows), bool)
        for seen in (self.seen, self.also):
            found |= False if seen is None else seen.holds(rows)
        return found

    # -- the file -------------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        return {
            "part": self.part.to_json(), "own": self.prior is None, "nats": dict(self.nats or {}),
            "accuracy": self.accuracy,
        }  # fmt: skip

    def tensors(self) -> dict[str, Tensor]:
        """What stands in the file, by name."""
        found = {} if self.prior is None else {f"prior/{n}": t for n, t in self.prior.state_dict().items()}
        if self.effect is not None:
            found["effect"] = self.effect
        for name in ("margins", "gaps"):
            if (part := getattr(self, name)) is not None:
                found |= {f"{name}/{field}": t for field, t in vars(part).items()}
        if self.seen is not None:
            found["seen"] = torch.from_numpy(self.seen.bits)
        return found

    @classmethod
    def from_json(cls, said: Mapping[str, Any], tensors: Mapping[str, Tensor], net: Net) -> Sampling:
        part, prior = Part.of(said["part"]), None
        if not said["own"]:
            sizes, found = (net.bottleneck.code_shape, net.seen_shape), _below("prior/", tensors)
            with torch.device("meta"):  # nothing is made before it is known to be as large as what the file holds
                shapes = {name: t.shape for name, t in make(PRIORS, "prior", part, *sizes).state_dict().items()}
            if shapes != {name: t.shape for name, t in found.items()}:
                raise ValueError(f"the density {part.kind!r} is not of the size that its tensors have")
            prior = make(PRIORS, "prior", part, *sizes)
            prior.load_state_dict(found)
        margins, gaps = _below("margins/", tensors), _below("gaps/", tensors)
        return cls(
            part, prior, said["nats"], said["accuracy"], tensors.get("effect"),
            Margins(**margins) if margins else None, Gaps(**gaps) if gaps else None,
            Seen(tensors["seen"].numpy()) if "seen" in tensors else None,
        )  # fmt: skip

    def to(self, device: torch.device) -> Sampling:
        """With the density where the network is; what is for cells stays where rows are made."""
        if self.prior is not None:
            self.prior.to(device)
        return replace(self, effect=None if self.effect is None else self.effect.to(device))


@dataclass(frozen=True)
class Drawn:
    """``rows`` as they were brought, and how many drafts were ``refused`` because they were training rows."""

    rows: Any
    refused: int = 0


def _nameless(modality: Modality, net: Net) -> Tensor | None:
    """Which features (d,) are levels that no cell can be written for: those never seen, and buckets of rare ones. A
    drawn one would be a missing cell where none was.
    """
    likelihood = net.likelihood
    if not isinstance(likelihood, Mixed) or not isinstance(modality, Table):
        return None
    found = torch.zeros(likelihood.features_shape, dtype=torch.bool)
    columns = {place.start: column for column, place in zip(modality.used, modality.places, strict=True)}
    for entry, where in zip(likelihood.categorical, likelihood.of_levels, strict=True):
        levels = np.arange(where.stop - where.start, dtype=float)[:, None]
        gone = torch.from_numpy(columns[entry].cells(levels).is_null().to_numpy(zero_copy_only=False).copy())
        found[where] = gone & ~gone.all()
    return found.to(next(net.parameters()).device)


def _decoded(
    net: Net,
    codes: Mapping[str, Tensor],
    generator: torch.Generator,
    noise: bool,
    nameless: Tensor | None = None,
) -> Iterator[Tensor]:
    """Rows as the network sees them, piece by piece; of ``nameless`` levels none is drawn."""
    for b in in_order(codes, chunk_rows(net)):
        p = net.decode(**b)
        if nameless is not None and isinstance(p, Columns):
            p = replace(p, params=p.params.masked_fill(nameless, -torch.inf))
        yield p.sample(generator) if noise else p.mean


def draws_cells(modality: Modality) -> bool:
    """Whether rows are made of cells, each to be drawn, and not of words or pixels."""
    return isinstance(modality, Table) and not any(column.alone for column in modality.used)


@torch.no_grad()
def codes_of(net: Net, tensors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """The codes of rows, and what a decoder was shown of them in training: of noisy codes, a draw each."""
    generator = torch.Generator(next(net.parameters()).device).manual_seed(0)
    means, draws = [], []
    for b in in_order(tensors, chunk_rows(net)):
        x, observed = b["x"], b.get("observed")
        code = net.bottleneck(net.encoded(net.features(x, observed), observed))
        means.append(code.z)
        noisy = "log_var" in code.aux
        draws.append(Posterior.of(code, "a draw").sample(generator=generator) if noisy else code.z)
    return torch.cat(means), torch.cat(draws)


def as_rows(modality: Modality, x: Tensor, there: Tensor | None, raw: np.ndarray | None = None) -> pa.Table:
    """Entries (n, d) → cells, of which those are missing that are not ``there``; ``raw`` are the numbers of columns
    that are scaled, where they are known better than float32 has them.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    assert isinstance(modality, Table)
    rows, numbers = modality.from_tensors(x.cpu()), iter([] if raw is None else raw.T)
    for column, place in zip(modality.used, modality.places, strict=True):
        cells = rows[column.name].combine_chunks()
        if column.scaled and raw is not None:
            cells = column.cells(next(numbers)[:, None])
        if there is not None:
            cells = pc.if_else(pa.array(there[:, place.start].numpy()), cells, pa.scalar(None, cells.type))
        rows = rows.set_column(rows.column_names.index(column.name), column.name, cells)
    return rows


def _there(tensors: Mapping[str, Tensor], most: int) -> Tensor | None:
    return tensors["observed"][:most].cpu() if "observed" in tensors else None


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def _on_cpu(generator: torch.Generator) -> torch.Generator:
    return generator if generator.device.type == "cpu" else torch.Generator().manual_seed(generator.initial_seed())
