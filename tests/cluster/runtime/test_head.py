"""Whether somebody listens where the head of a cluster should be."""

import socket

import pytest

from parquedb.cluster.runtime.head import reach_head


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "ray://127.0.0.1:{}", "ray://[127.0.0.1]:{}"])
def test_an_address_is_reached_once_in_all_its_forms_and_missed_when_nobody_is_there(form: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert reach_head(form.format(port), 5)
        server.settimeout(5)
        server.accept()[0].close()
        server.settimeout(0)
        with pytest.raises(BlockingIOError):
            server.accept()
    with pytest.raises(ConnectionRefusedError):
        reach_head(form.format(port), 5)


@pytest.mark.parametrize("address", ["auto", "local", "", "nonsense"])
def test_what_ray_looks_up_by_itself_is_left_to_it(address: str) -> None:
    assert not reach_head(address, 5)


def test_a_port_beyond_all_ports_is_refused_as_such() -> None:
    with pytest.raises(ValueError, match="there is no port 65536"):
        reach_head("127.0.0.1:65536", 5)
