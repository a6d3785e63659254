"""Dataset labels, generator classes and prompts in one table.

Belongs here: classes.py. Does not belong: text encoders.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from dd_assets.datasets.catalogue import CATALOGUE
from dd_assets.datasets.names import class_folders, class_names
from dd_assets.diffusion.classes import class_rows, imagenet_rows, prompts
from dd_assets.errors import InputError

NETTE = CATALOGUE["imagenette"]
IDS = [0, 217, 482, 491, 497, 566, 569, 571, 574, 701]
"""ImageNet-1K's numbers of Imagenette's classes, as published with it (fastai/imagenette)."""


def test_imagenettes_labels_are_imagenets_numbers() -> None:
    rows = imagenet_rows(NETTE)
    assert [row.generator_class for row in rows] == IDS
    assert [row.name for row in rows] == list(NETTE.classes)


def test_ids_follow_the_classes_however_they_are_ordered() -> None:
    for order in ([9, 0, 5], [3, 2, 1, 0]):
        subset = replace(NETTE, classes=tuple(NETTE.classes[n] for n in order))
        # By position in a listing of folders these would be 0, 1, 2…: the bug of several repositories.
        assert [row.generator_class for row in imagenet_rows(subset)] == [IDS[n] for n in order]


def test_folders_stated_as_a_map_count_by_their_wordnet_id() -> None:
    stated = {"fish": "n01440764", "church": "n03028079"}
    own = replace(NETTE, classes=("church", "fish"), options={"folders": stated})
    assert [row.generator_class for row in imagenet_rows(own)] == [497, 0]
    twice = replace(own, options={"folders": {"fish": "n01440764", "church": "n01440764"}})
    with pytest.raises(InputError, match="'n01440764' stands for 2 classes"):
        imagenet_rows(twice)
    with pytest.raises(InputError, match="names no WordNet ids"):
        imagenet_rows(replace(own, options={}))
    with pytest.raises(InputError, match="knows no class 'n99'"):
        imagenet_rows(replace(own, options={"folders": {"fish": "n99", "church": "n03028079"}}))


def test_imagenet_1k_is_the_identity() -> None:
    assert [row.generator_class for row in imagenet_rows(CATALOGUE["imagenet1k"])] == list(range(1000))


def test_imagenets_cranes_and_maillots_stay_apart() -> None:
    folders = class_folders("imagenet1k")
    by_folder = {folder: name for name, folder in folders.items()}
    # Crane the bird and crane the machine; maillot and maillot, tank suit.
    for one, other in (("n02012849", "n03126707"), ("n03710637", "n03710721")):
        assert by_folder[one] != by_folder[other]
    made = prompts(class_names("imagenet1k"), "{name}")
    assert len(set(made)) == 1000


def test_equal_prompts_and_names_are_refused() -> None:
    assert prompts(("maple_tree", "bee"), "a photo of a {name}") == ("a photo of a maple tree", "a photo of a bee")
    with pytest.raises(InputError, match="prompts: 'a b' stands for 2 classes"):
        prompts(("a_b", "a b"), "{name}")
    with pytest.raises(InputError, match="stands for 2 classes"):
        prompts(("one", "other"), "a picture")
    with pytest.raises(InputError, match="'crane' stands for 2 classes"):
        class_rows(("crane", "crane"), {"crane": 0}, "birds")


def test_classes_of_another_set_are_found_by_name() -> None:
    rows = class_rows(("7", "3"), {str(n): n for n in range(10)}, "digits, trained on mnist")
    assert [row.generator_class for row in rows] == [7, 3]
    with pytest.raises(InputError, match="knows no class 'x'"):
        class_rows(("7", "x"), {"7": 7}, "digits, trained on mnist")
