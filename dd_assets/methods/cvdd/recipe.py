"""CV-DD: committee voting, two teachers per IPC index weighted by how well they teach.

Paper: Cui, Li, Ma, Bi, Luo, Shen, "Dataset Distillation via Committee Voting", 2025, arXiv 2501.07575. Original code:
Jiacheng8/CV-DD 24097e9, recover/recover.py.
Differs: image k begins from this project's RDED image k instead of one drawn from a download; priors are measured here
unless the setting asks for the published ones; lossless; seeded; RD3 relabels and evaluates with the setting's teacher
alone (the paper with all five and with batch statistics of half a batch, BSSL). The pool's ShuffleNet has width .5 at
every size (the original's .5 up to 64 px, 1.0 at 224), and up to 64 px networks are torchvision's with this project's
stems (the original's: kuangliu's for CIFAR, with ReLU and projected shortcuts in MobileNet). The same r_bn serves
networks whose BN distances differ by orders of magnitude, as in the original (its issue 6).
The pair of an IPC index depends on IPC (at IPC 1 the two best, at 10 the k-th of ten, else drawn), so a shard is the
whole set; `voters` "nested" gives pairs that depend on the index alone, and shards of single indices.
Expected: own protocol, in each recipe; not in RD3's tables. Hardware and time: 8.20 s per 224 px image and 23.4 GB on
one RTX 4090 (FADRM's figures).

Belongs here: this text, the parameters and their sources. Does not belong: voters and loop (synthesis.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from dd_assets.bounds import ABOVE_ZERO
from dd_assets.methods.contract import Facts, Method, Needs, Recipe, UnderNetworks
from dd_assets.methods.sre2l.recipe import RANGES, jitter_reason

POOL = ("resnet18", "resnet50", "shufflenet_v2_x0_5", "mobilenet_v2", "densenet121")
"""The published pool, in the original's order."""
SMALL_POOL = ("convnet2_w64", "convnet3_w32", "resnet20_cifar", "wrn16_2", "convnet1_w128")
"""Five architectures that fit a CPU; nothing is published for it."""


@dataclass(frozen=True, kw_only=True)
class Parameters(UnderNetworks):
    """The recovery's settings; the defaults are the published ones at 224 px."""

    iterations: int = 4000
    batch: int = 100
    """Images per batch at most, one of each class; the batch statistics are taken over them."""
    learning_rate: float = 0.25
    r_bn: float = 0.01
    """Weight of every voter's BN distance."""
    first_bn_multiplier: float = 10.0
    temperature: float = 5.0
    """Voters weigh as softmax(prior / temperature), priors in percent."""
    pool_name: Literal["published", "small", "whole"] = "published"
    """What `pool` is, for tables: the paper's, the CPU-sized one, or the setting's whole committee."""
    pool: tuple[str, ...] = POOL
    voters: Literal["published", "nested"] = "published"
    """Who votes on an index: the paper's choice, which depends on IPC, or pairs that depend on the index alone."""
    compat: bool = False
    """At IPC 1 the pair that the original hard-codes for the dataset, instead of the two highest priors."""
    compat_pair: tuple[str, ...] = ()
    """That pair; () where the original too takes the two highest."""
    crop: bool = True
    crop_scale_min: float = 0.08
    hflip: bool = True
    """Applied only where a mirrored image keeps its class."""
    jitter: int = 32
    """Largest cyclic shift in pixels, per axis."""
    jitter_symmetric: bool = False
    init: str = "rded"
    """Where images begin: "noise", or the name of a method whose images they are."""

    @property
    def per_index(self) -> bool:
        """Whether an IPC index can be computed alone; see Method.shards_by_index."""
        return self.voters == "nested"


def refuse(parameters: Parameters, facts: Facts, ipc: int) -> str | None:
    """The reason why there is no pair, the published one is not in the pool, or the jitter is too large; or None."""
    pool = parameters.pool or facts.committee
    if len(set(pool)) < 2:
        return f"a pool of {len(set(pool))} has no pair of voters"
    absent = [name for name in parameters.compat_pair if name not in pool] if parameters.compat else []
    if absent:
        return f"the pool lacks {', '.join(absent)} of the pair that `compat` asks for"
    return jitter_reason(parameters.jitter, facts.size)


