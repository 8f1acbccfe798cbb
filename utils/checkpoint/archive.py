"""The archive that a checkpoint is: a zip of uncompressed members, checked before anything in it is looked at."""

from __future__ import annotations

import os
import stat
import sys
import zipfile
from pathlib import Path
from types import TracebackType

from utils.errors import UserError

MAX_PICKLE = 8 << 20  # bytes of a checkpoint's structure, its tensors apart; a large run's takes under one MiB
_BEFORE_ZIP = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # how files of torch before 1.6 begin
_ENCRYPTED = 0x1


class Damaged(UserError):
    """A file that is not whole: truncated, overwritten, or never a checkpoint."""


class Archive:
    """The members of what `torch.save` writes: `pickle()`, the structure, and `storage(key)`, the tensors' bytes.

    Opening verifies the CRC-32 of every member and that none can inflate: all stored, each name once, together no
    larger than the file. Raises UserError otherwise; `Damaged` where the file is not whole. Without `checksums` the
    tensors' bytes are neither read nor verified.
    """

    def __init__(self, path: str | Path, checksums: bool = True) -> None:
        self.path, self.checksums = Path(path), checksums
        try:
            if not stat.S_ISREG(os.stat(self.path).st_mode):
                raise ValueError("not a regular file")
            self._zip = zipfile.ZipFile(self.path)
        except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError, RuntimeError) as error:
            raise self._unreadable(error) from None
        try:
            self._check()
        except BaseException:
            self._zip.close()
            raise

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._zip.close()

    def pickle(self) -> bytes:
        """The structure: a pickle, which nobody may run."""
        return self._zip.read(f"{self._root}data.pkl")

    def size(self, key: str) -> int:
        """Bytes of the storage `key`; KeyError where there is none."""
        return self._zip.getinfo(f"{self._root}data/{key}").file_size

    def storage(self, key: str) -> bytearray:
        """The bytes of the storage `key`."""
        return bytearray(self._zip.read(f"{self._root}data/{key}"))

    def _check(self) -> None:
        members = self._zip.infolist()
        for member in members:
            if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
                raise self.refused(f"member {member.filename[:80]!r} is compressed, which no checkpoint is")
            if member.flag_bits & _ENCRYPTED:
                raise self.refused(f"member {member.filename[:80]!r} is encrypted, which no checkpoint is")
        if len({member.filename for member in members}) < len(members):
            raise self.refused("a member is in it twice")
        if sum(member.file_size for member in members) > os.path.getsize(self.path):
            raise self.refused("its members overlap")
        try:
            broken = self._zip.testzip() if self.checksums else None
        except (OSError, zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
            raise self._unreadable(error) from None
        if broken is not None:
            raise Damaged(f"{self.path}: damaged, the checksum of {broken[:80]!r} does not hold; use another file")
        self._root = self._find_root([member.filename for member in members])

    def _find_root(self, names: list[str]) -> str:
        """The folder inside the archive, with its slash: named after the file as it was first saved."""
        roots = [name.removesuffix("data.pkl") for name in names if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(roots) != 1:
            raise Damaged(f"{self.path}: a zip archive, but not a checkpoint; give a last.pt or best.pt")
        if self._zip.getinfo(f"{roots[0]}data.pkl").file_size > MAX_PICKLE:
            raise self.refused(f"its structure is over {MAX_PICKLE:,} bytes")
        order = f"{roots[0]}byteorder"
        if order in names and self._zip.read(order) != sys.byteorder.encode():
            raise self.refused(f"its numbers are not stored {sys.byteorder}-endian, as this machine has them")
        return roots[0]

    def refused(self, reason: str) -> UserError:
        """The error for a file that is whole, but asks for what no checkpoint needs."""
        return UserError(f"{self.path}: refused, {reason}; use a file from a source you trust")

    def _unreadable(self, error: Exception) -> Damaged:
        if self.path.is_symlink() and not self.path.exists():
            return Damaged(f"{self.path}: a broken link; give the path of a last.pt or best.pt")
        if isinstance(error, FileNotFoundError):
            return Damaged(f"{self.path}: no such checkpoint; give the path of a last.pt or best.pt")
        if isinstance(error, zipfile.BadZipFile) and self._begins() == _BEFORE_ZIP:
            remedy = "load and save it with torch 1.6 or newer, or take the file of release v7.0"
            return Damaged(f"{self.path}: in the layout of torch before 1.6, which is not read; {remedy}")
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:120] or type(error).__name__
        return Damaged(f"{self.path}: not a readable checkpoint ({reason}); use another file")

    def _begins(self) -> bytes:
        try:
            with self.path.open("rb") as file:
                return file.read(len(_BEFORE_ZIP))
        except OSError:
            return b""
