"""Parquet tables in Hugging Face's layout, here and on a remote root."""

from __future__ import annotations

import hashlib
from pathlib import Path

import fsspec
import pytest

from dd_assets.datasets.readers import reader
from dd_assets.datasets.sources import Source
from dd_assets.errors import InputError, UnknownNameError
from dd_assets.planning.digests import text_digest
from dd_resources.raw_data import RawData
from tests.datasets.fabricated import encoded, image_folder, table, three_classes

NAMES = ("cat", "ant", "bee")
PARQUET = three_classes(reader="parquet")


def read(setting, root: Path | str):
    """(train, test) straight from the reader."""
    return reader(setting).read(setting, Source(str(root)))


def whole(root: Path, **train) -> None:
    """own/train.parquet and own/test.parquet; keyword arguments replace the train table's."""
    given = {"images": [encoded(value) for value in (5, 6, 7, 8)], "labels": [2, 0, 1, 0], "names": NAMES} | train
    table(root / "own/train.parquet", **given)
    table(root / "own/test.parquet", [encoded(9)], [1], NAMES)


def test_rows_keep_their_order_and_labels(root):
    whole(root)
    train, test = read(PARQUET, root)
    assert train.images[:, 0, 0, 0].tolist() == [5, 6, 7, 8]
    assert train.labels.tolist() == [2, 0, 1, 0]
    assert (test.images[0] == 9).all()


def test_shards_are_joined_in_the_order_of_their_names(root):
    for number in (1, 0):
        table(root / f"hub/train-0000{number}-of-2.parquet", [encoded(number)] * 3, [0, 1, 2])
    table(root / "hub/test.parquet", [encoded(3)], [0])
    options = {"train": "hub/train-*.parquet", "test": ["hub/test.parquet"]}
    train, _ = read(three_classes(reader="parquet", options=options), root)
    assert train.images[:, 0, 0, 0].tolist() == [0, 0, 0, 1, 1, 1]


def test_columns_may_have_other_names(root):
    for split in ("train", "test"):
        table(root / f"own/{split}.parquet", [encoded(1)] * 3, [0, 1, 2], NAMES, image="img", label="fine_label")
    with pytest.raises(InputError, match="no column 'image'"):
        read(PARQUET, root)
    options = {"image_column": "img", "label_column": "fine_label"}
    assert len(read(three_classes(reader="parquet", options=options), root)[0]) == 3


@pytest.mark.parametrize(
    ("train", "match"),
    [
        ({"names": ("ant", "bee", "cat")}, "its class order is"),
        ({"labels": [0, 1, 2, 3]}, "label 3 with 3 classes"),
        ({"labels": [0, 1, 2, -1]}, "label -1 with 3 classes"),
        ({"labels": [0, 1, 2, None]}, "1 rows have no label"),
        ({"labels": [0, 1, 0, 1]}, r"no images of \['bee'\]"),
        ({"images": [], "labels": []}, "holds no images"),
        ({"images": [encoded(1), None, encoded(1), encoded(1)]}, "row 1: no image bytes"),
        ({"images": [encoded(1), encoded(1), encoded(1)[:50], encoded(1)]}, "row 2 cannot be decoded"),
    ],
)
def test_what_cannot_be_right_is_refused(root, train, match):
    whole(root, **train)
    with pytest.raises(InputError, match=rf"own/train\.parquet.*{match}"):
        read(PARQUET, root)


def test_a_damaged_or_missing_file_is_named(root):
    whole(root)
    path = root / "own/train.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"own/train\.parquet is not a readable Parquet file"):
        read(PARQUET, root)
    path.unlink()
    with pytest.raises(InputError, match=r"own/train\.parquet does not exist"):
        RawData(str(root)).fingerprint(PARQUET)


def test_a_misspelt_option_is_refused(root):
    whole(root)
    with pytest.raises(UnknownNameError, match="image_column"):
        RawData(str(root)).fingerprint(three_classes(reader="parquet", options={"image_colum": "x"}))


class Tagged(fsspec.get_filesystem_class("memory")):
    """An in-memory bucket whose listings carry quoted ETags, as s3fs's do."""

    protocol = "tagged"
    tags: dict[str, str] = {}  # noqa: RUF012

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.replace("tagged://", "memory://"))

    def _tagged(self, found):
        tag = self.tags.get(found["name"], "first")
        return {**found, "ETag": f'"{tag}"'} if found["type"] == "file" else found

    def info(self, path, **options):
        """The memory file system's, with the ETag."""
        return self._tagged(super().info(path, **options))

    def find(self, path, detail=False, **options):
        """The memory file system's, with ETags."""
        found = super().find(path, detail=True, **options)
        return {name: self._tagged(one) for name, one in found.items()}

    def open(self, path, *arguments, **options):
        """Counted, so that a fingerprint that reads everything shows."""
        type(self).opened += 1
        return super().open(path, *arguments, **options)

    opened = 0


