"""API keys: what a file may say, how a key is found, and `sluice keys`."""

import hmac
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import sluice
from service.access.credentials import hash_credential
from service.access.guard import open_guard
from service.access.keys import PREFIX, InvalidKeys, KeyRing, make_key, read_keys
from service.settings import Settings, SettingsError

HASH, OTHER = "a" * 64, "b" * 64
GOOD = f'[ci]\nsha256 = "{HASH}"\nscopes = ["infer"]\n'


def find(ring: KeyRing, key: str) -> str | None:
    grant = ring.find(hash_credential(key.encode()))
    return None if grant is None else grant.name


def test_key_has_all_it_is_given() -> None:
    """A table has the hash or several, the scopes, the end and the limits."""
    text = f"""
    [a]
    sha256 = ["{HASH}", "{OTHER}"]
    scopes = ["infer", "admin"]
    expires = 2030-01-01
    requests_per_s = 50
    rows_per_day = 1_000_000
    """
    entry = read_keys(text)["a"]
    assert entry.digests == [bytes.fromhex(HASH), bytes.fromhex(OTHER)]
    assert (entry.expires_at, entry.rates) == (1_893_456_000.0, (50.0, 0.0, 1_000_000.0))
    assert read_keys(GOOD)["ci"].expires_at == math.inf


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[ci\n", "expected TOML, each name once: it cannot be read (at line 1"),
        ("[ci]\n", "ci.sha256: expected a value, got none"),
        (f'[ci]\nsha256 = "{HASH}"\nscopes = []', "ci.scopes: expected at least 1 item"),
        (f'[ci]\nsha256 = "{HASH}"\nscopes = ["root"]', "ci.scopes: expected 'infer', 'admin' or 'metrics'"),
        (GOOD + 'key = "x"', "ci.key: unknown field"),
        (GOOD + "requests_per_s = 0", "ci.requests_per_s: expected greater than 0"),
        (GOOD + "requests_per_s = true", "ci.requests_per_s: expected a valid number"),
        (GOOD + "rows_per_s = inf", "ci.rows_per_s: expected a finite number"),
        (GOOD.replace("[ci]", '["a b"]'), "'a b': expected a name of up to 64 letters"),
        (GOOD.replace("[ci]", '["a\\nb"]'), "'a\\nb': expected a name"),
        (GOOD + GOOD.replace("ci", "cd"), "cd.sha256: expected a hash of its own, got that of ci"),
        (GOOD + GOOD, "expected TOML, each name once: it cannot be read (at line"),
    ],
)
def test_bad_file_is_refused_with_the_place(text: str, complaint: str) -> None:
    """The error names the key and the field."""
    with pytest.raises(InvalidKeys) as caught:
        read_keys(text)
    assert complaint in str(caught.value)


@pytest.mark.parametrize("field", ["sha256", "scopes", "expires", "rows_per_s"])
@pytest.mark.parametrize("form", ['"{}"', '["{}"]', "{}", "[[{}"])
def test_secret_in_the_wrong_place_is_not_repeated(field: str, form: str) -> None:
    """If somebody puts the key itself into the file, the error does not tell it."""
    secret = make_key()
    lines = {"sha256": f'"{HASH}"', "scopes": '["infer"]', field: form.format(secret)}
    text = "[ci]\n" + "\n".join(f"{name} = {value}" for name, value in lines.items())
    with pytest.raises(InvalidKeys) as caught:
        read_keys(text)
    assert secret not in str(caught.value)
    assert secret[:20] not in str(caught.value)


def test_found_is_only_the_very_key() -> None:
    """A key that differs in one letter, is shorter or longer, or is the hash of a key, is not found."""
    key = make_key()
    digest = hash_credential(key.encode())
    ring = KeyRing(read_keys(GOOD.replace(HASH, digest.hex())))
    assert find(ring, key) == "ci"
    others = [key[:-1], key + "a", key[:-1] + ("a" if key[-1] != "a" else "b"), key.upper(), digest.hex(), ""]
    assert [find(ring, each) for each in others] == [None] * len(others)


@pytest.mark.parametrize("is_known", [True, False])
def test_every_look_up_ends_with_one_comparison_of_constant_time(
    monkeypatch: pytest.MonkeyPatch, is_known: bool
) -> None:
    """A known and an unknown key take the same steps, and hashes are compared, not keys."""
    compared: list[tuple[int, int]] = []
    compare_digest = hmac.compare_digest

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return compare_digest(one, other)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    key = make_key()
    ring = KeyRing(read_keys(GOOD.replace(HASH, hash_credential(key.encode()).hex())))
    assert (find(ring, key if is_known else make_key()) is not None) == is_known
    assert compared == [(32, 32)]


def test_nobody_has_the_key_whose_hash_is_zero() -> None:
    """What an unknown key is compared with lets nobody in."""
    assert KeyRing().find(bytes(32)) is None


def test_new_file_keeps_what_a_key_has_used_up() -> None:
    """A change of the file gives nobody a fresh quota, unless the limits of the key have changed."""
    limited = GOOD + "requests_per_s = 1"
    ring = KeyRing(read_keys(limited))
    digest = bytes.fromhex(HASH)

    def is_refused() -> bool:
        grant = ring.find(digest)
        assert grant is not None
        assert grant.limits is not None
        return grant.limits.take_request(0.0) is not None

    assert [is_refused(), is_refused()] == [False, True]
    ring.replace(read_keys(limited + "\nexpires = 2030-01-01"))
    assert is_refused()
    ring.replace(read_keys(limited.replace("= 1", "= 2")))
    assert not is_refused()


