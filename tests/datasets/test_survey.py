"""What the doctor says of a folder of images before there is a setting."""

from __future__ import annotations

from pathlib import Path

import fsspec
import numpy as np
import pytest
from PIL import Image

from dd_assets.datasets import registry
from dd_assets.datasets.sources import Source
from dd_assets.datasets.survey import Survey, as_yaml, proposal, rows, survey
from dd_assets.datasets.user_settings import read_settings
from dd_assets.doctor import examine_folder
from dd_assets.errors import InputError
from dd_assets.planning.cells import Cell
from dd_resources.raw_data import RawData


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


def test_counts_and_sides(tmp_path: Path) -> None:
    found = survey(str(folder(tmp_path)), "pets")
    assert (found.splits, found.classes) == (("train", "val"), ["no", "yes"])
    assert found.counts == {"train": [3, 3], "val": [3, 3]}
    assert sorted(found.sides) == [33, 33, 33, 33, 40, 40, 40, 40, 70, 70, 70, 70]
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
    assert "pets/train/no/40.png (not an image of a known kind)" in listed["corrupt files"][1]
    assert "pets/train/yes/70.png" in listed["corrupt files"][1]
    assert listed["corrupt files"][1].endswith("→ replace or remove them")


def test_other_layouts_are_refused(tmp_path: Path) -> None:
    (tmp_path / "flat").mkdir()
    with pytest.raises(InputError, match="no folder for training and one for test"):
        survey(str(tmp_path), "flat")
    root = folder(tmp_path)
    (root / "pets/val/maybe").mkdir()
    with pytest.raises(InputError, match=r"pets: train has no folder of \['maybe'\] → give both splits"):
        survey(str(root), "pets")
    (root / "pets/train/maybe").mkdir()
    (root / "pets/train/rarely").mkdir()
    with pytest.raises(InputError, match=r"pets: val has no folder of \['rarely'\] → give both splits"):
        survey(str(root), "pets")
    with pytest.raises(InputError, match="is not a path below"):
        survey(str(root), "../pets")


def said(root: Path) -> dict[str, tuple[bool, str]]:
    return {what: (ok, detail) for what, ok, detail in rows(survey(str(root), "pets"))}


def test_for_a_class_without_images_no_setting_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = folder(tmp_path)
    for path in (root / "pets/val/yes").iterdir():
        path.unlink()
    monkeypatch.setenv("DD_DATA_ROOT", str(root))
    found = {row["check"]: row for row in examine_folder("pets", str(tmp_path / "pets.yaml"))}
    assert found["train images"]["ok"]
    assert "val/yes: add images, or remove the class from both splits" in found["val images"]["detail"]
    assert (found["setting"]["ok"], found["setting"]["detail"][:30]) == (False, "not written: no image in val/y")
    assert "suggested" not in found
    assert not (tmp_path / "pets.yaml").exists()


def test_equal_channels_are_grey_and_a_file_of_the_rarer_kind_is_named(tmp_path: Path) -> None:
    root = folder(tmp_path, mode="RGB")
    assert proposal(survey(str(root), "pets"))["channels"] == 1
    assert said(root)["colours"] == (True, "grey")
    Image.new("RGB", (40, 40), (51, 51, 52)).save(root / "pets/train/yes/40.png")
    assert said(root)["colours"] == (True, "1 in colour, 11 grey, e.g. pets/train/yes/40.png (colour)")
    assert proposal(survey(str(root), "pets"))["channels"] == 3


def test_an_image_of_another_size_is_named(tmp_path: Path) -> None:
    root = folder(tmp_path, sides=(40,))
    assert said(root)["shorter side"][1] == "40 to 40 px, median 40 px"
    Image.new("L", (90, 20)).save(root / "pets/train/yes/40.png")
    assert said(root)["shorter side"][1] == "20 to 40 px, median 40 px; farthest from it pets/train/yes/40.png (20 px)"


def test_files_that_are_passed_over_are_counted(tmp_path: Path) -> None:
    root = folder(tmp_path)
    assert "ignored" not in said(root)
    (root / "pets/train/yes/notes.txt").write_text("of no use")
    # Directly in a split an image has no class.
    (root / "pets/val/stray.png").write_bytes((root / "pets/val/yes/40.png").read_bytes())
    ok, text = said(root)["ignored"]
    assert ok
    assert text.startswith("2 files, e.g. pets/train/yes/notes.txt: only .bmp, ")


def test_a_misspelt_folder_is_told_from_one_of_another_layout(tmp_path: Path) -> None:
    root = folder(tmp_path)
    with pytest.raises(
        InputError, match=r"pest does not exist → .* has no 'pest', did you mean 'pets'\? .*DD_DATA_ROOT"
    ):
        survey(str(root), "pest")
    with pytest.raises(InputError, match=r"deeper/pets does not exist → .* has no 'deeper', it has \['home', 'pets'\]"):
        survey(str(root), "deeper/pets")
    (root / "empty/inside").mkdir(parents=True)
    with pytest.raises(InputError, match="no folder for training"):
        survey(str(root), "empty/inside")


@pytest.mark.parametrize("classes", [2, 3, 5, 10, 100, 1000, 21841])
def test_the_suggested_floor_is_above_chance_and_within_reach(classes: int) -> None:
    names = [str(number) for number in range(classes)]
    found = Survey("pets", ("train", "test"), names, {"train": [9] * classes, "test": [9] * classes})
    floor = proposal(found)["teacher"]["recipe"]["accuracy_floor"]
    assert 1.25 / classes <= floor <= 0.65


@pytest.mark.parametrize("remote", [False, True])
def test_hidden_folders_are_no_classes(tmp_path: Path, remote: bool) -> None:
    """An editor leaves train/.ipynb_checkpoints; neither the survey nor the reader looks into it."""
    root, address = folder(tmp_path, sides=(9, 12)), str(tmp_path)
    hidden = root / "pets/train/.ipynb_checkpoints/9-checkpoint.png"
    hidden.parent.mkdir()
    hidden.write_bytes((root / "pets/train/no/9.png").read_bytes())
    if remote:
        address = f"memory://{tmp_path.name}"
        fsspec.filesystem("memory").put(str(root / "pets"), f"/{tmp_path.name}/pets", recursive=True)
    assert Source(address).folders("pets/train") == ["no", "yes"]
    found = survey(address, "pets")
    assert (found.classes, found.counts, found.ignored) == (["no", "yes"], {"train": [2, 2], "val": [2, 2]}, [])


@pytest.mark.parametrize(
    ("given", "name"),
    [("birds (2024)", "birds_2024"), ("vögel", "vogel"), (".", "data"), ("digits", "digits_2"), ("鳥", "images")],
)
def test_the_setting_written_for_a_folder_of_any_name_is_one_that_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, name: str
) -> None:
    root = folder(tmp_path / "data", sides=(9, 12))
    place = root / "pets"
    if given == ".":
        for split in ("train", "val"):
            (place / split).rename(root / split)
    else:
        place.rename(root / given)
    monkeypatch.setenv("DD_DATA_ROOT", str(root))
    (row,) = (row for row in examine_folder(given, str(tmp_path / "own.yaml")) if row["check"] == "setting")
    assert row["detail"].startswith(f"{name}, written to ")
    monkeypatch.setenv("DD_DATASETS", str(tmp_path / "own.yaml"))
    registry.settings.cache_clear()
    try:
        assert list(registry.settings()) == ["digits", name]
        assert Cell.of(name).setting.name == name
        assert len(RawData(str(root)).load(name)[0]) == 4
    finally:
        registry.settings.cache_clear()
