"""All cases, by theme."""

from tests.support.rows.case import Case
from tests.support.rows.independent import attention as independent_attention
from tests.support.rows.independent import contrib as independent_contrib
from tests.support.rows.independent import control as independent_control
from tests.support.rows.independent import indices as independent_indices
from tests.support.rows.independent import layouts as independent_layouts
from tests.support.rows.independent import operators as independent_operators
from tests.support.rows.independent import series as independent_series
from tests.support.rows.independent import tables as independent_tables
from tests.support.rows.independent import traps as independent_traps
from tests.support.rows.independent import vision as independent_vision
from tests.support.rows.mixing import contrib as mixing_contrib
from tests.support.rows.mixing import control as mixing_control
from tests.support.rows.mixing import data as mixing_data
from tests.support.rows.mixing import indices as mixing_indices
from tests.support.rows.mixing import joins as mixing_joins
from tests.support.rows.mixing import layouts as mixing_layouts
from tests.support.rows.mixing import lengths as mixing_lengths
from tests.support.rows.mixing import networks as mixing_networks
from tests.support.rows.mixing import parameters as mixing_parameters
from tests.support.rows.mixing import places as mixing_places
from tests.support.rows.mixing import reductions as mixing_reductions
from tests.support.rows.mixing import sizes as mixing_sizes
from tests.support.rows.mixing import tables as mixing_tables
from tests.support.rows.mixing import traps as mixing_traps

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
    *mixing_lengths.CASES,
    *mixing_networks.CASES,
    *mixing_parameters.CASES,
    *mixing_places.CASES,
    *mixing_reductions.CASES,
    *mixing_sizes.CASES,
    *mixing_tables.CASES,
    *mixing_traps.CASES,
]
INDEPENDENT = [case for case in CASES if case.truth == "independent"]
MIXING = [case for case in CASES if case.truth == "mixing"]
