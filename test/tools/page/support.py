"""What the tests of the page share: the list of them, the page as a new visitor has it, and its simplest uses."""

import base64
import os
import struct
import zlib

PAGE = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../../tools/serve/page/index.html"))
TESTS = []


def test(function):
    TESTS.append(function)
    return function


def expect(found, wanted, what=""):
    if found != wanted:
        raise AssertionError(f"{what}: expected {wanted!r}, found {found!r}")


def png(width=4, height=4):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = (b"\0" + b"\x20\x80\xc0" * width) * height
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) +
            chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def wav(samples=160):
    return b"RIFF" + struct.pack("<I", 36 + 2 * samples) + b"WAVEfmt " + struct.pack(
        "<IHHIIHH", 16, 1, 1, 16000, 32000, 2, 16) + b"data" + struct.pack("<I", 2 * samples) + bytes(2 * samples)


GIF = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")


def fresh(page, mock):
    """The page as a new visitor has it."""
    mock.refusal = None
    mock.say("Hello.")
    page.open(mock.url)
    page.run("localStorage.clear(); sessionStorage.clear()")
    page.reload()
    page.wait("return document.querySelector('#model').textContent === 'tiny'")
    mock.requests.clear()
    mock.headers.clear()
    mock.gone.clear()
    page.console()


def send(page, text):
    page.type("#prompt", text)
    page.press("Enter")


def idle(page, answers=1):
    page.wait("return running === null && document.querySelectorAll('.assistant .stats').length >= arguments[0]", answers)


def content(page):
    """The text of the last answer."""
    return page.run("return [...document.querySelectorAll('.assistant > .content')].at(-1).innerText")


def drop(page, name, kind, data, event="drop"):
    page.run("""
      const bytes = Uint8Array.from(atob(arguments[2]), (c) => c.charCodeAt(0));
      const transfer = new DataTransfer();
      transfer.items.add(new File([bytes], arguments[0], { type: arguments[1] }));
      const target = document.querySelector('#prompt');
      target.dispatchEvent(arguments[3] === 'drop'
        ? new DragEvent('drop', { dataTransfer: transfer, bubbles: true, cancelable: true })
        : new ClipboardEvent('paste', { clipboardData: transfer, bubbles: true, cancelable: true }));""",
             name, kind, base64.b64encode(data).decode(), event)
