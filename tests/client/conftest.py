"""The known hosts, put back after each test."""

from collections.abc import Iterator

import pytest

import client


@pytest.fixture(autouse=True)
def known_hosts() -> Iterator[None]:
    before = list(client.tryIps)
    yield
    client.tryIps = before
