# SPDX-License-Identifier: Apache-2.0
"""vmlinux.py VMLINUZ OUT: the ELF inside an x86 kernel image (Linux: Documentation/x86/boot.rst).

qemu enters it by its PVH note, which spares an emulated processor the unpacking.
"""

import lzma
import struct
import sys


def elf(image):
    if image[0x202:0x206] != b"HdrS":
        raise ValueError("no Linux boot header")
    setup_sectors = image[0x1F1] or 4
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = (setup_sectors + 1) * 512 + offset
    # Behind the stream stands its unpacked size; a decompressor object stops before it.
    out = lzma.LZMADecompressor().decompress(image[start:start + length])
    if out[:4] != b"\x7fELF":
        raise ValueError("what is inside is no ELF")
    return out


if __name__ == "__main__":
    with open(sys.argv[1], "rb") as f:
        unpacked = elf(f.read())
    with open(sys.argv[2], "wb") as f:
        f.write(unpacked)
