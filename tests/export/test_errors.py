import re

import export
from export import errors


def walk(base):
    for child in base.__subclasses__():
        yield child
        yield from walk(child)


def test_tree_drawn_at_the_top_is_the_tree_of_the_code():
    """Every error is in the picture below its base, and in the package's ``__all__``."""
    drawn = re.findall(r"^(\W*)([A-Z]\w+)", errors.__doc__.split("\n\n")[1], re.MULTILINE)
    depth = {name: len(indent) // 4 for indent, name in drawn}
    assert depth == {
        cls.__name__: len(cls.__mro__) - len(Exception.__mro__) - 1
        for cls in (errors.NotPublished, *walk(errors.NotPublished))
    }
    assert set(depth) <= set(export.__all__)


def test_element_reads_as_one_line():
    """It says where, what was expected, what came and what was allowed."""
    element = errors.Element("y", (3, 1), 1.0, 1.5, 0.25)
    assert str(element) == "y[3, 1]: expected 1, got 1.5, allowed difference 0.25"
    assert element.excess == 0.25
