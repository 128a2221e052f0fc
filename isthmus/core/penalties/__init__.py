"""The menu of penalties: nats added to the objective, each with its own weight λ."""

from isthmus.core.parts import Penalty
from isthmus.core.penalties.active import ActiveCodes
from isthmus.core.penalties.decorrelation import Decorrelation
from isthmus.core.penalties.jacobian import Contractive, DecoderGradient
from isthmus.core.penalties.mmd import MMD
from isthmus.core.penalties.norm import L2
from isthmus.core.penalties.sparsity import KL, L1, Revival
from isthmus.core.penalties.total_correlation import TotalCorrelation

PENALTIES: dict[str, type[Penalty]] = {
    "active_codes": ActiveCodes,
    "contractive": Contractive,
    "decoder_gradient": DecoderGradient,
    "decorrelation": Decorrelation,
    "kl": KL,
    "l1": L1,
    "l2": L2,
    "mmd": MMD,
    "revival": Revival,
    "total_correlation": TotalCorrelation,
}
