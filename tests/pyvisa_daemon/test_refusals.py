"""How a refusal looks to a PyVISA program, and that nothing is left out without one."""

import inspect
import pickle

import pytest
import pyvisa
from pyvisa import constants
from pyvisa.constants import StatusCode
from pyvisa.highlevel import VisaLibraryBase

from pyvisa_daemon.errors import Effect, Failure
from pyvisa_daemon.highlevel import DaemonVisaLibrary
from pyvisa_daemon.refusals import DaemonIOError, refuse, refusing_the_rest

#: What PyVISA's base class leaves to a library.
LEFT = [
    name
    for name, method in inspect.getmembers(VisaLibraryBase, inspect.isfunction)
    if "raise NotImplementedError" in inspect.getsource(method)
]


@refusing_the_rest
class BareLibrary(VisaLibraryBase):
    """Has nothing of its own."""


def test_nothing_is_left_out_when_compared_with_pyvisas_base() -> None:
    """Each method that PyVISA leaves to a library is ours, with PyVISA's parameters in their order."""
    assert {"lock", "enable_event", "wait_on_event", "flush", "gpib_send_ifc", "get_buffer_from_id"} <= set(LEFT)
    for name in LEFT:
        method = getattr(DaemonVisaLibrary, name)
        assert not hasattr(method, "__wrapped__"), f"{name} is PyVISA's own, refused"
        assert method is not getattr(VisaLibraryBase, name)


@pytest.mark.parametrize("name", LEFT)
def test_method_is_refused_as_visa_does_when_a_library_lacks_it(name: str) -> None:
    """VI_ERROR_NSUP_OPER, never NotImplementedError, and PyVISA notes the status: a new PyVISA may have new ones."""
    library = BareLibrary(f"bare of {name}")
    parameters = list(inspect.signature(getattr(VisaLibraryBase, name)).parameters)[1:]
    by_name = dict.fromkeys(parameters, 3)
    for call in (lambda: getattr(library, name)(*by_name.values()), lambda: getattr(library, name)(**by_name)):
        with pytest.raises(DaemonIOError, match=f"{name} is not to be had") as error:
            call()
        assert error.value.error_code == StatusCode.error_nonsupported_operation
        assert library.last_status == StatusCode.error_nonsupported_operation
        assert (3 in library._last_status_in_session) == ("session" in parameters)


def test_error_says_what_the_daemon_said_when_printed_and_pickled() -> None:
    """Token, effect and text are attributes, end the message, and survive multiprocessing."""
    error = DaemonIOError(constants.VI_ERROR_TMO, "INSTRUMENT_HUNG", Effect.MAYBE, "killed")
    assert isinstance(error, pyvisa.VisaIOError)
    assert str(error).startswith("VI_ERROR_TMO (-1073807339): ")
    assert str(error).endswith(" [INSTRUMENT_HUNG effect=maybe: killed]")
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.error_code, copy.token, copy.effect, copy.text) == (
        str(error),
        error.error_code,
        "INSTRUMENT_HUNG",
        Effect.MAYBE,
        "killed",
    )


@pytest.mark.parametrize("session", [None, 3])
def test_refusal_is_noted_when_raised(session: int | None) -> None:
    """As the library's last status, and the session's if there is one; the failure is its cause."""
    library = BareLibrary("bare too")
    failure = Failure("VI_ERROR_TMO", "slow", Effect.MAYBE)
    with pytest.raises(DaemonIOError) as error:
        refuse(library, session, failure)
    assert error.value.__cause__ is failure
    assert library.last_status == StatusCode.error_timeout
    assert (3 in library._last_status_in_session) == (session == 3)
