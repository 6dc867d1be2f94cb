"""The front: who is connected, what is open, and the daemon's end. Processes are played, time is the test's."""

import asyncio
from types import SimpleNamespace

import pytest

from front_proc import front as front_module
from front_proc.access.rights import EVERYTHING
from front_proc.configuration.limits import DEFAULTS as LIMITS
from front_proc.configuration.resource_settings import read_rows
from front_proc.configuration.setting_values import SettingsError
from front_proc.configuration.settings import read_settings
from front_proc.front import Front, FrontState
from front_proc.process.lifecycle import State
from front_proc.process.pool import Pool
from front_proc.serving.sessions import Client
from front_proc.serving.tickets import Ticket
from instrument_proc import pipe
from instrument_proc.spawn import ChildSettings
from pyvisa_daemon.errors import Effect, Failure
from tests.front_proc.playbook import NAME, FakeAudit

CONFIGURED = "TCPIP0::10.0.0.2::1::SOCKET"


class StagedPool(Pool):
    """Its children are the stage's; a name is canonical with a board, and `nonsense` is none."""

    def __init__(self, stage):
        super().__init__(ChildSettings("@py", "log"), print)
        self._stage = stage

    async def take(self):
        return await self._stage.next_child()

    async def canonical(self, resource):
        if named(resource) is None:
            raise Failure("VI_ERROR_INV_RSRC_NAME", "unknown interface type")
        return named(resource)


def named(resource):
    """The canonical name; None for what is none."""
    return None if resource == "nonsense" else resource.replace("TCPIP::", "TCPIP0::")


class FakeLog:
    """Keeps what is put there."""

    def __init__(self):
        self.lines = []

    def put(self, event, fields):
        self.lines.append((event, fields))


class StagedFront(Front):
    """A front whose children are the stage's."""

    def __init__(self, stage, settings, rows):
        super().__init__(settings, FakeAudit(), FakeLog(), "@py", rows)
        self._pool = StagedPool(stage)


@pytest.fixture
def make_front(stage, monkeypatch, tmp_path):
    monkeypatch.setattr(front_module, "time", SimpleNamespace(monotonic=stage.loop.time))

    def make(*rows, **options):
        """`rows` of `[[resource]]` as the file has them."""
        arguments = [f"--{name}={value}" for name, value in options.items()]
        settings = read_settings([f"--run-dir={tmp_path}", *arguments])

        async def begin():
            front = StagedFront(stage, settings, read_rows(list(rows), "lab.toml"))
            await front.warm_up()
            stage.children.clear()  # the spare, which is nobody's
            return front

        return stage.result(begin())

    return make


@pytest.fixture
def front(make_front):
    return make_front({"match": CONFIGURED}, linger=0)


def joined(front, is_loopback=True):
    client = Client("127.0.0.1:1", is_loopback=is_loopback, rights=EVERYTHING)
    assert front.admit(client)
    return client


def opens(stage, front, client, name=NAME):
    opening = stage.start(front.open(client, name))
    if not opening.done():
        stage.child.opens()
    return opening.result()


def test_front_admits_a_thousand_clients_and_some_from_loopback(front):
    """Those look and stop; then it is full for them too. Who leaves makes room."""
    clients = [joined(front, is_loopback=False) for _ in range(LIMITS.clients)]
    assert not front.admit(Client("10.0.0.9:1", rights=EVERYTHING))
    for _ in range(LIMITS.reserved_clients):
        joined(front)
    assert not front.admit(Client("127.0.0.1:1", is_loopback=True, rights=EVERYTHING))
    for client in clients[:10]:
        front.leave(client)
    joined(front, is_loopback=False)


def test_open_of_a_name_that_cannot_be_parsed_is_refused(stage, front):
    """No process is asked."""
    opening = stage.start(front.open(joined(front), "nonsense"))
    assert opening.exception().token == "VI_ERROR_INV_RSRC_NAME"
    assert stage.children == []


