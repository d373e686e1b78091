"""Writes tests/golden/torch: small files of torch.save and pickle, and a listing of the golden checkpoints.

Run from the repository's root:  python3 tests/golden/make_torch_files.py [golden folder]
Made with Python 3.11, torch 2.4.0, numpy 2.4.6. Values are fixed by formula; nothing is random.
"""
import collections, json, pathlib, pickle, sys, zipfile
import numpy as np
import torch

out = pathlib.Path("tests/golden/torch")
out.mkdir(parents=True, exist_ok=True)

# One of everything that a checkpoint may hold.
base = torch.arange(24, dtype=torch.float32)
fortran = torch.arange(36, dtype=torch.float32).reshape(3, 3, 2, 2).permute(3, 2, 0, 1)  # strides 1, 2, 12, 4: MATLAB kernels
linear = torch.nn.Linear(2, 3)
with torch.no_grad():
    linear.weight.copy_(torch.arange(6.0).reshape(3, 2))
    linear.bias.copy_(torch.tensor([7.0, 8.0, 9.0]))
everything = {
    "shared": [base, base[6:12], base.reshape(4, 6).t()],
    "fortran": fortran,
    "types": {
        "f64": torch.tensor([1.5, -2.25], dtype=torch.float64), "f16": torch.tensor([1.5, -2.25]).half(),
        "bf16": torch.tensor([1.5, -2.25]).bfloat16(), "i64": torch.tensor([-(2**40), 3]),
        "i32": torch.tensor([-7, 3], dtype=torch.int32), "i16": torch.tensor([-7, 3], dtype=torch.int16),
        "i8": torch.tensor([-7, 3], dtype=torch.int8), "u8": torch.tensor([255, 3], dtype=torch.uint8),
        "bool": torch.tensor([True, False])},
    "scalar": torch.tensor(2.5), "empty": torch.empty(0, 3),
    "state_dict": linear.state_dict(),          # an OrderedDict with _metadata
    "parameter": linear.bias,
    "plain": [None, True, False, 0, 255, 256, 65536, -1, 2**40, -(2**40), 0.1, "text \u00e9", (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)],
    3: collections.OrderedDict([("z", 1), ("a", 2)]),
    "numpy": np.float64(0.125),
}
torch.save(everything, out / "everything.pt")
torch.save(everything, out / "everything_legacy.pt", _use_new_zipfile_serialization=False)
torch.save(everything, out / "everything_protocol4.pt", pickle_protocol=4)
with zipfile.ZipFile(out / "everything.pt") as source, zipfile.ZipFile(out / "deflated.pt", "w", zipfile.ZIP_DEFLATED) as target:
    for name in source.namelist():
        target.writestr(zipfile.ZipInfo(name), source.read(name), zipfile.ZIP_DEFLATED)

# NumPy pickles as camera files have them.
K = np.arange(9, dtype=np.float64).reshape(3, 3)
cameras = [{"K": K, "R": K.T, "T": np.array([[1.0], [2.0], [3.0]]), "K32": K.astype(np.float32),
            "big": K.astype(">f8"), "ints": np.array([1, -2], np.int32), "n": np.int64(7), "map": np.zeros((2, 3), np.float32)}]
for protocol in (2, 3, 4, 5):
    (out / f"numpy_{protocol}.pkl").write_bytes(pickle.dumps(cameras, protocol=protocol))


class Malicious:
    def __reduce__(self):
        return print, ("should never run",)


(out / "malicious.pkl").write_bytes(pickle.dumps({"K": Malicious()}, protocol=4))

# Names, shapes and a few values of the golden checkpoints.
golden = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/golden")


def leaves(value, name=""):
    if isinstance(value, torch.Tensor):
        flat = value.double().flatten()
        yield name, {"dtype": str(value.dtype).removeprefix("torch."), "shape": list(value.shape), "sum": float(flat.sum()),
                     "first": float(flat[0]), "last": float(flat[-1])}
    elif isinstance(value, (dict, list, tuple)):
        for k, v in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(v, f"{name}.{k}" if name else str(k))


listing = {}
for case in sorted(golden.glob("gslrm_*")):
    for file in sorted(case.glob("*.pt")):
        loaded = torch.load(file, weights_only=True, map_location="cpu")
        listing[f"{case.name}/{file.name}"] = {"step": loaded["fwdbwd_pass_step"], "tensors": dict(leaves(loaded))}
lines = []
for name, entry in listing.items():
    tensors = ",\n".join(f"   {json.dumps(n)}: {json.dumps(t)}" for n, t in entry["tensors"].items())
    lines.append(f' {json.dumps(name)}: {{"step": {entry["step"]}, "tensors": {{\n{tensors}}}}}')
(out / "golden_checkpoints.json").write_text("{\n" + ",\n".join(lines) + "}\n")
