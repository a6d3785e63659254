"""A committee: the networks that G-VBSM's images were optimised under. Needs gvbsm on digits|10 (README.md)."""

import dd_assets

library = dd_assets.open()
score = library.training("gvbsm", "digits", 10, "convnet2_w64")
# Every stored result names what it was made from, by recipe digest: the image set its shards, a shard its inputs.
shard = library.store.lookup(next(iter(score.images.sources.values())))
for name, recipe in shard.sources.items():
    if name.startswith("committee/"):
        member = library.store.lookup(recipe)
        print(f"{name}: {member.summary['test_accuracy']:.1%}, {member.summary['parameters']:,} parameters")
print(f"the student that was trained on its images: {score.accuracy:.1%}")
