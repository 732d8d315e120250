"""The small convolutional network that fastai and Lightning train: 28x28 grey images, 10 classes."""

from __future__ import annotations

from torch import nn

EPOCHS, BATCH, RATE = 4, 128, 3e-3


def block(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """Convolution, batch normalisation, ReLU."""
    convolution = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


def small_cnn() -> nn.Sequential:
    """276,000 parameters; strides where others pool."""
    return nn.Sequential(
        block(1, 32, 1), block(32, 64, 2), block(64, 64, 1), block(64, 128, 2), block(128, 128, 1),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10),
    )  # fmt: skip
