"""The menu of bottlenecks."""

from isthmus.core.bottlenecks.fsq import FSQ
from isthmus.core.bottlenecks.gaussian import Gaussian
from isthmus.core.bottlenecks.plain import Plain
from isthmus.core.parts import Bottleneck

BOTTLENECKS: dict[str, type[Bottleneck]] = {"fsq": FSQ, "gaussian": Gaussian, "plain": Plain}
