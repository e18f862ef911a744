import io
import zipfile

import pytest

from content.intake.detect import HTML, MARKDOWN, PDF, TEXT, Limits, decode, detect
from engine.errors import Exhausted, Invalid
from examples.documents.make import contract
from examples.documents.texts import FAQ, NOTES

MARKED = b"# Title\n\n- a\n- b\n"


@pytest.mark.parametrize(
    ("data", "mime"),
    [
        (contract(), PDF),
        (b"\r\nreceived by mail\r\n" + contract(), PDF),
        (NOTES.encode(), HTML),
        (b"\xef\xbb\xbf<!-- a --><!-- b -->\n<HTML><p>x", HTML),
        (b"<?xml version='1.0'?><!DOCTYPE html><html/>", HTML),
        (b"<h1>A page about %PDF-</h1>", HTML),
        (FAQ.encode(), MARKDOWN),
        (b"Only words.\n\nAnd more words.", TEXT),
        (b"A < B, and # is not a heading.", TEXT),
        ("Grüße".encode("cp1252"), TEXT),
        ("Grüße".encode("utf-16"), TEXT),
    ],
)
def test_the_type_is_found_in_the_bytes(data: bytes, mime: str):
    assert detect(data).mime == mime


@pytest.mark.parametrize(
    ("data", "name", "declared", "mime", "label"),
    [
        (NOTES.encode(), "contract.pdf", None, HTML, "its name ends in .pdf"),
        (contract(), "notes.txt", None, PDF, "its name ends in .txt"),
        (b"Only words.", None, "application/pdf", TEXT, "it was sent as application/pdf"),
        (b"Only words.", "page.html", None, TEXT, "its name ends in .html"),
    ],
)
def test_a_mislabelled_file_is_read_as_what_it_is_and_reported(
    data: bytes, name: str | None, declared: str | None, mime: str, label: str
):
    found = detect(data, name=name, declared=declared)
    assert found.mime == mime
    assert found.mislabelled is not None
    assert label in found.mislabelled
    assert mime in found.mislabelled


@pytest.mark.parametrize(
    ("data", "name", "declared", "mime"),
    [
        (contract(), "contract.PDF", "application/octet-stream", PDF),
        (b"Only words.", "README.md", None, MARKDOWN),
        (b'<p align="center">Logo</p>\n\n# Title\n', "README.md", None, MARKDOWN),
        (MARKED, "notes.txt", None, TEXT),
        (b"a,b\n1,2\n", "table.csv", None, TEXT),
        (b'{"a": 1}', None, "application/json; charset=utf-8", TEXT),
    ],
)
def test_a_claim_that_fits_is_no_contradiction(data: bytes, name: str | None, declared: str | None, mime: str):
    found = detect(data, name=name, declared=declared)
    assert (found.mime, found.mislabelled) == (mime, None)


def archive(member: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as writer:
        writer.writestr(member, "x")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x89PNG\r\n\x1a\n....", "a PNG image"),
        (b"\x00\x00\x00\x18ftypmp42....", "an MP4 film"),
        (archive("a.txt"), "a ZIP archive"),
        (archive("word/document.xml"), "a Word document"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1....", "Office document"),
        (b"\x7fELF....", "a program"),
    ],
)
def test_a_file_no_extractor_reads_is_named_and_refused(data: bytes, words: str):
    with pytest.raises(Invalid, match=words) as caught:
        detect(data, name="x.pdf")
    assert "its name ends in .pdf" in caught.value.message
    assert "Supported are PDF" in caught.value.message
    assert caught.value.details["reason"] == "unsupported"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b" \n\t ", "empty"),
        (bytes(range(256)) * 4, "unsupported"),
        (b"some text\x00\x00\x00", "unsupported"),
        ("Grüß dich, schöne Welt ü".encode()[:-1], "truncated"),
    ],
)
def test_bytes_that_are_no_document_are_refused_with_a_reason(data: bytes, reason: str):
    with pytest.raises(Invalid) as caught:
        detect(data)
    assert caught.value.details["reason"] == reason


def test_a_file_above_the_limit_is_refused_with_both_sizes():
    with pytest.raises(Exhausted, match=r"1\.0 MiB, this one has 2\.0 MiB"):
        detect(b"a" * 2**21, limits=Limits(max_bytes=2**20))
    with pytest.raises(Exhausted, match="text file"):
        detect(b"a" * 2**21, limits=Limits(max_text_bytes=2**20))


def test_line_ends_become_one_and_the_encoding_is_told():
    assert decode(b"a\r\nb\rc") == ("a\nb\nc", "utf-8")
    assert decode("ä€".encode("cp1252")) == ("ä€", "windows-1252")
    assert decode("\ufeffä".encode()) == ("ä", "utf-8-sig")
    assert decode("ä".encode("utf-32")) == ("ä", "utf-32")
