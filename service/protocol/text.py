"""JSON bytes to Python and back, with NaN and infinities, which the fast parser does not take."""

import json
from typing import Any

import orjson

from service.errors import InvalidInput


def parse_json(body: bytes | memoryview, what: str = "body") -> Any:
    """Parse JSON. The literals NaN, Infinity and -Infinity are understood. Raises InvalidInput."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        content = bytes(body)
        if b"NaN" in content or b"Infinity" in content:
            try:
                text = content.decode()
                value = json.loads(text)
                if b"\\u" in content:  # half of a surrogate pair is no character; the fast parser refuses it as well
                    json.dumps(value, ensure_ascii=False).encode()
                return value
            except (ValueError, RecursionError):
                pass  # the fast parser's complaint is the better one
        raise InvalidInput(f"{what}: expected JSON, got {error}") from None


def render_json(value: Any) -> bytes:
    """Render what has no NaN or infinity in it; NumPy arrays become lists."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)


def parse_object(body: bytes | memoryview) -> dict[str, Any]:
    """Parse a JSON object. Raises InvalidInput."""
    value = parse_json(body)
    if not isinstance(value, dict):
        raise InvalidInput(f"body: expected a JSON object, got {type_name(value)}")
    return value


def type_name(value: object) -> str:
    """What a JSON value is called in JSON."""
    names = {
        bool: "a boolean",
        int: "a number",
        float: "a number",
        str: "a string",
        list: "an array",
        dict: "an object",
    }
    return names.get(type(value), "null" if value is None else type(value).__name__)
