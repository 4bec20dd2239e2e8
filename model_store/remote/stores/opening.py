"""Opens the remote store that an address names."""

from model_store.remote.address import Address
from model_store.remote.stores.remote_store import RemoteStore


def open_remote(address: Address) -> RemoteStore:
    """Does not connect yet. Raises RemoteError if a package is missing, or credentials cannot be read."""
    if address.scheme == "oci":
        from model_store.remote.stores.oci import RegistryStore

        return RegistryStore(address)
    if address.scheme in ("http", "https"):
        from model_store.remote.stores.web import WebStore

        return WebStore(address)
    from model_store.remote.stores.objects import open_object_store

    return open_object_store(address)
