"""What the doctor says of a folder of images before there is a setting."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dd_assets.datasets.survey import as_yaml, proposal, rows, survey
from dd_assets.datasets.user_settings import read_settings
from dd_assets.errors import InputError


def folder(root: Path, sides: tuple[int, ...] = (40, 33, 70), mode: str = "RGB", test: str = "val") -> Path:
    """Two classes with an image of each side in both splits; the values are 51 (.2) and 204 (.8), half each."""
    for split in ("train", test):
        for name in ("no", "yes"):
            for side in sides:
                place = root / "pets" / split / name / f"{side}.png"
                place.parent.mkdir(parents=True, exist_ok=True)
                pixels = np.full((side, side + 2), 51 if name == "no" else 204, dtype=np.uint8)
                Image.fromarray(pixels).convert(mode).save(place)
    return root


def test_counts_sides_and_colours(tmp_path: Path) -> None:
    found = survey(str(folder(tmp_path)), "pets")
    assert (found.splits, found.classes) == (("train", "val"), ["no", "yes"])
    assert found.counts == {"train": [3, 3], "val": [3, 3]}
    assert sorted(found.sides) == [33, 33, 33, 33, 40, 40, 40, 40, 70, 70, 70, 70]
    assert not found.grey
    # Half of the images have a side of 40 or less: 32 enlarges none of them, 64 most.
    assert found.size == 32
    assert found.ipc == [1]


def test_the_suggested_setting_is_one_that_is_read(tmp_path: Path) -> None:
    """`no` and `yes` are booleans in YAML unless quoted."""
    found = survey(str(folder(tmp_path, sides=(9, 12), mode="L")), "pets")
    (tmp_path / "settings.yaml").write_text(as_yaml("pets", found))
    (chosen,) = read_settings(tmp_path / "settings.yaml")
    assert (chosen.classes, chosen.size, chosen.channels) == (("no", "yes"), 8, 1)
    assert chosen.teacher.architecture == "convnet2_w64"
    # Values .2 and .8, half each: mean .5, deviation .3.
    assert (chosen.normalisation.mean, chosen.normalisation.std) == ((0.5,), (0.3,))
    assert proposal(found)["options"] == {"folder": "pets", "train": "train", "test": "val"}


def test_every_corrupt_file_is_named_and_not_counted(tmp_path: Path) -> None:
    root = folder(tmp_path)
    (root / "pets/train/no/40.png").write_bytes(b"nothing")
    whole = (root / "pets/train/yes/70.png").read_bytes()
    (root / "pets/train/yes/70.png").write_bytes(whole[: len(whole) // 2])
    found = survey(str(root), "pets")
    assert [path for path, _ in found.corrupt] == ["pets/train/no/40.png", "pets/train/yes/70.png"]
    assert found.counts["train"] == [2, 2]
    listed = {what: (ok, detail) for what, ok, detail in rows(found)}
    assert listed["corrupt files"][0] is False
    assert "pets/train/yes/70.png" in listed["corrupt files"][1]


def test_other_layouts_are_refused(tmp_path: Path) -> None:
    (tmp_path / "flat").mkdir()
    with pytest.raises(InputError, match="no folder for training and one for test"):
        survey(str(tmp_path), "flat")
    root = folder(tmp_path)
    (root / "pets/val/maybe").mkdir()
    with pytest.raises(InputError, match=r"\['maybe'\] in one split alone"):
        survey(str(root), "pets")
    with pytest.raises(InputError, match="is not a path below"):
        survey(str(root), "../pets")
