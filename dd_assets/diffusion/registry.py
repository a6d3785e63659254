"""Which generators a setting has and how one is trained, as types.

Belongs here: what a recipe states, which values it may have, the description of a pre-trained folder; light, no torch.
Does not belong: named recipes (recipes.py), layers (building.py), loops (training.py), files (folders.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args, get_type_hints

from dd_assets.bounds import ABOVE_ZERO, BELOW_ONE, COUNT, COUNT_OR_NONE, NOT_NEGATIVE, SHARE, require
from dd_assets.errors import InputError, UnknownNameError
from dd_assets.later import later

GENERATORS = ("small", "text", "pretrained", "foreign", "foreign_text", "minimax")
"""Trained here on the setting's images, by class or by prompt; a folder from elsewhere; trained here on another
setting's images, by class or by prompt; the first or the folder, fine-tuned."""
TRAINED_ON_OTHERS = ("foreign", "foreign_text")


@dataclass(frozen=True, kw_only=True)
class GeneratorRecipe:
    """A generator trained here, in pixels or in the latents of an AutoencoderKL trained before it.

    A DiT by class; with `reads` "text" a UNet of two resolutions (`width` channels and twice as many, `layers` blocks
    each, cross-attention with `heads` heads in the lower one), trained on captions of what can be measured.
    """

    space: Literal["pixels", "latents"] = "latents"
    width: int = 128
    """Of a token; a multiple of `heads`."""
    heads: int = 4
    layers: int = 6
    patch: int = 2
    schedule: Literal["linear", "scaled_linear", "squaredcos_cap_v2"] = "linear"
    """A name of diffusers' `beta_schedule`, over 1,000 steps; betas 1e-4 to .02, as DiT's."""
    iterations: int
    batch: int = 128
    learning_rate: float = 3e-4
    """Of AdamW after `warmup` iterations; constant, then linear to 0 over the last `cooldown` share."""
    weight_decay: float = 0.0
    warmup: int = 200
    cooldown: float = 0.2
    ema: float = 0.999
    label_drop: float = 0.1
    """Share of labels replaced by the null class, so that classifier-free guidance has something to lean on."""
    hflip: bool = True
    """Mirror half of the images, where the setting says that a mirrored image keeps its class."""
    gradient_clip: float = 1.0
    precision: Literal["fp32", "bf16"] = "fp32"
    latent_channels: int = 4
    autoencoder_channels: tuple[int, ...] = (32, 64, 64)
    """Per resolution; n of them divide the side by 2^(n - 1)."""
    autoencoder_iterations: int = 0
    autoencoder_batch: int = 64
    autoencoder_learning_rate: float = 5e-4
    kl_weight: float = 1e-6
    guidance_scale: float = 1.5
    """Of the samples that the teacher is asked to recognise."""
    recognition_floor: float = 0.0
    """Share of those samples, in [0, 1], that the teacher must name correctly; a blocking verdict."""
    source: str = ""
    """Where the values come from; not part of the recipe digest."""
    cost: str = ""
    """Hardware and time; not part of the recipe digest."""
    reads: Literal["class", "text"] = later("class")
    text_encoder: str = later("")
    """Of `reads` "text": a folder of a sentence encoder, relative to DD_DATA_ROOT or absolute; '' hashes words."""

    def __post_init__(self) -> None:
        _require_words("a generator recipe", self)
        require("generator recipe", self, _RECIPE_RANGES)
        channels = self.autoencoder_channels
        if not channels or not all(isinstance(width, int) and width >= 1 for width in channels):
            raise InputError(
                f"generator recipe: autoencoder_channels={channels!r}", "give one or more whole numbers, each 1 or more"
            )
        if self.width % self.heads:
            raise InputError(
                f"generator recipe: width {self.width} is no multiple of {self.heads} heads", "change one of them"
            )


@dataclass(frozen=True, kw_only=True)
class PretrainedFolder:
    """A folder in diffusers' layout: DiTPipeline's or StableDiffusionPipeline's."""

    folder: str
    """Relative to DD_DATA_ROOT, absolute, or of the hub: "hub:owner/name"."""
    classes: Literal["imagenet", "same"] = "imagenet"
    """DiT's class ids: ImageNet-1K's, found by WordNet id, or the setting's own labels. Text pipelines need none."""
    variant: str = ""
    """'fp16' reads *.fp16.safetensors."""
    precision: Literal["fp32", "fp16", "bf16"] = "fp32"
    revision: str = ""
    """The hub's commit: required of the hub, of a local folder what it is said to be, kept in the manifest. What counts
    is the files' digests."""

    def __post_init__(self) -> None:
        _require_words("a pre-trained generator", self)


