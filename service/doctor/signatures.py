"""Checks whether the keys of ``signed_by`` can be read, and how long its certificates are valid."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from service.doctor.finding import Finding
from service.settings import PREFIX, Settings, SettingsError
from service.settings.store import read_trusted

SOON = timedelta(days=30)


def check_signers(settings: Settings, now: datetime | None = None) -> Iterator[Finding]:
    """There are no findings if versions need no signature."""
    try:
        signers = read_trusted(settings)
    except SettingsError as error:
        advice = f"correct {PREFIX}SIGNED_BY, or let the user of the server read the file"
        yield Finding("signatures", "wrong", f"{error}: a server does not start", advice)
        return
    if signers is None:
        return
    from model_store.signing.certificates import read_dates

    accepted = f"keys {len(signers.keys)}, certificates {len(signers.certificates)}"
    yield Finding("signatures", "ok", f"versions must be signed; accepted: {accepted}")
    at = now or datetime.now(UTC)
    for name, until in read_dates(signers.certificates):
        advice = f"add a new one to {PREFIX}SIGNED_BY, and sign the versions again"
        if until < at:
            text = f"the certificate {name} expired on {until:%Y-%m-%d}: versions that it has signed do not load"
            yield Finding("signatures", "wrong", text, advice)
        elif until < at + SOON:
            text = f"the certificate {name} expires on {until:%Y-%m-%d}: then versions that it has signed do not load"
            yield Finding("signatures", "note", text, advice)
