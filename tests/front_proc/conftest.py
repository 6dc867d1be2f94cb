"""Fixtures of these tests: a stage without processes."""

from collections.abc import Iterator

import pytest

from tests.front_proc.playbook import Stage


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """A front with one resource, children of the test's own, and a clock that jumps."""
    stage = Stage(monkeypatch)
    yield stage
    stage.close()
