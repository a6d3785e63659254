"""torchvision's datasets from fabricated files, and downloading them from addresses on this machine."""

from __future__ import annotations

import functools
import http.server
import os
import threading
import zipfile

import pytest
from torchvision import datasets

from dd_assets.datasets import downloads
from dd_assets.datasets.catalogue import CATALOGUE
from dd_assets.datasets.downloads import download
from dd_assets.datasets.readers import reader
from dd_assets.datasets.readers.torchvision import ARCHIVES
from dd_assets.datasets.sources import Source
from dd_assets.errors import InputError, UnknownNameError
from dd_resources.raw_data import RawData
from tests.datasets import fabricated
from tests.datasets.fabricated import md5, setting_of


def read(setting, root):
    """(train, test) straight from the reader."""
    return reader(setting).read(setting, Source(str(root)))


@pytest.fixture
def cifar(root, monkeypatch):
    """Writes a fabricated CIFAR and makes torchvision expect its md5 sums."""

    def write(kind: str, names=None):
        made = fabricated.cifar(root, kind, names or CATALOGUE[kind].classes)
        for name, value in made.items():
            monkeypatch.setattr(getattr(datasets, ARCHIVES[kind].loader), name, value)
        return made

    return write


@pytest.mark.parametrize(("name", "folder"), [("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST")])
def test_mnist_and_its_relatives(root, name, folder):
    fabricated.mnist(root, folder)
    train, test = read(CATALOGUE[name], root)
    assert train.images.shape == (20, 28, 28, 1)
    assert train.images[:, 5, 9, 0].tolist() == list(range(20))
    assert test.images[:, 5, 9, 0].tolist() == list(range(100, 110))
    assert test.labels.tolist() == list(range(10))


def test_another_size_and_three_channels_are_made_from_the_stored_ones(root):
    fabricated.mnist(root, "MNIST")
    train, _ = read(setting_of("mnist", size=32, channels=3), root)
    assert train.images.shape == (20, 32, 32, 3)
    assert (train.images[7] == 7).all()


@pytest.mark.parametrize(("name", "count"), [("cifar10", 10), ("cifar100", 100)])
def test_cifar_channels_and_labels(root, cifar, name, count):
    # Stored as 3 planes of 1024; read as interleaved pixels, red would not be the class number everywhere.
    cifar(name)
    train, test = read(CATALOGUE[name], root)
    assert train.images.shape == ((50 if name == "cifar10" else 100), 32, 32, 3)
    assert test.labels.tolist() == list(range(count))
    assert test.images[7, 31, 30].tolist() == [7, 100, 200]


def test_the_files_known_without_torchvision_are_torchvisions():
    for entry in ARCHIVES.values():
        loader = getattr(datasets, entry.loader)
        if hasattr(loader, "train_list"):
            names = [name for name, _ in (*loader.train_list, *loader.test_list)] + [loader.meta["filename"]]
            stated = {f"{loader.base_folder}/{name}" for name in names}
        else:
            stated = {f"{entry.loader}/raw/{os.path.basename(url).removesuffix('.gz')}" for url, _ in loader.resources}
        assert set(entry.files) == stated


def test_a_changed_byte_fails_the_integrity_check_before_anything_is_unpickled(root, cifar):
    cifar("cifar10")
    path = root / "cifar-10-batches-py/data_batch_3"
    # A pickle that would create a file: the md5 sum must refuse it first.
    mark = root / "executed"
    path.write_bytes(b"cos\nsystem\n(S'touch " + str(mark).encode() + b"'\ntR.")
    with pytest.raises(InputError, match=r"corrupted.*dd-assets datasets --download cifar10"):
        read(CATALOGUE["cifar10"], root)
    assert not mark.exists()


def test_a_wrong_class_order_is_refused(root, cifar):
    cifar("cifar10", tuple(reversed(CATALOGUE["cifar10"].classes)))
    with pytest.raises(InputError, match="its class order is"):
        read(CATALOGUE["cifar10"], root)


@pytest.mark.parametrize("keep", [0, 10, 2000])
def test_a_truncated_idx_file_is_refused(root, keep):
    fabricated.mnist(root, "MNIST")
    path = root / "MNIST/raw/train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match="mnist train split"):
        read(CATALOGUE["mnist"], root)


