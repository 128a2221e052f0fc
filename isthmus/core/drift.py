"""Has the world changed? Bets against "what comes is like what came", that a change makes rich.

.. math:: p_t \\sim U(0, 1), \\qquad V^\\epsilon_t = f_\\epsilon(p_t)\\,(V^\\epsilon_{t-1} + w_\\epsilon), \\qquad
    f_\\epsilon(p) = 1 + \\epsilon (p - \\tfrac12), \\qquad R_t = \\sum_\\epsilon V^\\epsilon_t

Every number of a row is ranked among all that came before it, the held-out rows first. While rows are of one
kind, whatever kind that is, the ranks are independent and uniform, so :math:`R_t - t` is a martingale and
:math:`P(R \\text{ reaches } c \\text{ within } n \\text{ rows}) \\le n / c`: a false remark comes once in c rows
at most, on average. A few anomalies move no population and make no remark.

References:
    Vovk, Nouretdinov, Gammerman, Testing Exchangeability On-Line, 2003.
    Vovk, Petej, Nouretdinov, Ahlberg, Carlsson, Gammerman, Retrain or Not Retrain: Conformal Test Martingales for
    Change-Point Detection, 2021, https://arxiv.org/abs/2102.10439
    Pollak, Optimal Detection of a Change in Distribution, 1985 (the Shiryaev–Roberts procedure).
"""

from __future__ import annotations

import numpy as np

#: Stakes: large ones win soon from large changes, small ones late from small ones.
_STAKES = np.array([-1.8, -1.0, -0.5, -0.25, 0.25, 0.5, 1.0, 1.8])
#: Places on which numbers are counted: fine in the middle of what is known, coarse far out. All that ever came is kept
#: so in little memory; a sample of it would err in its mean rank for ever, and a long stream would win from that.
_PLACES, _FINE = 4096, 400


class Watch:
    """Watches ``k`` numbers of every row. ``known`` are such numbers (n_j,) of rows from before, a list of k arrays.

    ``false_rate`` is how often, per usual row, a change is seen where none is.
    """

    def __init__(self, known: list[np.ndarray], *, false_rate: float = 1e-6, seed: int = 0):
        self.false_rate, self.generator = false_rate, np.random.default_rng(seed)
        self.middle = np.array([np.median(values) for values in known])
        spread = np.array([np.subtract(*np.quantile(values, (0.75, 0.25))) for values in known])
        self.unit = np.where(spread > 0, spread, 1.0)
        self.counts = np.stack(
            [np.bincount(self._place(values, j), minlength=_PLACES) for j, values in enumerate(known)]
        )
        # each number is watched for a shift (its rank) and for a change of width (how far its rank is from the middle)
        self.wealth = np.zeros((len(known), 2, len(_STAKES)))
        self.n_rows = 0

    @property
    def evidence(self) -> float:
        """R, which reaches 1 / ``false_rate`` where the world has changed."""
        return float(self.wealth.mean(axis=(1, 2)).mean()) if self.wealth.size else 0.0

    def see(self, values: np.ndarray) -> bool:
        """Take in rows (b, k) in their order; has a change shown by now? Then the watch begins anew, knowing none."""
        p = np.stack([self._ranks(j, values[:, j]) for j in range(len(self.counts))], axis=1)
        bets = np.stack([p, 2 * np.abs(p - 0.5)], axis=2)[..., None]
        factors = 1 + _STAKES * (bets - 0.5)  # (b, k, 2, stakes)
        grown = factors.cumprod(0)
        # V_t = grown_t (V_0 + Σ_{s ≤ t} w / grown_{s-1}); the mean over stakes stands for w
        before = np.concatenate([np.ones_like(grown[:1]), grown[:-1]])
        wealth = grown * (self.wealth + (1 / before).cumsum(0))
        self.wealth, self.n_rows = wealth[-1], self.n_rows + len(values)
        changed = bool((wealth.mean(axis=(1, 2, 3)) >= 1 / self.false_rate).any())
        if changed:
            self.counts[:] = 0
            self.wealth, self.n_rows = np.zeros_like(self.wealth), 0
        return changed

    def _place(self, values: np.ndarray, j: int) -> np.ndarray:
        at = _PLACES / 2 + _FINE * np.arcsinh((values - self.middle[j]) / self.unit[j])
        return np.clip(at, 0, _PLACES - 1).astype(np.int64)

    def _ranks(self, j: int, values: np.ndarray) -> np.ndarray:
        """Where each new value stands among those before it, from 0 (above all) to 1; ties are broken at random."""
        new, counts = self._place(values, j), self.counts[j]
        so_far = counts.cumsum()
        # those of this block that came before
        earlier = np.tri(len(new), k=-1, dtype=bool)
        above = so_far[-1] - so_far[new] + ((new[None, :] > new[:, None]) & earlier).sum(1)
        equal = counts[new] + ((new[None, :] == new[:, None]) & earlier).sum(1)
        np.add.at(counts, new, 1)
        total = so_far[-1] + np.arange(len(new))
        return (above + self.generator.random(len(new)) * (equal + 1)) / (total + 1)
