"""Opens what mfl_infer left with Python's standard library alone, none of our code: PLY, .splat, .spz, PNG, MP4, JSON, the page;
and asks whether views, metrics and provenance say the same. ffprobe looks at the films too, where it is installed.

    python3 read_outputs.py FOLDER...     folders that --out named; prints what was read, ends with 1 at the first contradiction
"""
import collections
import gzip
import hashlib
import json
import math
import pathlib
import shutil
import struct
import subprocess
import sys
import zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def check(good, *what):
    if not good:
        sys.exit("read_outputs.py: " + " ".join(map(str, what)))


def png(path):
    """(width, height): every chunk's CRC, and as many bytes of pixels as the header promises, their filters known."""
    data = path.read_bytes()
    check(data[:8] == SIGNATURE, path, "is no PNG")
    at, pixels, last = 8, b"", b""
    while at < len(data):
        size, last = struct.unpack(">I4s", data[at:at + 8])
        body = data[at + 8:at + 8 + size]
        check(zlib.crc32(last + body) == struct.unpack(">I", data[at + 8 + size:at + 12 + size])[0], path, "has a damaged chunk", last)
        if last == b"IHDR":
            width, height, depth, kind, _, _, interlaced = struct.unpack(">IIBBBBB", body)
        if last == b"IDAT":
            pixels += body
        at += 12 + size
    check(last == b"IEND" and not interlaced, path, "ends with", last)
    row = 1 + (width * depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[kind] + 7) // 8
    raw = zlib.decompress(pixels)
    check(len(raw) == row * height and max(raw[::row]) <= 4, path, "holds", len(raw), "bytes of pixels")
    return width, height


def ply(path):
    """{name: column} of the one element."""
    data = path.read_bytes()
    end = data.index(b"end_header\n") + 11
    lines = data[:end].decode("ascii").splitlines()
    check(lines[0] == "ply" and "format binary_little_endian 1.0" in lines, path, "begins with", lines[:2])
    elements = [line.split()[1:] for line in lines if line.startswith("element ")]
    check(len(elements) == 1 and elements[0][0] == "vertex", path, "has", elements)
    kinds = {"float": "f", "float32": "f", "uchar": "B", "uint8": "B"}
    properties = [line.split()[1:] for line in lines if line.startswith("property ")]
    row = struct.Struct("<" + "".join(kinds[kind] for kind, _ in properties))
    check(len(data) - end == row.size * int(elements[0][1]), path, "has", len(data) - end, "bytes behind its header")
    rows = list(row.iter_unpack(data[end:]))
    check(all(math.isfinite(x) for r in rows for x in r), path, "has numbers that are not finite")
    return {name: [r[i] for r in rows] for i, (_, name) in enumerate(properties)}


def splat_agrees(path, cloud):
    """The .splat's Gaussians are the PLY's, in any order: by their places, which both keep to the bit."""
    rows = list(struct.iter_unpack("<6f8B", path.read_bytes()))
    check(len(rows) == len(cloud["x"]), path, "has", len(rows), "Gaussians, the PLY", len(cloud["x"]))
    places = list(zip(cloud["x"], cloud["y"], cloud["z"]))
    check(sorted(places) == sorted(r[:3] for r in rows), path, "and the PLY have Gaussians in different places")
    shared = {p for p, n in collections.Counter(places).items() if n > 1}
    of = {p: i for i, p in enumerate(places)}
    for r in rows:
        if r[:3] in shared:
            continue
        i = of[r[:3]]
        check(all(abs(math.log(r[3 + e]) - cloud[f"scale_{e}"][i]) < 1e-5 for e in range(3)), path, "scale of", i)
        check(abs(r[9] / 255 - 1 / (1 + math.exp(-cloud["opacity"][i]))) < 0.51 / 255, path, "opacity of", i)


def film(path):
    """(width, height, frames) from the boxes of an MP4."""
    data = path.read_bytes()
    check(data[4:8] == b"ftyp", path, "is no MP4")
    found = {}

    def walk(begin, end):
        while begin + 8 <= end:
            size, kind = struct.unpack(">I4s", data[begin:begin + 8])
            check(8 <= size <= end - begin, path, "has a box of", size, "bytes at", begin)
            if kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl"):
                walk(begin + 8, begin + size)
            found.setdefault(kind, data[begin + 8:begin + size])
            begin += size
        check(begin == end, path, "ends within a box")

    walk(0, len(data))
    check({b"moov", b"mdat", b"tkhd", b"stsz"} <= set(found), path, "lacks a box; it has", sorted(found))
    width, height = (x >> 16 for x in struct.unpack(">II", found[b"tkhd"][-8:]))
    frames = struct.unpack(">I", found[b"stsz"][8:12])[0]
    if shutil.which("ffprobe"):
        said = subprocess.run(["ffprobe", "-v", "error", "-select_streams", "v", "-count_frames", "-show_entries", "stream=width,height,nb_read_frames",
                               "-of", "json", str(path)], capture_output=True, text=True, check=True).stdout
        stream = json.loads(said)["streams"][0]
        check((stream["width"], stream["height"], int(stream["nb_read_frames"])) == (width, height, frames), path, "is", stream, "for ffprobe")
    return width, height, frames


