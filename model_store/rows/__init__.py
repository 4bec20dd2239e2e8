"""Row analysis: decides from an ONNX file alone whether the rows of a batch are independent.

A *row* is one example of a batch. Requests of several callers may share a batch only if no row can change another row's
result, for all values and all numbers of rows. Runs show only some values and some sizes. So the graph is proved,
operator by operator. What is not understood is unknown, never independent.

The method
1. ``graph/weights.py`` parses the file without its large weights. Functions are inlined.
2. ``analyst.py`` runs the graph with every tensor exposed (``measuring.py``), with several numbers of rows and at two
   lengths of each free axis (``graph/samples.py``). Branches and loops are unfolded first (``graph/unfolding.py``). If
   a branch lays out rows differently, both outcomes of its condition are proved separately, at lengths that lead to
   them (``graph/branches.py``).
3. ``proof.py`` goes through the nodes once, from the inputs to the outputs. What is known about a tensor is a ``Fact``
   (``facts.py``): its shape for every batch, how its elements depend on rows (a state), and the elements themselves if
   they are few and computed from shapes (``arithmetic.py``).
4. The graph is proved if every output has one place for each row on some axis, or is the same for all rows.

Sizes are polynomials in the number of rows and in free lengths (``sizes.py``). Two sizes are equal only if the graph
makes them so, never because they were measured alike. A length that no rule derives is a new symbol (``measures.py``,
``lengths.py``). Measured numbers count as constants only if they come from constants of the file. Runs find shapes that
no rule computes, and check those that one does.

The states (``facts.py``)
- ``Fixed``: the same in every batch. ``Sized``: depends on the number of rows; nothing more is known.
- ``Rows``: an axis of length outer · rows · inner; each element depends on the row of its own place only. A reshape is
  arithmetic on the products of the lengths before and after the batch.
- ``Places`` and ``Selectors``: index tensors that tell rows apart, such as row · length + position. An index must stay
  within the part of its own row, which ``bounds.py`` proves.
- ``Failed``: rows are mixed or not understood on the way to this tensor. It matters only if an output needs it.

To add a rule for an operator
1. Write a function from ``Step`` to the facts of the outputs, beside similar rules in ``rules/``, and add it to the
   table ``RULES`` at the end of the file. It is called only if an input depends on rows or on their number.
2. Say for every input what it may be: ``step.rows(at)`` gives its state, ``step.expect_fixed(...)`` refuses what
   depends on rows. An input that a rule does not mention must be the same for every row.
3. Read axes and strides with ``step.numbers``, which accepts only constants of the file.
4. Raise ``Mixing`` if rows meet, ``Unknown`` if the rule cannot tell, and return everything else with ``step.give``.
5. An operator that computes lengths belongs in ``COMPUTED`` in ``steps.py``.
6. Add a graph whose rows are independent and one whose rows mix to the tests.
"""

from model_store.rows.analysis import Analysis, analyse, is_risky
from model_store.rows.graph.operators import find_fragile
from model_store.rows.graph.ranges import find_ranges
from model_store.rows.process import AnalystProcess

__all__ = ["Analysis", "AnalystProcess", "analyse", "find_fragile", "find_ranges", "is_risky"]
