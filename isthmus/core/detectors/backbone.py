r"""What a network that somebody trained on other pictures sees: a residual network, read from the weights alone.

.. math:: h_{l+1} = \mathrm{relu}\bigl(h_l + \mathrm{conv}_{l}(h_l)\bigr)

The names and shapes of the weights say what the network is: torchvision's and timm's ResNet, wide ResNet and ResNeXt
name them alike. Nothing is downloaded, and nothing in the file can run code.

References:
    He, Zhang, Ren, Sun, Deep Residual Learning for Image Recognition, 2016 (the stride on the 3 × 3).
    Roth et al., Towards Total Recall in Industrial Anomaly Detection, 2022 (which layers tell of defects).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor
from torch.nn import functional as F

from isthmus.errors import FileError

#: The layers that are looked at; the last one knows what a picture shows, and no longer how it is made.
LAYERS = ("layer1", "layer2", "layer3")
#: What networks trained on ImageNet expect of each colour.
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def read(path: str | Path) -> dict[str, Tensor]:
    """The weights up to the last layer that is looked at, float32, norms folded into the convolutions.

    Raises:
        FileError: no such file, no safetensors file, or weights of another network.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not Path(path).is_file():
        raise FileError(f"There are no weights at {path}. Name a .safetensors file of a ResNet.")
    try:
        found = load_file(str(path))
    except (SafetensorError, OSError) as error:
        raise FileError(
            f"{path} is no safetensors file ({error}). A .pth file can run code when it is opened: convert it with "
            "safetensors.torch.save_file(torch.load(PATH, weights_only=True), NEW)."
        ) from error
    stem = found.get("conv1.weight")
    if stem is None or stem.ndim != 4 or stem.shape[1] not in (1, 3) or "layer3.0.conv1.weight" not in found:
        raise FileError(
            f"The weights in {path} are not those of a ResNet of torchvision or timm: these hold 'conv1.weight' and "
            f"'layer1.0.conv1.weight' to 'layer3…'; this file begins with {', '.join(map(repr, sorted(found)[:3]))}."
        )
    known: dict[str, Tensor] = {}
    for name in found:
        if not name.endswith(".weight") or found[name].ndim != 4 or not name.startswith(("conv1.", *LAYERS)):
            continue
        here = name.removesuffix(".weight")
        norm = here.replace("conv", "bn") if "conv" in here else here.removesuffix("0") + "1"
        try:
            weight, bias, mean, variance = (
                found[f"{norm}.{what}"].float() for what in ("weight", "bias", "running_mean", "running_var")
            )
        except KeyError as error:
            raise FileError(f"The weights in {path} lack {error}, so they are not those of a ResNet.") from error
        scale = weight / (variance + 1e-5).sqrt()
        known[name] = found[name].float() * scale[:, None, None, None]
        known[f"{here}.bias"] = bias - mean * scale
    return known


def look(weights: Mapping[str, Tensor], x: Tensor) -> list[Tensor]:
    """Pictures (B, C, H, W) within [0, 1] → what each of :data:`LAYERS` makes of them, (B, channels, h, w) each."""
    wanted = weights["conv1.weight"].shape[1]
    if x.shape[1] != wanted:
        x = x[:, :3].mean(1, keepdim=True).expand(-1, wanted, -1, -1)
    mean, deviation = (x.new_tensor(of)[:wanted, None, None] for of in (_MEAN, _DEVIATION))
    h = F.relu(_conv(weights, "conv1", (x - mean) / deviation, stride=2))
    h, found = F.max_pool2d(h, 3, 2, 1), []
    for layer in LAYERS:
        block = 0
        while f"{layer}.{block}.conv1.weight" in weights:
            h = _block(weights, f"{layer}.{block}", h, 2 if block == 0 and layer != "layer1" else 1)
            block += 1
        found.append(h)
    return found


def _block(weights: Mapping[str, Tensor], name: str, x: Tensor, stride: int) -> Tensor:
    narrow = f"{name}.conv3.weight" in weights  # 1 × 1, 3 × 3, 1 × 1 instead of 3 × 3 twice
    h = F.relu(_conv(weights, f"{name}.conv1", x, 1 if narrow else stride))
    h = _conv(weights, f"{name}.conv2", h, stride if narrow else 1)
    if narrow:
        h = _conv(weights, f"{name}.conv3", F.relu(h))
    if f"{name}.downsample.0.weight" in weights:
        x = _conv(weights, f"{name}.downsample.0", x, stride)
    return F.relu(h + x)


def _conv(weights: Mapping[str, Tensor], name: str, x: Tensor, stride: int = 1) -> Tensor:
    weight = weights[f"{name}.weight"]
    groups = x.shape[1] // weight.shape[1]
    return F.conv2d(x, weight, weights[f"{name}.bias"], stride, weight.shape[2] // 2, groups=groups)
