"""What a server gets in a multipart form."""

import email


def read_form(body: bytes, content_type: str) -> tuple[str, str, bytes]:
    """Name, type and content of the only part, read by the standard library's parser of messages."""
    message = email.message_from_bytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body)
    [part] = message.get_payload()
    return part.get_param("name", header="content-disposition"), part.get_content_type(), part.get_payload(decode=True)
