"""What the terminal and the user's signals have to do with: the log, progress bars, Ctrl-C and SIGTERM.

It may import no other sub-package, and no torch: commands import it first.
"""
