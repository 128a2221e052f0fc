"""The menu of priors: densities over codes. Every sampler is a prior fitted after training."""

from isthmus.core.parts import Prior
from isthmus.core.priors.conditional import Conditional
from isthmus.core.priors.flow import Flow
from isthmus.core.priors.gaussian import FullGaussian, StandardNormal
from isthmus.core.priors.laplace import Laplace
from isthmus.core.priors.mixture import Mixture
from isthmus.core.priors.two_stage import TwoStage
from isthmus.core.priors.vamp import Vamp

PRIORS: dict[str, type[Prior]] = {
    "conditional": Conditional,
    "flow": Flow,
    "gaussian": FullGaussian,
    "laplace": Laplace,
    "mixture": Mixture,
    "standard_normal": StandardNormal,
    "two_stage": TwoStage,
    "vamp": Vamp,
}