def test_resources_are_open_while_somebody_has_a_session(stage, front):
    """In the order of their names; lingering ones are not open."""
    client = joined(front)
    opens(stage, front, client, "B")
    session = opens(stage, front, client, "A")
    assert front.open_resources() == ["A", "B"]
    stage.start(front.close(session))
    assert front.open_resources() == ["B"]


def test_find_says_how_a_resource_is_there(stage, front):
    """Open, configured, or unknown for a name that is none; it opens nothing."""
    opens(stage, front, joined(front))
    assert stage.result(front.find(NAME)) == "open"
    assert stage.result(front.find(CONFIGURED)) == "configured"
    assert stage.result(front.find("nonsense")) == "unknown"
    assert len(stage.children) == 1


def test_resource_of_which_nothing_is_left_is_not_known(stage, front):
    """`reset` and `restart` say so."""
    session = opens(stage, front, joined(front))
    assert stage.result(front.known(NAME)) is session.resource
    closing = stage.start(front.close(session))
    stage.child.dies()
    assert closing.done()
    asking = stage.start(front.known(NAME))
    assert asking.exception().token == "NO_RESOURCE"


def test_client_that_leaves_closes_all_it_had(stage, front):
    """And waits for nothing any more."""
    client = joined(front)
    opens(stage, front, client, "A")
    opening = stage.start(front.open(client, "B"))
    front.leave(client)
    stage.run()
    assert front.open_resources() == []
    assert opening.cancelled()
    assert client.sessions == set()


def test_client_that_leaves_during_an_open_leaves_no_session(stage, front, monkeypatch):
    """It was gone before its name was made out: no process is started for it."""
    client, is_made_out = joined(front), asyncio.Event()

    async def canonical(name):
        await is_made_out.wait()
        return name

    monkeypatch.setattr(front, "canonical", canonical)
    opening = stage.start(front.open(client, NAME))
    front.leave(client)
    is_made_out.set()
    stage.run()
    assert opening.exception().token == "CLIENT_GONE"
    assert front.resources == {}
    assert stage.children == []
    assert client.sessions == set()


def test_client_that_leaves_in_the_moment_of_its_open_leaves_no_session(stage, front):
    """The child has it open, and the client's task has not heard of it yet."""
    client = joined(front)
    opening = stage.start(front.open(client, NAME))
    resource = front.resources[NAME]
    resource.keeper.child.on_report(pipe.Opened(0, "", "", False, []))
    front.leave(client)
    stage.run()
    assert opening.done()
    assert resource.sessions == set()
    assert client.sessions == set()
    assert stage.child.order == pipe.Close()


# What is configured, and what is found.

SCOPE, METER, LINE = "TCPIP0::10.0.0.7::inst0::INSTR", "GPIB0::22::INSTR", "ASRL1::INSTR"


def answers_search(stage, found, fails=()):
    """The searches under way end: library -> what it finds; those of `fails` fail."""
    for child in [child for child in stage.children if child.orders and isinstance(child.order, pipe.List)]:
        library = child.order.library
        status = (-1, "VI_ERROR_IO", "no bus") if library in fails else (0, "", "")
        child.say(pipe.Listed(found.get(library, []), *status))
        for name in found.get(library, []):
            child.say(pipe.Named(named(name), ""))


def test_resource_is_named_in_many_ways(stage, make_front):
    """By its alias, in short, in other letters: it is one resource, spelled as configured."""
    front = make_front({"match": "TCPIP::Scope.lab::INSTR", "name": "scope"})
    for name in ("scope", "SCOPE", "TCPIP::Scope.lab::INSTR", "TCPIP0::SCOPE.LAB::INSTR"):
        assert stage.result(front.canonical(name)) == "TCPIP0::Scope.lab::INSTR"
    assert stage.result(front.canonical("TCPIP::Other.lab::INSTR")) == "TCPIP0::Other.lab::INSTR"


def test_alias_opens_the_resource_that_others_have_open(stage, make_front):
    """Whichever name each of them uses; it is known by it too."""
    front = make_front({"match": NAME, "name": "supply"})
    session = opens(stage, front, joined(front), "supply")
    assert session.resource.name == NAME
    assert opens(stage, front, joined(front), NAME).resource is session.resource
    assert stage.result(front.known("Supply")) is session.resource
    assert stage.result(front.find("supply")) == "open"
    assert len(stage.children) == 1


