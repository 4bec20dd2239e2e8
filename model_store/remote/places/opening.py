"""Opens the remote store that an address names."""

from model_store.remote.address import Address
from model_store.remote.places.place import Place


def open_place(address: Address) -> Place:
    """Does not connect yet. Raises RemoteError if a package is missing, or credentials cannot be read."""
    if address.scheme == "oci":
        from model_store.remote.places.oci import OciPlace

        return OciPlace(address)
    if address.scheme in ("http", "https"):
        from model_store.remote.places.web import WebPlace

        return WebPlace(address)
    from model_store.remote.places.files import open_files

    return open_files(address)
