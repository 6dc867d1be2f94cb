"""How a refusal reaches a PyVISA program: as the VisaIOError it knows, with what the daemon says besides.

Runs in the user's process, under `highlevel`. VISA has no number for most of the daemon's own errors, so each comes as
the VISA status that its row in `errors` names, and its token, effect and text travel along.
"""

from collections.abc import Callable
from functools import wraps
from types import FunctionType
from typing import Any, NoReturn, TypeVar

from pyvisa.errors import VisaIOError
from pyvisa.highlevel import VisaLibraryBase
from pyvisa.typing import VISASession

from pyvisa_daemon.errors import Effect, Failure

#: What PyVISA's base does for every library.
_BASE = ("handle_return_value", "ignore_warning", "parse_resource")

_Library = TypeVar("_Library", bound=type[VisaLibraryBase])


class DaemonIOError(VisaIOError):
    """A VisaIOError that also has the daemon's `token`, `effect` (may the instrument have acted?) and `text`."""

    def __init__(self, error_code: int, token: str, effect: Effect, text: str) -> None:
        super().__init__(error_code)
        self.args = (f"{self.args[0]} [{token} effect={effect}: {text}]",)
        self.token = token
        self.effect = effect
        self.text = text

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        return type(self), (self.error_code, self.token, self.effect, self.text)


def refuse(library: VisaLibraryBase, session: int | None, failure: Failure) -> NoReturn:
    """Raises `failure` as DaemonIOError, after PyVISA has noted its status for `session`."""
    try:
        library.handle_return_value(None if session is None else VISASession(session), failure.status)
    except VisaIOError:
        raise DaemonIOError(failure.status, failure.token, failure.effect, failure.text) from failure
    raise AssertionError(f"a failure whose status {failure.status} is a success")


def refusing_the_rest(library: _Library) -> _Library:
    """Makes what `library` leaves as PyVISA's base has it raise VI_ERROR_NSUP_OPER, never NotImplementedError."""
    for name, member in vars(VisaLibraryBase).items():
        is_left = isinstance(member, FunctionType) and getattr(library, name) is member
        if is_left and not name.startswith("_") and name not in _BASE:
            setattr(library, name, _refusing(member))
    return library


def _refusing(method: Callable[..., Any]) -> Callable[..., Any]:
    has_session = "session" in method.__code__.co_varnames[1:2]  # all but get_buffer_from_id

    @wraps(method)
    def call(library: VisaLibraryBase, *arguments: Any, **options: Any) -> Any:
        try:
            return method(library, *arguments, **options)
        except NotImplementedError:
            session = options.get("session", next(iter(arguments), None)) if has_session else None
            text = f"{method.__name__} is not to be had through a daemon"
            refuse(library, session, Failure("VI_ERROR_NSUP_OPER", text))

    return call
