"""Calibrations as Python writes them: tests/golden/new_cam/*.pkl. Python 3.11, NumPy 2.4; run in this folder.

Every file holds the rig of rig(): camera k has K, R, T of fixed numbers, so that the reader's result is known. The file
name says what is special about it. legacy_* are written byte by byte as Python 2 wrote them.
"""
import pickle
import pathlib
import numpy as np

out = pathlib.Path("new_cam")
out.mkdir(exist_ok=True)


def rotation(k):
    a, b = 0.3 + 0.7 * k, 0.1 * k
    ry = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    rx = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    return rx @ ry


def camera(k, maps=True):
    c = {"K": np.array([[1600.5 + k, -1.25 * k, 600.25], [0, 1610.75 - k, 490.5 + k], [0, 0, 1]]),
         "R": rotation(k),
         "T": np.array([10.5 * k, -3.25, 300.0 + k])}
    if maps:
        c["mapx"] = np.full((4, 6), k, np.float32)
        c["mapy"] = np.full((4, 6), -k, np.float32)
    return c


def rig(count=3, **options):
    return [camera(k, **options) for k in range(count)]


def dump(name, value, protocol=4):
    (out / f"{name}.pkl").write_bytes(pickle.dumps(value, protocol=protocol))


for p in range(6):
    dump(f"protocol{p}", rig(), p)
    dump(f"no_maps_protocol{p}", rig(maps=False), p)
    fortran = rig()
    for c in fortran:
        c["R"] = np.asfortranarray(c["R"])
        c["T"] = c["T"].reshape(3, 1)
    dump(f"fortran_protocol{p}", fortran, p)
dump("int_keys", dict(enumerate(rig())))
dump("text_keys", {str(k): c for k, c in reversed(list(enumerate(rig())))})
row = rig()
for c in row:
    c["T"] = c["T"].reshape(1, 3)
dump("row_t", row)
wide = rig()
for c in wide:
    c["K"], c["R"], c["T"] = (c[n].astype(np.float32) for n in "KRT")
dump("float32", wide)
big = rig()
for c in big:
    c["K"], c["R"], c["T"] = (c[n].astype(">f8") for n in "KRT")
dump("big_endian", big)
dump("five_cameras", rig(5))
dump("tuple", tuple(rig()))

# What must be refused.
broken = rig()
del broken[1]["R"]
dump("bad_missing_key", broken)
broken = rig()
broken[2]["R"][1, 1] = np.nan
dump("bad_nan", broken)
broken = rig()
broken[0]["K"] = np.eye(4)
dump("bad_shape", broken)
broken = rig()
broken[0]["K"] = broken[0]["K"].astype(np.int64)
dump("bad_type", broken)
dump("bad_key_gap", {0: camera(0), 2: camera(2)})
dump("bad_one_camera", camera(0))
dump("bad_empty", [])


class Evil:
    def __reduce__(self):
        import os
        return os.system, ("echo never",)


for p in range(6):
    dump(f"bad_global_protocol{p}", [Evil()], p)


# Python 2, protocols 0 and 2: byte strings instead of bytes, written by hand.
def python2(protocol):
    o = bytearray(b"\x80\x02" if protocol == 2 else b"")

    def string(b):
        if protocol == 2:
            return (b"U" + bytes([len(b)]) if len(b) < 256 else b"T" + len(b).to_bytes(4, "little")) + b
        text = repr(bytes(b))[1:]  # Python 2's repr of the same string
        return b"S" + text.encode() + b"\n"

    def integer(i):
        return b"K" + bytes([i]) if protocol == 2 and i >= 0 else b"J" + i.to_bytes(4, "little", signed=True) if protocol == 2 else b"I%d\n" % i

    def array(a):
        shape = b"(" + b"".join(integer(n) for n in a.shape) + b"t"
        head = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(" + integer(0) + b"t" + string(b"b") + b"tR"
        dtype = b"cnumpy\ndtype\n(" + string(a.dtype.str[1:].encode()) + integer(0) + integer(1) + b"tR"
        dtype += b"(" + integer(3) + string(b"<") + b"NNN" + integer(-1) + integer(-1) + integer(0) + b"tb"
        false = b"\x89" if protocol == 2 else b"I00\n"
        return head + b"(" + integer(1) + shape + dtype + false + string(a.tobytes()) + b"tb"

    o += b"(l"
    for c in rig(maps=False):
        o += b"(d"
        for name, a in c.items():
            o += string(name.encode()) + array(a) + b"s"
        o += b"a"
    return bytes(o + b".")


for p in (0, 2):
    b = python2(p)
    assert np.array_equal(pickle.loads(b, encoding="latin1")[2]["T"], camera(2)["T"])
    (out / f"legacy_protocol{p}.pkl").write_bytes(b)
