"""The one error that the command line shows to its user."""


class UserError(Exception):
    """Something that the user can mend. The message is one line that names the argument and the remedy."""