def test_settings_hold_for_a_name_in_short(stage, make_front):
    """A row's match is made canonical before anybody is served; patterns are left as they are."""
    front = make_front({"match": "GPIB*", "library": "@ivi"}, {"match": "TCPIP::10.0.0.7::inst0::INSTR", "timeout": 5})
    assert front.settings_of(SCOPE).timeout == 5
    assert (front.library_of(METER), front.library_of(SCOPE)) == ("@ivi", "@py")


def test_row_for_what_is_no_resource_ends_the_start(make_front):
    """With its file, number and key, as any wrong setting."""
    with pytest.raises(SettingsError, match=r"lab\.toml, \[\[resource\]\] 2: match = 'nonsense' .*interface type"):
        make_front({"match": METER}, {"match": "nonsense"})


def test_list_has_what_is_found_and_what_is_configured(stage, make_front):
    """Canonical, each once, what is found first; what VISA cannot parse is listed as it was found."""
    front = make_front({"match": METER}, {"match": SCOPE}, {"match": "USB*", "timeout": 1})
    listing = stage.start(front.list_resources())
    answers_search(stage, {"@py": ["nonsense", SCOPE.replace("TCPIP0", "TCPIP"), LINE, SCOPE.lower()]})
    assert listing.result() == ["nonsense", SCOPE, LINE, METER]


def test_libraries_search_at_the_same_time(stage, make_front):
    """The daemon's own finds what it finds, another what it opens; a library of a row by name need not search."""
    front = make_front(
        {"match": "GPIB*", "library": "@ivi"},
        {"match": "TCPIP*", "library": "@lan"},
        {"match": LINE, "library": "@named"},
    )
    listing = stage.start(front.list_resources())
    assert [child.order.library for child in stage.children] == ["@py", "@ivi", "@lan"]
    stick, other = "USB0::1::2::3::0::INSTR", "USB0::1::2::4::0::INSTR"
    answers_search(stage, {"@py": [stick, SCOPE], "@ivi": [METER, LINE, other], "@lan": [SCOPE, METER]})
    assert listing.result() == [stick, SCOPE, METER, LINE]
    assert stage.result(front.find(METER)) == "listed"
    assert stage.result(front.find(LINE)) == "configured"
    assert stage.result(front.find(other)) == "unknown"


@pytest.mark.parametrize("failing", ["@py", "@ivi"])
def test_library_that_fails_hides_no_other_s_results(stage, make_front, failing):
    """The log says so."""
    front = make_front({"match": "GPIB*", "library": "@ivi"})
    listing = stage.start(front.list_resources())
    found = {"@py": [SCOPE], "@ivi": [METER]}
    del found[failing]
    answers_search(stage, found, [failing])
    assert listing.result() == {"@py": [METER], "@ivi": [SCOPE]}[failing]
    [(event, fields)] = front.log.lines
    assert event == "trouble"
    assert fields["error"].startswith(f"{failing}: no bus")


def test_list_fails_when_all_libraries_do(stage, make_front):
    """Nobody has looked: an empty list would be a lie."""
    front = make_front({"match": "GPIB*", "library": "@ivi"}, {"match": METER})
    listing = stage.start(front.list_resources())
    answers_search(stage, {}, ["@py", "@ivi"])
    assert listing.exception().token == "VI_ERROR_IO"


# Closing with no linger.


def test_close_returns_when_the_process_has_ended(stage, front):
    """The next open finds a fresh instrument."""
    closing = stage.start(front.close(opens(stage, front, joined(front))))
    assert stage.child.order == pipe.Close()
    assert not closing.done()
    stage.child.dies()
    assert closing.done()


def test_close_does_not_wait_while_somebody_else_has_it_open(stage, front):
    """The process goes on."""
    session, _ = opens(stage, front, joined(front)), opens(stage, front, joined(front))
    assert stage.start(front.close(session)).done()