def test_old_and_new_secret_of_a_key_share_its_quota() -> None:
    """While a key is replaced, both secrets count as the same caller."""
    ring = KeyRing(read_keys(f'[ci]\nsha256 = ["{HASH}", "{OTHER}"]\nscopes = ["infer"]\nrequests_per_s = 1'))
    old, new = ring.find(bytes.fromhex(HASH)), ring.find(bytes.fromhex(OTHER))
    assert old is not None
    assert new is not None
    assert old.limits is new.limits


def test_made_key_has_256_random_bits_and_a_prefix() -> None:
    """43 characters of base64 behind the prefix by which tools find leaked keys; each is another one."""
    made = {make_key() for _ in range(100)}
    assert len(made) == 100
    assert {len(key) for key in made} == {len(PREFIX) + 43}
    assert all(key.startswith(PREFIX) for key in made)


def test_command_makes_an_entry_and_shows_the_key_apart(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The entry on standard output can be appended to the file, and has no secret; the key is shown once."""
    arguments = ["--scope", "infer", "--scope", "metrics", "--expires", "2030-01-31", "--rows-per-day", "5"]
    assert sluice.main(["keys", "new", "team.a", *arguments]) == 0
    entry, shown = capsys.readouterr()
    key = shown.split()[0]
    assert key not in entry
    file = tmp_path / "keys.toml"
    file.write_text(entry)
    ring = KeyRing(read_keys(entry))
    assert find(ring, key) == "team.a"
    assert sluice.main(["keys", "list", str(file)]) == 0
    listed = capsys.readouterr().out
    assert listed == "team.a: infer metrics, expires 2030-02-01T00:00:00+00:00, 5 rows in 24 hours\n"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["new", "a b", "--scope", "infer"], "'a b': expected a name"),
        (["new", "a", "--scope", "infer", "--rows-per-s", "-1"], "a.rows_per_s: expected greater than 0"),
        (["new", "a", "--scope", "infer", "--expires", "2001-01-31"], "expected a day that has not passed"),
        (["list", "/nowhere"], "list: /nowhere: expected a file that can be read: No such file"),
        (["list", __file__], f"list: {__file__}: expected TOML, each name once: it cannot be read"),
    ],
)
def test_command_tells_what_is_wrong(capsys: pytest.CaptureFixture[str], arguments: list[str], complaint: str) -> None:
    """It ends with code 1, and prints no entry."""
    assert sluice.main(["keys", *arguments]) == 1
    out, err = capsys.readouterr()
    assert (out, complaint in err) == ("", True)


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda path: {"SLUICE_API_KEYS_FILE": f"{path}/none"}, "none: expected a file that can be read: No such file"),
        (lambda path: {"SLUICE_API_KEYS_FILE": f"{path}/bad"}, "bad: expected TOML, each name once: it cannot be read"),
        (lambda path: {"SLUICE_API_KEYS": "[ci]"}, "SLUICE_API_KEYS: ci.sha256: expected a value"),
        (lambda path: {"SLUICE_API_KEYS": GOOD, "SLUICE_API_KEYS_FILE": f"{path}/good"}, "ci: expected a name that"),
        (lambda path: {"SLUICE_OIDC_ISSUER": "https://a.example"}, "expected SLUICE_OIDC_AUDIENCE too"),
        (lambda path: {"SLUICE_OIDC_AUDIENCE": "a"}, "expected SLUICE_OIDC_ISSUER too"),
        (lambda path: {"SLUICE_OIDC_ISSUER": "http://a.example", "SLUICE_OIDC_AUDIENCE": "a"}, "expected an address"),
        (
            lambda path: {
                "SLUICE_OIDC_ISSUER": "https://a.example",
                "SLUICE_OIDC_AUDIENCE": "a",
                "SLUICE_OIDC_JWKS_FILE": f"{path}/bad",
            },
            "SLUICE_OIDC_JWKS_FILE=",
        ),
    ],
)
def test_server_does_not_start_with_bad_keys(
    tmp_path: Path, make: Callable[[Path], dict[str, str]], complaint: str
) -> None:
    """At the start every fault of the settings is an error, so that no server runs open or shut by mistake."""
    (tmp_path / "bad").write_text("= no")
    (tmp_path / "good").write_text(GOOD)
    with pytest.raises(SettingsError) as caught:
        open_guard(Settings.from_environ(make(tmp_path)))
    assert complaint in str(caught.value)


def test_no_keys_no_guard() -> None:
    """Without keys and issuer there is nothing to ask, and so no cost."""
    assert open_guard(Settings()) is None


def test_file_without_a_key_lets_nobody_in(tmp_path: Path) -> None:
    """An empty file is not the same as none: all callers are refused."""
    empty = tmp_path / "keys.toml"
    empty.write_text("")
    assert open_guard(Settings.from_environ({"SLUICE_API_KEYS_FILE": str(empty)})) is not None


def test_keys_are_no_flag_and_are_hidden() -> None:
    """Other users of the machine could read a flag in the list of processes; the settings do not print the keys."""
    settings = Settings.from_environ({"SLUICE_API_KEYS": GOOD})
    assert HASH not in repr(settings)
    assert HASH not in str(settings.api_keys)
    told: Any = settings.to_environ()["SLUICE_API_KEYS"]
    assert told == GOOD.strip()
