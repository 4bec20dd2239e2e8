"""All cases, by theme."""

from tests.model_store.rows import mixing_indices, mixing_joins, mixing_layouts, mixing_reductions, mixing_sizes
from tests.model_store.rows.case import Case

CASES: list[Case] = [
    *mixing_reductions.CASES,
    *mixing_layouts.CASES,
    *mixing_joins.CASES,
    *mixing_sizes.CASES,
    *mixing_indices.CASES,
]
INDEPENDENT = [case for case in CASES if case.truth == "independent"]
MIXING = [case for case in CASES if case.truth == "mixing"]
