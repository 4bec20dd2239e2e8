"""WebSockets (RFC 6455): the handshake, and the connection after it. wsproto reads and writes the frames."""
