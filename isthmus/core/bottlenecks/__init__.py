"""The menu of bottlenecks."""

from isthmus.core.bottlenecks.gaussian import Gaussian
from isthmus.core.bottlenecks.plain import Plain
from isthmus.core.parts import Bottleneck

BOTTLENECKS: dict[str, type[Bottleneck]] = {"gaussian": Gaussian, "plain": Plain}