@pytest.fixture
def bucket(root):
    """The root's files under tagged://bucket/prefix, and a function that uploads them again."""
    fsspec.register_implementation("tagged", Tagged, clobber=True)
    system = fsspec.filesystem("tagged")

    def upload() -> str:
        for path in root.rglob("*"):
            if path.is_file():
                system.pipe_file(f"/bucket/prefix/{path.relative_to(root)}", path.read_bytes())
        Tagged.opened = 0
        return "tagged://bucket/prefix"

    yield upload
    system.rm("/bucket", recursive=True)
    Tagged.tags.clear()


def test_a_remote_table_reads_as_the_local_one_and_counts_by_its_etag(root, bucket):
    whole(root)
    address = bucket()
    here, there = read(PARQUET, root), read(PARQUET, address)
    assert (here[0].images == there[0].images).all()
    assert (here[0].labels == there[0].labels).all()
    Tagged.opened = 0
    before = RawData(address).fingerprint(PARQUET)
    assert Tagged.opened == 0, "a fingerprint of S3 must not download"
    Tagged.tags["/bucket/prefix/own/train.parquet"] = "second"
    assert RawData(address).fingerprint(PARQUET) != before
    with pytest.raises(InputError, match=r"tagged://bucket/prefix/own/none\.parquet does not exist"):
        RawData(address).fingerprint(three_classes(reader="parquet", options={"train": "own/none.parquet"}))


def test_a_remote_folder_reads_as_the_local_one(root, bucket):
    image_folder(root / "own", NAMES)
    address, folder = bucket(), three_classes()
    here, there = read(folder, root), read(folder, address)
    assert (here[0].images == there[0].images).all()
    Tagged.opened = 0
    before = RawData(address).fingerprint(folder)
    assert Tagged.opened == 0
    fsspec.filesystem("tagged").mv("/bucket/prefix/own/train/ant/1.png", "/bucket/prefix/own/train/bee/9.png")
    assert RawData(address).fingerprint(folder) != before


def test_a_remote_root_without_etags_counts_by_bytes(root):
    system = fsspec.filesystem("memory")
    whole(root)
    prints = []
    for value in (1, 2):
        table(root / "own/test.parquet", [encoded(value)], [1], NAMES)
        for name in ("train", "test"):
            system.pipe_file(f"/plain/own/{name}.parquet", (root / f"own/{name}.parquet").read_bytes())
        prints.append(RawData("memory://plain").fingerprint(PARQUET))
    system.rm("/plain", recursive=True)
    assert prints[0] != prints[1]


def test_an_unknown_kind_of_root_is_refused():
    with pytest.raises(InputError, match="cannot be read: Protocol not known"):
        RawData("nosuch://bucket").fingerprint(PARQUET)


def test_a_table_that_would_become_far_larger_than_its_file_is_refused(root, monkeypatch):
    whole(root)
    monkeypatch.setattr("dd_assets.datasets.readers.parquet.MAX_ROWS", 3)
    with pytest.raises(InputError, match=r"train\.parquet: 4 rows, .* at most 3 rows"):
        read(PARQUET, root)
    monkeypatch.undo()
    monkeypatch.setattr("dd_assets.datasets.readers.parquet.FREE_BYTES", 1 << 16)
    # Ten megabytes of zeros are some hundred bytes of a Parquet file.
    whole(root, images=[bytes(10 << 20)] * 4)
    with pytest.raises(InputError, match=r"train\.parquet: 4 rows, .* 20 times its size"):
        read(PARQUET, root)


def _three_files(root: Path, *names: str) -> None:
    for value, name in enumerate(names):
        table(root / f"own/{name}.parquet", [encoded(value)] * 3, [0, 1, 2], NAMES)


def test_a_file_moved_from_one_split_to_the_other_is_noticed(root):
    """The files in reading order are the same before and after; only the boundary between the splits has moved."""
    sharded = three_classes(reader="parquet", options={"train": "own/train-*.parquet", "test": "own/test-*.parquet"})
    _three_files(root, "train-0", "train-1", "test-0")
    before, parts = RawData(str(root)).fingerprint(sharded), read(sharded, root)
    assert [len(part) for part in parts] == [6, 3]
    (root / "own/test-0.parquet").rename(root / "own/test-1.parquet")
    (root / "own/train-1.parquet").rename(root / "own/test-0.parquet")
    assert [len(part) for part in read(sharded, root)] == [3, 6]
    assert RawData(str(root)).fingerprint(sharded) != before


def test_one_file_per_split_has_the_fingerprint_that_it_had(root):
    """Stored datasets name it; another one would mean reading them again."""
    whole(root)
    digests = [hashlib.sha256((root / f"own/{split}.parquet").read_bytes()).hexdigest() for split in ("train", "test")]
    assert RawData(str(root)).fingerprint(PARQUET) == text_digest(digests)
