"""Optimisation: how sure the teacher is of the views of SRe2L's images. Needs sre2l on digits|10 (README.md)."""

from torch.utils.data import DataLoader

import dd_assets

library = dd_assets.open()
labels = library.soft_labels("sre2l", "digits", 10, "convnet2_w64")
batch = next(iter(DataLoader(labels, batch_size=None)))
shares = batch.logits.softmax(dim=1).max(dim=1).values
print(f"{len(labels)} batches; in the first the teacher's highest share is {shares.mean():.2f} on average")
score = library.training("sre2l", "digits", 10, "convnet2_w64")
print(f"the student that was trained on them: {score.accuracy:.1%}")
