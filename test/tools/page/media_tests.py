"""Pictures, sounds and videos that are dropped, pasted, chosen or recorded."""

import base64
import os
import struct
import time

from support import GIF, drop, expect, idle, png, send, test, wav


@test
def images(page, mock):
    drop(page, "dropped.png", "image/png", png())
    page.wait("return attachments.length === 1")
    drop(page, "pasted.gif", "image/gif", GIF, event="paste")
    page.wait("return attachments.length === 2")
    path = os.path.join(os.environ.get("TMPDIR", "/tmp"), f"page-{os.getpid()}.png")
    with open(path, "wb") as file:
        file.write(png(8, 2))
    page.type("#files", path)
    page.wait("return attachments.length === 3")
    os.remove(path)
    expect(page.run("return [...document.querySelectorAll('#attached img')].map((i) => i.alt)"),
           ["Image dropped.png", "Image pasted.gif", "Image " + os.path.basename(path)])
    page.click("#attached li:nth-child(3) .remove")
    send(page, "What is this?")
    idle(page)
    parts = mock.requests[-1]["messages"][0]["content"]
    expect([part["type"] for part in parts], ["image_url", "image_url", "text"])
    expect(parts[0]["image_url"], {"url": "data:image/png;base64," + base64.b64encode(png()).decode(), "detail": "auto"})
    # What the server does not read comes as PNG.
    assert base64.b64decode(parts[1]["image_url"]["url"].split(",")[1]).startswith(b"\x89PNG")
    expect(page.run("return [document.querySelectorAll('.user img').length, attachments.length]"), [2, 0])
    # The next turn has them still; storage does not.
    send(page, "And?")
    idle(page, 2)
    expect(len(mock.requests[-1]["messages"][0]["content"]), 3)
    assert "base64" not in page.run("return localStorage.getItem('lapidary.conversations')")
    page.reload()
    page.click("#menu")
    page.click("nav .open")
    expect(page.run("return [...document.querySelectorAll('.gone')].map((e) => e.textContent)")[0],
           "Image dropped.png: not kept, the model no longer has it")
    # What is still being read is waited for.
    page.click("#new")
    drop(page, "slow.gif", "image/gif", GIF)
    page.run("$('prompt').value = 'Quick'; send()")
    idle(page)
    expect([part["type"] for part in mock.requests[-1]["messages"][0]["content"]], ["image_url", "text"])
    drop(page, "notes.txt", "text/plain", b"x")
    time.sleep(0.2)
    assert "no image" in page.alert()


@test
def sounds_and_videos(page, mock):
    drop(page, "a.wav", "audio/wav", wav())
    page.wait("return attachments.length === 1")
    drop(page, "clip.mp4", "video/mp4", b"not really a video")
    page.wait("return attachments.length === 2")
    # A type that the server does not read is decoded here.
    drop(page, "odd.aiff", "audio/x-odd", wav(1600))
    page.wait("return attachments.length === 3")
    send(page, "Listen")
    idle(page)
    parts = mock.requests[-1]["messages"][0]["content"]
    expect([part["type"] for part in parts], ["input_audio", "input_video", "input_audio", "text"])
    expect(parts[0]["input_audio"], {"data": base64.b64encode(wav()).decode(), "format": "wav"})
    expect(parts[1]["input_video"], {"data": base64.b64encode(b"not really a video").decode()})
    made = base64.b64decode(parts[2]["input_audio"]["data"])
    expect((made[:4], struct.unpack("<HHI", made[20:28]), len(made)), (b"RIFF", (1, 1, 16000), 44 + 3200))
    expect(page.run("return [...document.querySelectorAll('.user audio, .user video')].map((e) => e.getAttribute('aria-label'))"),
           ["Sound a.wav", "Video clip.mp4", "Sound odd.aiff"])
    drop(page, "broken.aiff", "audio/x-odd", b"nothing")
    time.sleep(0.3)
    assert "cannot be read" in page.alert()


@test
def microphone(page, mock):
    page.click("#record")
    page.wait("return recorder?.state === 'recording'")
    expect(page.run("return $('record').getAttribute('aria-pressed')"), "true")
    time.sleep(1.2)
    page.click("#record")
    page.wait("return attachments.length === 1")
    expect(page.run("return [$('record').getAttribute('aria-pressed'), $('record').textContent]"), ["false", "Record"])
    send(page, "What did I say?")
    idle(page)
    sound = mock.requests[-1]["messages"][0]["content"][0]["input_audio"]
    made = base64.b64decode(sound["data"])
    expect((sound["format"], made[:4], struct.unpack("<HHI", made[20:28])), ("wav", b"RIFF", (1, 1, 16000)))
    samples = struct.unpack(f"<{(len(made) - 44) // 2}h", made[44:])
    assert 8000 < len(samples) < 48000 and max(samples) > 1000, (len(samples), max(samples))
