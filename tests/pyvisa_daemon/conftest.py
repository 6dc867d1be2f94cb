"""A scripted daemon and what is open through it. Both are ended, and what failed in a script is raised."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import pyvisa
from pyvisa.resources import MessageBasedResource

from pyvisa_daemon import hosts
from pyvisa_daemon.channel import Channel
from pyvisa_daemon.highlevel import DaemonVisaLibrary
from tests.pyvisa_daemon.peer import NAME, Bench, Conversation, Peer

Connect = Callable[[Callable[[Conversation], None]], Channel]
Manage = Callable[[Callable[[Conversation], None]], pyvisa.ResourceManager]


def open_message_based(manager: pyvisa.ResourceManager, **options: Any) -> MessageBasedResource:
    """A session of its own each time."""
    resource = manager.open_resource(NAME, **options)
    assert isinstance(resource, MessageBasedResource)
    return resource


@pytest.fixture
def connect() -> Iterator[Connect]:
    """A channel to a peer with this script."""
    with contextlib.ExitStack() as stack:

        def start(script: Callable[[Conversation], None]) -> Channel:
            peer = stack.enter_context(Peer(script))
            channel = hosts.connect(hosts.parse(peer.address))
            stack.callback(channel.close)
            return channel

        yield start


@pytest.fixture
def manage() -> Iterator[Manage]:
    """A resource manager whose daemon follows this script."""
    with contextlib.ExitStack() as stack:

        def start(script: Callable[[Conversation], None]) -> pyvisa.ResourceManager:
            peer = stack.enter_context(Peer(script))
            manager = pyvisa.ResourceManager(f"{peer.address}@daemon")
            stack.callback(manager.close)
            return manager

        yield start


@pytest.fixture
def bench() -> Bench:
    """The daemon of `manager` and `resource`."""
    return Bench()


@pytest.fixture
def manager(manage: Manage, bench: Bench) -> pyvisa.ResourceManager:
    return manage(bench)


@pytest.fixture
def library(manager: pyvisa.ResourceManager) -> DaemonVisaLibrary:
    """What `manager` calls."""
    library = manager.visalib
    assert isinstance(library, DaemonVisaLibrary)
    return library


@pytest.fixture
def channel(library: DaemonVisaLibrary) -> Channel:
    """The connection that `manager` has made."""
    assert library._channel is not None
    return library._channel


@pytest.fixture
def resource(manager: pyvisa.ResourceManager) -> MessageBasedResource:
    """One session on the bench."""
    return open_message_based(manager, read_termination="\n", write_termination="\n")
