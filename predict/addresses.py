"""Addresses: what is behind one, what it is called where no password may show, and files from a server."""

from __future__ import annotations

import base64
import http.client
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

import numpy as np

from data.pictures import MAX_BYTES, SUFFIXES, decode_bytes
from utils.console import log
from utils.errors import UserError

VIDEOS = (
    *(".3gp", ".asf", ".avi", ".flv", ".gif", ".m4v", ".mkv", ".mov"),
    *(".mp4", ".mpeg", ".mpg", ".ts", ".webm", ".wmv"),
)
SECONDS = 10.0  # that a server may be silent
CHUNK = 1 << 20
FAILURES = (OSError, ValueError, http.client.HTTPException)
_SCHEME = re.compile(r"(rtsp|rtsps|rtmp|http|https|tcp|udp)://", re.IGNORECASE)
YOUTUBE = re.compile(r"https?://([a-z]+\.)?(youtube\.com|youtu\.be)/", re.IGNORECASE)
_PLAYLISTS = (".m3u8", ".m3u", ".mpd", ".sdp")  # files that name a stream
_LIVE = (".asf", ".ts", ".webm")  # what a camera may send without end, too


def is_address(text: str) -> bool:
    """Whether a text is the address of a server."""
    return _SCHEME.match(text) is not None


def plain(text: str) -> str:
    """An address without user, password and query, which may be secret; any other text as it is."""
    if not is_address(text):
        return text
    parts = urlsplit(text)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def kind(text: str) -> str:
    """picture, video or stream: by the suffix of its path, else by what the server says. A stream has no length."""
    suffix = _suffix(text)
    if not text.lower().startswith("http") or suffix in _PLAYLISTS:
        return "stream"
    if suffix in SUFFIXES or (suffix in VIDEOS and suffix not in _LIVE):
        return "picture" if suffix in SUFFIXES else "video"
    try:
        with _opened(text) as answer:
            length, content = answer.headers.get("Content-Length"), answer.headers.get_content_type()
    except FAILURES:  # it may come up yet
        return "stream"
    if not length or "mpegurl" in content or content.startswith(("text/", "multipart/")):
        return "stream"
    return "picture" if content.startswith("image/") and content != "image/gif" else "video"


def name(text: str, kind: str) -> str:
    """A file name for what is there: of a stream by the whole address, of a file by its own name."""
    shown = plain(text).partition("://")[2]
    if kind != "stream":
        shown = unquote(shown.rstrip("/").rpartition("/")[2])
    shown = re.sub(r"[^\w.-]+", "_", shown).strip("_.")[-80:] or kind
    return f"{shown}.jpg" if kind == "picture" and _suffix(text) not in SUFFIXES else shown


def picture(text: str) -> np.ndarray:
    """The picture (h, w, 3) uint8 RGB on a server. UserError where it does not come whole, or is none."""
    data = bytearray()
    for chunk in _chunks(text):
        data += chunk
        if len(data) > MAX_BYTES:
            raise UserError(f"{plain(text)}: over {MAX_BYTES:,} bytes; name a picture")
    return decode_bytes(bytes(data), plain(text))


def fetch(text: str, folder: Path) -> Path:
    """Bring a file from a server into a folder. UserError where it does not come whole, or the disk is full."""
    path = folder / f"file{_suffix(text)}"
    try:
        with path.open("wb") as file:
            for chunk in _chunks(text):
                file.write(chunk)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); free some space") from None
    return path


def _chunks(text: str) -> Iterator[bytes]:
    """The bytes of a file, with a bar. UserError where they do not come."""
    shown = plain(text)
    try:
        with _opened(text) as answer:
            length = int(answer.headers.get("Content-Length") or 0)
            if answer.headers.get_content_maintype() == "multipart":
                raise UserError(f"{shown}: the server sends a stream, not a file; use an rtsp:// address, for example")
            count = 0
            with log.progress(desc="fetch", total=length or None, unit="B", unit_scale=True) as bar:
                while chunk := answer.read(CHUNK):
                    yield chunk
                    count += len(chunk)
                    bar.update(len(chunk))
    except FAILURES as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{shown}: cannot be fetched ({_why(error)}); check the address") from None
    if length > count:
        raise UserError(f"{shown}: the connection broke after {count:,} of {length:,} bytes; try again")


def _opened(text: str) -> Any:
    """The server's answer. User and password go to that server alone, not where it may send us on."""
    parts: SplitResult = urlsplit(text)
    user, at, host = parts.netloc.rpartition("@")
    request = urllib.request.Request(urlunsplit(parts._replace(netloc=host)), headers={"User-Agent": "Anneal"})
    if at:
        request.add_unredirected_header("Authorization", f"Basic {base64.b64encode(unquote(user).encode()).decode()}")
    return urllib.request.urlopen(request, timeout=SECONDS)


def _why(error: Exception) -> str:
    reason = getattr(error, "reason", None)
    status = f"{error.code} " if isinstance(error, urllib.error.HTTPError) else ""
    return " ".join(f"{status}{getattr(reason, 'strerror', None) or reason or error}".split())[:160]


def _suffix(text: str) -> str:
    return PurePosixPath(urlsplit(text).path).suffix.lower()
