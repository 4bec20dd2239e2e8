"""All cases, by theme."""

from tests.model_store.rows import (
    independent_attention,
    independent_contrib,
    independent_control,
    independent_indices,
    independent_layouts,
    independent_operators,
    independent_series,
    independent_tables,
    independent_traps,
    independent_vision,
    mixing_contrib,
    mixing_control,
    mixing_data,
    mixing_indices,
    mixing_joins,
    mixing_layouts,
    mixing_networks,
    mixing_parameters,
    mixing_reductions,
    mixing_sizes,
    mixing_tables,
    mixing_traps,
)
from tests.model_store.rows.case import Case

CASES: list[Case] = [
    *independent_attention.CASES,
    *independent_contrib.CASES,
    *independent_control.CASES,
    *independent_indices.CASES,
    *independent_layouts.CASES,
    *independent_operators.CASES,
    *independent_series.CASES,
    *independent_tables.CASES,
    *independent_traps.CASES,
    *independent_vision.CASES,
    *mixing_contrib.CASES,
    *mixing_control.CASES,
    *mixing_data.CASES,
    *mixing_indices.CASES,
    *mixing_joins.CASES,
    *mixing_layouts.CASES,
    *mixing_networks.CASES,
    *mixing_parameters.CASES,
    *mixing_reductions.CASES,
    *mixing_sizes.CASES,
    *mixing_tables.CASES,
    *mixing_traps.CASES,
]
INDEPENDENT = [case for case in CASES if case.truth == "independent"]
MIXING = [case for case in CASES if case.truth == "mixing"]
