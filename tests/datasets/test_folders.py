"""Image folders, ImageNet's relatives, Tiny-ImageNet: fabricated folders of each layout."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from dd_assets.datasets.names import class_folders
from dd_assets.datasets.readers import reader
from dd_assets.datasets.sources import Source
from dd_assets.errors import InputError, UnknownNameError
from dd_resources.raw_data import RawData
from tests.datasets.fabricated import encoded, image_folder, put, setting_of, three_classes

FOLDERS = ("cat", "ant", "bee")


def read(setting, root: Path):
    """(train, test) straight from the reader."""
    return reader(setting).read(setting, Source(str(root)))


def values(split) -> list[tuple[int, int]]:
    """(label, colour) per image."""
    return [(int(label), int(image[0, 0, 0])) for label, image in zip(split.labels, split.images, strict=True)]


def test_classes_come_in_the_settings_order_not_the_alphabets(root):
    # Alphabetical order (ant, bee, cat) would give the colours 40, 41, 80, 81, 0, 1.
    image_folder(root / "own", FOLDERS)
    train, test = read(three_classes(), root)
    assert values(train) == [(0, 0), (0, 1), (1, 40), (1, 41), (2, 80), (2, 81)]
    assert values(test) == [(0, 20), (0, 21), (1, 60), (1, 61), (2, 100), (2, 101)]
    assert train.images.dtype == np.uint8
    assert train.labels.dtype == np.int64


def test_what_is_no_image_or_no_class_is_left_alone(root):
    image_folder(root / "own", (*FOLDERS, "unlisted"))
    put(root / "own/train/cat/Thumbs.db", b"x")
    put(root / "own/train/cat/._0.png", b"x")
    put(root / "own/train/cat/nested/9.PNG", encoded(9))
    assert [colour for label, colour in values(read(three_classes(), root)[0]) if label == 0] == [0, 1, 9]


def test_images_too_deep_to_be_read_are_refused_and_not_left_out(root):
    image_folder(root / "own", FOLDERS)
    put(root / "own/train/cat/a/b/c/d/4.png", encoded(4))
    assert len(read(three_classes(), root)[0]) == 7
    put(root / "own/train/cat/a/b/c/d/e/5.png", encoded(5))
    with pytest.raises(InputError, match=r"cat/a/b/c/d/e/5\.png lies 6 folders or more below .*own/train → move"):
        read(three_classes(), root)


@pytest.mark.parametrize("name", ["imagenette", "imagewoof", "imageidc", "imagenet1k"])
def test_wordnet_folders_become_class_names(root, name):
    full = setting_of(name)
    few = setting_of(name, classes=full.classes[:4], size=8)
    table = class_folders(name)
    base = {"imagenette": "imagenette2", "imagewoof": "imagewoof2"}.get(name, "imagenet1k")
    image_folder(root / base, tuple(table[label] for label in few.classes), ("train", "val"))
    train, test = read(few, root)
    assert values(train)[::2] == [(0, 0), (1, 40), (2, 80), (3, 120)]
    assert len(test) == 8
    assert len(full.classes) == (1000 if name == "imagenet1k" else 10)


def test_the_class_tables_agree_with_imagenet():
    everything = class_folders("imagenet1k")
    ids = list(everything.values())
    assert ids == sorted(ids)
    assert (ids[0], ids[-1], len(set(ids))) == ("n01440764", "n15075141", 1000)
    assert everything["tench"] == "n01440764"
    assert everything["toilet tissue"] == "n15075141"
    for name, count in (("imagenette", 10), ("imagewoof", 10), ("imageidc", 10), ("tiny_imagenet", 200)):
        folders = list(class_folders(name).values())
        assert folders == sorted(folders)
        assert len(set(folders)) == count
        assert set(folders) <= set(ids)
    with pytest.raises(UnknownNameError, match="imagewoof"):
        class_folders("imagewof")


def test_files_lists_without_opening(root):
    put(root / "own/train/cat/0.png", b"never decoded")
    for name in FOLDERS[1:]:
        put(root / f"own/train/{name}/0.png", b"")
    for name in FOLDERS:
        put(root / f"own/test/{name}/0.png", b"")
    setting = three_classes()
    found = reader(setting).files(setting, Source(str(root)))
    assert [entry.path for entry in found][:2] == ["own/train/cat/0.png", "own/train/ant/0.png"]
    assert len(found) == 6


def test_moving_an_image_to_another_class_changes_the_fingerprint(root):
    # The same bytes in the same order: without their places, the digests would be equal and the labels wrong.
    setting = three_classes(classes=("a", "b"))
    for split in ("train", "test"):
        for place in ("a/0.png", "a/1.png", "b/2.png"):
            put(root / "own" / split / place, encoded(int(place[2])))
    before = RawData(str(root)).fingerprint(setting)
    os.rename(root / "own/train/a/1.png", root / "own/train/b/1.png")
    assert RawData(str(root)).fingerprint(setting) != before


def refused(setting, root: Path, match: str) -> None:
    """Both the fingerprint and the reading refuse."""
    with pytest.raises(InputError, match=match):
        RawData(str(root)).fingerprint(setting)
    with pytest.raises(InputError, match=match):
        read(setting, root)


def test_what_is_missing_is_named(root):
    refused(three_classes(), root, "own/train does not exist → set DD_DATA_ROOT")
    image_folder(root / "own", FOLDERS, ("train", "val"))
    refused(three_classes(), root, r"own/test does not exist.*folders beside it: \['train', 'val'\]")
    chosen = three_classes(options={"test": "val"})
    for file in (root / "own/val/bee").iterdir():
        file.unlink()
    refused(chosen, root, "val/bee, class 'bee', has no images")
    shutil.rmtree(root / "own/train/ant")
    refused(chosen, root, "train/ant, class 'ant', does not exist")


def test_of_a_path_the_part_that_is_missing_is_named_with_its_nearest_name(root):
    """The root is right and the setting's folder is not: another root would be the wrong cure to name alone."""
    image_folder(root / "deep/own", FOLDERS)
    refused(
        three_classes(options={"folder": "deep/owm"}),
        root,
        r"deep/owm/train does not exist → .*data/deep has no 'owm', did you mean 'own'\? correct the name, or set DD_",
    )
    refused(three_classes(options={"folder": "far"}), root, r"data has no 'far', it has \['deep'\]; correct the name")
    (root / "own.zip").write_bytes(b"PK")
    refused(three_classes(options={"folder": "own.zip"}), root, r"data/own\.zip is a file; name a folder")


