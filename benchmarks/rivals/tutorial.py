"""The loop that tutorials teach: pictures converted one by one, a DataLoader, `.item()` each step."""

from __future__ import annotations

from collections.abc import Iterable
from time import perf_counter
from typing import Any

import numpy as np
import torch
from PIL import Image
from protocol import serve
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

BATCH = 128


class Pictures(Dataset[Tensor]):
    """Picture → tensor for each sample again: the steps of torchvision's `MNIST` and `ToTensor()`, one by one."""

    def __init__(self, images: np.ndarray):
        self.data = torch.from_numpy(images)

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Tensor:
        picture = Image.fromarray(self.data[index].numpy())
        pixels = torch.from_numpy(np.array(picture, np.uint8, copy=True))
        pixels = pixels.view(picture.size[1], picture.size[0], len(picture.getbands()))
        return pixels.permute((2, 0, 1)).contiguous().to(dtype=torch.get_default_dtype()).div(255)


def seed_net() -> nn.Sequential:
    """784-128-64-32-64-128-784, ReLU, sigmoid output."""
    encoder = [nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 32)]
    decoder = [nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 784), nn.Sigmoid()]
    return nn.Sequential(*encoder, *decoder)


def train(net: nn.Module, loader: Iterable[Tensor], epochs: int) -> None:
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-3)
    criterion = nn.MSELoss()
    for epoch in range(epochs):
        running = 0.0
        for batch in loader:
            x = batch.view(batch.size(0), -1)
            loss = criterion(net(x), x)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            running += loss.item()
        print(f"epoch {epoch + 1}: {running:.4f}")


def held_out_error(net: nn.Module, test: str) -> float:
    """Mean squared error per pixel on images in [0, 1]."""
    x = torch.from_numpy(np.load(test)).flatten(1).float() / 255
    with torch.no_grad():
        return (net(x) - x).square().mean().item()


def fit(train_images: str, test_images: str, epochs: int, seed: int, rows: int | None = None) -> dict[str, Any]:
    images = np.load(train_images)[:rows]
    torch.manual_seed(seed)
    net = seed_net()
    start = perf_counter()
    loader = DataLoader(Pictures(images), batch_size=BATCH, shuffle=True, num_workers=0)
    train(net, loader, epochs)
    seconds = perf_counter() - start
    rate = epochs * len(images) / seconds
    return {"seconds": seconds, "rows_per_second": rate, "test_mse": held_out_error(net, test_images)}


if __name__ == "__main__":
    serve(fit=fit)
