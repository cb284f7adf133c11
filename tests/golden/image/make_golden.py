#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The golden files of tests/units/data/image/test_image.c, made with Pillow and transformers 4.57.

    make_golden.py [DATA]     DATA: the folder with coco/ and odd_images/; without it their lists
                              stay as they are

Writes synthetic pictures beside this script and
    decode.txt   file, width, height, CRC-32 of its RGB pixels (PNG, WebP), or the name of a file
                 that holds them (JPEG: decoders may differ by a level)
    square.txt   file, size, aspect, CRC-32 of the pixels that CLIPImageProcessor makes of it
    odd.txt      file of odd_images, "refused" or its size and an 8 x 8 padded thumbnail in hex
    coco.txt     photograph, size, aspect, CRC-32, as square.txt

Pillow resizes horizontally first; from 13.0 on vertically first if that is cheaper, which moves
levels of tall pictures. resize() asks for one axis at a time, and so means the same in all of them.
"""
import glob
import io
import os
import struct
import subprocess
import sys
import tempfile
import zlib

import numpy as np
from PIL import Image
from transformers import CLIPImageProcessor

HERE = os.path.dirname(os.path.abspath(__file__))
JPEG_FORMS = ("411", "440", "410", "odd", "arithmetic", "arithmetic_progressive", "rgb", "ycck",
              "scans100", "scans101")
PAD = (122, 116, 104)
ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
         (0, 1, 1, 2)]  # x, y, step of x, step of y


def picture(width, height, channels, levels=256):
    """Smooth in one corner, noise in another, so that clipping and rounding both happen."""
    rng = np.random.default_rng(width * 1000 + height)
    y, x, c = np.meshgrid(np.arange(height), np.arange(width), np.arange(channels), indexing="ij")
    smooth = (x * 5 + y * 3 + c * 40) * (31 if levels > 256 else 1) % levels
    noise = rng.integers(0, 2, smooth.shape) * (levels - 1)
    return np.where(x + y > (width + height) // 2, noise, smooth)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def pack_rows(samples, depth):
    """Unfiltered PNG rows of (height, width, channels) samples."""
    out = b""
    for row in samples.reshape(samples.shape[0], -1):
        if depth == 16:
            data = row.astype(">u2").tobytes()
        elif depth == 8:
            data = row.astype(np.uint8).tobytes()
        else:
            bits = ((row[:, None] >> np.arange(depth - 1, -1, -1)) & 1).ravel()
            data = np.packbits(bits.astype(np.uint8)).tobytes()
        out += b"\0" + data
    return out


def write_png(name, samples, depth, color_type, *extra, interlaced=False, after=b""):
    height, width = samples.shape[:2]
    if interlaced:
        passes = [samples[y::dy, x::dx] for x, y, dx, dy in ADAM7]
        raw = b"".join(pack_rows(p, depth) for p in passes if p.size)
    else:
        raw = pack_rows(samples, depth)
    head = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, int(interlaced))
    with open(os.path.join(HERE, name), "wb") as f:
        f.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + b"".join(extra) +
                chunk(b"IDAT", zlib.compress(raw, 9)) + after + chunk(b"IEND", b""))


def write_pngs():
    palette = chunk(b"PLTE", bytes(range(7, 7 + 3 * 11)))
    for depth in (1, 2, 4, 8, 16):
        write_png(f"gray{depth}.png", picture(19, 13, 1, 1 << depth), depth, 0)
    for depth in (1, 2, 4, 8):  # 11 colours: of 4 and 8 bits some indexes are outside
        write_png(f"palette{depth}.png", picture(19, 13, 1, min(1 << depth, 13)), depth, 3, palette)
    write_png("palette_trns.png", picture(9, 7, 1, 11), 8, 3, palette,
              chunk(b"tRNS", bytes([0, 128, 255])))
    write_png("gray_trns.png", picture(9, 7, 1), 8, 0, chunk(b"tRNS", b"\0\5"))
    write_png("rgb_trns.png", picture(9, 7, 3), 8, 2, chunk(b"tRNS", b"\0\5\0\6\0\7"))
    write_png("gamma.png", picture(9, 7, 3), 8, 2, chunk(b"gAMA", struct.pack(">I", 100000)))
    for depth in (8, 16):
        write_png(f"rgb{depth}.png", picture(23, 17, 3, 1 << depth), depth, 2)
        write_png(f"rgba{depth}.png", picture(23, 17, 4, 1 << depth), depth, 6)
        write_png(f"gray_alpha{depth}.png", picture(23, 17, 2, 1 << depth), depth, 4)
    write_png("gray1_interlaced.png", picture(19, 13, 1, 2), 1, 0, interlaced=True)
    write_png("palette4_interlaced.png", picture(19, 13, 1, 11), 4, 3, palette, interlaced=True)
    write_png("rgb16_interlaced.png", picture(19, 13, 3, 65536), 16, 2, interlaced=True)
    control = lambda number, width, height: chunk(  # of an animation's frame
        b"fcTL", struct.pack(">IIIIIHHBB", number, width, height, 0, 0, 1, 10, 0, 0))
    second = chunk(b"fdAT", struct.pack(">I", 2) + zlib.compress(b"\0" + bytes(3 * 9)))
    write_png("animated.png", picture(9, 7, 3), 8, 2, chunk(b"acTL", struct.pack(">II", 2, 0)),
              control(0, 9, 7), after=control(1, 9, 1) + second)
    write_png("animated_cover.png", picture(9, 7, 3), 8, 2,
              chunk(b"acTL", struct.pack(">II", 1, 0)),
              after=control(0, 9, 1) + chunk(b"fdAT", struct.pack(">I", 1) +
                                             zlib.compress(b"\0" + bytes(3 * 9))))
    write_png("wide.png", picture(61, 20, 3), 8, 2)
    write_png("tall.png", picture(17, 90, 3), 8, 2)
    write_png("line.png", picture(40, 1, 3), 8, 2)


def write_jpegs():
    rgb = Image.fromarray(picture(37, 29, 3).astype(np.uint8))
    save = lambda image, name, **how: image.save(os.path.join(HERE, name), "JPEG", **how)
    save(rgb, "baseline.jpg", quality=80)
    save(rgb, "full_chroma.jpg", quality=90, subsampling=0)
    save(rgb, "progressive.jpg", quality=85, progressive=True)
    save(rgb, "restart.jpg", quality=80, restart_marker_blocks=2)
    save(rgb.convert("L"), "gray.jpg", quality=80)
    save(rgb.convert("CMYK"), "cmyk.jpg", quality=85)  # Adobe's marker, inverted
    exif = Image.Exif()
    exif[0x0112] = 6
    save(rgb, "rotated_exif.jpg", quality=80, exif=exif)
    data = open(os.path.join(HERE, "baseline.jpg"), "rb").read()
    open(os.path.join(HERE, "extra_bytes.jpg"), "wb").write(data[:-2] + b"abc" + data[-2:] + b"xyz")
    data = bytearray(data)
    scan = data.index(b"\xff\xda")
    data[scan + 2 + data[scan + 3] - 3:scan + 2 + data[scan + 3]] = bytes(3)  # Ss, Se, Ah and Al
    open(os.path.join(HERE, "zero_scan_numbers.jpg"), "wb").write(data)
    small = Image.fromarray(picture(21, 19, 3).astype(np.uint8))
    small.save(os.path.join(HERE, "mpo.jpg"), "MPO", save_all=True, quality=70,
               append_images=[small.rotate(180)])
    with tempfile.TemporaryDirectory() as work:
        maker = os.path.join(work, "make_jpeg")
        subprocess.run(["cc", os.path.join(HERE, "make_jpeg.c"), "-o", maker, "-ljpeg"], check=True)
        for form in JPEG_FORMS:
            subprocess.run([maker, os.path.join(HERE, form + ".jpg"), "21", "19", form], check=True)


def riff(kind, data):
    return kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


def picture_chunks(image, **how):
    """The chunks of a still WebP file behind its VP8X, if it has one."""
    file = io.BytesIO()
    image.save(file, "WEBP", **how)
    data = file.getvalue()[12:]
    return data[18:] if data.startswith(b"VP8X") else data


def uint24(value):
    return struct.pack("<I", value)[:3]


def write_animation(name, width, height, frames, background=b"\x10\x20\x30\xff"):
    """frames: x, y, image, how. Pillow's own first frames always fill the canvas."""
    body = riff(b"VP8X", bytes([0x12, 0, 0, 0]) + uint24(width - 1) + uint24(height - 1))
    body += riff(b"ANIM", background + bytes(2))
    for x, y, image, how in frames:
        head = uint24(x // 2) + uint24(y // 2) + uint24(image.width - 1) + uint24(image.height - 1)
        body += riff(b"ANMF", head + uint24(100) + b"\0" + picture_chunks(image, **how))
    with open(os.path.join(HERE, name), "wb") as f:
        f.write(riff(b"RIFF", b"WEBP" + body))


def write_webps():
    rgb = Image.fromarray(picture(37, 29, 3).astype(np.uint8))
    rgba = Image.fromarray(picture(21, 19, 4).astype(np.uint8), "RGBA")
    save = lambda image, name, **how: image.save(os.path.join(HERE, name), "WEBP", **how)
    save(rgb, "lossy.webp", quality=70)
    save(rgb, "lossless.webp", lossless=True)
    save(rgba, "lossy_alpha.webp", quality=70)
    save(rgba, "lossless_alpha.webp", lossless=True, exact=True)
    exif = Image.Exif()
    exif[0x0112] = 6
    save(rgb, "rotated_exif.webp", quality=40, exif=exif)
    lossy, lossless = {"quality": 60}, {"lossless": True, "exact": True}
    write_animation("animated.webp", 21, 19, [(0, 0, rgba, lossy), (2, 2, rgba.crop((0, 0, 8, 8)),
                                                                    lossless)])
    write_animation("animated_offset.webp", 30, 24, [(4, 2, rgba, lossless), (0, 0, rgba, lossy)])
    write_animation("animated_offset_lossy.webp", 30, 24, [(8, 4, rgba.convert("RGB"), lossy)])


def pad_to_square(image):
    side = max(image.size)
    square = Image.new("RGB", (side, side), PAD)
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square


def resize(image, width, height):
    return image.resize((width, image.height), Image.BICUBIC).resize((width, height),
                                                                     Image.BICUBIC)


def squared(image, size, aspect):
    """Through CLIPImageProcessor from the resized picture on: its size rule, its crop."""
    image = pad_to_square(image) if aspect == "pad" else image
    processor = CLIPImageProcessor(size={"shortest_edge": size}, do_normalize=False,
                                   crop_size={"height": size, "width": size}, do_rescale=False)
    
    def own_resize(image, size, **_):
        short, n = min(image.shape[:2]), size["shortest_edge"]
        width, height = (n if d == short else int(n * d / short) for d in image.shape[1::-1])
        return np.array(resize(Image.fromarray(image), width, height))

    processor.resize = own_resize
    return processor(image, input_data_format="channels_last")["pixel_values"][0].transpose(1, 2, 0).astype(np.uint8)


def crc(array):
    return "%08x" % zlib.crc32(np.ascontiguousarray(array).tobytes())


def write_lines(name, lines):
    with open(os.path.join(HERE, name), "w") as f:
        f.writelines(line + "\n" for line in lines)


def write_decoded():
    lines = []
    for path in sorted(sum((glob.glob(HERE + "/*." + end) for end in ("png", "jpg", "webp")), [])):
        if path.endswith("scans101.jpg"):  # refused here, beyond the limit
            continue
        name, rgb = os.path.basename(path), np.array(Image.open(path).convert("RGB"))
        answer = crc(rgb)
        if name.endswith(".jpg"):
            answer = name[:-4] + ".rgb"
            rgb.tofile(os.path.join(HERE, answer))
        lines.append(f"{name} {rgb.shape[1]} {rgb.shape[0]} {answer}")
    write_lines("decode.txt", lines)


def write_squared():
    lines = []
    for name in ("wide.png", "tall.png", "line.png", "rgb8.png", "gray8.png"):
        image = Image.open(os.path.join(HERE, name)).convert("RGB")
        for size in (1, 14, 17, 56):
            for aspect in ("square", "pad"):
                lines.append(f"{name} {size} {aspect} {crc(squared(image, size, aspect))}")
    write_lines("square.txt", lines)


def write_odd(data):
    lines = []
    for path in sorted(glob.glob(data + "/odd_images/*/*")):
        name = os.path.relpath(path, data + "/odd_images")
        try:
            rgb = Image.open(path).convert("RGB")
            thumbnail = squared(rgb, 8, "pad").tobytes().hex()
            lines.append(f"{name} {rgb.width} {rgb.height} {thumbnail}")
        except (OSError, SyntaxError, ValueError):
            lines.append(f"{name} 0 0 refused")
    write_lines("odd.txt", lines)


def write_coco(data):
    lines = []
    for path in sorted(glob.glob(data + "/coco/images/*.jpg"))[::80]:
        rgb = Image.open(path).convert("RGB")
        for size in (224, 336):
            for aspect in ("square", "pad"):
                lines.append(f"{os.path.basename(path)} {size} {aspect} "
                             f"{crc(squared(rgb, size, aspect))}")
    write_lines("coco.txt", lines)


write_pngs()
write_jpegs()
write_webps()
write_decoded()
write_squared()
if len(sys.argv) > 1:
    write_odd(sys.argv[1])
    write_coco(sys.argv[1])
