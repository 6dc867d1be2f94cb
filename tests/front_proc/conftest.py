"""Fixtures of these tests: a stage without processes."""

from collections.abc import Iterator

import pytest

from front_proc.serving.sessions import Session
from tests.front_proc.hold_bench import Bench
from tests.front_proc.playbook import Stage


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """A front with one resource, children of the test's own, and a clock that jumps."""
    stage = Stage(monkeypatch)
    yield stage
    stage.close()


# A hold, and two sessions.


@pytest.fixture(params=[True, False], ids=["with END", "without END"])
def bench(request: pytest.FixtureRequest) -> Bench:
    """Promises that hold on every interface."""
    return Bench(marks_end=request.param)


@pytest.fixture
def bus() -> Bench:
    """GPIB and its heirs."""
    return Bench(marks_end=True)


@pytest.fixture
def line() -> Bench:
    """A socket, a serial line."""
    return Bench(marks_end=False)


@pytest.fixture
def ann() -> Session:
    return Bench(marks_end=False).session()


@pytest.fixture
def bob() -> Session:
    return Bench(marks_end=False).session()
