"""The menu of critics: discriminators that train beside the autoencoder, in a parameter group of their own."""

from isthmus.core.critics.code import OnCode
from isthmus.core.critics.data import OnData
from isthmus.core.critics.factor import Factor
from isthmus.core.parts import Critic

CRITICS: dict[str, type[Critic]] = {"code": OnCode, "data": OnData, "factor": Factor}