def test_bytes_that_are_no_image_are_named_without_pillows_words(root):
    image_folder(root / "own", FOLDERS)
    put(root / "own/test/bee/1.png", b"nothing")
    with pytest.raises(
        InputError, match=r"bee/1\.png cannot be decoded: not an image of a known kind → replace or remove"
    ):
        read(three_classes(), root)


def test_a_damaged_image_is_named(root):
    image_folder(root / "own", FOLDERS)
    put(root / "own/test/bee/1.png", encoded(1)[:40])
    with pytest.raises(InputError, match=r"own/test/bee/1\.png cannot be decoded"):
        read(three_classes(), root)


def test_a_link_may_point_within_the_root_but_not_out_of_it(root, tmp_path):
    image_folder(root / "own", FOLDERS)
    kept = put(root / "kept.png", encoded(7))
    (root / "own/train/cat/7.png").symlink_to(kept)
    assert (0, 7) in values(read(three_classes(), root)[0])
    outside = put(tmp_path / "secret.png", encoded(8))
    (root / "own/train/cat/8.png").symlink_to(outside)
    refused(three_classes(), root, "outside the data root")
    (root / "own/train/cat/8.png").unlink()
    image_folder(tmp_path / "elsewhere", FOLDERS)
    shutil.rmtree(root / "own/test")
    (root / "own/test").symlink_to(tmp_path / "elsewhere/test")
    refused(three_classes(), root, "outside the data root")


def test_a_link_directly_in_the_root_says_where_a_dataset_lies(root, tmp_path):
    image_folder(tmp_path / "scratch", FOLDERS)
    (root / "own").symlink_to(tmp_path / "scratch")
    assert (0, 0) in values(read(three_classes(), root)[0])
    # A dataset from elsewhere could bring such a link along.
    (tmp_path / "scratch/train/cat/8.png").symlink_to(put(tmp_path / "secret.png", encoded(8)))
    refused(three_classes(), root, "outside the data root")


