"""SLUICE_STORE as a URL."""

from pathlib import Path

import pytest

from service.settings import Settings, SettingsError


def test_url_is_served_from_a_folder_of_its_own(tmp_path: Path) -> None:
    """The folder says what it is, and two stores never share one."""
    found = Settings.from_environ({"SLUICE_STORE": "s3://bucket/models/", "SLUICE_CACHE_DIR": str(tmp_path)})
    other = Settings.from_environ({"SLUICE_STORE": "s3://bucket-models", "SLUICE_CACHE_DIR": str(tmp_path)})
    assert found.store_url == "s3://bucket/models"
    assert found.store.parent.name.startswith("s3-bucket-models-")
    assert found.store.is_relative_to(tmp_path)
    assert found.store != other.store


def test_workers_and_later_changes_keep_the_store(tmp_path: Path) -> None:
    found = Settings.from_environ({"SLUICE_STORE": "oci://registry.example/team", "SLUICE_CACHE_DIR": str(tmp_path)})
    assert Settings.from_environ(found.to_environ()) == found
    assert found.replace(port=0).store == found.store


def test_url_in_the_file_of_settings_counts(tmp_path: Path) -> None:
    config = tmp_path / "sluice.toml"
    config.write_text(f'store = "s3://bucket/models"\ncache_dir = "{tmp_path}"\n')
    assert Settings.from_environ({"SLUICE_CONFIG": str(config)}).store_url == "s3://bucket/models"


def test_password_in_the_url_is_refused_and_not_shown() -> None:
    """The log and the cards would show it."""
    with pytest.raises(SettingsError, match="credentials belong") as refused:
        Settings.from_environ({"SLUICE_STORE": "https://user:hidden@models.example"})
    assert "hidden" not in str(refused.value)


@pytest.mark.parametrize(("url", "package"), [("gs://bucket/models", "gcsfs"), ("az://container/models", "adlfs")])
def test_package_that_is_missing_is_named(url: str, package: str, tmp_path: Path) -> None:
    found = Settings.from_environ({"SLUICE_STORE": url, "SLUICE_CACHE_DIR": str(tmp_path)})
    with pytest.raises(SettingsError, match=rf"SLUICE_STORE={url} .*needs {package}: pip install {package}"):
        found.check_store()


def test_folder_is_no_url(tmp_path: Path) -> None:
    assert Settings(store=tmp_path).store_url == ""