_SMALL = Parameters(jitter=4)
_LARGE = Parameters()
_WHOLE = replace(_SMALL, pool_name="whole", pool=(), iterations=1000)
_SOURCE = "CV-DD recover/recover.py: 4,000 iterations, learning rate .25, r_bn .01, temperature 5, RRC and flip"


def _published(parameters: Parameters, own: str, note: str = "") -> Recipe:
    return Recipe(
        parameters=parameters,
        source=f"{_SOURCE}, jitter {parameters.jitter}{note}",
        expected=f"ResNet-18, IPC 1/10/50: {own}",
        cost="one RTX 4090: 8.20 s per image at 224 px, 23.4 GB (FADRM)" if parameters.jitter == 32 else "",
    )


_FIXED = "; at IPC 1 the script names a pair of its own (compat)"
_MOBILE_AND_DENSE = ("mobilenet_v2", "densenet121")
_OWN_SOURCE = "own: CIFAR-10's with 1,000 iterations, jitter 2 of 28 px and the whole committee; not tuned"

METHOD = Method(
    name="cvdd",
    title="CV-DD",
    family="optimisation",
    paper="Cui, Li, Ma, Bi, Luo, Shen: Dataset Distillation via Committee Voting. arXiv 2501.07575",
    code="Jiacheng8/CV-DD 24097e9",
    differs=(
        "This project's RDED images as the beginning; priors measured here; relabelled by one teacher without "
        "batch-specific soft labels; otherwise as SRe2L here."
    ),
    fidelity="code",
    summary=(
        "Each IPC index has two voters of a pool of five architectures, weighed by w = softmax(prior / 5), where a "
        "prior is the accuracy in percent of a student taught by that member alone. RDED's images are optimised under "
        "both: min Σ_m w_m (CE_m + r_bn BN_m)."
    ),
    version=2,
    draws=1,
    per_index=False,
    needs=Needs(committee=True, priors=True),
    recipes={
        "digits": Recipe(
            parameters=Parameters(
                iterations=200,
                learning_rate=0.02,
                r_bn=0.1,
                pool_name="small",
                pool=SMALL_POOL,
                crop_scale_min=0.85,
                hflip=False,
                jitter=1,
            ),
            source=(
                "own: SRe2L++'s on digits, for the CPU-sized pool; learning rate and r_bn of .02/.1, .02/.01, "
                ".05/.01 by a small sweep on a validation fifth of the training split (equal priors, one draw, two "
                "students)"
            ),
            expected=(
                "ConvNet-2-64 student, plain loop of 240 steps, validation fifth, IPC 5: soft .90, hard .81; RDED's "
                "images that it begins from .91, .83. A ShuffleNet does not train on 8 px (.26; .88 without crops) and "
                "its BN distance is 5e7 (the others 10 to 120), so the pool has none"
            ),
            cost="one CPU core: 3.7 s per IPC index (ten images)",
        ),
        "mnist": Recipe(parameters=replace(_WHOLE, hflip=False, jitter=2), source=f"{_OWN_SOURCE}; no flip"),
        "fashion_mnist": Recipe(parameters=replace(_WHOLE, jitter=2), source=_OWN_SOURCE),
        "cifar10": _published(replace(_SMALL, compat_pair=_MOBILE_AND_DENSE), "26.1/44.6/70.1 (own protocol)", _FIXED),
        "cifar100": _published(
            replace(_SMALL, compat_pair=("shufflenet_v2_x0_5", "mobilenet_v2")),
            "15.9/53.6/65.1 (own protocol), newer 28.3/62.7/67.1 (FADRM)",
            _FIXED,
        ),
        "tiny_imagenet": _published(_SMALL, "10.1/47.8/54.1 (own protocol)"),
        "imagenette": _published(
            replace(_LARGE, compat_pair=_MOBILE_AND_DENSE), "36.2/64.1/81.6 (own protocol)", _FIXED
        ),
        "imagewoof": _published(_LARGE, "21.4/49.3/71.9 (FADRM)", "; ImageNette's, reused"),
        "imagenet1k": _published(_LARGE, "9.2/46.0/59.5 (own protocol)"),
        "default": Recipe(
            parameters=_WHOLE,
            source="own: CIFAR-10's with 1,000 iterations and the setting's whole committee; not tuned",
        ),
    },
    synthesis="dd_assets.methods.cvdd.synthesis:synthesise",
    ranges={**RANGES, "temperature": ABOVE_ZERO},
    refuse=refuse,
)