def test_a_missing_file_is_named_with_the_remedy(root):
    fabricated.mnist(root, "MNIST")
    (root / "MNIST/raw/t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(InputError, match=r"t10k-labels.* does not exist .*dd-assets datasets --download mnist"):
        RawData(str(root)).fingerprint(CATALOGUE["mnist"])


def test_a_remote_root_is_refused_since_torchvision_reads_files():
    with pytest.raises(InputError, match="must be a local file"):
        RawData("s3://bucket/prefix").fingerprint(CATALOGUE["mnist"])


def test_nothing_is_downloaded_unless_asked(root, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("reading must not fetch")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    for name in ("mnist", "cifar10", "imagenette", "tiny_imagenet"):
        with pytest.raises(InputError):
            read(CATALOGUE[name], root)


@pytest.fixture
def served(tmp_path):
    """An address on this machine for a file in the temporary folder."""
    handler = functools.partial(Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield lambda path: f"http://127.0.0.1:{server.server_port}/{path.name}"
        server.shutdown()


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A file server that does not print."""

    def log_message(self, *_):
        """Nothing."""


def test_downloading_cifar_then_reads_it(root, tmp_path, cifar, served, monkeypatch):
    cifar("cifar10")
    packed = fabricated.tarball(root / "cifar-10-batches-py", tmp_path / "packed.tar.gz")
    for name, value in (("url", served(packed)), ("filename", packed.name), ("tgz_md5", md5(packed))):
        monkeypatch.setattr(datasets.CIFAR10, name, value)
    target = tmp_path / "new" / "root"
    assert download("cifar10", str(target)) == f"cifar10 lies below {target}"
    assert len(read(CATALOGUE["cifar10"], target)[0]) == 50
    monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", "0" * 32)
    with pytest.raises(InputError, match=r"downloading cifar10 .* failed"):
        download("cifar10", str(tmp_path / "other"))


def test_downloading_tiny_imagenet_checks_its_sum(tmp_path, served, monkeypatch):
    packed = tmp_path / "t.zip"
    with zipfile.ZipFile(packed, "w") as made:
        made.writestr("tiny-imagenet-200/val/val_annotations.txt", b"")
    monkeypatch.setattr(downloads, "TINY_IMAGENET", (served(packed), "0" * 32))
    with pytest.raises(InputError, match="failed"):
        download("tiny_imagenet", str(tmp_path / "new"))
    monkeypatch.setattr(downloads, "TINY_IMAGENET", (served(packed), md5(packed)))
    download("tiny_imagenet", str(tmp_path / "new"))
    assert (tmp_path / "new/tiny-imagenet-200/val/val_annotations.txt").is_file()


def test_what_cannot_be_downloaded_says_where_to_get_it(tmp_path):
    assert set(downloads.DOWNLOADERS) | set(downloads.BY_HAND) | {"digits"} == set(CATALOGUE)
    for name in ("imagewoof", "imagenet1k", "imageidc"):
        with pytest.raises(InputError, match="https://"):
            download(name, str(tmp_path))
    with pytest.raises(InputError, match="local folder"):
        download("mnist", "s3://bucket")
    with pytest.raises(UnknownNameError, match="did you mean 'cifar10'"):
        download("cifar1", str(tmp_path))


def test_the_archives_known_without_torchvision_are_torchvisions():
    assert datasets.Imagenette._ARCHIVES["full"] == downloads.IMAGENETTE


def packed_images(tmp_path, folder: str, kind: str):
    """An archive with one image a split, as .zip or .tgz."""
    for split in ("train", "val"):
        place = tmp_path / folder / split / "n1" / "images" / "a.JPEG"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"picture")
    (tmp_path / folder / "val/val_annotations.txt").write_bytes(b"")
    if kind == "tgz":
        return fabricated.tarball(tmp_path / folder, tmp_path / f"{folder}.tgz")
    with zipfile.ZipFile(tmp_path / f"{folder}.zip", "w") as made:
        for path in sorted((tmp_path / folder).rglob("*.*")):
            made.write(path, path.relative_to(tmp_path))
    return tmp_path / f"{folder}.zip"


@pytest.mark.parametrize(
    ("name", "folder", "kind"), [("tiny_imagenet", "tiny-imagenet-200", "zip"), ("imagenette", "imagenette2", "tgz")]
)
def test_half_a_folder_is_unpacked_again_and_a_whole_one_is_left_alone(
    root, tmp_path, served, monkeypatch, name, folder, kind
):
    packed = packed_images(tmp_path, folder, kind)
    monkeypatch.setattr(downloads, name.upper(), (served(packed), md5(packed)))
    monkeypatch.setitem(downloads.IMAGES, folder, {"train": 1, "val": 1})
    (root / folder / "val").mkdir(parents=True)
    (root / folder / "val/val_annotations.txt").write_bytes(b"half")
    said = download(name, str(root))
    assert (root / folder / "train/n1/images/a.JPEG").read_bytes() == b"picture"
    # Whoever it belongs to: what was there is kept, under a name that the line states.
    (aside,) = root.glob(f"{folder}.incomplete-*")
    assert (aside / "val/val_annotations.txt").read_bytes() == b"half"
    assert said == f"{name} lies below {root}; what was there before, incomplete, is now {aside}"
    packed.unlink()
    (root / packed.name).unlink()
    assert download(name, str(root)) == f"{name} lies below {root}"
    assert sorted(path.name for path in root.iterdir()) == [folder, aside.name]


def test_an_unpacking_that_is_interrupted_leaves_no_folder_that_counts(root, tmp_path, served, monkeypatch):
    packed = packed_images(tmp_path, "tiny-imagenet-200", "zip")
    monkeypatch.setattr(downloads, "TINY_IMAGENET", (served(packed), md5(packed)))

    def interrupted(archive, to):
        (to / "tiny-imagenet-200/val").mkdir(parents=True)
        raise KeyboardInterrupt

    monkeypatch.setattr(downloads, "unpack_zip", interrupted)
    with pytest.raises(KeyboardInterrupt):
        download("tiny_imagenet", str(root))
    assert [path.name for path in root.iterdir()] == [packed.name]


def test_half_a_file_of_mnist_is_unpacked_again(root, tmp_path, served, monkeypatch):
    fabricated.mnist(tmp_path, "MNIST", ".gz")
    archives = {path.name: md5(path) for path in (tmp_path / "MNIST/raw").iterdir()}
    for path in (tmp_path / "MNIST/raw").iterdir():
        path.rename(tmp_path / path.name)
    monkeypatch.setattr(datasets.MNIST, "mirrors", [served(tmp_path / "x").removesuffix("x")])
    monkeypatch.setattr(datasets.MNIST, "resources", list(archives.items()))
    fabricated.mnist(root, "MNIST")
    half = root / "MNIST/raw/t10k-images-idx3-ubyte"
    whole = half.read_bytes()
    half.write_bytes(whole[:-1])
    download("mnist", str(root))
    assert half.read_bytes() == whole
