"""The menu of bottlenecks."""

from isthmus.core.bottlenecks.fsq import FSQ
from isthmus.core.bottlenecks.gaussian import Gaussian
from isthmus.core.bottlenecks.jumprelu import JumpReLU
from isthmus.core.bottlenecks.plain import Plain
from isthmus.core.bottlenecks.sparse import ReLU, Sigmoid
from isthmus.core.bottlenecks.topk import BatchTopK, TopK
from isthmus.core.parts import Bottleneck

BOTTLENECKS: dict[str, type[Bottleneck]] = {
    "batch_topk": BatchTopK,
    "fsq": FSQ,
    "gaussian": Gaussian,
    "jumprelu": JumpReLU,
    "plain": Plain,
    "relu": ReLU,
    "sigmoid": Sigmoid,
    "topk": TopK,
}
