"""A VISA library for tests, `@rebels`: what it does not find it takes for a fault of its own."""

from pyvisa_py.highlevel import PyVisaLibrary

try:
    from pyvisa_py.serial import SerialSession
except ImportError as error:
    raise AttributeError("it has no serial lines") from error

assert SerialSession

WRAPPER_CLASS = PyVisaLibrary
