from hypothesis import given
from hypothesis import strategies as st

from msa.kube.lines import LineSplitter


@given(
    st.lists(st.binary(max_size=20).map(lambda line: line.replace(b"\n", b"")), max_size=20),
    st.integers(1, 7),
)
def test_however_the_bytes_are_cut_the_same_lines_come_out(lines: list[bytes], size: int) -> None:
    stream = b"".join(line + b"\n" for line in lines)
    splitter = LineSplitter()
    out = b"".join(splitter.feed(stream[start : start + size]) for start in range(0, len(stream), size))
    assert out == stream
    assert not splitter.unfinished


def test_a_line_of_five_megabytes_comes_out_whole() -> None:
    splitter = LineSplitter()
    line = b"x" * 5_000_000 + b"\n"
    parts = [splitter.feed(line[start : start + 16_384]) for start in range(0, len(line), 16_384)]
    assert b"".join(parts) == line
    assert sum(bool(part) for part in parts) == 1


def test_a_stream_that_ends_within_a_line_was_cut() -> None:
    splitter = LineSplitter()
    assert splitter.feed(b"whole\nhal") == b"whole\n"
    assert splitter.unfinished
