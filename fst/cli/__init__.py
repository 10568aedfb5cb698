"""The command lines: arguments in, one call, a message out."""
