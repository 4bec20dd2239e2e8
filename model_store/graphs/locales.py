"""Locales that a graph changes the case of texts by, where this machine does not have them.

ONNX Runtime's StringNormalizer asks the C library for a locale, en_US.UTF-8 unless the graph names another, and a graph
that asks for one which is not installed cannot be loaded; slim images have none. How letters change their case is the
same in nearly all of them, and in C.UTF-8, which is part of the C library's package. Compared were all code points up
to U+1FFFF, in each of the 339 locales of glibc 2.36: those of languages that also write i without a dot differ from
C.UTF-8, by the letters I and i, and no others do. By way of ONNX Runtime 1.32.0 all 2,927 letters with another case
gave the same by en_US.UTF-8, in lower and upper case and as stop words.
"""

import ctypes
import locale
import logging
import re
import sys
from typing import Any

from model_store.errors import BadGraph

logger = logging.getLogger("sluice.engine")

DEFAULT, SAME_CASE = "en_US.UTF-8", "C.UTF-8"
_OPERATOR = "StringNormalizer"
_OWN_DOMAINS = ("", "ai.onnx")
_NAME = re.compile(r"([a-z]{2,3})(?:[_-][a-z]{2,4})?(?:\.[\w-]+)?(?:@\w+)?", re.IGNORECASE)
_OF_DOTLESS_I = ("az", "crh", "ku", "tr", "tt")


def with_available_locale(content: bytes) -> bytes:
    """The ONNX file with C.UTF-8 in place of locales that this machine lacks and that change the case as it does.

    Everything else stays byte for byte. Raises BadGraph where a locale is needed that has no such substitute.
    """
    if _OPERATOR.encode() not in content or sys.platform != "linux":
        return content
    import onnx
    from google.protobuf.message import DecodeError

    from model_store.rows.graph.inner import every_node

    try:
        model = onnx.load_model_from_string(content)
    except DecodeError:  # ONNX Runtime says what is wrong with it, or knows another format
        return content
    nodes = [node for graph in (model.graph, *model.functions) for node in every_node(graph.node)]
    changed = [_use_available(node) for node in nodes if node.op_type == _OPERATOR and node.domain in _OWN_DOMAINS]
    return bytes(model.SerializeToString()) if any(changed) else content


def has_locale(name: str) -> bool:
    """Whether the C library has a locale. Nothing of the process changes: it is opened and let go of."""
    library = ctypes.CDLL(None)
    library.newlocale.restype = ctypes.c_void_p
    library.freelocale.argtypes = (ctypes.c_void_p,)
    found = library.newlocale(1 << locale.LC_ALL, name.encode(), None)  # as the C++ library asks for one
    if found is None:
        return False
    library.freelocale(found)
    return True


def _use_available(node: Any) -> bool:
    """Name the substitute of a node's locale, where it needs one. Whether it did. Raises BadGraph."""
    given = {attribute.name: attribute for attribute in node.attribute}
    name = given["locale"].s.decode() if "locale" in given else DEFAULT
    if not _needs_locale(given) or has_locale(name):
        return False
    found = _NAME.fullmatch(name)
    if found is None or found[1].lower() in _OF_DOTLESS_I or not has_locale(SAME_CASE):
        raise BadGraph(
            f"node {node.name!r} ({_OPERATOR}) changes the case of texts by the locale {name!r:.60}, which this "
            "machine lacks: install it, on Debian by the package locales and localedef, or name C.UTF-8 in the graph"
        )
    attribute = given.get("locale") or node.attribute.add(name="locale", type=3)  # a string
    attribute.s = SAME_CASE.encode()
    logger.info("texts are changed in case by %s, as by %s, which this machine lacks", SAME_CASE, name)
    return True


def _needs_locale(given: dict[str, Any]) -> bool:
    """Whether a node with these attributes changes any case: of its texts, or to compare them with stop words."""
    changes = "case_change_action" in given and given["case_change_action"].s != b"NONE"
    is_exact = "is_case_sensitive" in given and given["is_case_sensitive"].i != 0
    return changes or (not is_exact and "stopwords" in given and len(given["stopwords"].strings) > 0)
