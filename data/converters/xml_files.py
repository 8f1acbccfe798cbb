"""XML of annotation tools, read so that no file, however made, can take the machine's memory."""

from __future__ import annotations

import codecs
import re
import xml.etree.ElementTree as ET
from pathlib import Path

from utils.errors import UserError

LARGEST = 512 << 20  # bytes: a project of a million boxes takes less
# encodings that expat does not know by itself but Python does; XML allows any
_DECLARED = re.compile(rb"""^<\?xml[^>]*?encoding\s*=\s*["']([A-Za-z0-9._-]+)["']""")


class _NoDoctype(ET.TreeBuilder):
    """Entities, which can blow a small file up without bound, are declared in a DOCTYPE only."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise UserError("it has a DOCTYPE, which annotations must not have")


def load_xml(file: Path, largest: int = LARGEST) -> ET.Element:
    """The root element of a file in any encoding that XML allows and Python knows.

    Raises:
        UserError: why it cannot be read, without the file's name.
    """
    try:
        if file.stat().st_size > largest:
            raise UserError(f"larger than {largest >> 20} MiB")
        return _parse(file.read_bytes())
    except ET.ParseError as error:
        raise UserError(f"line {error.position[0]}: broken XML") from None
    except (ValueError, LookupError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError("its text cannot be decoded") from None
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})") from None


def _parse(data: bytes) -> ET.Element:
    if data.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):  # which expat cannot read
        data = re.sub(r"^<\?xml.*?\?>", "", data.decode("utf-32")).encode()
    try:
        return ET.fromstring(data, ET.XMLParser(target=_NoDoctype()))
    except (ValueError, LookupError) as error:
        declared = _DECLARED.match(data)
        if isinstance(error, UserError) or not declared:
            raise
    text = data.decode(declared[1].decode()).partition("?>")[2]  # multi-byte encodings are Python's to decode
    return ET.fromstring(text, ET.XMLParser(target=_NoDoctype()))
