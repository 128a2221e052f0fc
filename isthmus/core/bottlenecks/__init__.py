"""The menu of bottlenecks."""

from isthmus.core.bottlenecks.adaptive import Adaptive
from isthmus.core.bottlenecks.binary import Binary
from isthmus.core.bottlenecks.fsq import FSQ
from isthmus.core.bottlenecks.gaussian import Gaussian
from isthmus.core.bottlenecks.plain import Plain
from isthmus.core.bottlenecks.spherical import Spherical
from isthmus.core.bottlenecks.vq import VQ
from isthmus.core.parts import Bottleneck

BOTTLENECKS: dict[str, type[Bottleneck]] = {
    "adaptive": Adaptive,
    "binary": Binary,
    "fsq": FSQ,
    "gaussian": Gaussian,
    "plain": Plain,
    "spherical": Spherical,
    "vq": VQ,
}
