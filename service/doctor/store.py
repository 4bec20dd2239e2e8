"""Checks whether the store can be read, and whether its files are as they were published."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec

from model_store import ModelVersion
from model_store.errors import NotSigned, StoreError
from model_store.listing import Contents
from service.doctor.finding import Finding, write_bytes
from service.settings import PREFIX, Settings, SettingsError
from service.settings.store import open_store

MOST_READ_BYTES = 2 << 30
"""Up to so many bytes, files are read and compared with their digests. Of the rest, only sizes are compared."""
_MOST_TOLD = 5
_REPAIR = "restore the files, or publish the version again; `sluice models verify` names each"


@dataclass
class Survey:
    """The findings about a store. ``newest_bytes``: the bytes of the newest version of each model that would serve."""

    findings: list[Finding] = field(default_factory=list)
    newest_bytes: int = 0


@dataclass
class _Count:
    versions: int = 0
    plain: int = 0
    sized: int = 0
    read: int = 0
    read_bytes: int = 0
    faults: list[str] = field(default_factory=list)
    unsigned: dict[str, dict[int, str]] = field(default_factory=dict)
    """Model -> version -> why its signature is not as the settings require."""
    needs: set[str] = field(default_factory=set)


def survey(settings: Settings) -> Survey:
    """Check all versions of the store."""
    found = Survey()
    try:
        settings.check_store()
        try:
            store = open_store(settings)
        except SettingsError:  # the keys cannot be read, which another check reports
            store = open_store(settings.replace(signed_by=None))
        contents = store.list_all()
    except (SettingsError, OSError) as error:
        found.findings.append(Finding("store", "wrong", str(error), f"correct {PREFIX}STORE, or its permissions"))
        return found
    found.findings += _check_names(settings, contents)
    count = _Count()
    for name, each in contents.items():
        versions = store.versions_of(name, each)
        for version in versions:
            _check_version(version, count)
        if versions and (not settings.models or name in settings.models):
            found.newest_bytes += _measure(versions[-1])
    found.findings += _tell(settings, contents, count)
    return found


def _check_names(settings: Settings, contents: dict[str, Contents]) -> Iterator[Finding]:
    wanted = {f"{PREFIX}MODELS": settings.models, f"{PREFIX}DEFAULT_MODELS": settings.default_models.values()}
    for variable, names in wanted.items():
        for name in names if contents or not settings.store_url else ():
            if name not in contents or not contents[name].folders:
                known = ", ".join(list(contents)[:20]) or "no models"
                text = f"{variable} names {name!r}: the store holds {known}"
                yield Finding("store", "wrong", text, f"correct {variable}")


def _check_version(version: ModelVersion, count: _Count) -> None:
    count.versions += 1
    try:
        if version.is_plain:
            version.read_plain()
            count.plain += 1
            return
        manifest = version.read_manifest()
        if manifest.tokenizer_files:
            count.needs.add("tokenizers")
        if manifest.sound is not None:
            count.needs.add("soundfile")
        size = sum(file.size_bytes for file in manifest.files.values())
        if count.read_bytes + size <= MOST_READ_BYTES:
            version.verify()
            count.read += 1
            count.read_bytes += size
            return
        for name, file in manifest.files.items():
            stored = (version.folder / name).stat().st_size
            if stored != file.size_bytes:
                raise StoreError(f"{name}: expected {file.size_bytes} bytes, got {stored}")
        count.sized += 1
    except NotSigned as error:
        count.unsigned.setdefault(version.name, {})[version.version] = str(error)
    except (StoreError, OSError) as error:
        count.faults.append(f"{version.name} version {version.version}: {error}")


def _tell_unsigned(contents: dict[str, Contents], unsigned: dict[str, dict[int, str]]) -> Iterator[Finding]:
    """Newest versions are listed one by one: without them, a model serves an older version, or does not serve."""
    newest = {name: max(contents[name].folders) for name in unsigned}
    told = [unsigned[name][number] for name, number in newest.items() if number in unsigned[name]]
    advice = "sign them: `sluice models sign`"
    for text in told[:_MOST_TOLD]:
        yield Finding("signatures", "wrong", text, advice)
    if len(told) > _MOST_TOLD:
        yield Finding("signatures", "wrong", f"{len(told) - _MOST_TOLD} more newest versions are not signed", advice)
    if older := sum(map(len, unsigned.values())) - len(told):
        yield Finding("signatures", "note", f"{older} older versions are not signed, and cannot serve", advice)


def _measure(version: ModelVersion) -> int:
    try:
        if version.is_plain:
            return sum(path.stat().st_size for path in version.folder.iterdir() if path.is_file())
        return sum(file.size_bytes for file in version.read_manifest().files.values())
    except (StoreError, OSError):
        return 0


def _tell(settings: Settings, contents: dict[str, Contents], count: _Count) -> Iterator[Finding]:
    unusable = [f"{each.name}: {each.reason}" for one in contents.values() for each in one.unusable]
    faults = [*count.faults, *unusable]
    for text in faults[:_MOST_TOLD]:
        yield Finding("store", "wrong", text, _REPAIR)
    if len(faults) > _MOST_TOLD:
        yield Finding("store", "wrong", f"{len(faults) - _MOST_TOLD} more versions cannot be used", _REPAIR)
    yield from _tell_unsigned(contents, count.unsigned)
    for library, extra in (("tokenizers", "text"), ("soundfile", "sound")):
        if library in count.needs and find_spec(library) is None:
            text = f"models of the store need {library}, which is not installed: they will not serve"
            yield Finding("store", "wrong", text, f"pip install 'sluice-serving[{extra}]'")
    where = f"{len(contents)} models, {count.versions} versions in {settings.store}"
    if not contents and settings.store_url:
        yield Finding("store", "ok", f"{settings.store_url} answers; a server, or `sluice score`, copies it")
    elif not contents:
        advice = "`sluice train`, `sluice export` or `sluice import` publishes a model"
        yield Finding("store", "wrong", f"no models in {settings.store}: a server has nothing to serve", advice)
    elif not faults:
        parts = [f"{count.read} equal their digests ({write_bytes(count.read_bytes)} read)"] if count.read else []
        parts += [f"{count.sized} have the right sizes"] if count.sized else []
        parts += [f"{count.plain} are plain, without digests"] if count.plain else []
        if parts or not count.unsigned:
            yield Finding("store", "ok", f"{where}: {', '.join(parts)}")
