"""Baseline: what soft labels alone give random images. Needs random's scores on digits|10 (README.md)."""

import statistics

import dd_assets

library = dd_assets.open()
for label in ("soft", "hard"):
    trainings = [library.training("random", "digits", 10, "convnet2_w64", label=label, seed=seed) for seed in range(3)]
    accuracies = [training.accuracy for training in trainings]
    print(f"{label} labels: {statistics.mean(accuracies):.1%} ± {statistics.stdev(accuracies):.1%}")
