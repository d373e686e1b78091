"""Writes tests/golden/gaussians: one scene of 9 Gaussians of SH degree 3 in every format that mfl reads and writes, made from the
formats' descriptions with plyfile, numpy and gzip, and its values (scene.safetensors: xyz, features, scaling, rotation, opacity).

  published.ply   GS-LRM's save_ply: 45 f_rest, colours behind the position
  inria.ply       3D Gaussian Splatting's save_ply: normals behind the position
  scene.splat     position, scale, rgba, rotation; largest times most opaque first
  scene_v2.spz, scene_v3.spz   as written by Niantic's library of those versions: 12 fractional bits
  gsply_v3.spz    with --gsply: by the package gsply (0.4.6), an independent implementation. It must read scene_v*.spz as the scene,
                  and write all but the SH, which it keeps in steps of 1, to the byte
  ply2splat.splat   with --others: of inria.ply, by the package ply2splat (0.6.0). It must read scene.splat as the scene, and the
                  package gaussforge (0.6.0) scene.splat and scene_v*.spz

Run from the repository's root:  python3 tests/golden/make_gaussian_files.py
Made with Python 3.11, numpy 2.4, plyfile 1.1. Values are fixed by formula; nothing is random.
"""
import gzip
import pathlib
import struct
import sys

import numpy as np
from plyfile import PlyData, PlyElement
from safetensors.numpy import save_file

out = pathlib.Path("tests/golden/gaussians")
out.mkdir(exist_ok=True)
N, K, C0 = 9, 16, 0.28209479177387814


def wave(*shape, phase, scale):
    return (scale * np.sin(np.arange(np.prod(shape)) * 1.7 + phase)).reshape(shape).astype(np.float32)


xyz, features = wave(N, 3, phase=0, scale=0.9), wave(N, K, 3, phase=1, scale=0.8)
features[:, 0] *= 2
scaling, rotation = wave(N, 3, phase=2, scale=2) - 4, wave(N, 4, phase=3, scale=1.3)   # w x y z, not of length 1
opacity = wave(N, 1, phase=4, scale=4)
save_file({"xyz": xyz, "features": features, "scaling": scaling, "rotation": rotation, "opacity": opacity}, out / "scene.safetensors")

# f_rest is channel-major.
rest = features[:, 1:].transpose(0, 2, 1).reshape(N, 45)
colour = np.clip(255 * (np.float32(C0) * features[:, 0] + np.float32(0.5)), 0, 255).astype(np.uint8)


def ply(name, between, columns, kinds):
    kind = [(n, "f4") for n in "xyz"] + [(n, t) for n, t in zip(between, kinds)]
    kind += [(n, "f4") for n in [f"f_dc_{i}" for i in range(3)] + [f"f_rest_{i}" for i in range(45)] + ["opacity"]
             + [f"scale_{i}" for i in range(3)] + [f"rot_{i}" for i in range(4)]]
    rows = np.empty(N, dtype=kind)
    everything = np.concatenate([xyz, columns, features[:, 0], rest, opacity, scaling, rotation], axis=1)
    for i, (field, _) in enumerate(kind):
        rows[field] = everything[:, i]
    PlyData([PlyElement.describe(rows, "vertex")], byte_order="<").write(out / name)


ply("published.ply", ["red", "green", "blue"], colour, ["u1"] * 3)
ply("inria.ply", ["nx", "ny", "nz"], np.zeros((N, 3), np.float32), ["f4"] * 3)

sigmoid = 1 / (1 + np.exp(-opacity[:, 0].astype(np.float64)))
unit = rotation / np.linalg.norm(rotation, axis=1, keepdims=True)


def byte(x):
    return np.clip(np.round(x), 0, 255).astype(np.uint8)


with open(out / "scene.splat", "wb") as f:
    for i in np.argsort(-np.exp(scaling.sum(1)) * sigmoid, kind="stable"):
        f.write(xyz[i].tobytes() + np.exp(scaling[i]).astype(np.float32).tobytes())
        f.write(byte(255 * (C0 * features[i, 0] + 0.5)).tobytes() + byte(255 * sigmoid[i]).tobytes() + byte(unit[i] * 128 + 128).tobytes())

