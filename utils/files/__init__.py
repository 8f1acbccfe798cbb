"""Files that survive a crash: written whole or not at all, locked, and in numbered folders.

It may import no other sub-package, and no torch: everything that writes a file imports it.
"""
