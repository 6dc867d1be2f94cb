"""A VISA library for tests, `@versioned`: it asks for versions by the whole name of the module that knows them."""

import importlib.metadata

from pyvisa_py.highlevel import PyVisaLibrary

VERSION = importlib.metadata.version("pytest")


class VersionedLibrary(PyVisaLibrary):
    def _init(self) -> None:
        super()._init()
        assert importlib.metadata.version("pytest") == VERSION


WRAPPER_CLASS = VersionedLibrary
