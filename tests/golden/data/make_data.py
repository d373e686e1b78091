"""Writes data.json and vertical_lines_*.npz: what Pillow and numpy make of formula images and invented rigs. Versions are stored beside the values.

    python make_data.py [FACELIFT_SAMPLE_FOLDER]
"""
import hashlib
import json
import os
import sys

import numpy as np
import PIL
from PIL import Image, ImageEnhance


def sha(a):
    return hashlib.sha256(np.ascontiguousarray(a).tobytes()).hexdigest()


def formula_image(width, height, channels):
    """Byte i of the image; alpha below 64 becomes 0 and above 192 becomes 255."""
    x = np.arange(width * height * channels, dtype=np.uint64)
    x = (x * 2654435761 + 12345) % 2**32
    x ^= x >> 15
    x = (x * 2246822519) % 2**32
    a = (x >> 24).astype(np.uint8).reshape(height, width, channels)
    if channels == 4:
        a[..., 3] = np.where(a[..., 3] < 64, 0, np.where(a[..., 3] > 192, 255, a[..., 3]))
    return a


def lanczos(a, width, height):
    return np.array(Image.fromarray(a).resize((width, height), Image.LANCZOS))


def composite(a, colour):
    im = Image.fromarray(a)
    out = Image.new("RGB", im.size, colour)
    out.paste(im, mask=im.split()[3])
    return np.array(out)


def enhance(a, brightness, contrast):
    im = ImageEnhance.Brightness(Image.fromarray(a[..., :3].copy())).enhance(brightness)
    return np.array(ImageEnhance.Contrast(im).enhance(contrast))


def normalise(c2w, z_up, distance, given=None):
    """The steps of the mouse data set, in float32."""
    c2w = c2w.astype(np.float32)
    positions, mean_up = c2w[:, :3, 3], (-c2w[:, :3, 1]).mean(0)
    mean_up = mean_up / np.linalg.norm(mean_up)
    if given is not None:
        up = np.asarray(given, np.float32)
        up = up / np.linalg.norm(up)
    elif len(c2w) >= 3:
        centred = positions - positions.mean(0)
        up = np.linalg.eigh(centred.T @ centred)[1][:, 0]
        if up @ mean_up < 0:
            up = -up
    else:
        up = mean_up
    target = np.array([0, 0, 1] if z_up else [0, 1, 0], np.float32)
    axis = np.cross(up, target)
    sine, cosine = np.linalg.norm(axis), up @ target
    if sine < 1e-6:
        turn = np.eye(3, dtype=np.float32) if cosine > 0 else np.diag([1, -1, -1]).astype(np.float32)
    else:
        axis = axis / sine
        k = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]], np.float32)
        turn = np.eye(3, dtype=np.float32) + sine * k + (1 - cosine) * (k @ k)
    out = c2w.copy()
    out[:, :3, :3] = turn @ c2w[:, :3, :3]
    out[:, :3, 3] = positions @ turn.T
    if distance > 0:
        radius = np.linalg.norm(out[:, :3, 3], axis=1, keepdims=True)
        out[:, :3, 3] = np.where(radius > 1e-6, out[:, :3, 3] * (distance / radius), out[:, :3, 3])
    return out


def rig(seed, count):
    """Cameras around a tilted ring that look roughly at the origin."""
    r = np.random.default_rng(seed)
    tilt = np.linalg.qr(r.normal(size=(3, 3)))[0]
    if np.linalg.det(tilt) < 0:
        tilt[:, 0] = -tilt[:, 0]
    out = []
    for i in range(count):
        a = 2 * np.pi * i / count + r.uniform(-0.2, 0.2)
        p = r.uniform(2.2, 3.4) * np.array([np.cos(a), np.sin(a), r.uniform(-0.05, 0.25)])
        forward = -p / np.linalg.norm(p) + r.normal(size=3) * 0.05
        forward /= np.linalg.norm(forward)
        right = np.cross(forward, [0, 0, 1])
        right /= np.linalg.norm(right)
        m = np.eye(4)
        m[:3, 0], m[:3, 1], m[:3, 2], m[:3, 3] = right, np.cross(forward, right), forward, p
        m[:3] = tilt @ m[:3]
        out.append(m)
    return np.stack(out)


def main():
    out = {"versions": {"pillow": PIL.__version__, "numpy": np.__version__}}
    square, rgb = formula_image(53, 53, 4), formula_image(40, 40, 3)
    out["image"] = {
        "source": sha(square), "rgb": sha(rgb),
        "resize_16": sha(lanczos(square, 16, 16)), "resize_100": sha(lanczos(square, 100, 100)),
        "resize_rgb_24": sha(lanczos(rgb, 24, 24)), "resize_wide_20x41": sha(lanczos(formula_image(64, 48, 4), 20, 41)),
        "white": sha(composite(square, (255, 255, 255))), "gray": sha(composite(square, (127, 127, 127))),
        "colour": sha(composite(square, (13, 200, 91))),
        "enhance": [[b, c, sha(enhance(square, b, c))] for b, c in ((0.9, 1.1), (1.0625, 0.9375), (1.25, 0.5))],
        "rotate_3.25": sha(np.array(Image.fromarray(rgb).rotate(3.25, Image.BILINEAR))),
    }
    out["cameras"] = []
    for seed, count, z_up, distance, given in ((1, 6, True, 2.7, None), (2, 6, False, 2.7, None), (3, 2, True, 0, None),
                                               (4, 5, True, 1.5, [0.2, -0.3, 0.9]), (5, 3, True, 2.7, None)):
        c2w = rig(seed, count)
        out["cameras"].append({"z_up": z_up, "distance": distance, "given": given, "c2w": c2w.tolist(),
                               "expected": normalise(c2w, z_up, distance, given).astype(np.float64).round(8).tolist()})
    if len(sys.argv) > 1:
        views = {}
        for name in ("cam_000", "cam_013", "cam_031"):
            a = np.array(Image.open(os.path.join(sys.argv[1], "images", name + ".png")))
            small = lanczos(a, 64, 64)
            views[name] = {"rgba": sha(a), "rgba_64": sha(small), "white_64": sha(composite(small, (255, 255, 255)))}
        out["facelift"] = views
    here = os.path.dirname(os.path.abspath(__file__))
    up = np.array([0.25, -0.5, 0.75])
    np.savez(os.path.join(here, "vertical_lines_f64.npz"), lines=np.zeros((2, 4)), up_direction=up)
    np.savez_compressed(os.path.join(here, "vertical_lines_f32_deflated.npz"), up_direction=up.astype(np.float32))
    np.savez(os.path.join(here, "vertical_lines_other.npz"), down=up)
    np.savez(os.path.join(here, "vertical_lines_wrong.npz"), up_direction=np.zeros(4))
    with open(os.path.join(here, "data.json"), "w") as f:
        f.write(json.dumps(out).replace(', "', ',\n"') + "\n")


if __name__ == "__main__":
    main()
