"""What few programs use: names that PyVISA cannot parse, jobs without a number, formatted buffers."""

import pyvisa
from pyvisa.constants import EventMechanism, EventType, InterfaceType, StatusCode

from tests.daemon.recorded import PXI, VXI11


def test_info_of_a_name_that_only_the_library_parses(manager):
    info = manager.resource_info("digitizer")
    assert (info.resource_name, info.resource_class, info.interface_type) == (PXI, "INSTR", InterfaceType.pxi)


def test_info_of_a_canonical_name_has_no_alias(manager):
    assert manager.resource_info(PXI).alias is None


def test_terminate_without_a_job_ends_all_of_the_session(manager):
    with manager.open_resource(VXI11) as mine, manager.open_resource(VXI11) as other:
        mine.enable_event(EventType.io_completion, EventMechanism.queue)
        other.write("A?")
        mine.visalib.write_asynchronously(mine.session, b"X")
        mine.visalib.terminate(mine.session, None, None)
        response = mine.wait_on_event(EventType.io_completion, 1000)
        assert response.event.status == StatusCode.error_abort
        other.read_raw()


def test_buffer_write_that_asks_is_answered_to_its_own_session(daemon_factory, instrument):
    """viBufWrite of a question keeps the instrument as viWrite does."""
    daemon = daemon_factory()
    managers = [pyvisa.ResourceManager(f"{host}:{daemon.port}@daemon") for host in ("localhost", "127.0.0.1")]
    mine, other = (
        manager.open_resource(instrument.resource, read_termination="\n", write_termination="\n", timeout=1000)
        for manager in managers
    )
    mine.visalib.buffer_write(mine.session, b"ECHO? mine\n")
    try:
        assert other.query("ECHO? other") == "other"
    finally:
        for manager in managers:
            manager.close()
