"""What `status` says of a resource. The process is played (see `playbook`), and time is the test's."""

from front_proc.status import describe_resource
from pyvisa_daemon.errors import ERRORS
from tests.front_proc.playbook import break_it, take_offline


def said(stage, *fields):
    described = describe_resource(stage.resource, ["dmm"], stage.loop.time())
    return described[fields[0]] if len(fields) == 1 else {field: described[field] for field in fields}


def test_figures_count_what_ended_when_commands_end(stage):
    """Those that fail too; only those that were with the instrument have a time."""
    session = stage.opened()
    assert said(stage, "commands", "failed", "rate_per_s", "latency_ms", "aliases") == {
        "commands": 0,
        "failed": 0,
        "rate_per_s": 0,
        "latency_ms": None,
        "aliases": ["dmm"],
    }
    stage.submit(session)
    stage.pass_time(0.25)
    stage.child.does(b"1\n")
    stage.submit(session)
    stage.child.fails("VI_ERROR_TMO")
    refused = stage.submit(session, call="read", after=stage.submit(session, call="read").ticket)
    stage.child.fails("VI_ERROR_TMO")
    assert refused.said == "WRITE_FAILED none"
    assert said(stage, "commands", "failed", "rate_per_s") == {"commands": 4, "failed": 3, "rate_per_s": 0.4}
    assert said(stage, "latency_ms") == {"p50": 0, "p99": 250}
    assert stage.house.rate.total == 4


def test_running_tells_whose_command_it_is_when_one_is_with_the_instrument(stage):
    """And for how long; not what waits."""
    ann = stage.client("Ann")
    stage.submit(stage.opened(ann))
    stage.submit(stage.opened(stage.client("Bob")))
    stage.pass_time(1.5)
    assert said(stage, "running") == {"client": ann.address, "name": "Ann", "operation": "query", "for_s": 1.5}
    assert said(stage, "queued") == 1
    stage.child.does(b"1\n")
    assert said(stage, "running")["name"] == "Bob"
    stage.child.does(b"2\n")
    assert said(stage, "running") is None


def test_hold_tells_whose_answer_is_awaited_when_others_wait_for_it(stage):
    """Since its first question, however many there were."""
    ann = stage.client("Ann")
    session = stage.opened(ann)
    assert said(stage, "hold") is None
    stage.asked(session)
    stage.pass_time(0.5)
    stage.asked(session)
    stage.pass_time(0.25)
    assert said(stage, "hold") == {"client": ann.address, "name": "Ann", "for_s": 0.75}
    for _ in range(2):
        stage.submit(session, call="read", arguments=(100,))
        stage.child.does(b"1\n")
    assert said(stage, "hold") is None


def test_remedy_is_that_of_the_last_error_when_it_works_again(stage):
    """Whoever looks later still learns what to do about it."""
    session = stage.opened()
    assert said(stage, "last_error", "remedy") == {"last_error": None, "remedy": None}
    stage.submit(session)
    stage.child.starts()
    stage.pass_time(4.5)
    assert said(stage, "state", "remedy") == {"state": "killing", "remedy": ERRORS["INSTRUMENT_HUNG"].remedy}
    stage.child.dies()
    stage.child.opens()
    assert said(stage, "state", "remedy") == {"state": "ready", "remedy": ERRORS["INSTRUMENT_HUNG"].remedy}


def test_remedy_is_that_of_the_state_when_it_is_left_alone(stage):
    """What is broken wants a reset, whatever broke it; once it was reset that is no advice any more."""
    stage.opened()
    break_it(stage)
    assert said(stage, "state", "remedy") == {"state": "broken", "remedy": ERRORS["INSTRUMENT_BROKEN"].remedy}
    stage.resource.reset()
    stage.run()
    stage.child.opens()
    assert said(stage, "state", "remedy") == {"state": "ready", "remedy": ERRORS["INSTRUMENT_CRASHED"].remedy}


def test_remedy_says_what_to_look_for_when_it_cannot_be_reached(stage):
    """By the error of the last attempt."""
    take_offline(stage, stage.opened())
    assert said(stage, "state", "remedy") == {"state": "offline", "remedy": ERRORS["VI_ERROR_RSRC_NFOUND"].remedy}
