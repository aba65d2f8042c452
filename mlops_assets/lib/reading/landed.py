"""A landed file as a stream of bytes: unpacked, counted, and recognised by its content.

A name says nothing certain about a file, its first bytes do. Nothing is unpacked to the disk, and
no more is unpacked than the spec allows, so that a compressed bomb is stopped while it is read.
"""

import codecs
import gzip
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated, Any, Literal

from pydantic import Field

from mlops_assets.lib.spec.model import Model

SAMPLE_BYTES = 65_536
BLOCK_BYTES = 8 << 20
LONGEST_LINE_BYTES = 16 << 20
# Before that much has been unpacked, a ratio says nothing about a bomb.
RATIO_FROM_BYTES = 64 << 20
# Bytes that text does not contain.
CONTROL = bytes(set(range(32)) - {9, 10, 12, 13, 27})
PACKED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
OTHERS = {
    b"PK\x03\x04": "a zip archive or an Excel workbook: unpack it, or save it as CSV",
    b"BZh": "packed with bzip2: gzip and zstd are read",
    b"\xfd7zXZ": "packed with xz: gzip and zstd are read",
    b"%PDF": "a PDF",
}
PAGE = re.compile(rb"\s*(<!doctype html|<html|<head|<body)", re.IGNORECASE)
Format = Literal["csv", "jsonl", "parquet"]


class UnreadableError(Exception):
    """The file is not a table; the message says why, for a person."""


class Reading(Model):
    """How much a landed file may hold.

    Attributes:
        max_bytes: Most bytes of a file, unpacked.
        max_ratio: Most bytes out of one byte of a compressed file, once 64 MiB are out.
    """

    max_bytes: Annotated[int, Field(ge=1)] = 20 << 30
    max_ratio: Annotated[float, Field(ge=1)] = 500.0


