"""Generators and what is sampled from them, on `diffusers`' classes throughout.

Belongs here: this text. Does not belong: any import; modules that compute import torch, and diffusers only inside
functions.

Light (no torch): contract.py (what a recipe states about sampling), registry.py (generator recipes), classes.py (data
label, generator class, prompt), layout.py (what a folder must hold), levels.py (signal levels and the steps they mean).
Torch side: generator.py (one object for every kind of generator), denoisers.py (noise prediction of DiT and UNet),
building.py, training.py, autoencoder.py and producing.py (trained here), finetuning.py, minimax.py and difffit.py (one
of them, fine-tuned), weights.py and folders.py (stored and pre-trained), sampling.py (the one loop and `Guidance`),
generate.py (from a method's request to its images), centroids.py (k-means of a class).

A generation method is a recipe whose parameters extend `contract.Sampling`, and a synthesis that calls
`generate.generate(request, guidances=[...])`. Initialisation, sampler, classifier-free scale and window are fields of
the recipe, so that methods combine without further code.
"""
