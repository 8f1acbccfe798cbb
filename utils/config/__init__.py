"""Settings: dataclasses as command lines, `key=value` options, and YAML from anybody.

`option`, `parse` and `from_mapping` make a dataclass a command line or read it from a file. It may
import no other sub-package.
"""

from utils.config.command_line import flag, from_mapping, option, parse

__all__ = ["flag", "from_mapping", "option", "parse"]
