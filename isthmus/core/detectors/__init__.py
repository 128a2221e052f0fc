"""The menu of detectors: what says how strange a row is."""

from isthmus.core.detectors.committee import Committee
from isthmus.core.detectors.denoising import Denoising
from isthmus.core.detectors.likelihood import Likelihood
from isthmus.core.detectors.masked import Masked
from isthmus.core.detectors.neighbours import Neighbours
from isthmus.core.detectors.patches import Patches
from isthmus.core.parts import Detector

DETECTORS: dict[str, type[Detector]] = {
    "likelihood": Likelihood,
    "neighbours": Neighbours,
    "masked": Masked,
    "denoising": Denoising,
    "committee": Committee,
    "patches": Patches,
}

__all__ = ["DETECTORS", "Committee", "Denoising", "Likelihood", "Masked", "Neighbours", "Patches"]
