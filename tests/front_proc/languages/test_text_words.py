"""What people who type read of the daemon's state: one line for each instrument."""

from front_proc.languages.text_words import status_lines
from front_proc.status import describe_resource
from pyvisa_daemon.errors import ERRORS
from tests.front_proc.playbook import NAME, take_offline


def line_of(stage):
    described = describe_resource(stage.resource, ["dmm"], stage.loop.time())
    report = {"uptime_s": 1, "clients": 0, "state": "serving", "version": "1", "pid": 1, "connections": []}
    [_, line] = status_lines({**report, "resources": [described]})
    return line


def test_line_tells_who_keeps_it_busy_and_who_is_awaited(stage):
    """With what they call themselves, and since when."""
    ann = stage.client("Ann")
    stage.asked(stage.opened(ann))
    stage.pass_time(1.5)
    assert line_of(stage).startswith(f"{NAME} = dmm: ready, ")
    assert line_of(stage).endswith(f", awaits the read of {ann.address} Ann for 1.5 s")
    stage.submit(next(iter(ann.sessions)), "read")
    stage.pass_time(0.5)
    assert f", executes a read of {ann.address} Ann for 0.5 s, awaits the read of" in line_of(stage)
    stage.child.does(b"1\n")


def test_line_tells_what_to_do_when_something_is_wrong(stage):
    """Behind what it is."""
    stage.opened()
    assert "->" not in line_of(stage)
    take_offline(stage, stage.opened())
    assert line_of(stage).endswith(f"; cannot connect: ECONNREFUSED -> {ERRORS['VI_ERROR_RSRC_NFOUND'].remedy}")
