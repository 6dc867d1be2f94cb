"""Which writes are a query's, whose read comes next."""

import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import pytest
from pyvisa.constants import StatusCode
from pyvisa.resources import MessageBasedResource

from pyvisa_daemon.asking import reads_at_once


class Library:
    """It notes what it sees of who writes, and answers so that any query understands it."""

    def __init__(self) -> None:
        self.seen: list[bool] = []

    def write(self, _: int, message: bytes) -> tuple[int, StatusCode]:
        self.seen.append(reads_at_once(sys._getframe(1)))
        return len(message), StatusCode.success

    def read(self, _: int, __: int) -> tuple[bytes, StatusCode]:
        return b"#11\x31", StatusCode.success

    def ignore_warning(self, *_: Any) -> AbstractContextManager[None]:
        return nullcontext()


class Resource(MessageBasedResource):
    """PyVISA's own."""

    def __init__(self) -> None:
        self.visalib: Any = Library()
        self._session: Any = 1
        self._resource_name = "GPIB0::9::INSTR"

    @property
    def seen(self) -> list[bool]:
        return cast(list[bool], self.visalib.seen)

    def ask_by_hand(self) -> str:
        """A program's own query."""
        self.write("A?")
        return self.read()


class Derived(Resource):
    """A driver's own class."""

    def query(self, message: str, delay: float | None = None) -> str:
        return super().query(message.upper(), delay)


def slow(function: Any) -> Any:
    """A driver's, which does something else as well."""

    def method(*arguments: Any, **options: Any) -> Any:
        return function(*arguments, **options)

    return method


QUERIES = ["query", "query_ascii_values", "query_binary_values"]


def asks(resource: Any, name: str, **options: Any) -> None:
    if name == "query_binary_values":
        options["datatype"] = "B"
    if name == "query_ascii_values":
        options["converter"] = "s"
    getattr(resource, name)("A?", **options)


@pytest.mark.parametrize("kind", [Resource, Derived])
@pytest.mark.parametrize("name", QUERIES)
@pytest.mark.parametrize(
    ("own", "delay", "expected"),
    [(0, None, True), (0, 0.0, True), (0, 0.01, False), (0.01, None, False), (0.01, 0.0, True)],
)
def test_query_of_pyvisa_s_reads_at_once_unless_it_has_a_delay(
    kind: Any, name: str, own: float, delay: float | None, expected: bool
) -> None:
    """During a delay the instrument works: the question must be there when that begins."""
    resource = kind()
    resource.query_delay = own
    asks(resource, name, delay=delay)
    assert resource.seen == [expected]


@pytest.mark.parametrize("name", QUERIES)
@pytest.mark.parametrize("own", ["write", "write_raw", "read", "_read_raw", "read_ascii_values", "read_binary_values"])
@pytest.mark.parametrize("of", ["class", "object"])
def test_query_that_comes_by_a_function_of_a_driver_s_own_is_not_pyvisa_s(name: str, own: str, of: str) -> None:
    """That may sleep, or start another instrument, between the question and the answer."""
    kind: Any = type("Driver", (Resource,), {own: slow(getattr(MessageBasedResource, own))} if of == "class" else {})
    resource = kind()
    if of == "object":
        setattr(resource, own, slow(getattr(resource, own)))
    asks(resource, name)
    is_on_the_way = {
        "query": own in ("write", "write_raw", "read", "_read_raw"),
        "query_ascii_values": own != "read_binary_values",
        "query_binary_values": own in ("write", "write_raw", "_read_raw", "read_binary_values"),
    }[name]
    assert resource.seen == [not is_on_the_way]


@pytest.mark.parametrize("name", ["write", "write_raw", "write_ascii_values", "ask_by_hand"])
def test_anything_else_that_writes_is_sent_at_once(name: str) -> None:
    """Nobody knows what it does next."""
    resource = Resource()
    arguments: dict[str, tuple[Any, ...]] = {
        "write_raw": (b"A?",),
        "write_ascii_values": ("A?", [1]),
        "ask_by_hand": (),
    }
    getattr(resource, name)(*arguments.get(name, ("A?",)))
    assert resource.seen == [False]
