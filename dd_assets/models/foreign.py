"""What weights from elsewhere need before they fit a network of ours.

Belongs here: older key names, ImageNet-1K's class order, cutting a head down to some of its classes. Does not belong:
where weights come from (checkpoint.py, pretrained.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from dd_assets.datasets.names import class_folders
from dd_assets.errors import InputError, UnknownNameError

IMAGENET = "imagenet1k"
"""The table of ImageNet-1K's classes: WordNet ids ascending, which is the order of every 1000-way network's outputs."""
DENSE_KEY = re.compile(r"(denselayer\d+\.(?:norm|conv))\.(?=[12]\.)")


def present_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under the names that today's torchvision gives them.

    Its DenseNet files still say `norm.1` for `norm1` (torchvision/models/densenet.py renames them while loading).
    """
    return {DENSE_KEY.sub(r"\1", name): value for name, value in state.items()}


def imagenet_rows(classes: Sequence[str], data: str, folders: str | Mapping[str, str] | None = None) -> list[int]:
    """The outputs of a 1000-way ImageNet network that stand for these classes, in their order, each in [0, 1000).

    A class is found by its WordNet id: that of `folders` (a setting's option: a map, or a table's name), else of the
    table named `data`, else of ImageNet-1K's; a class may also be named by the id itself. RDED cuts teachers of
    ImageNet's subsets out in the same way (LINs-lab/RDED 3f6453d, validation/utils.py).
    Raises InputError for a class that is none of the thousand.
    """
    order = {wordnet: row for row, wordnet in enumerate(class_folders(IMAGENET).values())}
    table = _table(folders or data)
    ids = [table.get(name, name) for name in classes]
    unknown = [name for name, wordnet in zip(classes, ids, strict=True) if wordnet not in order]
    if unknown:
        raise InputError(
            f"class {unknown[0]!r} is not one of ImageNet-1K's, so a 1000-way network has no output for it",
            "train the teacher here (leave `weights` out), or name its WordNet id in the option `folders`",
        )
    return [order[wordnet] for wordnet in ids]


def _table(source: str | Mapping[str, str]) -> Mapping[str, str]:
    if isinstance(source, Mapping):
        return source
    try:
        return class_folders(source)
    except UnknownNameError:
        return class_folders(IMAGENET)


def head_name(model: nn.Module) -> str:
    """The layer that answers: the last linear one."""
    return [name for name, module in model.named_modules() if isinstance(module, nn.Linear)][-1]


def cut_head(state: Mapping[str, Tensor], model: nn.Module, rows: Sequence[int], what: str) -> dict[str, Tensor]:
    """`state` with these rows of its 1000-way head alone; raises InputError, naming `what`, for another head."""
    cut = dict(state)
    for part in ("weight", "bias"):
        name = f"{head_name(model)}.{part}"
        # An absent head is named with the other keys that do not fit (checkpoint.check_keys).
        if name not in cut:
            continue
        outputs = len(class_folders(IMAGENET))
        if len(cut[name]) != outputs:
            raise InputError(
                f"{what} has {len(cut[name])} outputs, not ImageNet-1K's {outputs}", "name weights trained on those"
            )
        cut[name] = cut[name][torch.tensor(rows)].clone()
    return cut