def test_close_returns_though_somebody_else_opens_it_meanwhile(stage, front):
    """Its own process has ended; the other's goes on for as long as it likes."""
    closing = stage.start(front.close(opens(stage, front, joined(front))))
    stage.start(front.open(joined(front), NAME))
    stage.child.dies()
    stage.child.opens()
    assert front.open_resources() == [NAME]
    assert closing.done()


def test_close_returns_though_its_process_cannot_be_killed(stage, front):
    """Wedged: nobody waits for it."""
    session = opens(stage, front, joined(front))
    ticket = Ticket(session, "query", lambda _: None, lambda _: None)
    session.resource.submit(ticket)
    stage.pass_time(LIMITS.begin_time + 0.1)
    closing = stage.start(front.close(session))
    stage.pass_time(LIMITS.kill_time + 0.1)
    assert session.resource.keeper.state is State.WEDGED
    assert closing.done()


def test_close_is_bounded_when_the_process_does_not_end(stage, front):
    """It is killed after its time."""
    closing = stage.start(front.close(opens(stage, front, joined(front))))
    stage.pass_time(LIMITS.close_time + LIMITS.terminate_time + 0.1)
    assert stage.child.is_being_killed
    stage.child.dies()
    assert closing.done()


# The end.


def test_stop_closes_what_is_idle_and_refuses_what_is_new(stage, front):
    """In order; then the daemon may end."""
    client = joined(front)
    opens(stage, front, client)
    stopping = stage.start(front.stop())
    assert stage.child.order == pipe.Close()
    opening = stage.start(front.open(client, "B"))
    assert opening.exception().token == "SHUTTING_DOWN"
    stage.child.dies()
    stage.pass_time(1)
    assert stopping.result() == []
    assert front.ended.is_set()


def test_stop_lets_a_running_command_end_for_a_moment(stage, front):
    """Then its session is closed in order."""
    session = opens(stage, front, joined(front))
    outcomes = []
    session.resource.submit(Ticket(session, "query", outcomes.append, lambda _: None))
    stage.child.starts()
    stopping = stage.start(front.stop())
    stage.pass_time(0.5)
    stage.child.does(b"answer\n")
    stage.pass_time(0.1)
    assert not outcomes[0].failed
    assert stage.child.order == pipe.Close()
    stage.child.dies()
    stage.pass_time(1)
    assert stopping.done()


def test_stop_takes_ten_seconds_at_most_whatever_hangs(stage, front):
    """Commands and closes that do not end, processes that cannot be killed."""
    sessions = [opens(stage, front, joined(front), name) for name in "AB"]
    outcomes = []
    sessions[0].resource.submit(Ticket(sessions[0], "query", outcomes.append, lambda _: None))
    stage.children[0].starts()
    stopping = stage.start(front.stop())
    stage.pass_time(10)
    assert stopping.done()
    assert front.ended.is_set()
    assert outcomes[0].failed


def test_stop_is_asked_for_as_often_as_anybody_likes(stage, front):
    """Everybody is told when it is done."""
    opens(stage, front, joined(front))
    stops = [stage.start(front.stop()) for _ in range(3)]
    stage.child.dies()
    stage.pass_time(1)
    assert [stopping.result() for stopping in stops] == [[], [], []]


# Draining.


def drains(stage, front):
    async def drain():
        return front.drain()

    return stage.result(drain())


def test_drain_takes_no_new_sessions_and_lets_others_work(stage, front):
    """Not even on an instrument that is open; who waits for an open still gets it."""
    client = joined(front)
    session = opens(stage, front, client, "A")
    opening = stage.start(front.open(client, "B"))
    assert (drains(stage, front), front.state) == (1, FrontState.DRAINING)
    for name in "AC":
        refused = stage.start(front.open(client, name)).exception()
        assert (refused.token, refused.effect) == ("SHUTTING_DOWN", Effect.NONE)
    stage.child.opens()
    assert drains(stage, front) == 2
    outcomes = []
    session.resource.submit(Ticket(session, "query", outcomes.append, lambda _: None))
    stage.children[0].does(b"answer\n")
    assert not outcomes[0].failed
    assert opening.result() in client.sessions
    stage.pass_time(100)
    assert not front.ended.is_set()


