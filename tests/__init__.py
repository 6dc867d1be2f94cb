"""All tests. A package, so that `tests/client` is never mistaken for `client`: every folder of tests has this file."""
