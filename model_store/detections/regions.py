"""Finds regions in a map of scores, such as lines of text, as boxes."""

from typing import NamedTuple

import numpy as np

from model_store.tasks.detection import Regions


class RegionBoxes(NamedTuple):
    """Regions of one map, in its pixels, highest score first."""

    boxes: np.ndarray
    """float32 [n, 4]: left, top, right, bottom."""
    scores: np.ndarray
    """float32 [n]: the mean of the map inside the region."""


def find_regions(scores: np.ndarray, facts: Regions) -> RegionBoxes:
    """The connected areas of a map [height, width] that are above the threshold, grown as ``facts`` say.

    Two pixels are connected if they touch, at a corner too.
    """
    lines, begins, ends = _find_runs(scores > facts.threshold)
    if not len(lines):
        return RegionBoxes(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))
    region = _join_runs(lines, begins, ends)
    count = int(region.max()) + 1
    left, top = np.full(count, scores.shape[1]), np.full(count, scores.shape[0])
    right, bottom = np.zeros(count, np.int64), np.zeros(count, np.int64)
    np.minimum.at(left, region, begins)
    np.maximum.at(right, region, ends)
    np.minimum.at(top, region, lines)
    np.maximum.at(bottom, region, lines + 1)
    sums = np.concatenate([np.zeros((len(scores), 1)), np.cumsum(scores, axis=1, dtype=np.float64)], axis=1)
    total = np.bincount(region, sums[lines, ends] - sums[lines, begins], count)
    area = np.bincount(region, ends - begins, count)
    width, height = right - left, bottom - top
    grown = facts.growth * width * height / (2 * (width + height))
    boxes = np.stack([left - grown, top - grown, right + grown, bottom + grown], axis=1).astype(np.float32)
    means = (total / area).astype(np.float32)
    kept = np.flatnonzero(np.minimum(width, height) >= facts.least_side)
    kept = kept[np.argsort(-means[kept], kind="stable")]
    return RegionBoxes(boxes[kept], means[kept])


def _find_runs(inside: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels beside each other in a line: the line, the first column, and the column after the last, of each run."""
    padded = np.zeros((inside.shape[0], inside.shape[1] + 2), np.int8)
    padded[:, 1:-1] = inside
    steps = np.diff(padded, axis=1)
    lines, begins = np.nonzero(steps == 1)
    return lines, begins, np.nonzero(steps == -1)[1]


def _join_runs(lines: np.ndarray, begins: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """The number of the region of each run, from 0 on."""
    parents = list(range(len(lines)))

    def find(run: int) -> int:
        while parents[run] != run:
            parents[run] = parents[parents[run]]
            run = parents[run]
        return run

    starts = np.searchsorted(lines, np.arange(lines[-1] + 2))
    line_of, begin_of, end_of = lines.tolist(), begins.tolist(), ends.tolist()
    above = 0
    for run, line in enumerate(line_of):
        if not line:
            continue
        above = max(above, int(starts[line - 1]))
        while above < starts[line] and end_of[above] < begin_of[run]:
            above += 1
        at = above
        while at < starts[line] and begin_of[at] <= end_of[run]:
            parents[find(at)] = find(run)
            at += 1
    roots = np.array([find(run) for run in range(len(parents))])
    return np.unique(roots, return_inverse=True)[1]
