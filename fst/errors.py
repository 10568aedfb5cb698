"""The one error class for what a user can mend."""


class FstError(Exception):
    """A mistake in files, flags or settings that the user can mend.

    The message is one line that names what was given, what was expected and the way out.
    Command lines print it without a traceback and exit with code 2.
    """
