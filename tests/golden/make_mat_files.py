"""Writes tests/golden/mat: small networks in MatConvNet's form. Run from the repository's root. Made with scipy 1.17.1.

Kernel [h, w, in, out] holds 1000 layer + 100 h + 10 w + in + out / 10, so that a wrong order of axes shows."""
import pathlib
import numpy as np
import scipy.io

out = pathlib.Path("tests/golden/mat")
out.mkdir(parents=True, exist_ok=True)


def cell(items):
    c = np.empty((1, len(items)), dtype=object)
    for i, item in enumerate(items):
        c[0, i] = item
    return c


def conv(layer, channels_in, channels_out, old):
    h, w, i, o = np.ogrid[0:3, 0:3, 0:channels_in, 0:channels_out]
    kernel = np.asfortranarray((1000 * layer + 100 * h + 10 * w + i + o / 10).astype(np.float32))
    bias = (layer + np.arange(channels_out, dtype=np.float32) / 10).reshape(1, -1)
    common = {"name": f"conv{layer}", "type": "conv", "pad": np.ones((1, 4)), "stride": np.ones((1, 2))}
    return common | ({"filters": kernel, "biases": bias} if old else {"weights": cell([kernel, bias])})


for name, old, packed in (("network.mat", False, True), ("network_plain.mat", False, False), ("network_old.mat", True, True)):
    layers = [conv(0, 3, 4, old), {"name": "relu0", "type": "relu"}, conv(2, 4, 1, old), {"name": "pool", "type": "pool", "pool": np.array([2.0, 2.0])}]
    scipy.io.savemat(out / name, {"layers": cell(layers), "meta": {"classes": "none"}}, do_compression=packed)
scipy.io.savemat(out / "other.mat", {"x": np.ones(3)})
