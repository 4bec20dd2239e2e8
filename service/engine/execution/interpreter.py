"""The interpreter's lock, which compiled code holds until it waits for something. This file must not be compiled."""


def let_others_run() -> None:
    """Let a thread that waits for the interpreter have it, if it has waited for the switch interval.

    It does nothing itself: the interpreter looks for such a thread when it enters a function of its own. Compiled code
    never looks, and a lane that is done would wait for the event loop to read or answer a hundred requests.
    """
