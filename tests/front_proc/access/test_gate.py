"""Access: whose token is good, what a wrong one costs, and what becomes of clients when the file is read anew."""

import pytest

from front_proc.access.gate import Denied
from front_proc.access.rights import ALLOWED, EVERYTHING, NOTHING, ByAddress, Rights, Role
from front_proc.configuration.resource_table import fit
from pyvisa_daemon import tokens
from pyvisa_daemon.tokens import TokenFileError
from tests.front_proc.gate_bench import AccessBench


@pytest.fixture
def bench(tmp_path):
    return AccessBench(tmp_path)


def test_token_gives_its_rights_to_who_shows_it(stage, bench):
    """At once; the audit has its name from then on."""
    ann = bench.gives("ann", "use", {"scope": "none", "GPIB::5": "observe", "GPIB1::*": "admin"})
    stage.result(bench.access.read())
    client = bench.comes()
    assert client.rights == NOTHING
    assert bench.access.recognises(client, ann)
    assert client.who() == {"client": "10.0.0.7:40000", "name": "", "user": "ann"}
    assert client.rights.role is Role.USE
    seen = {name: client.rights.role_on(name).word for name in ("TCPIP0::10.0.0.2::inst0::INSTR", "GPIB0::5::INSTR")}
    assert seen == {"TCPIP0::10.0.0.2::inst0::INSTR": "none", "GPIB0::5::INSTR": "observe"}
    assert client.rights.role_on("GPIB1::7::INSTR") is Role.ADMIN


def test_token_that_was_shown_counts_from_loopback_too(stage, tmp_path):
    """A process that could do all without one."""
    bench = AccessBench(tmp_path, ByAddress())
    observer = bench.gives(role="observe")
    stage.result(bench.access.read())
    client = bench.comes("127.0.0.1")
    assert client.rights == EVERYTHING
    assert bench.access.recognises(client, observer)
    assert client.rights.highest is Role.OBSERVE


def test_wrong_token_is_answered_late_and_is_on_record_at_once(stage, bench):
    """With the address, and nothing of what was shown."""
    bench.gives()
    stage.result(bench.access.read())
    client, wrong = bench.comes(), tokens.new_token()
    checking = stage.start(bench.access.check(client, wrong))
    [record] = bench.audit.of("rejected")
    assert (record["client"], record["outcome"]) == ("10.0.0.7:40000", "AUTH_FAILED")
    stage.pass_time(0.9)
    assert not checking.done()
    stage.pass_time(0.2)
    assert isinstance(checking.exception(), Denied)
    assert checking.exception().token == "AUTH_FAILED"
    assert client.is_stranger
    assert wrong not in f"{bench.audit.records} {bench.log.lines} {client} {checking.exception()!r}"


def test_token_is_worth_nothing_from_the_day_on_which_it_expires(stage, bench):
    token = bench.gives(expires="2026-11-24")
    stage.result(bench.access.read())
    assert bench.access.recognises(bench.comes(), token)
    bench.day = bench.day.replace(day=24)
    assert not bench.access.recognises(bench.comes(), token)


def test_token_that_was_added_is_known_without_a_signal(stage, bench):
    """The file is looked at when somebody shows what is not known; not again before it has changed."""
    bench.gives()
    stage.result(bench.access.read())
    token = bench.gives("bob")
    client = bench.comes()
    stage.result(bench.access.check(client, token))
    assert client.rights.user == "bob"
    checking = stage.start(bench.access.check(bench.comes(), tokens.new_token()))
    stage.pass_time(2)
    assert checking.exception().token == "AUTH_FAILED"
    assert len(bench.audit.of("tokens")) == 1