# .spz: axes right, up, back; the scene's are right, down, front.
flip = np.array([1, -1, -1], np.float32)
flip_sh = np.array([-1, -1, 1, -1, 1, 1, -1, 1, -1, 1, -1, -1, 1, -1, 1], np.float32)
step = np.array([8] * 3 + [16] * 12)[:, None]
q = np.concatenate([unit[:, 1:] * flip, unit[:, :1]], axis=1)   # x y z w
sh = (np.clip(((np.round(features[:, 1:] * flip_sh[:, None] * 128) + 128).astype(int) + step // 2) // step * step, 0, 255)).astype(np.uint8)
for version in (2, 3):
    body = b""
    for v in np.round(xyz * flip * 4096).astype(int).flatten():
        body += int(v & 0xFFFFFF).to_bytes(3, "little")
    body += byte(255 * sigmoid).tobytes() + byte(features[:, 0] * 0.15 * 255 + 127.5).tobytes() + byte((scaling + 10) * 16).tobytes()
    for one in q:
        if version == 2:
            body += byte((one if one[3] >= 0 else -one)[:3] * 127.5 + 127.5).tobytes()
        else:
            largest = int(np.argmax(np.abs(one)))
            word = largest
            for i in range(4):
                if i != largest:
                    word = word << 10 | int((one[i] < 0) != (one[largest] < 0)) << 9 | int(511 * abs(one[i]) * np.sqrt(2) + 0.5)
            body += struct.pack("<I", word)
    data = struct.pack("<4sIIBBBB", b"NGSP", version, N, 3, 12, 0, 0) + body + sh.tobytes()
    (out / f"scene_v{version}.spz").write_bytes(gzip.compress(data, mtime=0))

if "--gsply" in sys.argv:
    import gsply

    right = np.concatenate([unit[:, :1], unit[:, 1:] * flip], axis=1).astype(np.float32)   # w x y z, in the file's axes
    for version in (2, 3):
        read = gsply.read_spz(out / f"scene_v{version}.spz")   # turns no axes
        assert np.abs(read.means * flip - xyz).max() < 0.6 / 4096 and np.abs(read.scales - scaling).max() < 0.6 / 16
        assert np.abs(1 / (1 + np.exp(-read.opacities.ravel())) - sigmoid).max() < 0.6 / 255
        assert np.abs(read.sh0 - features[:, 0]).max() < 0.6 / 255 / 0.15
        assert np.abs(read.shN.reshape(N, 15, 3) * flip_sh[:, None] - features[:, 1:]).max() < 9 / 128
        assert np.abs((read.quats * right).sum(1)).min() > (0.97 if version == 2 else 0.99999)
    gsply.write_spz(out / "gsply_v3.spz", gsply.GSData.from_arrays(xyz * flip, scaling, right, opacity.ravel(), features[:, 0],
                                                                  np.ascontiguousarray(features[:, 1:] * flip_sh[:, None])), version=3)
    theirs, ours = (gzip.decompress((out / name).read_bytes()) for name in ("gsply_v3.spz", "scene_v3.spz"))
    assert len(theirs) == len(ours) and theirs[:16 + 20 * N] == ours[:16 + 20 * N]

if "--others" in sys.argv:
    import io

    import gaussforge
    import ply2splat
    from plyfile import PlyData

    # ply2splat cuts bytes where we round them; everything else, the order too, is ours.
    importance = np.argsort(-np.exp(scaling.sum(1)) * sigmoid, kind="stable")
    ours = (out / "scene.splat").read_bytes()
    theirs, count = ply2splat.load_and_convert(str(out / "inria.ply"))
    assert count == N and len(theirs) == len(ours)
    numbers = [np.frombuffer(b, "<f4").reshape(N, 8)[:, :6] for b in (theirs, ours)]
    tail = [np.frombuffer(b, np.uint8).reshape(N, 32)[:, 24:].astype(int) for b in (theirs, ours)]
    assert np.allclose(*numbers, rtol=1e-6, atol=0) and set((tail[1] - tail[0]).ravel()) <= {0, 1}
    (out / "ply2splat.splat").write_bytes(theirs)
    for i, s in zip(importance, ply2splat.load_splat_file(str(out / "scene.splat"))):
        assert np.allclose(s.position, xyz[i]) and np.allclose(s.scale, np.exp(scaling[i]), rtol=1e-5)
        assert np.abs(np.array(s.color) / 255 - np.append(np.clip(C0 * features[i, 0] + 0.5, 0, 1), sigmoid[i])).max() < 0.51 / 255
        assert np.abs((np.array(s.rotation) - 128) / 128 - unit[i]).max() < 1.01 / 128   # 1 is stored as 255

    def agrees(name, kind, order, least):
        """gaussforge's PLY of the file is the scene within the format's bounds. Of .spz it turns no axes."""
        v = PlyData.read(io.BytesIO(gaussforge.GaussForge().convert((out / name).read_bytes(), kind, "ply")["data"]))["vertex"]
        column = lambda *names: np.stack([v[n] for n in names], 1)
        splat = kind == "splat"
        turn = np.ones(3) if splat else flip
        assert np.abs(column("x", "y", "z") * turn - xyz[order]).max() < (1e-6 if splat else 0.6 / 4096), name
        assert np.abs(column("scale_0", "scale_1", "scale_2") - scaling[order]).max() < (1e-5 if splat else 0.6 / 16), name
        assert np.abs(1 / (1 + np.exp(-v["opacity"].astype(np.float64))) - sigmoid[order]).max() < (2.6 if splat else 0.6) / 255, name   # never 0 or 1
        colour = C0 * features[order, 0] + 0.5
        assert np.abs(C0 * column("f_dc_0", "f_dc_1", "f_dc_2") + 0.5 - (np.clip(colour, 0, 1) if splat else colour)).max() < 0.6 / 255 * (1 if splat else C0 / 0.15), name
        q = column("rot_0", "rot_1", "rot_2", "rot_3") * np.append(1, turn)
        assert (np.abs((q * unit[order]).sum(1)) / np.linalg.norm(q, axis=1)).min() > least, name

    agrees("scene.splat", "splat", importance, 0.9999)
    agrees("scene_v2.spz", "spz", np.arange(N), 0.97)
    agrees("scene_v3.spz", "spz", np.arange(N), 0.99999)
    print("ply2splat and gaussforge read scene.splat, gaussforge scene_v*.spz, as the scene")
