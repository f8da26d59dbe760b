"""What can become of the bytes of a file."""

from hypothesis import strategies as st


@st.composite
def mutated_bytes(draw, content):
    """Bytes with some of them changed, removed, repeated or cut off."""
    content = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(len(content) - 1, 0)))
        piece = draw(st.one_of(st.binary(max_size=3), st.sampled_from([b",", b"\n", b'"', b"9"])))
        content[place : place + draw(st.integers(0, 3))] = piece
    return bytes(content[: draw(st.integers(0, 2 * len(content)))])
