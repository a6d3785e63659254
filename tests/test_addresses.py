"""Keys in addresses: refused where they are given, and not repeated."""

from __future__ import annotations

import pytest

from dd_assets.addresses import without_credentials
from dd_assets.datasets.sources import Source
from dd_assets.errors import InputError
from dd_resources.store import ArtefactStore

KEY = "AKIAFAKEKEY77"


@pytest.mark.parametrize(
    "address",
    [
        f"s3://{KEY}:secret@bucket/prefix",
        f"s3://{KEY}@bucket",
        f"http://user:{KEY}/abc+xyz@127.0.0.1:9",
        f"http://host/x?X-Amz-Signature={KEY}",
        f"https://host/?a=1&token={KEY}",
    ],
)
def test_an_address_with_keys_is_refused_without_repeating_them(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"DD_STORE\) holds credentials") as first:
        ArtefactStore(address)
    with pytest.raises(InputError, match="DD_DATA_ROOT holds credentials") as second:
        Source(address)
    monkeypatch.setenv("AWS_ENDPOINT_URL", address)
    with pytest.raises(InputError, match="AWS_ENDPOINT_URL holds credentials") as third:
        ArtefactStore("s3://bucket/x").open()
    assert all(KEY not in str(refusal.value) for refusal in (first, second, third))


@pytest.mark.parametrize("address", ["", "/a@b/c", "s3://bucket/a@b", "http://127.0.0.1:9000"])
def test_other_addresses_pass(address: str) -> None:
    assert without_credentials(address, "x") == address
