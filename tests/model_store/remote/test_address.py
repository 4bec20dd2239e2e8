"""Which addresses of remote stores are taken."""

import pytest

from model_store.errors import RemoteError
from model_store.remote.address import is_address, read_address


@pytest.mark.parametrize(
    "text",
    [
        "s3://AKIA:hidden@bucket/models",
        "https://user:hidden@example.com/models",
        "https://example.com/models?signature=hidden",
        "oci://user:hidden@registry.example/models",
    ],
)
def test_credentials_in_an_address_are_refused_and_not_shown(text: str) -> None:
    """They would be in the log, on the cards and in the list of processes."""
    with pytest.raises(RemoteError, match="credentials belong in the") as refused:
        read_address(text)
    assert "hidden" not in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        "ftp://host/models",
        "file:///models",
        "s3://",
        "s3:///models",
        "s3://bucket/../other",
        "https://[x",
    ],
)
def test_other_addresses_are_refused(text: str) -> None:
    with pytest.raises(RemoteError, match="expected"):
        read_address(text)


def test_plain_http_is_for_this_machine() -> None:
    """Elsewhere somebody on the way could change what is served."""
    with pytest.raises(RemoteError, match="expected https"):
        read_address("http://models.example/store")
    assert read_address("http://127.0.0.1:8000/store/").path == "store"


def test_address_is_shown_in_one_form() -> None:
    """The copy has a folder by it."""
    assert str(read_address("S3://bucket/models/")) == "s3://bucket/models"
    assert str(read_address("oci://registry.example:5000")) == "oci://registry.example:5000"


@pytest.mark.parametrize("text", ["models", "/models", "./s3:/bucket", "C:/models", ""])
def test_path_is_no_address(text: str) -> None:
    assert not is_address(text)


@pytest.mark.parametrize(
    ("store", "url", "may"),
    [
        ("https://host/m", "https://other/m", True),
        ("https://host/m", "http://host/m", False),
        ("https://host/m", "http://127.0.0.1/m", False),
        ("oci://host/m", "http://host/token", False),
        ("http://127.0.0.1/m", "http://localhost/m", True),
        ("http://127.0.0.1/m", "http://host/m", False),
        ("https://host/m", "file:///etc/passwd", False),
    ],
)
def test_store_may_lead_only_to_tls(store: str, url: str, may: bool) -> None:
    assert (not read_address(store).find_fault(url)) is may
