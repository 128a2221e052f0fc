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
    #: Parts that take the place of these where the rows are of such a kind.
    by_kind: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    #: The modality that it is for; None where the rows decide.
    modality: str | None = None


# no linear path: it would meet four times as much at use as in training, where most is hidden
_SEES_PATCHES = {"kind": "transformer", "linear_path": False}
# no linear path: it would flatten the feature map, of which every position is to be a symbol
_MAPS = {"kind": "conv", "linear_path": False}
_VAE = {"bottleneck": "gaussian", "objective": "elbo", "prior": "standard_normal"}
# where a price keeps the code sparse σ is fixed: against one that falls with the error no price holds for long,
# because more latents than a row has entries can bring back every row exactly
_SPARSE = {"encoder": "linear", "decoder": "dictionary", "prior": "laplace",
           "penalties": [{"kind": "revival", "weight": 0.25}]}  # fmt: skip

RECIPES: dict[str, Recipe] = {
    "plain": Recipe("a narrow code is the only constraint: the default, starts at PCA and departs where it pays"),
    "linear": Recipe("no hidden layers: with squared error exactly PCA", {"encoder": "linear", "decoder": "linear"}),
    "denoising": Recipe("repairs rows with added noise: codes that ignore it", {"corruption": "gaussian"}),
    "masking": Recipe("fills in hidden entries: codes that know how columns depend", {"corruption": "masking"}),
    "convolutional": Recipe("convolutions for images of any size", {"encoder": "conv", "decoder": "conv"}),
    "variational": Recipe("a noisy code with a price in nats: a density model that can be sampled", _VAE),
    "beta": Recipe("variational with a dearer code, β = 4: fewer, more separate factors",
                   {**_VAE, "objective": {"kind": "elbo", "beta": 4.0}}),
    "conditional": Recipe("variational, with a label or column that steers decoder and prior: say condition=…",
                          {**_VAE, "prior": "conditional"}),
    "iwae": Recipe("variational with a tighter bound from several codes per row", {**_VAE, "objective": "iwae"}),
    "vamp": Recipe("variational with a prior that is learned along: the encoder's answers to rows it makes up",
                   {**_VAE, "prior": "vamp"}),
    "wasserstein": Recipe("codes that fill N(0, I) by a kernel distance, without a critic",
                          {"penalties": ["mmd"], "prior": "standard_normal"}),
    "regularized": Recipe("codes near the origin and a smooth decoder; a mixture fitted afterwards samples them",
                          {"penalties": ["l2", "decoder_gradient"], "prior": "mixture"}),
    "contractive": Recipe("codes that do not move when the row moves a little", {"penalties": ["contractive"]}),
    "salt_and_pepper": Recipe("repairs rows in which entries went to the lowest or highest value",
                              {"corruption": "salt_and_pepper"}),
    "swap": Recipe("repairs cells taken from other rows: the noise for tables", {"corruption": "swap"}),
    "fsq": Recipe("every number of the code takes one of eight values", {"bottleneck": "fsq"}),
    "masked": Recipe("asked for nothing but what was hidden: patches of images, spans of series, cells of tables",
                     {"corruption": "masking", "objective": "masked"},
                     by_kind={"image": {"corruption": "patches", "encoder": _SEES_PATCHES, "decoder": _SEES_PATCHES},
                              "series": {"corruption": "spans"}}),
    "transformer": Recipe("attention between patches of images, steps of series or columns of tables",
                          {"encoder": "transformer", "decoder": "transformer"}),
    "recurrent": Recipe("an LSTM or GRU reads series step by step and writes them back; their lengths may differ",
                        {"encoder": "recurrent", "decoder": "recurrent"}, modality="series"),
    "temporal": Recipe("dilated convolutions over the whole of a series",
                       {"encoder": "temporal", "decoder": "temporal"}, modality="series"),
    "vq": Recipe("codes made of symbols, each one of 512 learned codewords",
                 {"bottleneck": "vq"}, by_kind={"image": {"encoder": _MAPS, "decoder": _MAPS}}),
    "binary": Recipe("a code of bits, each of which has to be worth its price",
                     {"bottleneck": "binary", "objective": "elbo"}),
    "spherical": Recipe("codes on a sphere: only directions count, as in search by cosine",
                        {"bottleneck": "spherical"}),
    "adaptive": Recipe("finds its own code size: as many numbers as the surface of the rows has dimensions",
                       {**_VAE, "bottleneck": "adaptive", "penalties": ["active_codes"]}),
    "adversarial": Recipe("a critic makes the codes look like draws of N(0, I)",
                          {"critic": "code", "prior": "standard_normal"}),
    "sparse": Recipe("a dictionary of which every row uses little: an L1 price on the code",
                     {**_SPARSE, "bottleneck": "relu", "penalties": ["l1"], "likelihood": {"sigma": 0.3}}),
    "topk": Recipe("a dictionary of which every row uses the k strongest features",
                   {**_SPARSE, "bottleneck": "topk"}),
    "batch_topk": Recipe("a dictionary of which rows use k features on average, hard ones more",
                         {**_SPARSE, "bottleneck": "batch_topk"}),
    "jumprelu": Recipe("a dictionary in which every feature learns the threshold from which on it counts",
                       {**_SPARSE, "bottleneck": "jumprelu", "objective": {"kind": "elbo", "beta": 1.0},
                        "likelihood": {"sigma": 0.3}}),
    "residual": Recipe("pictures of any size: a U of convolutions finds the noise and takes it off",
                       {"encoder": "unet", "bottleneck": "open", "decoder": "unet", "prior": "standard_normal",
                        "corruption": "white"}, modality="pixels"),
    "codec": Recipe("pictures of any size in few bytes: a learned transform whose steps cost what a hyperprior says",
                    {"encoder": "transform", "bottleneck": "hyperprior", "decoder": "transform",
                     "objective": "elbo", "prior": "standard_normal"},
                    {"pixels": {"likelihood": "graded"}}, modality="pixels"),
    "lsa": Recipe("text: latent semantic analysis as it is, for documents that say the same in nearly the same words",
                  {"encoder": {"kind": "bag", "widths": [], "frozen": True}}, modality="text"),
    "map": Recipe("a map to look at: two or three numbers that put alike rows near each other, and a way back",
                  {"encoder": "atlas", "bottleneck": "plain", "decoder": "fourier", "corruption": "identity",
                   "detector": "likelihood", "prior": "mixture"}),
    "vaegan": Recipe("variational with a critic that sees what looks made: sharper reconstructions and samples",
                     {**_VAE, "critic": "data"}, by_kind={"image": {"encoder": _MAPS, "decoder": _MAPS}}),
    "factor": Recipe("variational with a critic that keeps the numbers of a code independent of each other",
                     {**_VAE, "critic": "factor"}),
}  # fmt: skip

