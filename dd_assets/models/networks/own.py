"""Networks of our own: the ConvNet family, CIFAR's ResNets, the wide one, ResNetAP-10 and half a MobileNetV2.

Belongs here: layers. Does not belong: torchvision's and timm's networks (libraries.py), names (models/registry.py).
Every network takes normalised NCHW float32 and returns logits. What a layer makes anew is changed in place by the
next one: the same bits, and a tenth off a ResNet-20's forward pass on a CPU.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from dd_assets.shapes import Float


def instance(channels: int) -> nn.GroupNorm:
    """Instance norm with its own scale and shift; as a group norm it also takes maps of a single pixel."""
    return nn.GroupNorm(channels, channels, affine=True)


class ConvNet(nn.Module):
    """Blocks of conv3x3, batch norm, ReLU and average pool 2, then a linear head.

    The ConvNet-D of dataset condensation (Gidaris and Komodakis 2018; Zhao and Bilen 2021) with batch norm, which the
    decoupled methods need, or with the instance norm of the original. Input (N, channels, size, size), output
    (N, classes).
    """

    def __init__(
        self, *, width: int, depth: int, classes: int, channels: int, size: int, instance_norm: bool = False
    ) -> None:
        super().__init__()
        widths = [channels] + [width] * depth
        self.blocks = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Conv2d(widths[index], width, 3, padding=1, bias=False),
                    instance(width) if instance_norm else nn.BatchNorm2d(width),
                    nn.ReLU(inplace=True),
                    nn.AvgPool2d(2),
                )
                for index in range(depth)
            )
        )
        side = size >> depth
        self.head = nn.Linear(width * side * side, classes)

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n classes"]:
        return self.head(self.blocks(images).flatten(1))


class CifarBlock(nn.Module):
    """Two conv3x3 with batch norm; where the shape changes, the shortcut sub-samples and pads channels with zeros."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outside)
        self.stride = stride
        self.extra = outside - inside

    def forward(self, features: Float[Tensor, "n c h w"]) -> Float[Tensor, "n out rows cols"]:
        residual = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(features)), inplace=True)))
        shortcut = features[:, :, :: self.stride, :: self.stride]
        if self.extra:
            shortcut = F.pad(shortcut, (0, 0, 0, 0, self.extra // 2, self.extra - self.extra // 2))
        return F.relu(residual.add_(shortcut), inplace=True)


class CifarResNet(nn.Module):
    """ResNet-6n+2 with 16, 32 and 64 channels and option-A shortcuts (He et al. 2016, section 4.2).

    Parameter names follow the public CIFAR checkpoints (`layer1.0.conv1`, `linear`). Output (N, classes).
    """

    def __init__(self, *, depth: int, classes: int, channels: int) -> None:
        super().__init__()
        blocks = (depth - 2) // 6
        self.conv1 = nn.Conv2d(channels, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = self._stage(16, 16, blocks, stride=1)
        self.layer2 = self._stage(16, 32, blocks, stride=2)
        self.layer3 = self._stage(32, 64, blocks, stride=2)
        self.linear = nn.Linear(64, classes)
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight)

    @staticmethod
    def _stage(inside: int, outside: int, blocks: int, stride: int) -> nn.Sequential:
        first = CifarBlock(inside, outside, stride)
        return nn.Sequential(first, *(CifarBlock(outside, outside, 1) for _ in range(blocks - 1)))

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n classes"]:
        features = F.relu(self.bn1(self.conv1(images)), inplace=True)
        features = self.layer3(self.layer2(self.layer1(features)))
        return self.linear(features.mean(dim=(2, 3)))


class WideBlock(nn.Module):
    """Pre-activation block: twice batch norm, ReLU, conv3x3; a projection where the width changes."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inside)
        self.conv1 = nn.Conv2d(inside, outside, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, padding=1, bias=False)
        self.project = None if inside == outside else nn.Conv2d(inside, outside, 1, stride=stride, bias=False)

    def forward(self, features: Float[Tensor, "n c h w"]) -> Float[Tensor, "n out rows cols"]:
        active = F.relu(self.bn1(features), inplace=True)
        shortcut = features if self.project is None else self.project(active)
        return self.conv2(F.relu(self.bn2(self.conv1(active)), inplace=True)).add_(shortcut)


class WideResNet(nn.Module):
    """WRN-depth-widen without dropout (Zagoruyko and Komodakis 2016, section 2). Output (N, classes)."""

    def __init__(self, *, depth: int, widen: int, classes: int, channels: int) -> None:
        super().__init__()
        widths, blocks = (16, 16 * widen, 32 * widen, 64 * widen), (depth - 4) // 6
        self.conv1 = nn.Conv2d(channels, 16, 3, padding=1, bias=False)
        self.stages = nn.Sequential(
            *(
                nn.Sequential(
                    *(
                        WideBlock(widths[level if first else level + 1], widths[level + 1], 2 if first and level else 1)
                        for first in [True] + [False] * (blocks - 1)
                    )
                )
                for level in range(3)
            )
        )
        self.bn = nn.BatchNorm2d(widths[-1])
        self.linear = nn.Linear(widths[-1], classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n classes"]:
        features = F.relu(self.bn(self.stages(self.conv1(images))), inplace=True)
        return self.linear(features.mean(dim=(2, 3)))


class PoolBlock(nn.Module):
    """Two conv3x3 with instance norm; halving by average pooling, never by strides."""

    def __init__(self, inside: int, outside: int, halve: bool) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(2) if halve else nn.Identity()
        self.conv1 = nn.Conv2d(inside, outside, 3, padding=1, bias=False)
        self.norm1 = instance(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, padding=1, bias=False)
        self.norm2 = instance(outside)
        self.project = (
            None
            if inside == outside and not halve
            else nn.Sequential(
                nn.AvgPool2d(2) if halve else nn.Identity(),
                nn.Conv2d(inside, outside, 1, bias=False),
                instance(outside),
            )
        )

    def forward(self, features: Float[Tensor, "n c h w"]) -> Float[Tensor, "n out rows cols"]:
        inner = self.pool(F.relu(self.norm1(self.conv1(features)), inplace=True))
        shortcut = features if self.project is None else self.project(features)
        return F.relu(self.norm2(self.conv2(inner)).add_(shortcut), inplace=True)


class PooledResNet(nn.Module):
    """ResNetAP-10: one basic block per stage, instance norm, average pooling (IDC, Kim et al. 2022, arXiv 2205.14959).

    Stems as in snu-mllab/Efficient-Dataset-Condensation, models/resnet_ap.py: conv3x3 up to 64 px, conv3x3 and pool 2
    up to 128 px, conv7x7 and pool 4 above; He's normal initialisation by fan-out. There a shortcut pools after its
    conv1x1, here before it, which is the same map for a quarter of the work. Output (N, classes).
    """

    def __init__(self, *, classes: int, channels: int, size: int) -> None:
        super().__init__()
        kernel, pool = (3, 1) if size <= 64 else (3, 2) if size <= 128 else (7, 4)
        self.stem = nn.Sequential(
            nn.Conv2d(channels, 64, kernel, padding=kernel // 2, bias=False),
            instance(64),
            nn.ReLU(inplace=True),
            nn.AvgPool2d(pool) if pool > 1 else nn.Identity(),
        )
        widths = (64, 64, 128, 256, 512)
        self.stages = nn.Sequential(*(PoolBlock(widths[i], widths[i + 1], halve=i > 0) for i in range(4)))
        self.linear = nn.Linear(512, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n classes"]:
        return self.linear(self.stages(self.stem(images)).mean(dim=(2, 3)))


class InvertedResidual(nn.Module):
    """Conv1x1 to `expansion` times the channels, depthwise conv3x3, linear conv1x1, each with batch norm."""

    def __init__(self, inside: int, outside: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inside * expansion
        self.conv = nn.Sequential(
            nn.Conv2d(inside, hidden, 1, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, hidden, 3, stride=stride, padding=1, groups=hidden, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, outside, 1, bias=False),
            nn.BatchNorm2d(outside),
        )
        self.residual = stride == 1 and inside == outside

    def forward(self, features: Float[Tensor, "n c h w"]) -> Float[Tensor, "n out rows cols"]:
        made = self.conv(features)
        return made.add_(features) if self.residual else made


class HalfMobileNet(nn.Module):
    """MobileNetV2 of half width for small images, as distillation of knowledge has it on CIFAR.

    What HobbitLong/RepDistiller and G-VBSM's Branch_*/models/mobilenetv2.py call `mobile_half`; it differs from
    torchvision's: widths are halved without rounding to eights, ReLU in place of ReLU6, the first block has its conv1x1
    too, a stem of stride 2 and then three halvings (of five), no dropout. Output (N, classes).
    """

    STAGES = ((1, 8, 1, 1), (6, 12, 2, 1), (6, 16, 3, 2), (6, 32, 4, 2), (6, 48, 3, 1), (6, 80, 3, 2), (6, 160, 1, 1))
    """Expansion, channels, blocks and first stride of each."""

    def __init__(self, *, classes: int, channels: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(channels, 16, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True)
        )
        blocks: list[nn.Module] = []
        inside = 16
        for expansion, outside, count, stride in self.STAGES:
            for index in range(count):
                blocks.append(InvertedResidual(inside, outside, 1 if index else stride, expansion))
                inside = outside
        self.blocks = nn.Sequential(*blocks)
        self.last = nn.Sequential(nn.Conv2d(inside, 1280, 1, bias=False), nn.BatchNorm2d(1280), nn.ReLU(inplace=True))
        self.linear = nn.Linear(1280, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.normal_(self.linear.weight, std=0.01)
        nn.init.zeros_(self.linear.bias)

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n classes"]:
        return self.linear(self.last(self.blocks(self.stem(images))).mean(dim=(2, 3)))


class SmallAlexNet(nn.Module):
    """AlexNet's five convolutions, three poolings and three linear layers for images up to 64 px, no batch norm.

    Kernels 5, 5, 3, 3, 3 of torchvision's widths and stride 1; linear layers of 1,024. Output (N, classes).
    """

    def __init__(self, *, classes: int, channels: int, size: int) -> None:
        super().__init__()

        def block(inside: int, outside: int, kernel: int, pool: bool) -> list[nn.Module]:
            convolution = nn.Conv2d(inside, outside, kernel, padding=kernel // 2)
            return [convolution, nn.ReLU(inplace=True)] + ([nn.MaxPool2d(2)] if pool else [])

        self.features = nn.Sequential(
            *block(channels, 64, 5, True),
            *block(64, 192, 5, True),
            *block(192, 384, 3, False),
            *block(384, 256, 3, False),
            *block(256, 256, 3, True),
        )
        side = size // 8
        self.classifier = nn.Sequential(
            nn.Dropout(),
            nn.Linear(256 * side * side, 1024),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(1024, 1024),
            nn.ReLU(inplace=True),
            nn.Linear(1024, classes),
        )

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n classes"]:
        return self.classifier(self.features(images).flatten(1))
