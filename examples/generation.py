"""Generation: how far minimax's images lie apart within a class. Needs minimax's images on digits|10 (README.md)."""

import torch

import dd_assets

images = dd_assets.open().image_set("minimax", "digits", 10)
pixels = torch.from_numpy(images.images).flatten(1).float() / 255
for label, name in enumerate(images.classes):
    own = pixels[torch.from_numpy(images.labels) == label]
    print(f"class {name}: {torch.pdist(own).mean() / own.shape[1] ** 0.5:.3f} root mean square between two images")
