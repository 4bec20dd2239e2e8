"""All kinds, by theme."""

from tests.support.kinds.case import Kind
from tests.support.kinds.models import (
    attention,
    calling,
    control,
    detection,
    forms,
    modes,
    numbers,
    precision,
    recurrent,
    sound,
    tables,
    vision,
    writes,
)

KINDS: list[Kind] = [
    *attention.KINDS,
    *calling.KINDS,
    *control.KINDS,
    *detection.KINDS,
    *forms.KINDS,
    *modes.KINDS,
    *numbers.KINDS,
    *precision.KINDS,
    *recurrent.KINDS,
    *sound.KINDS,
    *tables.KINDS,
    *vision.KINDS,
    *writes.KINDS,
]