def test_drain_ends_each_instrument_with_its_last_session(stage, make_front):
    """No process is kept warm any more, neither of those nor of what lingers by then."""
    front = make_front(linger=60)
    client = joined(front)
    stage.start(front.close(opens(stage, front, client, "lingers")))
    sessions = [opens(stage, front, client, name) for name in ("A", "A", "B")]
    lingering, first, _ = stage.children
    assert drains(stage, front) == 3
    assert lingering.order == pipe.Close()
    front.leave(client)
    assert first.order == pipe.Close()
    assert client.sessions.isdisjoint(sessions)


def test_drain_stops_when_nothing_is_open(stage, front):
    """In order, as if somebody had said so."""
    session = opens(stage, front, joined(front))
    told = []
    front.on_stopping = lambda: told.append(front.state)
    drains(stage, front)
    stage.start(front.close(session))
    stage.child.dies()
    stage.pass_time(1)
    assert front.ended.is_set()
    assert told == [FrontState.STOPPING]


def test_drain_with_nothing_open_stops_at_once(stage, front):
    """There is nobody to wait for."""
    assert drains(stage, front) == 0
    stage.pass_time(0.1)
    assert front.ended.is_set()


def test_drain_lets_the_command_of_a_client_that_left_come_to_its_end(stage, front):
    """What moves is not stopped halfway, for it has its own deadline."""
    client = joined(front)
    session = opens(stage, front, client)
    session.resource.submit(Ticket(session, "query", lambda _: None, lambda _: None))
    stage.child.starts()
    drains(stage, front)
    front.leave(client)
    stage.pass_time(1)
    assert front.state is FrontState.DRAINING
    stage.child.does(b"answer\n")
    stage.child.dies()
    stage.pass_time(1)
    assert front.ended.is_set()


def test_stop_ends_a_drain(stage, front):
    """Whoever has something open is cut off, within the 10 s of any stop."""
    opens(stage, front, joined(front))
    drains(stage, front)
    stopping = stage.start(front.stop())
    stage.child.dies()
    stage.pass_time(1)
    assert stopping.result() == []
    assert front.ended.is_set()


def test_failures_count_over_all_openings(stage, front):
    """A script that opens, hangs it and leaves, over and over, is a failing instrument as well."""
    while not front.audit.of("broken"):
        client = joined(front)
        stage.pass_time(front.breaker_of(NAME).wait(stage.loop.time()))
        session = opens(stage, front, client)
        session.resource.submit(Ticket(session, "query", lambda _: None, lambda _: None))
        stage.pass_time(LIMITS.begin_time + 0.1)
        stage.child.dies()
        front.leave(client)
        if stage.child.is_alive:  # started anew in the meantime
            stage.child.dies()
    assert len(front.audit.of("backoff")) < LIMITS.failures


def test_failures_are_kept_while_others_are_opened(stage, front):
    """A breaker without failures yet is that of its resource all the same."""
    opens(stage, front, joined(front))
    breaker = front.breaker_of(NAME)
    front.breaker_of("B")
    assert front.breaker_of(NAME) is breaker


def test_reset_works_on_what_nobody_has_open(stage, front):
    """It failed when somebody had, and would still be refused."""
    breaker = front.breaker_of(NAME)
    for _ in range(LIMITS.failures + 1):
        breaker.failed(stage.loop.time())
    assert stage.start(front.open(joined(front), NAME)).exception().token == "INSTRUMENT_BROKEN"
    stage.result(front.reset(NAME))
    opens(stage, front, joined(front))
    refused = stage.start(front.reset("TCPIP0::10.0.0.9::5025::SOCKET"))
    assert refused.exception().token == "NO_RESOURCE"


def test_failures_of_one_instrument_do_not_count_for_another(front):
    """Each has its own breaker, and keeps it."""
    front.breaker_of("A").failed(0.0)
    assert front.breaker_of("A") is not front.breaker_of("B")


