"""What is known of an unfinished file."""

from __future__ import annotations

from ndec_bench.download.part import Facts


def test_facts_tell_versions_apart() -> None:
    known = Facts(5, '"a"', "Monday")
    assert known.difference(Facts(None, None, None)) is None
    assert known.difference(Facts(5, 'W/"a"', "Tuesday")) is None
    assert known.difference(Facts(6, '"a"', "Monday")) == "its size was 5 bytes and is 6"
    assert known.vouches_for(Facts(5, '"a"', None))
    assert not known.vouches_for(Facts(5, None, "Monday"))
    assert not Facts(5).vouches_for(Facts(5))
    assert Facts(5, '"a"', None, "00").vouches_for(Facts(5, '"b"', None, "00"))
    assert Facts(5, '"a"', None, "00").vouches_for(Facts(5, '"a"'))
    assert not Facts(5, '"a"', None, "00").vouches_for(Facts(5, '"a"', None, "01"))
