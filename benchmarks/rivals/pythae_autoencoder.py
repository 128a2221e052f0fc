"""pythae's AE with its own trainer, on the seed's net."""

from __future__ import annotations

import tempfile
from time import perf_counter
from typing import Any

import numpy as np
import torch
from protocol import serve
from pythae.data.datasets import BaseDataset
from pythae.models import AE, AEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from torch import Tensor, nn

BATCH = 128


class Encoder(BaseEncoder):
    def __init__(self):
        super().__init__()
        layers = [nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 32)]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> ModelOutput:
        return ModelOutput(embedding=self.layers(x))


class Decoder(BaseDecoder):
    def __init__(self):
        super().__init__()
        layers = [nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 784)]
        self.layers = nn.Sequential(*layers, nn.Sigmoid())

    def forward(self, z: Tensor) -> ModelOutput:
        return ModelOutput(reconstruction=self.layers(z))


def fit(train_images: str, test_images: str, epochs: int, seed: int, rows: int | None = None) -> dict[str, Any]:
    images = np.load(train_images)[:rows]
    torch.manual_seed(seed)
    model = AE(AEConfig(input_dim=(784,), latent_dim=32), Encoder(), Decoder())
    with tempfile.TemporaryDirectory() as output:
        training = BaseTrainerConfig(
            output_dir=output,
            num_epochs=epochs,
            per_device_train_batch_size=BATCH,
            learning_rate=1e-3,
            optimizer_cls="Adam",
            seed=seed,
            no_cuda=True,
        )
        start = perf_counter()
        data = torch.from_numpy(images).flatten(1).float() / 255
        trainer = BaseTrainer(model, BaseDataset(data, torch.zeros(len(data))), training_config=training)
        trainer.train()
        seconds = perf_counter() - start
    x = torch.from_numpy(np.load(test_images)).flatten(1).float() / 255
    with torch.no_grad():
        error = (model({"data": x}).recon_x - x).square().mean().item()
    return {"seconds": seconds, "rows_per_second": epochs * len(images) / seconds, "test_mse": error}


if __name__ == "__main__":
    serve(fit=fit)
