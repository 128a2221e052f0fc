"""The menu of priors: densities over codes. Every sampler is a prior fitted after training."""

from isthmus.core.parts import Prior
from isthmus.core.priors.gaussian import FullGaussian, StandardNormal
from isthmus.core.priors.laplace import Laplace
from isthmus.core.priors.mixture import Mixture

PRIORS: dict[str, type[Prior]] = {
    "gaussian": FullGaussian,
    "laplace": Laplace,
    "mixture": Mixture,
    "standard_normal": StandardNormal,
}
