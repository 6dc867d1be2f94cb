"""A VISA library for tests, `@tells`: pyvisa-py, but what is read is the names of all modules that its process has."""

import sys

from pyvisa.constants import StatusCode
from pyvisa_py.highlevel import PyVisaLibrary


class TellingLibrary(PyVisaLibrary):
    def read(self, session, count):
        return "\n".join(sorted(sys.modules)).encode(), StatusCode.success


WRAPPER_CLASS = TellingLibrary
