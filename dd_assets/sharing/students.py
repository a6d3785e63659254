"""Student networks as a few lines of plain PyTorch, for the example that goes with an export.

Belongs here: the text of `student()` by architecture. Does not belong: the networks this project trains (models/).
"""

from __future__ import annotations

import re

from dd_assets.models.registry import SMALL

_CONVNET = """    blocks, before = [], {channels}
    for _ in range({depth}):
        blocks += [nn.Conv2d(before, {width}, 3, 1, 1, bias=False), nn.BatchNorm2d({width}), nn.ReLU(), nn.AvgPool2d(2)]
        before = {width}
    return nn.Sequential(*blocks, nn.Flatten(), nn.Linear({width} * {side} ** 2, {classes}))"""

_RESNET18 = """    import torchvision
    net = torchvision.models.resnet18(num_classes={classes})
    net.conv1 = nn.Conv2d({channels}, 64, {kernel}, {stride}, {padding}, bias=False)
{small}    return net"""
_NO_POOL = "    net.maxpool = nn.Identity()\n"

_CIFAR = """    class Block(nn.Module):
        def __init__(self, before, after):
            super().__init__()
            self.step = 1 if before in (after, {channels}) else 2
            self.body = nn.Sequential(
                nn.Conv2d(before, after, 3, self.step, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU(),
                nn.Conv2d(after, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after))
        def forward(self, x):
            short = x[:, :, :: self.step, :: self.step]
            more = (self.body[0].out_channels - x.shape[1]) // 2
            return F.relu(self.body(x) + F.pad(short, (0, 0, 0, 0, more, more)))
    widths = [16] * {blocks} + [32] * {blocks} + [64] * {blocks}
    stem = [nn.Conv2d({channels}, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    body = [Block(before, after) for before, after in zip([16, *widths], widths)]
    return nn.Sequential(*stem, *body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, {classes}))"""


def student_code(architecture: str, classes: int, channels: int, size: int) -> tuple[str, str]:
    """(the network's name, the indented body of `student()`).

    Architectures without a short form of their own are taught as a ResNet-18, and the name says so.
    """
    given = {"classes": classes, "channels": channels}
    convnet = re.fullmatch(r"convnet(\d+)_w(\d+)", architecture)
    if convnet:
        depth, width = int(convnet[1]), int(convnet[2])
        return architecture, _CONVNET.format(depth=depth, width=width, side=size >> depth, **given)
    cifar = re.fullmatch(r"resnet(\d+)_cifar", architecture)
    if cifar:
        return architecture, _CIFAR.format(blocks=(int(cifar[1]) - 2) // 6, **given)
    stem = {"kernel": 7, "stride": 2, "padding": 3, "small": ""}
    if size <= SMALL:
        stem = {"kernel": 3, "stride": 1, "padding": 1, "small": _NO_POOL}
    name = architecture if architecture == "resnet18" else f"resnet18 (the score is {architecture}'s)"
    return name, _RESNET18.format(**given, **stem)
