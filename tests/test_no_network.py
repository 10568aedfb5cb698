"""Tests stay on this machine."""

import socket

import pytest


def test_connections_to_other_machines_are_refused():
    blocked = pytest.importorskip("pytest_socket").SocketConnectBlockedError
    with pytest.raises(blocked):
        socket.create_connection(("192.0.2.1", 80), timeout=1)  # of RFC 5737: nobody's
