"""The named compositions, a line each. What a recipe leaves open, the rows decide.

>>> compose("beta", suited={"encoder": "mlp", "decoder": "mlp"}).objective
Part(kind='elbo', options={'beta': 4.0})
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from isthmus.errors import SpecError, unknown
from isthmus.spec import SINGLE, Part, Spec


@dataclass(frozen=True)
class Recipe:
    """What a variant is for, and the parts that make it."""

    about: str
    parts: Mapping[str, Any] = field(default_factory=dict)


_VAE = {"bottleneck": "gaussian", "objective": "elbo", "prior": "standard_normal"}

RECIPES: dict[str, Recipe] = {
    "plain": Recipe("a narrow code is the only constraint: the default, starts at PCA and departs where it pays"),
    "linear": Recipe("no hidden layers: with squared error exactly PCA", {"encoder": "linear", "decoder": "linear"}),
    "denoising": Recipe("repairs rows with added noise: codes that ignore it", {"corruption": "gaussian"}),
    "masking": Recipe("fills in hidden entries: codes that know how columns depend", {"corruption": "masking"}),
    "convolutional": Recipe("convolutions for images of any size", {"encoder": "conv", "decoder": "conv"}),
    "variational": Recipe("a noisy code with a price in nats: a density model that can be sampled", _VAE),
    "beta": Recipe("variational with a dearer code, β = 4: fewer, more separate factors",
                   {**_VAE, "objective": {"kind": "elbo", "beta": 4.0}}),
    "iwae": Recipe("variational with a tighter bound from several codes per row", {**_VAE, "objective": "iwae"}),
    "wasserstein": Recipe("codes that fill N(0, I) by a kernel distance, without a critic",
                          {"penalties": ["mmd"], "prior": "standard_normal"}),
    "regularized": Recipe("codes near the origin and a smooth decoder; a mixture fitted afterwards samples them",
                          {"penalties": ["l2", "decoder_gradient"], "prior": "mixture"}),
    "contractive": Recipe("codes that do not move when the row moves a little", {"penalties": ["contractive"]}),
    "salt_and_pepper": Recipe("repairs rows in which entries went to the lowest or highest value",
                              {"corruption": "salt_and_pepper"}),
    "swap": Recipe("repairs cells taken from other rows: the noise for tables", {"corruption": "swap"}),
    "fsq": Recipe("every number of the code takes one of eight values", {"bottleneck": "fsq"}),
    "adversarial": Recipe("a critic makes the codes look like draws of N(0, I)",
                          {"critic": "code", "prior": "standard_normal"}),
    "vaegan": Recipe("variational with a critic that says what is alike and what looks made: sharper samples",
                     {**_VAE, "objective": {"kind": "elbo", "reconstruction": 0.0}, "critic": "data"}),
    "factor": Recipe("variational with a critic that keeps the numbers of a code independent of each other",
                     {**_VAE, "critic": "factor"}),
}  # fmt: skip

#: Bodies that can carry a linear path beside the deep one.
_WITH_LINEAR_PATH = ("conv", "mlp")


def compose(
    recipe: str = "plain",
    *,
    suited: Mapping[str, Any] | None = None,
    said: Mapping[str, Any] | None = None,
    latent_dim: int | str = "auto",
    warm_start: str | None = "pca",
) -> Spec:
    """The spec of a recipe: what a person ``said`` goes before the recipe, and that before what is ``suited``.

    A part may be a name, ``{"kind": ..., option: value}``, or options alone, which are laid over the
    part that would have been chosen.
    """
    if recipe not in RECIPES:
        raise unknown("recipe", recipe, RECIPES)
    if warm_start not in ("pca", None):
        raise SpecError(f"warm_start is 'pca' or None, got {warm_start!r}.")
    chosen: dict[str, Any] = {"prior": Part("gaussian")}
    for layer in (suited or {}, RECIPES[recipe].parts, said or {}):
        for place, part in layer.items():
            if part is not None:
                chosen[place] = _laid_over(place, chosen.get(place), part)
    if warm_start == "pca":
        for place in ("encoder", "decoder"):
            part = chosen.get(place)
            if part is not None and part.kind in _WITH_LINEAR_PATH:
                chosen[place] = Part(part.kind, {"linear_path": True, **part.options})
    return Spec(**chosen, latent_dim=latent_dim, warm_start=warm_start)


def _laid_over(place: str, below: Any, said: Any) -> Any:
    if place == "penalties":
        if isinstance(said, str | Mapping | Part):
            said = [said]
        return tuple(Part.of(part) for part in said)
    if place not in (*SINGLE, "critic"):
        raise unknown("part of a model", place, (*SINGLE, "penalties", "critic"))
    if isinstance(said, Mapping) and "kind" not in said and isinstance(below, Part):
        return below.updated(**said)
    part = Part.of(said)
    # the same kind again keeps what the rows need it to have (the levels of columns, say)
    return below.updated(**part.options) if isinstance(below, Part) and below.kind == part.kind else part
