"""RawData: digests, the caches in memory and on disk, and what happens when files change."""

from __future__ import annotations

import hashlib
import os
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest

from dd_assets.datasets import decoded
from dd_assets.datasets.arrays import Normalisation
from dd_assets.datasets.registry import setting
from dd_assets.errors import InputError
from dd_resources import raw_data
from dd_resources.raw_data import RawData, dataset_digest, file_digest
from tests.datasets.fabricated import encoded, image_folder, put

YAML = """
own: {reader: folder, classes: [cat, ant, bee], size: 8, teacher: {architecture: resnet18}, students: [resnet18]}
other: {reader: folder, data: own, classes: [cat, ant, bee], size: 8, mean: [0.1, 0.1, 0.1], std: [1, 1, 1],
  teacher: {architecture: resnet18}, students: [resnet18]}
"""


@pytest.fixture
def own(root, enable) -> RawData:
    """Three classes of two images per split, under the settings `own` and `other`."""
    image_folder(root / "own", ("cat", "ant", "bee"))
    enable(YAML)
    return RawData(str(root))


def fresh(raw: RawData, name: str = "own"):
    """Load as a new process would."""
    raw_data._load.cache_clear()
    return raw.load(name)


def counting(monkeypatch) -> list[str]:
    """The names of the images decoded from now on."""
    from dd_assets.datasets.readers import images

    seen: list[str] = []
    real = images.decode
    monkeypatch.setattr(images, "decode", lambda data, chosen, where: seen.append(where) or real(data, chosen, where))
    return seen


def entries(home: Path) -> list[Path]:
    """Folders of the cache on disk."""
    return sorted((home / ".cache/dd-assets/decoded").iterdir())


def test_digits_of_another_size_and_in_colour_are_what_the_setting_says(enable):
    enable("large: {base: digits, size: 16, channels: 3, mean: [0.3, 0.3, 0.3], std: [1, 1, 1]}")
    train, test = fresh(RawData(), "large")
    assert (train.images.shape[1:], test.images.shape[1:], train.images.dtype) == ((16, 16, 3), (16, 16, 3), np.uint8)
    small, _ = fresh(RawData(), "digits")
    assert (train.labels == small.labels).all()
    # Each image is its own digit: its mean brightness stays.
    before, after = (images.mean(axis=(1, 2, 3)) for images in (small.images, train.images))
    assert np.corrcoef(before, after)[0, 1] > 0.99
    assert (train.images[..., 0] == train.images[..., 2]).all()


@pytest.mark.parametrize("count", [3, 11])
def test_digits_with_more_or_fewer_classes_than_ten_are_refused(enable, count):
    enable(f"few: {{base: digits, classes: [{', '.join(f'c{number}' for number in range(count))}]}}")
    with pytest.raises(InputError, match="list all classes" if count < 10 else r"no images of \['c10'\]"):
        fresh(RawData(), "few")


def test_the_digits_have_the_digests_they_always_had():
    train, test = RawData().load("digits")
    assert dataset_digest(setting("digits"), train, test).startswith("632c80521c652657f5043b1d387c5b75")
    assert RawData().fingerprint(setting("digits")).startswith("f632940b469eabefb3c87bf68747bcd9")


def test_a_second_process_decodes_nothing_and_gets_the_same(own, own_home, monkeypatch):
    first = fresh(own)
    seen = counting(monkeypatch)
    second = fresh(own)
    assert seen == []
    assert dataset_digest(setting("own"), *first) == dataset_digest(setting("own"), *second)
    # Writable, so that torch takes it without a warning, yet the file stays as it is.
    second[0].images[:] = 99
    third = fresh(own)
    assert (third[0].images == first[0].images).all()


def test_settings_that_differ_in_normalisation_share_the_entry_but_not_the_digest(own, own_home, monkeypatch):
    fresh(own)
    seen = counting(monkeypatch)
    train, test = fresh(own, "other")
    assert (seen, len(entries(own_home))) == ([], 1)
    assert dataset_digest(setting("own"), train, test) != dataset_digest(setting("other"), train, test)
    content = raw_data._load(own.root, "other", *_key(own, "other"))[2]
    assert content == dataset_digest(setting("other"), train, test)


def _key(raw: RawData, name: str):
    chosen = setting(name)
    return raw_data._decoding(chosen, raw.fingerprint(chosen)), chosen.normalisation


def test_a_changed_image_is_seen_at_once_even_by_the_same_process(own):
    content = dataset_digest(setting("own"), *own.load("own"))
    own.load("own", content)
    put(Path(own.root) / "own/train/cat/0.png", encoded(200))
    assert own.load("own")[0].images[0, 0, 0, 0] == 200
    with pytest.raises(InputError, match="its files or the image decoder changed"):
        own.load("own", content)


