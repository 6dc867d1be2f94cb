"""The one place the version stands; packaging, the wire's hello and `status` read it here."""

__version__ = "0.1.0"
