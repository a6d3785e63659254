"""What fuzzing found, one example each: every one of these once ended in a traceback or in pages of text."""

from __future__ import annotations

from pathlib import Path

import pytest

from dd_assets.datasets.catalogue import CATALOGUE
from dd_assets.datasets.readers import READERS
from dd_assets.datasets.sources import Source
from dd_assets.datasets.user_settings import read_settings
from dd_assets.errors import DDError, InputError, UnknownNameError
from dd_assets.models import checkpoint
from dd_assets.planning.cells import Cell
from dd_assets.planning.unit import Manifest, Reference
from dd_assets.studies.registry import read_study
from dd_assets.units.tables import read_columns, read_images
from dd_resources.leases import Watcher, lease_facts
from dd_resources.store import ArtefactStore, manifest_path
from tests.datasets.fabricated import put, three_classes
from tests.fuzz.test_datasets import IDX, good_table
from tests.fuzz.test_stored import REFERENCE, label_table, manifest, weights
from tests.resources.samples import unit


def test_a_lease_that_holds_null_is_one_without_facts(store: ArtefactStore) -> None:
    Path(store.root, "lease", "r").mkdir(parents=True)
    Path(store.root, "lease", "r", "1").write_bytes(b"null")
    assert Watcher(store).look("r").state == "held"
    assert lease_facts(store, "r") == {}


@pytest.mark.parametrize("data", [b"null", b"[]", b"[" * 100_000, b'{"format": 1}', b"\xff"])
def test_a_manifest_of_another_shape_is_refused(store: ArtefactStore, data: bytes) -> None:
    put(Path(store.root, manifest_path(unit().digest)), data)
    with pytest.raises(DDError):
        store.lookup(unit().digest)


@pytest.mark.parametrize("number", ["Infinity", "-Infinity", "NaN"])
def test_a_manifest_with_a_number_that_json_has_not_is_refused(store: ArtefactStore, number: str) -> None:
    data = manifest().replace(b'"seconds": 1.5', f'"seconds": {number}'.encode())
    assert data != manifest()
    put(Path(store.root, manifest_path(unit().digest)), data)
    with pytest.raises(DDError, match=f"{number} is no JSON"):
        store.lookup(unit().digest)


@pytest.mark.parametrize("sha256", ["../../../etc/passwd", "", "A" * 64, None])
def test_a_payload_whose_name_is_a_path_is_refused(sha256: object) -> None:
    import json

    stated = json.loads(manifest())
    stated["payloads"]["w.bin"]["sha256"] = sha256
    with pytest.raises(DDError, match="damaged"):
        Manifest.from_json(stated)


def test_a_reference_whose_unit_is_a_path_is_refused() -> None:
    with pytest.raises(DDError, match="damaged"):
        Reference.from_json({**REFERENCE.to_json(), "units": {"draw0": "../x"}})


@pytest.mark.parametrize("text", ["{}", "datasets: null", "[1", "2001-99-99", "variants: 3"])
def test_a_study_of_another_shape_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "own.yaml").write_text(text)
    with pytest.raises(DDError, match=r"own\.yaml"):
        read_study(tmp_path / "own.yaml")


@pytest.mark.parametrize("partition", ["digits|²", "digits|１", "digits|010", "digits|", "digits|" + "1" * 5000])
def test_a_partition_key_has_one_spelling(partition: str) -> None:
    # int() fails at a superscript and at 5,000 digits, and takes the second and third for 1 and 10.
    with pytest.raises(InputError, match="has no IPC"):
        Cell.of(partition)


def test_a_checkpoint_with_damaged_metadata_is_refused() -> None:
    with pytest.raises(InputError, match="metadata is damaged"):
        checkpoint.read(weights().replace(b'\\"}', b'\\"|', 1))


def test_an_idx_file_of_signed_bytes_is_refused(tmp_path: Path) -> None:
    for split in ("train", "t10k"):
        put(tmp_path / f"MNIST/raw/{split}-images-idx3-ubyte", b"\0\0\x09" + IDX[0][3:])
        put(tmp_path / f"MNIST/raw/{split}-labels-idx1-ubyte", IDX[1])
    with pytest.raises(InputError, match=r"MNIST|mnist"):
        READERS["torchvision"].read(CATALOGUE["mnist"], Source(str(tmp_path)))


def test_a_path_of_absurd_length_is_refused(tmp_path: Path) -> None:
    from dd_assets.datasets.sources import safe_path

    with pytest.raises(InputError, match="3000 characters"):
        safe_path("x" * 3000, "option folder")


@pytest.mark.parametrize("read", [read_columns, read_images])
def test_tables_that_are_none_are_refused(read) -> None:  # type: ignore[no-untyped-def]
    for data in (b"", b"PAR1", label_table()[:-9]):
        with pytest.raises(DDError, match="damaged"):
            read(data)


def test_an_error_stays_short_whatever_it_repeats() -> None:
    assert len(str(InputError("x" * 100_000, "shorten it"))) < 2100
    assert len(str(InputError("too long", "shorten " + "x" * 100_000))) < 2100
    assert len(str(UnknownNameError.of("dataset", "x" * 100_000, ["digits"]))) < 400


@pytest.mark.parametrize("name", ["\n", "a\x1b[2Jb"])
def test_a_name_with_line_ends_or_terminal_controls_is_told_in_one_harmless_line(name: str) -> None:
    text = str(UnknownNameError.of("dataset", name, ("digits",)))
    assert text.isprintable()
    assert repr(name)[1:-1] in text


def test_a_column_name_of_no_encoding_is_refused(tmp_path: Path) -> None:
    put(tmp_path / "own/train.parquet", good_table().replace(b"image", b"\xff\xffage"))
    put(tmp_path / "own/test.parquet", good_table())
    setting = three_classes(reader="parquet")
    with pytest.raises(InputError, match=r"own/train\.parquet is not a readable Parquet file"):
        READERS["parquet"].read(setting, Source(str(tmp_path)))


def test_a_recipe_without_fields_is_refused(tmp_path: Path) -> None:
    path = put(tmp_path / "own.yaml", b"own:\n  base: digits\n  teacher:\n    recipe:\n")
    with pytest.raises(InputError, match="own, teacher recipe: None is no mapping"):
        read_settings(path)