def test_a_damaged_entry_is_noticed_dropped_and_written_anew(own, own_home):
    before = fresh(own)
    path = entries(own_home)[0] / "train_images.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.warns(UserWarning, match="damaged"):
        after = fresh(own)
    assert (after[0].images == before[0].images).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fresh(own)


@pytest.mark.parametrize("damage", ["{}", "", '{"content": 1, "normalisation": {"mean": 3}}'])
def test_an_unreadable_entry_is_no_obstacle(own, own_home, damage):
    fresh(own)
    (entries(own_home)[0] / "entry.json").write_text(damage)
    with pytest.warns(UserWarning, match="damaged"):
        assert len(fresh(own)[0]) == 6


def test_a_full_disk_means_no_cache_and_nothing_left_behind(own, own_home, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(decoded.np, "save", full)
    with pytest.warns(UserWarning, match="not cached.*No space left"):
        assert len(fresh(own)[0]) == 6
    assert entries(own_home) == []


def test_a_nearly_full_disk_is_left_alone(own, own_home, monkeypatch):
    monkeypatch.setattr(decoded, "RESERVE", 1 << 60)
    with pytest.warns(UserWarning, match="less than"):
        fresh(own)
    assert entries(own_home) == []


def test_a_home_that_cannot_be_written_is_no_obstacle(own, own_home):
    (own_home / ".cache").write_text("a file where the folder should be")
    with pytest.warns(UserWarning, match="not cached"):
        assert len(fresh(own)[0]) == 6


def test_a_home_that_cannot_be_entered_is_no_obstacle(monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "is_dir", refuse)
    plain = Normalisation(mean=(0.5,), std=(0.5,))
    assert decoded.find("k", plain, lambda *_: pytest.fail("nothing was found")) is None


def test_writers_at_the_same_time_leave_one_whole_entry(own, own_home):
    train, test = fresh(own)
    chosen = setting("own")
    content = dataset_digest(chosen, train, test)
    start, results = threading.Barrier(8), []

    def write() -> None:
        start.wait()
        results.append(decoded.keep("k", chosen.normalisation, train, test, content))

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 8
    assert [path.name for path in entries(own_home) if path.name == "k" or path.name.startswith(".")] == ["k"]
    found = decoded.find("k", chosen.normalisation, lambda _, a, b: dataset_digest(chosen, a, b))
    assert found is not None
    assert (found[0].images == train.images).all()


def test_files_that_change_while_they_are_read_are_not_kept(own, own_home, monkeypatch):
    from dd_assets.datasets.readers import images

    real = images.decode

    def meddle(data, chosen, where):
        put(Path(own.root) / "own/test/bee/1.png", encoded(250))
        return real(data, chosen, where)

    monkeypatch.setattr(images, "decode", meddle)
    fresh(own)
    assert not (own_home / ".cache/dd-assets/decoded").exists()


def test_large_sources_are_hashed_once_for_all_processes(own, own_home, monkeypatch):
    monkeypatch.setattr(raw_data, "REMEMBERED_FROM", 1)
    hashed = []
    real = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda *a: hashed.append(a) or real(*a))
    raw_data._file_digest.cache_clear()
    first = own.fingerprint(setting("own"))
    assert len(hashed) == 12
    raw_data._file_digest.cache_clear()
    assert own.fingerprint(setting("own")) == first
    assert len(hashed) == 12
    path = Path(own.root) / "own/test/bee/1.png"
    os.utime(path, ns=(1, 1))
    assert own.fingerprint(setting("own")) == first
    path.write_bytes(encoded(3))
    assert own.fingerprint(setting("own")) != first


def test_a_files_digest_follows_its_bytes(tmp_path):
    path = put(tmp_path / "f", b"one")
    assert file_digest(path) == hashlib.sha256(b"one").hexdigest()
    put(path, b"other")
    assert file_digest(path) == hashlib.sha256(b"other").hexdigest()


def test_without_a_root_only_bundled_data_is_read(own):
    with pytest.raises(InputError, match="set DD_DATA_ROOT"):
        RawData().load("own")


def test_the_shared_imagenette_has_its_classes_in_place(enable, shared_data):
    # One image of each class by its own digest would say nothing to a reader; the class means differ instead.
    text = (Path(__file__).resolve().parents[2] / "docs/examples/imagenette_128.yaml").read_text("utf-8")
    text = text.replace("train.parquet", "val.parquet").replace("size: 128", "size: 16")
    enable(text)
    train, _ = RawData(str(shared_data)).load("imagenette_128")
    assert np.bincount(train.labels).tolist() == [100] * 10
    assert train.images.shape == (1000, 16, 16, 3)
