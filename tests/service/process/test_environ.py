"""What a worker finds in its environment."""

from pathlib import Path

from service.process.supervisor import worker_environ
from service.settings import Settings


def test_workers_share_the_cores_with_what_computes_beside_the_lanes() -> None:
    """BLAS and OpenMP get a worker's part of the cores, unless the user has said how many threads they make."""
    settings = Settings(workers=2)
    made = worker_environ(settings, {"OMP_NUM_THREADS": "7"}, cores=5)
    assert (made["OMP_NUM_THREADS"], made["OPENBLAS_NUM_THREADS"], made["MKL_NUM_THREADS"]) == ("7", "2", "2")
    assert worker_environ(settings, {}, cores=1)["OPENBLAS_NUM_THREADS"] == "1"


def test_settings_and_the_way_to_the_code_are_handed_on() -> None:
    """The worker makes the same settings of them, and counts into no folder of other services."""
    settings = Settings(port=5, store=Path("/models"), models=("a", "b"))
    made = worker_environ(settings, {"SLUICE_PORT": "9", "PROMETHEUS_MULTIPROC_DIR": "/others", "HOME": "/"}, cores=1)
    assert Settings.from_environ(made) == settings
    assert "PROMETHEUS_MULTIPROC_DIR" not in made
    assert made["HOME"] == "/"
    assert str(Path(__file__).resolve().parents[3]) in made["PYTHONPATH"].split(":")
