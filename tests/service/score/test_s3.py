"""Input and output in S3, by a server of moto on this machine."""

import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from service.score.cli import SOME_FAILED
from service.score.places import open_place
from tests.service.score.tables import run_process, score, write_numbers

KILLED = """
import os, signal, sys
import sluice
from service.score.places import Place

left = int(sys.argv[1])
real = Place.write_pieces

def write_pieces(self, *arguments, **options):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    real(self, *arguments, **options)

Place.write_pieces = write_pieces
sys.exit(sluice.main(sys.argv[2:]))
"""
ROWS, PART = 100, 30

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # those of moto's libraries


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server_of = pytest.importorskip("moto.server", reason="needs moto[server]")
    server = server_of.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    httpx.post(f"http://{host}:{port}/moto-api/reset")  # what an earlier test has put there
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    fs.S3FileSystem(
        endpoint_override=f"{host}:{port}", scheme="http", region="us-east-1", allow_bucket_creation=True
    ).create_dir("bucket")
    yield "s3://bucket"
    server.stop()


def list_output(address: str) -> dict[str, bytes]:
    """Every object below, by its name."""
    place = open_place(address)
    found = place.filesystem.get_file_info(fs.FileSelector(place.path, recursive=True))
    return {info.base_name: place.join(info.base_name).read() for info in found}


def test_bucket_or_object_that_is_not_there_is_told(
    double_store: Path, bucket: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a file that is not there."""
    assert score("double", f"{bucket}/none.parquet", tmp_path / "out", store=double_store) == 1
    assert f"{bucket}/none.parquet: expected a table" in capsys.readouterr().err
    assert score("double", "s3://", tmp_path / "out", store=double_store) == 1
    assert "expected s3://BUCKET/KEY, got no bucket" in capsys.readouterr().err
    table = write_numbers(tmp_path / "in.parquet", 1)
    assert score("double", table, "s3://nobody/out", store=double_store) == 1
    assert "nobody" in capsys.readouterr().err


@pytest.mark.parametrize("calls", [1, 2, 7, 9])
def test_killed_run_goes_on_in_s3(double_store: Path, bucket: str, tmp_path: Path, calls: int) -> None:
    """Each object is put whole, so the output is that of a run that was not killed."""
    table = write_numbers(tmp_path / "in.parquet", ROWS, bad=[3])
    open_place(f"{bucket}/in.parquet").write(table.read_bytes())
    options = ("--keep", "id", "--part-rows", PART)
    assert score("double", f"{bucket}/in.parquet", f"{bucket}/whole", *options, store=double_store) == SOME_FAILED
    killed = ("score", "double", f"{bucket}/in.parquet", f"{bucket}/out", *options, "--store", double_store)
    ended = run_process(KILLED, calls, *killed)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert list_output(f"{bucket}/out") != list_output(f"{bucket}/whole")
    assert score("double", f"{bucket}/in.parquet", f"{bucket}/out", *options, store=double_store) == SOME_FAILED
    assert list_output(f"{bucket}/out") == list_output(f"{bucket}/whole")


def test_one_file_in_s3(double_store: Path, bucket: str, tmp_path: Path) -> None:
    """The parts are removed when the object is whole."""
    table = write_numbers(tmp_path / "in.parquet", ROWS)
    assert score("double", table, f"{bucket}/one/out.parquet", "--part-rows", PART, store=double_store) == 0
    place = open_place(f"{bucket}/one/out.parquet")
    assert pq.read_table(place.open()).num_rows == ROWS
    names = [info.base_name for info in place.filesystem.get_file_info(fs.FileSelector("bucket", recursive=True))]
    assert sorted(names) == ["one", "out.parquet"]
