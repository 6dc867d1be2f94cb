"""Where the daemon may be reached, and how a connection begins.

listening                       the ports
bind_policy                     where it may listen, and what it says of that
connection, peer                one TCP connection; its first bytes choose the language
tls_door, tls_identity          TLS between a connection and the network, and what it shows there
certificate, own_certificate    a certificate that was given, and one that is made on demand
announcer, announcer_process    the local network is told where, by a process of its own
"""
