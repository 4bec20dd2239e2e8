"""What a worker finds in its environment."""

from pathlib import Path

from service.process.supervisor import worker_environ
from service.settings import Settings


def test_environment_of_a_worker() -> None:
    """A worker reads the same settings from it, has no other folder of metrics, and gets its part of the cores."""
    settings = Settings(port=5, store=Path("/models"), models=("a", "b"))
    made = worker_environ(settings, {"SLUICE_PORT": "9", "PROMETHEUS_MULTIPROC_DIR": "/others", "HOME": "/"}, cores=1)
    assert Settings.from_environ(made) == settings
    assert "PROMETHEUS_MULTIPROC_DIR" not in made
    assert made["HOME"] == "/"
    assert str(Path(__file__).resolve().parents[3]) in made["PYTHONPATH"].split(":")
    settings = Settings(workers=2)
    made = worker_environ(settings, {"OMP_NUM_THREADS": "7"}, cores=5)
    assert (made["OMP_NUM_THREADS"], made["OPENBLAS_NUM_THREADS"], made["MKL_NUM_THREADS"]) == ("7", "2", "2")
    assert worker_environ(settings, {}, cores=1)["OPENBLAS_NUM_THREADS"] == "1"