#: Bodies that can carry a linear path beside the deep one.
_WITH_LINEAR_PATH = ("bag", "conv", "mlp", "recurrent", "temporal", "transformer")


def modality_of(recipe: str) -> str | None:
    """What rows a recipe takes its rows for; None where it leaves that to them.

    >>> modality_of("recurrent"), modality_of("plain")
    ('series', None)
    """
    if recipe not in RECIPES:
        raise unknown("recipe", recipe, RECIPES)
    return RECIPES[recipe].modality


def compose(
    recipe: str = "plain",
    *,
    kind: str | None = None,
    suited: Mapping[str, Any] | None = None,
    said: Mapping[str, Any] | None = None,
    latent_dim: int | str = "auto",
    warm_start: str | None = "pca",
) -> Spec:
    """The spec of a recipe: what a person ``said`` goes before the recipe, and that before what is ``suited``.

    ``kind`` is that of the rows, for which a recipe may have parts of its own.

    A part may be a name, ``{"kind": ..., option: value}``, or options alone, which are laid over the
    part that would have been chosen.
    """
    if recipe not in RECIPES:
        raise unknown("recipe", recipe, RECIPES)
    if warm_start not in ("pca", None):
        raise SpecError(f"warm_start is 'pca' or None, got {warm_start!r}.")
    chosen: dict[str, Any] = {"prior": Part("gaussian")}
    for layer in (suited or {}, RECIPES[recipe].parts, RECIPES[recipe].by_kind.get(kind or "", {}), said or {}):
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
