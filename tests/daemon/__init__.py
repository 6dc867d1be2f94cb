"""Stories of the whole daemon: real processes, real sockets, real VISA libraries."""