@pytest.mark.parametrize("folder", ["../own", "/etc", "a/../../b", "~/x", "", "s3://other/x"])
def test_an_option_may_not_leave_the_root(root, folder):
    refused(three_classes(options={"folder": folder}), root, "not a path below DD_DATA_ROOT")


@pytest.mark.parametrize("folder", ["..", "/etc", "a/b", "a\\b"])
def test_a_class_folder_is_one_folder(root, folder):
    image_folder(root / "own", FOLDERS)
    chosen = three_classes(options={"folders": {"cat": folder, "ant": "ant", "bee": "bee"}})
    refused(chosen, root, "not a path below|is not one folder")


def test_two_classes_may_not_share_a_folder_and_all_need_one(root):
    image_folder(root / "own", FOLDERS)
    refused(three_classes(options={"folders": {"cat": "cat", "ant": "cat", "bee": "bee"}}), root, "share a folder")
    refused(three_classes(options={"folders": {"cat": "cat"}}), root, "no entry for")


def tiny(root: Path) -> list[str]:
    """Two classes of Tiny-ImageNet; the val images are annotated in an order of their own."""
    ids = list(class_folders("tiny_imagenet").values())[:2]
    base = root / "tiny-imagenet-200"
    for label, wnid in enumerate(ids):
        for number in range(2):
            put(base / f"train/{wnid}/images/{wnid}_{number}.JPEG", encoded(40 * label + number, (64, 64), "BMP"))
        put(base / f"train/{wnid}/{wnid}_boxes.txt", b"boxes")
    for number in range(4):
        put(base / f"val/images/val_{number}.JPEG", encoded(100 + number, (64, 64), "BMP"))
    lines = [f"val_{number}.JPEG\t{ids[number % 2]}\t0\t0\t62\t62" for number in (3, 1, 2, 0)]
    put(base / "val/val_annotations.txt", "\n".join(lines).encode())
    return ids


def test_tiny_imagenets_val_labels_come_from_its_annotations(root):
    # ImageFolder on val/ would find one class, `images`; the annotations say that even numbers are class 0.
    tiny(root)
    two = setting_of("tiny_imagenet", classes=setting_of("tiny_imagenet").classes[:2])
    train, test = read(two, root)
    assert train.images.shape == (4, 64, 64, 3)
    assert values(train) == [(0, 0), (0, 1), (1, 40), (1, 41)]
    assert values(test) == [(0, 100), (0, 102), (1, 101), (1, 103)]
    with pytest.raises(InputError, match="does not exist"):
        read(setting_of("tiny_imagenet"), root)


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ("val_9.JPEG\tn01443537", "line 5: .*val_9.JPEG does not exist"),
        ("val_0.JPEG\tn01443537", "line 5: .*val_0.JPEG is named twice"),
        ("../../train/x.JPEG\tn01443537", "line 5: .* not a path below"),
    ],
)
def test_wrong_annotations_are_named(root, line, match):
    tiny(root)
    path = root / "tiny-imagenet-200/val/val_annotations.txt"
    two = setting_of("tiny_imagenet", classes=setting_of("tiny_imagenet").classes[:2])
    path.write_text(path.read_text() + "\n" + line)
    refused(two, root, match)
    path.write_text("\n".join(path.read_text().splitlines()[:3]))
    refused(two, root, "does not name .*val_0.JPEG")
    path.unlink()
    refused(two, root, "val_annotations.txt does not exist")


def test_changed_annotations_change_the_fingerprint(root):
    ids = tiny(root)
    two = setting_of("tiny_imagenet", classes=setting_of("tiny_imagenet").classes[:2])
    path = root / "tiny-imagenet-200/val/val_annotations.txt"
    before = RawData(str(root)).fingerprint(two)
    text = path.read_text()
    path.write_text(text.replace(ids[0], "?").replace(ids[1], ids[0]).replace("?", ids[1]))
    assert RawData(str(root)).fingerprint(two) != before
