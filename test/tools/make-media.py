"""Writes a picture or a sound of a given size: make-media.py png WIDTH HEIGHT FILE, or make-media.py wav SECONDS FILE."""

import struct
import sys
import wave
import zlib


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


kind, path = sys.argv[1], sys.argv[-1]
if kind == "png":
    width, height = int(sys.argv[2]), int(sys.argv[3])
    rows = b"".join(b"\0" + b"\x80\x40\xc0" * width for _ in range(height))
    with open(path, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
                   + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
else:
    with wave.open(path, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(b"\0\x10" * (16000 * int(sys.argv[2])))
