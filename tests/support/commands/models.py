"""`sluice models`, run in the process of the test."""

import argparse
from pathlib import Path

from model_store.commands.cli import models, models_arguments


def run_models(*words: str | Path) -> int:
    """The exit code of `sluice models` with these words. Wrong usage raises SystemExit, as argparse does."""
    parser = argparse.ArgumentParser()
    models_arguments(parser)
    return models(parser.parse_args([str(word) for word in words]))