def test_safe_state_is_to_be_had_while_the_daemon_drains_where_the_resource_is_open(stage, make_front):
    """What is closed stays so."""
    front = make_front({"match": "*", "safe-state": ["OUTP OFF"]})
    client = joined(front)
    opens(stage, front, client)
    drains(stage, front)
    asked = stage.start(front.make_safe(client, NAME, "somebody said so"))
    stage.child.does()
    assert asked.exception() is None
    refused = stage.start(front.make_safe(client, CONFIGURED, "somebody said so"))
    assert refused.exception().token == "SHUTTING_DOWN"


def test_who_has_a_resource_made_safe_that_is_not_open_opens_it_only_meanwhile(stage, make_front):
    front = make_front({"match": "*", "safe-state": ["OUTP OFF"]})
    client = joined(front)
    asked = stage.start(front.make_safe(client, NAME, "somebody said so"))
    stage.child.opens()
    stage.child.does()
    assert asked.exception() is None
    assert not client.sessions
    assert front.resources[NAME].keeper.state is State.READY


def test_client_that_leaves_while_it_has_a_resource_made_safe_does_not_stop_that(stage, make_front):
    front = make_front({"match": "*", "safe-state": ["OUTP OFF", "VOLT 0"]})
    client = joined(front)
    asked = stage.start(front.make_safe(client, NAME, "somebody said so"))
    stage.child.opens()
    asked.cancel()
    front.leave(client)
    stage.child.does()
    stage.child.does()
    assert [run.data for run in stage.child.runs] == [b"OUTP OFF\n", b"VOLT 0\n"]


def test_drain_does_not_wait_for_a_safe_state_that_cannot_be_sent(stage, make_front):
    """Nobody may ever switch that instrument on again."""
    front = make_front({"match": "*", "safe-state": ["OUTP OFF"]}, linger=0)
    client = joined(front)
    session = opens(stage, front, client)
    stage.result(session.resource.lock(session, 1, None, 0.0))
    stage.child.dies()
    stage.child.refuses()
    stage.child.dies()
    front.leave(client)
    drains(stage, front)
    stage.pass_time(1)
    assert front.ended.is_set()
    given_up = [(each["outcome"], each["effect"]) for each in front.audit.of("safe")]
    assert given_up == [("SHUTTING_DOWN", "none")]


def test_client_whose_requests_cost_nothing_rests_while_the_writer_is_far_behind(front):
    """So that no flood of records hides in a gap what others do."""
    client, rests = joined(front), []
    client.rest = lambda: rests.append(1)
    front.note_command(client, "volts", "UNKNOWN_COMMAND", Effect.NONE, 0.0)
    assert rests == []
    front.audit.is_far_behind = True
    front.note_command(client, "volts", "UNKNOWN_COMMAND", Effect.NONE, 0.0)
    assert rests == [1]
    assert len(front.audit.of("command")) == 2


def test_instrument_has_one_process_however_its_numbers_are_spelled(stage, front):
    """Else two clients could each lock it, and read each other's answers. Its name is that of who opened it first."""
    ann, bob = joined(front), joined(front)
    first = opens(stage, front, ann, "TCPIP::10.0.0.1::05025::SOCKET")
    second = opens(stage, front, bob, "TCPIP0::10.0.0.1::5025::SOCKET")
    assert second.resource is first.resource
    assert list(front.resources) == ["TCPIP0::10.0.0.1::05025::SOCKET"]
    assert stage.result(front.known("TCPIP0::10.0.0.1::5025::SOCKET")) is first.resource
    assert stage.result(front.find("TCPIP0::10.0.0.1::5025::SOCKET")) == "open"
    for session in (first, second):
        session.resource.drop_session(session)
    stage.child.dies()
    assert not front.resources
    third = opens(stage, front, bob, "TCPIP0::10.0.0.1::5025::SOCKET")
    assert third.resource.name == "TCPIP0::10.0.0.1::5025::SOCKET"