class Landed:
    """One landed file.

    Attributes:
        path: Where it lies.
        limits: How much of it is read.
        compression: ``gzip``, ``zstd`` or None.
        sample: Its first bytes, unpacked.
        is_whole: Whether the sample is all there is.
        format: What it is.
    """

    def __init__(self, path: Path, limits: Reading) -> None:
        """Look at the first bytes.

        Raises:
            UnreadableError: If it is empty, or is certainly no table.
        """
        self.path = path
        self.limits = limits
        with path.open("rb") as handle:
            first = handle.read(8)
        packed = (name for magic, name in PACKED.items() if first.startswith(magic))
        self.compression = next(packed, None)
        start = self._start(SAMPLE_BYTES + 1)
        self.sample = start[:SAMPLE_BYTES]
        self.is_whole = len(start) <= SAMPLE_BYTES
        self.format = self._recognise()

    @property
    def name(self) -> str:
        return self.path.name

    def _start(self, size: int) -> bytes:
        start = b""
        with self._opened() as stream:
            while len(start) < size and (block := stream.read(size - len(start))):
                start += block
        return start

    def _recognise(self) -> Format:
        sample, name = self.sample, self.name
        if sample.startswith(b"PAR1"):
            if self.compression:
                raise UnreadableError(
                    f"{name} is a Parquet file within {self.compression}: unpack it"
                )
            return "parquet"
        for magic, what in PACKED.items():
            if self.compression and sample.startswith(magic):
                raise UnreadableError(
                    f"{name} is packed twice, with {what} within {self.compression}"
                )
        if not sample.strip():
            raise self.empty()
        if sample.startswith((b"\xff\xfe", b"\xfe\xff")):
            text = sample.decode("utf-16", errors="ignore").encode()
        else:
            text = sample.removeprefix(codecs.BOM_UTF8)
            if sample.translate(None, CONTROL) != sample:
                known = [f" ({what})" for magic, what in OTHERS.items() if sample.startswith(magic)]
                raise UnreadableError(f"{name} is a binary file, not text{''.join(known)}")
        if PAGE.match(text):
            raise UnreadableError(
                f"{name} is a web page (HTML), not data: the address may have answered with a "
                "page to log in or with an error"
            )
        first = text.lstrip()
        if first.startswith(b"<?xml"):
            raise UnreadableError(f"{name} is XML, not a table")
        if re.match(rb"\[\s*[\[{]", first):
            raise UnreadableError(
                f"{name} is one JSON array: JSON Lines are read, with one object a line"
            )
        return "jsonl" if re.match(rb'\{\s*["}]', first) else "csv"

    def empty(self) -> UnreadableError:
        """What is said of a file without any text."""
        return UnreadableError(f"{self.name} is empty ({self.path.stat().st_size} bytes)")

    @contextmanager
    def _opened(self) -> Iterator[IO[bytes]]:
        """The unpacked bytes; what is wrong with them becomes a sentence."""
        import pyarrow as pa

        try:
            if self.compression == "gzip":
                with gzip.open(self.path) as stream:
                    yield stream  # type: ignore[misc]  # reads as any stream does
            elif self.compression == "zstd":
                with (
                    pa.OSFile(str(self.path)) as packed,
                    pa.CompressedInputStream(packed, "zstd") as unpacked,
                ):
                    yield unpacked
            else:
                with self.path.open("rb") as plain:
                    yield plain
        except EOFError:
            raise self._damaged("ends before its end: it is truncated") from None
        except (gzip.BadGzipFile, zlib.error) as error:
            raise self._damaged(f"is damaged: {error}") from None
        except OSError as error:
            if self.compression != "zstd" or error.errno is not None:
                raise
            if "Truncated" in str(error):
                raise self._damaged("ends before its end: it is truncated") from None
            raise self._damaged(f"is damaged: {error}") from None

    def _damaged(self, how: str) -> UnreadableError:
        return UnreadableError(f"{self.name}, packed with {self.compression}, {how}")

    def blocks(self) -> Iterator[bytes]:
        """The unpacked bytes, in blocks.

        Raises:
            UnreadableError: If there are more than the limits allow, or the packing is damaged.
        """
        out, packed = 0, self.path.stat().st_size
        with self._opened() as stream:
            while block := stream.read(BLOCK_BYTES):
                out += len(block)
                if out > self.limits.max_bytes:
                    unpacked = " when unpacked" if self.compression else ""
                    raise UnreadableError(
                        f"{self.name} has more than {self.limits.max_bytes} bytes{unpacked} "
                        "(reading.max_bytes)"
                    )
                ratio = self.limits.max_ratio
                if self.compression and out > max(ratio * packed, RATIO_FROM_BYTES):
                    raise UnreadableError(
                        f"{self.name}: {packed} bytes unpack to {out} and more, above "
                        f"{ratio:g} to 1 (reading.max_ratio)"
                    )
                yield block

    def encoding(self) -> str:
        """The encoding of the text, by the whole of it: ``utf-16``, ``utf-8-sig`` or ``cp1252``."""
        if self.sample.startswith((b"\xff\xfe", b"\xfe\xff")):
            return "utf-16"
        decoder = codecs.getincrementaldecoder("utf-8")()
        try:
            for block in self.blocks():
                # The state is that of a character cut in two.
                if not block.isascii() or decoder.getstate()[0]:
                    decoder.decode(block)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return "cp1252"
        return "utf-8-sig"

    def lines(self, encoding: str) -> Iterator[bytes]:
        """Blocks of whole lines, as UTF-8 without a byte order mark.

        Raises:
            UnreadableError: As ``blocks``, and if a line is too long to be one.
        """
        rest = b""
        for block in self._utf8(encoding):
            rest += block
            # Where lines end with CR, the last one may be half of a CRLF.
            cut = rest.rfind(b"\n") + 1 or rest.rfind(b"\r", 0, -1) + 1
            if cut:
                yield rest[:cut]
                rest = rest[cut:]
            elif len(rest) > LONGEST_LINE_BYTES:
                raise UnreadableError(
                    f"{self.name}: a line has more than {LONGEST_LINE_BYTES} bytes"
                )
        if rest:
            yield rest

    def _utf8(self, encoding: str) -> Iterator[bytes]:
        if encoding == "utf-8-sig":
            start = True
            for block in self.blocks():
                yield block.removeprefix(codecs.BOM_UTF8) if start else block
                start = False
            return
        decoder: Any = codecs.getincrementaldecoder(encoding)("replace")
        for block in self.blocks():
            yield decoder.decode(block).encode()
        yield decoder.decode(b"", final=True).encode()