@dataclass(frozen=True, kw_only=True)
class FineTuning:
    """Minimax diffusion's fine-tuning of another generator of the setting (diffusion/minimax.py)."""

    base: Literal["small", "pretrained"] = "small"
    """The generator that is fine-tuned."""
    trained: Literal["all", "difffit"] = "all"
    """Every parameter, or DiffFit's: biases, norms, class embeddings and new scales (diffusion/difffit.py)."""
    iterations: int
    batch: int = 64
    learning_rate: float = 1e-4
    """Of AdamW, constant."""
    ema: float = 0.99
    """Constant; the averaged weights are the result, and at .9999 a short fine-tuning would leave them as they were."""
    label_drop: float = 0.1
    hflip: bool = True
    """Mirror half of the images, where the setting says that a mirrored image keeps its class."""
    memory: int = 64
    """Latents of each class in either memory, first in, first out."""
    representativeness: float = 0.002
    """Weight of 1 - the lowest cosine between predicted clean latents and remembered real ones."""
    diversity: float = 0.008
    """Weight of the highest cosine between predicted clean latents and remembered predictions."""
    precision: Literal["fp32", "bf16"] = "fp32"
    guidance_scale: float = 1.5
    """Of the samples that the teacher is asked to recognise."""
    recognition_floor: float = 0.0
    """Share of those samples, in [0, 1], that the teacher must name correctly; a blocking verdict."""
    source: str = ""
    """Where the values come from; not part of the recipe digest."""
    cost: str = ""
    """Hardware and time; not part of the recipe digest."""

    def __post_init__(self) -> None:
        _require_words("a fine-tuning", self)
        require("fine-tuning", self, _TUNING_RANGES)


_RECIPE_RANGES = {
    **dict.fromkeys(("width", "heads", "layers", "patch", "iterations", "batch"), COUNT),
    **dict.fromkeys(("latent_channels", "autoencoder_batch"), COUNT),
    **dict.fromkeys(("learning_rate", "gradient_clip", "autoencoder_learning_rate"), ABOVE_ZERO),
    **dict.fromkeys(("warmup", "autoencoder_iterations"), COUNT_OR_NONE),
    **dict.fromkeys(("weight_decay", "kl_weight", "guidance_scale"), NOT_NEGATIVE),
    **dict.fromkeys(("cooldown", "label_drop", "recognition_floor"), SHARE),
    "ema": BELOW_ONE,
}
_TUNING_RANGES = {
    **dict.fromkeys(("iterations", "batch", "memory"), COUNT),
    "learning_rate": ABOVE_ZERO,
    **dict.fromkeys(("representativeness", "diversity", "guidance_scale"), NOT_NEGATIVE),
    **dict.fromkeys(("label_drop", "recognition_floor"), SHARE),
    "ema": BELOW_ONE,
}


def _require_words(owner: str, stated: object) -> None:
    """Raise UnknownNameError for a word that a field with a fixed choice does not know."""
    for name, hint in get_type_hints(type(stated)).items():
        choice = get_args(hint)
        if choice and all(isinstance(word, str) for word in choice) and getattr(stated, name) not in choice:
            raise UnknownNameError.of(f"{name} of {owner}", str(getattr(stated, name)), choice)


def latent_shape(recipe: GeneratorRecipe, size: int, channels: int) -> tuple[int, int, int]:
    """(channels, height, width) of what the denoiser sees; raises InputError where a side does not divide."""
    factor = 1 if recipe.space == "pixels" else 2 ** (len(recipe.autoencoder_channels) - 1)
    side, rest = divmod(size, factor)
    if rest or side % recipe.patch:
        raise InputError(
            f"images of {size} px, autoencoder factor {factor}, patch {recipe.patch}: the sides do not divide",
            "choose another patch or other autoencoder_channels",
        )
    if recipe.reads == "text" and side % 2:
        raise InputError(
            f"images of {size} px, autoencoder factor {factor}: sides of {side}, and a UNet halves them once more",
            "choose other autoencoder_channels",
        )
    return (channels if recipe.space == "pixels" else recipe.latent_channels), side, side


@dataclass(frozen=True, kw_only=True)
class Generators:
    """The generators of a setting."""

    small: GeneratorRecipe | None = None
    text: GeneratorRecipe | None = None
    """Trained here to follow prompts."""
    pretrained: PretrainedFolder | None = None
    foreign: str = ""
    """The setting whose images, brought to this one's size, train a generator that never sees this one's."""
    language_model: str = ""
    """A folder of a causal language model that writes the prompt bank, relative to DD_DATA_ROOT or absolute; '' takes
    templates."""
    minimax: FineTuning | None = None

    @property
    def foreign_text(self) -> str:
        """`foreign`, where this setting states how a generator that follows prompts is trained."""
        return self.foreign if self.text else ""

    def names(self) -> tuple[str, ...]:
        """Those that the setting has, in the order of GENERATORS."""
        return tuple(name for name in GENERATORS if getattr(self, name))
