"""The menu of bottlenecks."""

from isthmus.core.bottlenecks.adaptive import Adaptive
from isthmus.core.bottlenecks.binary import Binary
from isthmus.core.bottlenecks.fsq import FSQ
from isthmus.core.bottlenecks.gaussian import Gaussian
from isthmus.core.bottlenecks.hyperprior import Hyperprior
from isthmus.core.bottlenecks.jumprelu import JumpReLU
from isthmus.core.bottlenecks.open import Open
from isthmus.core.bottlenecks.plain import Plain
from isthmus.core.bottlenecks.sparse import ReLU, Sigmoid
from isthmus.core.bottlenecks.spherical import Spherical
from isthmus.core.bottlenecks.topk import BatchTopK, TopK
from isthmus.core.bottlenecks.vq import VQ
from isthmus.core.parts import Bottleneck

BOTTLENECKS: dict[str, type[Bottleneck]] = {
    "adaptive": Adaptive,
    "batch_topk": BatchTopK,
    "binary": Binary,
    "fsq": FSQ,
    "gaussian": Gaussian,
    "hyperprior": Hyperprior,
    "jumprelu": JumpReLU,
    "open": Open,
    "plain": Plain,
    "relu": ReLU,
    "sigmoid": Sigmoid,
    "spherical": Spherical,
    "topk": TopK,
    "vq": VQ,
}