def near(a, b):
    return a is b or (a is not None and b is not None and abs(a - b) < 1e-6)


def read_object(folder):
    said = json.loads((folder / "provenance.json").read_text())
    for name in said["files"]:
        check((folder / name).stat().st_size > 0, folder, "lacks", name)
    for view in said["views"]:
        path = folder / view["file"]
        width, height = png(path)
        if view["made_by"] == "mvdiffusion":   # of a set's own view it is the hash of the set's pixels
            check(hashlib.sha256(path.read_bytes()).hexdigest() == view["sha256"], path, "is not what provenance.json says")
        check(width == height and view["made_by"] in ("given", "mvdiffusion"), path, width, height, view["made_by"])
        camera = [x for row in view["camera"]["c2w"] for x in row]
        for i in range(3):   # an orthonormal frame
            for j in range(3):
                product = sum(camera[4 * r + i] * camera[4 * r + j] for r in range(3))
                check(abs(product - (i == j)) < 1e-4, path, "camera is not rigid")
    for checkpoint in said["checkpoints"]:
        check(hashlib.sha256(pathlib.Path(checkpoint["file"]).read_bytes()).hexdigest() == checkpoint["sha256"], checkpoint["file"])
    parts = {c["part"].split()[0] for c in said["checkpoints"]}
    check(parts >= {"gslrm"} | ({"mvdiffusion"} if said["views"][0]["made_by"] == "mvdiffusion" else set()), folder, "names checkpoints of", parts)

    cloud = ply(folder / said["gaussians"]["file"])
    kept = len(cloud["x"])
    check(kept == said["gaussians"]["kept"] <= said["gaussians"]["made"], folder, "kept", kept, "Gaussians, provenance.json:", said["gaussians"])
    steps = json.loads((folder / "gaussians.json").read_text())["steps"]
    check(steps[0]["gaussians"] == said["gaussians"]["made"] and steps[-1]["gaussians"] == kept, folder, "gaussians.json:", steps)
    if (folder / "gaussians.splat").exists():
        splat_agrees(folder / "gaussians.splat", cloud)
    if (folder / "gaussians.spz").exists():
        magic, _, count, *_ = struct.unpack("<4sIIBBBB", gzip.decompress((folder / "gaussians.spz").read_bytes())[:16])
        check((magic, count) == (b"NGSP", kept), folder / "gaussians.spz", magic, count)
    strip = png(folder / "turntable.png")
    check(strip[0] % strip[1] == 0, folder / "turntable.png", strip)
    frames = 0
    if (folder / "turntable.mp4").exists():
        frames = film(folder / "turntable.mp4")[2]
    page = (folder / "viewer.html").read_text()
    inside = json.loads(page.split('id="scene">', 1)[1].split("</script>", 1)[0]) if 'id="scene">' in page else None
    check(inside and inside["count"] == kept and "http://" not in page and "https://" not in page, folder / "viewer.html")
    psnr = None
    if (folder / "metrics.json").exists():
        metrics = json.loads((folder / "metrics.json").read_text())
        for part, chosen in (("all", lambda v: True), ("input", lambda v: v["input"]), ("held_out", lambda v: not v["input"])):
            values = [v["psnr"] for v in metrics["views"] if chosen(v)]
            check(near(metrics[part]["psnr"], sum(values) / len(values)), folder, part, "is not its views' mean")
            check(near(metrics[part]["psnr"], said["metrics"][part]["psnr"]), folder, part, "of metrics.json and provenance.json")
        psnr = metrics["all"]["psnr"]
    print(f"{folder}: {len(said['views'])} views made by {said['views'][0]['made_by']}, {kept} Gaussians, strip {strip[0]} x {strip[1]}, film of {frames} frames"
          + ("" if psnr is None else f", {psnr:.2f} dB"))
    return psnr


for name in sys.argv[1:]:
    root = pathlib.Path(name)
    objects = sorted(p.parent for p in root.rglob("provenance.json"))
    check(objects, root, "holds no object")
    psnr = [read_object(folder) for folder in objects]
    if (root / "metrics.json").exists() and root not in objects:
        means = json.loads((root / "metrics.json").read_text())
        check(means["objects"] == len(objects) and near(means["mean"]["psnr"], sum(psnr) / len(psnr)), root / "metrics.json", "is not the objects' mean")
