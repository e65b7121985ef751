"""Cuts a stream of bytes at its newlines, without a limit on the length of a line."""


class LineSplitter:
    """Gives back whole lines as they become complete.

    Only the new chunk is searched and an unfinished line is kept in pieces, so that a line of many megabytes costs no more
    than its bytes.
    """

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def feed(self, chunk: bytes) -> bytes:
        """All lines that `chunk` completes, newlines included; empty when it completes none."""
        end = chunk.rfind(b"\n") + 1
        if not end:
            self._pieces.append(chunk)
            return b""
        complete = b"".join([*self._pieces, chunk[:end]])
        self._pieces = [chunk[end:]] if end < len(chunk) else []
        return complete

    @property
    def unfinished(self) -> bool:
        """Whether the stream stands in the middle of a line: if it ends here, it was cut."""
        return bool(self._pieces)
