"""Replaces locales that a graph needs to change the case of texts and that this machine lacks.

ONNX Runtime's StringNormalizer asks the C library for a locale, en_US.UTF-8 by default, and fails to load without it.
Slim images have no such locale, but C.UTF-8 comes with the C library. It changes case like almost all others: among the
339 locales of glibc 2.36, compared for all code points up to U+1FFFF, only those with a dotless i differ, in I and i.
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
    """The ONNX file with C.UTF-8 in place of missing locales that change case in the same way.

    The rest stays byte for byte. Raises BadGraph if a missing locale has no such substitute.
    """
    if _OPERATOR.encode() not in content or sys.platform != "linux":
        return content
    import onnx
    from google.protobuf.message import DecodeError

    from model_store.rows.graph.inner import every_node

    try:
        model = onnx.load_model_from_string(content)
    except DecodeError:  # ONNX Runtime will report the fault, or knows another format
        return content
    nodes = [node for graph in (model.graph, *model.functions) for node in every_node(graph.node)]
    changed = [_use_available(node) for node in nodes if node.op_type == _OPERATOR and node.domain in _OWN_DOMAINS]
    return bytes(model.SerializeToString()) if any(changed) else content


def has_locale(name: str) -> bool:
    """Whether the C library has a locale. It is opened and closed again; the process does not change."""
    library = ctypes.CDLL(None)
    library.newlocale.restype = ctypes.c_void_p
    library.freelocale.argtypes = (ctypes.c_void_p,)
    found = library.newlocale(1 << locale.LC_ALL, name.encode(), None)  # opened as the C++ library does
    if found is None:
        return False
    library.freelocale(found)
    return True


def _use_available(node: Any) -> bool:
    """Give a node a substitute for its missing locale. Returns whether it did. Raises BadGraph if there is none."""
    given = {attribute.name: attribute for attribute in node.attribute}
    name = given["locale"].s.decode() if "locale" in given else DEFAULT
    if not _needs_locale(given) or has_locale(name):
        return False
    found = _NAME.fullmatch(name)
    if found is None or found[1].lower() in _OF_DOTLESS_I or not has_locale(SAME_CASE):
        raise BadGraph(
            f"node {node.name!r} ({_OPERATOR}) changes the case of texts by the locale {name!r:.60}, which this "
            "machine lacks: install it (on Debian with the package locales and localedef), or name C.UTF-8 in the graph"
        )
    attribute = given.get("locale") or node.attribute.add(name="locale", type=3)  # a string
    attribute.s = SAME_CASE.encode()
    logger.info("texts change case by %s in place of %s, which this machine lacks", SAME_CASE, name)
    return True


def _needs_locale(given: dict[str, Any]) -> bool:
    """Whether a node changes any case: of its texts, or to compare them with stop words."""
    changes = "case_change_action" in given and given["case_change_action"].s != b"NONE"
    is_exact = "is_case_sensitive" in given and given["is_case_sensitive"].i != 0
    return changes or (not is_exact and "stopwords" in given and len(given["stopwords"].strings) > 0)
