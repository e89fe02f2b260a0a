"""Charsets of the web: labels, byte order marks, and bytes that an encoding does not define."""

import codecs
import encodings.aliases
import threading

import pytest
import webencodings
from hypothesis import given
from hypothesis import strategies as st
from webencodings.labels import LABELS

from charsets import UTF_8, Charset, find_charset, parameter_of
from offload import WorkStoppedError, use_stop_event
from tests.support.generated import examples

WEB_CHARSETS = sorted({name for name in LABELS.values() if find_charset(name)})
thorough = examples(200)


def known(label: str) -> Charset:
    charset = find_charset(label)
    assert charset is not None
    return charset


@pytest.mark.parametrize(
    ("label", "data", "text"),
    [
        ("ISO-8859-1", b"K\xf6ln", "Köln"),
        ("latin1", b"\x80 5", "€ 5"),  # of the web: windows-1252
        (" UTF8 ", "ö".encode(), "ö"),
        ("utf-8", b"\xef\xbb\xbfa", "a"),
        ("windows-1252", b"\x81", "\x81"),
        ("windows-1251", "Привет".encode("cp1251"), "Привет"),
        ("shift_jis", "日本".encode("cp932"), "日本"),
        ("gb2312", "中文".encode("gbk"), "中文"),
        ("iso-8859-1", codecs.BOM_UTF16_LE + "ö".encode("utf-16le"), "ö"),
        ("utf-16", "ö".encode("utf-16le"), "ö"),
    ],
)
def test_a_label_of_the_web_decodes_as_browsers_do(label: str, data: bytes, text: str):
    assert known(label).decode(data) == text


@pytest.mark.parametrize(
    "label",
    [
        *("punycode", "utf-7", "idna", "zip", "rot13", "unicode_escape", "cp037", "ebcdic", "hz"),
        *("utf-32", "hz-gb-2312", "replacement", "x-user-defined", "none", "", "ütf-8", "utf-8\0"),
    ],
)
def test_no_other_codec_is_found(label: str):
    assert find_charset(label) is None


def test_every_codec_of_python_is_of_the_web_or_unknown():
    found = {name for name in encodings.aliases.aliases.values() if find_charset(name)}
    assert found
    assert all(webencodings.lookup(name) is not None for name in found)
    assert not found & {"punycode", "utf_7", "bz2_codec", "zlib_codec", "utf_32"}


@pytest.mark.parametrize("label", ["windows-1253", "utf-8", "euc-jp"])
def test_an_invalid_byte_is_an_error_or_the_replacement_character(label: str):
    with pytest.raises(UnicodeDecodeError):
        known(label).decode(b"a\xff")
    assert known(label).decode(b"a\xff", "replace").startswith("a\N{REPLACEMENT CHARACTER}")


@thorough
@given(st.sampled_from(WEB_CHARSETS), st.binary(max_size=40))
def test_bytes_become_text_that_a_database_stores_or_are_rejected(name: str, data: bytes):
    replaced = known(name).decode(data, "replace")
    replaced.encode()  # raises for half of a surrogate pair
    try:
        assert known(name).decode(data) == replaced
    except UnicodeDecodeError:
        assert "\N{REPLACEMENT CHARACTER}" in replaced


@thorough
@given(st.sampled_from(["utf-8", "utf-16le", "gb18030"]), st.text(max_size=40))
def test_all_characters_survive_encoding_and_decoding(name: str, text: str):
    data = b"".join(codecs.iterencode([text], name))
    if not data.startswith((codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        assert known(name).decode(data) == text


def test_a_sequence_across_two_pieces_is_one_character():
    text = "aö" * 100_000
    assert UTF_8.decode(text.encode()) == text
    assert known("gb18030").decode(text.encode("gb18030")) == text


def test_decoding_stops_when_its_caller_is_cancelled():
    stopped = threading.Event()
    stopped.set()

    def work() -> None:
        use_stop_event(stopped)
        with pytest.raises(WorkStoppedError):
            UTF_8.decode(b"a" * 100)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("text/plain", None),
        ("text/plain; charset=UTF-8", "UTF-8"),
        ('text/plain;  CharSet = "utf-8" ; a=b', "utf-8"),
        (r'text/plain; a="x; charset=no\"; charset=no"; charset=yes', "yes"),
        ("text/plain; charset=", None),
        ("text/plain; charset=a; charset=b", "a"),
        ("text/plain" + "; a=b" * 5_000 + "; charset=late", None),
    ],
)
def test_the_charset_parameter_of_a_content_type(content_type: str, expected: str | None):
    assert parameter_of(content_type, "charset") == expected
