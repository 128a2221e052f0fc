"""The menus of bodies."""

from isthmus.core.networks.atlas import Atlas
from isthmus.core.networks.bag import Bag
from isthmus.core.networks.conv import ConvDecoder, ConvEncoder
from isthmus.core.networks.dense import MLP, Linear
from isthmus.core.networks.dictionary import Dictionary
from isthmus.core.networks.fourier import Fourier
from isthmus.core.networks.recurrent import RecurrentDecoder, RecurrentEncoder
from isthmus.core.networks.temporal import TemporalDecoder, TemporalEncoder
from isthmus.core.networks.transform import TransformDecoder, TransformEncoder
from isthmus.core.networks.transformer import TransformerDecoder, TransformerEncoder
from isthmus.core.networks.unet import UDecoder, UEncoder
from isthmus.core.parts import Body

ENCODERS: dict[str, type[Body]] = {
    "atlas": Atlas,
    "bag": Bag,
    "conv": ConvEncoder,
    "linear": Linear,
    "mlp": MLP,
    "recurrent": RecurrentEncoder,
    "temporal": TemporalEncoder,
    "transform": TransformEncoder,
    "transformer": TransformerEncoder,
    "unet": UEncoder,
}
DECODERS: dict[str, type[Body]] = {
    "conv": ConvDecoder,
    "dictionary": Dictionary,
    "fourier": Fourier,
    "linear": Linear,
    "mlp": MLP,
    "recurrent": RecurrentDecoder,
    "temporal": TemporalDecoder,
    "transform": TransformDecoder,
    "transformer": TransformerDecoder,
    "unet": UDecoder,
}
