"""Row analysis: whether the rows of a batch are independent in an ONNX graph, decided from the file alone.

A *row* is one example of a batch. Requests of several callers may share a batch only where no row changes what another
one gets, whatever is in it and however many rows there are. A run cannot show that: it shows some values and some
sizes. So the graph is proved, operator by operator, and what is not understood is unknown, never independent.

The method
1. ``graph/weights.py`` parses the file without its large weights; functions are written out where they are called.
2. ``analyst.py`` runs the graph with every tensor exposed (``measuring.py``), with several numbers of rows and, where
   axes are free, at two lengths of each (``graph/samples.py``). Branches and loops are written out for that
   (``graph/unfolding.py``); where a branch lays rows out otherwise, either truth of its condition is a case of its own,
   at lengths that lead to it (``graph/branches.py``).
3. ``proof.py`` goes through the nodes once, from the inputs to the outputs. What is known of a tensor is a ``Fact``
   (``facts.py``): its shape for every batch, how its elements depend on rows (a state), and the elements themselves
   where they are few and computed from shapes (``arithmetic.py``).
4. It is proved where every output has one place for each row on some axis, or is the same for all rows.

Sizes are polynomials in the number of rows and in free lengths (``sizes.py``). Two sizes are equal only where the
graph makes them so, never because they were measured alike; a length that no rule derives is a new symbol
(``measures.py``, ``lengths.py``). Numbers that were measured count as constants only where they come from constants of
the file. Runs serve to find shapes that no rule computes, and to check those that one does.

The states, in short (``facts.py``)
- ``Fixed``: the same in every batch. ``Sized``: depends on how many rows there are, and nothing more is known.
- ``Rows``: an axis of length outer · rows · inner; each element depends on the row of its own place only. A reshape is
  arithmetic on the products of the lengths before and after the batch.
- ``Places`` and ``Selectors``: index tensors that tell rows apart, such as row · length + position. An index must stay
  within the part of its own row: ``bounds.py`` proves it.
- ``Failed``: rows are mixed or not understood on the way to this tensor. It matters only if an output needs it.

To add a rule for an operator, write a function from ``Step`` to the facts of the outputs, in the file of ``rules/``
that has its like, and put it into the table ``RULES`` at the end. It is asked only where an input depends on rows or
on how many there are. Say for every input what may lie where: ``step.rows(at)`` gives its state,
``step.expect_fixed(...)`` refuses what depends on rows, and an input of which a rule says nothing must be the same for
every row. Read axes and strides with ``step.numbers``, which takes constants of the file only. Raise ``Mixing`` where
rows meet, ``Unknown`` where you cannot tell, and give the rest with ``step.give``. An operator that computes lengths
belongs into ``COMPUTED`` in ``steps.py``. Then add a graph whose rows are independent and one whose rows mix to the
tests.
"""

from model_store.rows.analysis import Analysis, analyse, is_risky
from model_store.rows.graph.operators import find_fragile
from model_store.rows.graph.ranges import find_ranges
from model_store.rows.process import AnalystProcess

__all__ = ["Analysis", "AnalystProcess", "analyse", "find_fragile", "find_ranges", "is_risky"]
