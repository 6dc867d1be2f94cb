"""The daemon that the checks are tried on."""

from collections.abc import Iterator

import pytest

from tests.support.daemon import Daemon


@pytest.fixture(scope="package")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One with the demo bench for all tests here."""
    daemon = Daemon(tmp_path_factory.mktemp("bench") / "run", "--demo")
    yield daemon
    try:
        daemon.end()
    finally:
        daemon.kill()
