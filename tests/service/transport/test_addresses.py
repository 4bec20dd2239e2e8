"""Where a server listens."""

import socket

import pytest

from service.settings import Settings, SettingsError
from service.transport.addresses import find_address, join_address, open_listener, open_listeners


@pytest.mark.parametrize("setting", ["port", "grpc_port"])
def test_port_that_is_taken_is_refused(setting: str) -> None:
    """A port that another server has is refused before the start with its setting's name, for HTTP and gRPC."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        with pytest.raises(SettingsError, match=rf"^SLUICE_HOST=127.0.0.1 SLUICE_{setting.upper()}={taken}: expected"):
            open_listeners(find_address(Settings(port=0).replace(host="localhost", **{setting: taken})), 1)


def test_port_of_grpc_that_cannot_be_is_refused() -> None:
    """The port of gRPC must differ from HTTP's and be at most 65535; by default there is none."""
    with pytest.raises(SettingsError, match="SLUICE_GRPC_PORT=4000: expected another port than SLUICE_PORT"):
        find_address(Settings(port=4000, grpc_port=4000))
    with pytest.raises(SettingsError, match=r"SLUICE_GRPC_PORT=70000: expected .* 65535"):
        Settings.from_environ({"SLUICE_GRPC_PORT": "70000"})
    assert Settings().grpc_port == 0


@pytest.mark.parametrize("host", ["nobody.invalid", "x" * 70, "192.0.2.1"], ids=["unknown", "long", "elsewhere"])
def test_host_that_cannot_be_listened_on_is_refused(host: str) -> None:
    """A name without an address, and an address of another machine, are refused with their setting."""
    with pytest.raises(SettingsError, match=rf"^SLUICE_HOST={host}"):
        open_listener(find_address(Settings(host=host, port=0)), 1)


def test_host_name_becomes_an_address() -> None:
    """localhost becomes its IPv4 address, others stay as they are, and IPv6 is written in brackets before its port."""
    assert find_address(Settings(host="localhost", port=0)).host == "127.0.0.1"
    for address in ("127.0.0.1", "0.0.0.0", "::1", "::"):  # noqa: S104
        assert find_address(Settings(host=address, port=0)).host == address
    assert [join_address(host, 80) for host in ("127.0.0.1", "::1")] == ["127.0.0.1:80", "[::1]:80"]


def test_port_of_a_server_that_has_just_ended_is_free() -> None:
    """A port with lingering connections of an ended server can be used again."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            accepted, _ = server.accept()
            accepted.close()  # the server ends first, so its side lingers
            client.recv(1)
    assert find_address(Settings(port=port)).port == port


def test_socket_of_all_addresses_takes_both_families() -> None:
    """A server on `::` is reached at 127.0.0.1 and at ::1."""
    with open_listener(Settings(host="::", port=0), 5) as listener:
        port = listener.getsockname()[1]
        for address in ("127.0.0.1", "::1"):
            socket.create_connection((address, port), timeout=60).close()
