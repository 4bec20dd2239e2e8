"""Opens the store of the settings, which then reads only versions that the keys of the settings have signed."""

from model_store import Store
from model_store.errors import BadKey
from model_store.graphs.configuration import read_default_filename
from model_store.signing.keys import Signers, read_signers
from service.settings.settings import PREFIX, Settings, SettingsError


def open_store(settings: Settings) -> Store:
    """Raises SettingsError if the keys cannot be read."""
    return Store(
        settings.store,
        follow_links=settings.follow_links,
        read_default=read_default_filename,
        signers=read_trusted(settings),
    )


def read_trusted(settings: Settings) -> Signers | None:
    """The keys whose signatures are accepted; None if versions need no signature. Raises SettingsError."""
    if settings.signed_by is None:
        return None
    try:
        return read_signers(settings.signed_by)
    except BadKey as error:
        raise SettingsError(f"{PREFIX}SIGNED_BY={settings.signed_by}: {error}") from None
