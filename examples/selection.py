"""Selection: which real images RDED kept, and from where. Needs `dd-assets sync` of rded on digits|10 (README.md)."""

from collections import Counter

import dd_assets

images = dd_assets.open().image_set("rded", "digits", 10)
print(f"{len(images)} images of {len(images.classes)} classes, {images.images.shape[1]} px")
for name, values in images.columns.items():
    print(f"{name}: {values.dtype}, {values.min()} to {values.max()}")
print("images per class:", sorted(Counter(images.labels.tolist()).items()))
