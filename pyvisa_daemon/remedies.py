"""What to do about each error, in one sentence for people: whoever reads it has the error's own text before them.

Runs in every process. One row for each of `errors.ERRORS`; the docs' column is made from it, and so is what `status`
and the `instruments` command say.
"""

REMEDIES = {
    # The daemon's own.
    "UNKNOWN_COMMAND": "Correct the verb: `help` lists all that there are.",
    "BAD_ARGUMENT": "Correct the argument: the text shows what is taken.",
    "BAD_PROTOCOL": (
        "Check the port and whether it speaks TLS, then connect again and begin with `.#.`, `...` or `.!.`, "
        "or with the wire's magic bytes."
    ),
    "BAD_VERSION": "Update pyvisa-daemon on the side that the text names.",
    "NO_RESOURCE": "Open the resource on this connection first; what nobody has open needs no `reset` or `restart`.",
    "LINE_TOO_LONG": "Connect again, and send long data with `write_binary`.",
    "LINE_TIMEOUT": "Connect again, and end each line with LF or CR LF.",
    "INSTRUMENT_HUNG": "Look at the instrument, then go on; a command that is merely slow needs a longer timeout.",
    "INSTRUMENT_CRASHED": (
        "Look at the instrument, then go on; if it happens again, suspect the VISA library or its driver."
    ),
    "INSTRUMENT_BACKOFF": "Wait as long as the text says, or `instruments reset` it to have it started now.",
    "INSTRUMENT_BROKEN": "Mend what makes it fail, then `instruments reset` it.",
    "INSTRUMENT_CHANGED": (
        "Accept it with `instruments reset` if that instrument is as it should be; else put the right one back and "
        "`instruments restart` it."
    ),
    "INSTRUMENT_WEDGED": (
        "Unplug or switch off its interface, for a driver holds its process; the daemon goes on by itself "
        "when that is gone."
    ),
    "SESSION_RESET": (
        "Check the instrument's settings, for they are whatever the failure left, then send the command "
        "again: it was not sent."
    ),
    "COMMAND_ABORTED": (
        "Ask the instrument what state it is in before you go on; the text says who cut the command short."
    ),
    "QUEUE_FULL": "Await replies before you send more.",
    "QUEUE_TIMEOUT": "See in `instruments status` who keeps the instrument busy, and send the command again later.",
    "CLIENT_GONE": "Do nothing: whoever asked waits no more.",
    "WRITE_FAILED": "Look at the error of the write before it.",
    "TOO_MANY_CLIENTS": "Close connections that are not in use, or have the limit `clients` raised.",
    "SHUTTING_DOWN": "Connect again when the daemon is back.",
    "FORBIDDEN": "Show a token with the role that the text names, or ask whoever runs the daemon for one.",
    "AUTH_FAILED": "Ask whoever runs the daemon for another token.",
    "LOCK_LOST": "Look at the instrument's settings, for others may have used it, then lock it again or stop.",
    "NO_RECORD": (
        "Make room for the audit log, which `audit` in the status names, then send the command again: it was not sent."
    ),
    "GUARDED": "Leave out what the text names, or have the guard changed in the daemon's settings.",
    "CONFIRM_FIRST": "Say with `confirm` what the message is for, then send it again.",
    "START_FAILED": (
        "Give the daemon's machine what the text says it lacks: memory, processes, file descriptors, or a "
        "VISA library that loads in time."
    ),
    "INTERNAL_ERROR": "Report it, with the traceback from `daemon.log` in the daemon's run folder.",
    # VISA's.
    "VI_ERROR_SYSTEM_ERROR": (
        "Read what the VISA library says in the text, and look for the instrument with the vendor's own tool "
        "on the daemon's machine."
    ),
    "VI_ERROR_INV_OBJECT": "Open the resource again: this session is closed.",
    "VI_ERROR_RSRC_LOCKED": (
        "Wait until whoever has the lock gives it back, ask them, or lock it yourself with a time to wait."
    ),
    "VI_ERROR_RSRC_NFOUND": (
        "Check that the instrument is switched on and connected, and that its name is one that `instruments "
        "list` shows."
    ),
    "VI_ERROR_INV_RSRC_NAME": "Correct the name: `instruments list` shows those that there are.",
    "VI_ERROR_TMO": (
        "Allow it a longer timeout, or check that the command is one that the instrument answers, with the "
        "termination that it expects."
    ),
    "VI_ERROR_ABORT": "Ask the instrument what state it is in before you go on: its operation was cut short.",
    "VI_ERROR_IO": (
        "Check the cable or adapter, and that nobody else reads from the instrument past the daemon; then clear it."
    ),
    "VI_ERROR_NSUP_ATTR": "Leave the attribute out: this kind of resource does not have it.",
    "VI_ERROR_NSUP_ATTR_STATE": "Choose a value that this resource's interface can have.",
    "VI_ERROR_ATTR_READONLY": "Leave it as it is: the attribute can only be read.",
    "VI_ERROR_INV_ACC_MODE": "Open it without a lock, or with one kind of lock only.",
    "VI_ERROR_RSRC_BUSY": (
        "End the other program that has the instrument open on the daemon's machine, or have it use the daemon too."
    ),
    "VI_ERROR_INV_PARAMETER": "Correct the argument that the text names.",
    "VI_ERROR_NSUP_OPER": "Do without it: this kind of resource, or its VISA library, cannot do that.",
    "VI_ERROR_NIMPL_OPER": (
        "Do without it, or have the instrument opened with another VISA library, by `library` in the settings."
    ),
    "VI_ERROR_CONN_LOST": (
        "Check that the instrument is switched on and its cable or network works; the next command tries it again."
    ),
    "VI_ERROR_NPERMISSION": (
        "Give the daemon's user the right to that device on its machine, usually by a group or a udev rule."
    ),
    "VI_ERROR_ALLOC": "Close sessions that are not in use, or send and read less at once.",
    "VI_ERROR_SESN_NLOCKED": "Lock the resource first: this session has no lock.",
    "VI_ERROR_INV_LOCK_TYPE": "Ask for an exclusive lock or for a shared one.",
    "VI_ERROR_INV_ACCESS_KEY": "Use the key by which this session shares its lock already, or a shorter one.",
    "VI_ERROR_INV_EVENT": "Wait for another event: this resource has none of that type.",
    "VI_ERROR_INV_MECH": "Enable the event for the queue, or for handlers.",
    "VI_ERROR_INV_CONTEXT": "Use the event while it lasts: it has been closed.",
    "VI_ERROR_NENABLED": "Enable the event for the queue before you wait for it.",
    "VI_ERROR_HNDLR_NINSTALLED": "Install a handler before you enable the event for handlers.",
    "VI_ERROR_INV_JOB_ID": "Do nothing: that operation has ended already.",
    "VI_ERROR_FILE_ACCESS": "Check the file's name, and that you may read or write it.",
    "VI_ERROR_FILE_IO": "Check that there is room on the disk.",
}