def test_without_tokens_none_is_wrong_for_who_has_rights_anyway(stage, bench):
    """A program may have one for another daemon. Who has none by its address has none."""
    stage.result(bench.access.read())
    allowed, stranger = bench.comes("10.9.0.1"), bench.comes()
    assert bench.access.recognises(allowed, tokens.new_token())
    assert allowed.rights == ALLOWED
    assert not bench.access.recognises(stranger, tokens.new_token())
    first = bench.gives()
    stage.result(bench.access.check(allowed, first))
    assert allowed.rights.user == "ann"


def test_token_for_which_there_is_no_room_is_told_so(stage, bench):
    """It stays a stranger."""
    token = bench.gives()
    stage.result(bench.access.read())
    bench.has_room = False
    client = bench.comes()
    with pytest.raises(Denied, match="too many clients"):
        bench.access.recognises(client, token)
    assert client.is_stranger
    assert bench.audit.of("rejected", outcome="TOO_MANY_CLIENTS")


def test_clients_end_whose_token_was_taken_away_or_changed(stage, bench):
    """Others go on, those without a token among them."""
    ann, bob, eve = bench.gives("ann"), bench.gives("bob"), bench.gives("eve", "admin")
    stage.result(bench.access.read())
    clients = {name: bench.comes() for name in ("ann", "bob", "eve")}
    for client, token in zip(clients.values(), (ann, bob, eve), strict=True):
        assert bench.access.recognises(client, token)
    bench.comes("10.9.0.1")
    bench.takes_away("ann")
    bench.file.write_text(bench.file.read_text().replace('role = "admin"', 'role = "use"'))
    stage.result(bench.access.read_anew())
    assert sorted(client.rights.user for client in bench.cut) == ["ann", "eve"]
    assert not bench.access.recognises(bench.comes(), ann)
    assert bench.audit.of("tokens", count=2)


@pytest.mark.parametrize("harm", ["broken", "open", "gone", "nameless"])
def test_file_that_cannot_be_used_leaves_the_old_tokens_in_force(stage, bench, harm):
    """The log and the audit say so; nobody is cut."""
    token = bench.gives()
    stage.result(bench.access.read())
    client = bench.comes()
    bench.access.recognises(client, token)
    if harm == "broken":
        bench.file.write_text("[[token]")
    elif harm == "open":
        bench.file.chmod(0o644)
    elif harm == "gone":
        bench.file.unlink()
    else:
        bench.gives("bob", resources={"nonsense": "none"})
    stage.result(bench.access.read_anew())
    assert bench.cut == []
    assert bench.access.recognises(bench.comes(), token)
    [record], [(event, fields)] = bench.audit.of("tokens"), bench.log.lines
    assert "stay in force" in record["error"]
    assert (event, fields) == ("trouble", {"error": record["error"]})


def test_denial_names_the_resource_to_who_may_know_of_it_only(bench):
    """Else an alias would tell where its instrument is; the record has it anyway."""
    client = bench.comes()
    client.rights = Rights("ann", Role.OBSERVE, ((fit("GPIB0::5::*", is_pattern=True), Role.NONE),))
    seen = bench.access.denied(client, "GPIB0::7::INSTR", "open seven", Role.USE)
    assert seen.text == "that takes the role use on GPIB0::7::INSTR; ann has observe"
    hidden = bench.access.denied(client, "GPIB0::5::INSTR", "open scope", Role.USE)
    assert hidden.text == "that takes the role use there; ann has none"
    assert [record["resource"] for record in bench.audit.of("denied")] == ["GPIB0::7::INSTR", "GPIB0::5::INSTR"]


def test_start_is_refused_with_a_name_that_is_no_resource(stage, bench):
    """It would keep nobody from anything."""
    bench.gives(resources={"nonsense": "none"})
    with pytest.raises(TokenFileError, match=r"\[\[token\]\] 1: 'nonsense' is no resource"):
        stage.result(bench.access.read())


def test_daemon_without_tokens_says_nothing_of_them_when_it_reads_anew(stage, bench):
    stage.result(bench.access.read())
    stage.result(bench.access.read_anew())
    assert bench.audit.records == bench.log.lines == []
