"""A VISA library for tests, `@insists`: it cannot do without what a warm child is spared."""

from pyvisa_py.highlevel import PyVisaLibrary
from pyvisa_py.serial import SerialSession

assert SerialSession

WRAPPER_CLASS = PyVisaLibrary
