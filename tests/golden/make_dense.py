"""Writes tests/golden/dense.safetensors: GELU, AdamW with clipping, tokens, the Gaussian decode and the two losses on ray
alignment, as PyTorch computes them in f64, with gradients by autograd.

Run from the repository's root:  python3 tests/golden/make_dense.py
Made with Python 3.11, torch 2.4.0, safetensors 0.8.0. Values are fixed by formula; nothing is random.
"""
import torch
from safetensors.torch import save_file

torch.set_default_dtype(torch.float64)
out = {}


def wave(*shape, phase=0.0, scale=1.0):
    n = int(torch.tensor(shape).prod())
    return (scale * torch.sin(torch.arange(n) * 1.7 + phase) + 0.3 * scale * torch.cos(torch.arange(n) * 0.37)).reshape(shape)


# GELU
x = (4 * wave(64)).requires_grad_()
y = torch.nn.functional.gelu(x)
y.backward(wave(64, phase=1.0))
out.update({"gelu.x": x.detach(), "gelu.y": y.detach(), "gelu.dy": wave(64, phase=1.0), "gelu.dx": x.grad})

# AdamW: one tensor that decays, one that does not; the norm of the second step is below the limit.
a, b = torch.nn.Parameter(wave(5, 6)), torch.nn.Parameter(wave(7, phase=2.0))
optimizer = torch.optim.AdamW([{"params": [a], "weight_decay": 0.05}, {"params": [b], "weight_decay": 0.0}], lr=1.0,
                              betas=(0.9, 0.95), eps=1e-8)
out["adamw.value0"] = torch.cat([a.detach().flatten(), b.detach()])
rates, grads, norms = [1e-3, 2e-3, 1.5e-3, 1e-3], [], []
for step, rate in enumerate(rates):
    g = wave(37, phase=step, scale=0.1 if step == 1 else 1.0)
    grads.append(g)
    a.grad, b.grad = g[:30].reshape(5, 6).clone(), g[30:].clone()
    norms.append(torch.nn.utils.clip_grad_norm_([a, b], 1.0))
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
flat = lambda key: torch.cat([optimizer.state[p][key].flatten() for p in (a, b)])
out.update({"adamw.rates": torch.tensor(rates), "adamw.grads": torch.stack(grads), "adamw.norms": torch.stack(norms),
            "adamw.value": torch.cat([a.detach().flatten(), b.detach()]), "adamw.m": flat("exp_avg"), "adamw.v": flat("exp_avg_sq")})

# Cameras: two views of 4 x 4 pixels, patches of 2.
V, H, p, C, free_count = 2, 4, 2, 14, 2
c2w = torch.zeros(V, 4, 4)
for v, angle in enumerate([0.4, 2.1]):
    o = 2.7 * torch.tensor([torch.cos(torch.tensor(angle)), torch.sin(torch.tensor(angle)), 0.35])
    z = torch.tensor([0.1, -0.05, 0.08]) - o
    z = z / z.norm()
    r = torch.linalg.cross(z, torch.tensor([0.0, 0.0, 1.0]))
    r = r / r.norm()
    c2w[v, :3, 0], c2w[v, :3, 1], c2w[v, :3, 2], c2w[v, :3, 3], c2w[v, 3, 3] = r, torch.linalg.cross(z, r), z, o, 1
fxfycxcy = torch.tensor([[4.3, 4.4, 2.1, 1.9], [4.2, 4.35, 1.85, 2.1]])
row, column = torch.meshgrid(torch.arange(H), torch.arange(H), indexing="ij")
k = fxfycxcy[:, :, None, None]
camera = torch.stack([(column + 0.5 - k[:, 2]) / k[:, 0], (row + 0.5 - k[:, 3]) / k[:, 1], torch.ones(V, H, H)], dim=1)
camera = camera / camera.norm(dim=1, keepdim=True)
d = torch.einsum("vij,vjhw->vihw", c2w[:, :3, :3], camera)
d = d / d.norm(dim=1, keepdim=True)
o = c2w[:, :3, 3][:, :, None, None].expand(V, 3, H, H)


def patches(image):  # [V, C, H, W] -> [V * P, p, p, C]
    v, c, h, w = image.shape
    return image.reshape(v, c, h // p, p, w // p, p).permute(0, 2, 4, 3, 5, 1).reshape(v * (h // p) * (w // p), p, p, c)


def image_of(rows):  # the inverse: [V * H * W, C] in the Gaussian order -> [V, C, H, W]
    c = rows.shape[1]
    return rows.reshape(V, H // p, H // p, p, p, c).permute(0, 5, 1, 3, 2, 4).reshape(V, c, H, H)


image = 0.5 + 0.35 * wave(V, H, H, 3)
nearest = o + (-(o * d).sum(1, keepdim=True)) * d
posed = torch.cat([image.permute(0, 3, 1, 2) * 2 - 1, d, nearest], dim=1)
out.update({"c2w": c2w[None], "fxfycxcy": fxfycxcy[None], "image": image[None], "tokens": patches(posed).reshape(1, -1, p * p * 9)})

# Decode, depth rule (a).
free = wave(1, free_count, C, phase=0.5, scale=1.5).requires_grad_()
pixel = wave(1, V * (H // p) ** 2, p * p * C, phase=0.9, scale=1.5).requires_grad_()
raw = torch.cat([free, pixel.reshape(1, V * H * H, C)], dim=1)
xyz, features, scaling, rotation, opacity = raw.split([3, 3, 3, 4, 1], dim=2)
scaling, opacity = (scaling - 2.3).clamp(max=-1.20), opacity - 2.0
depth = (2 * torch.sigmoid(image_of(xyz[0, free_count:]).mean(1, keepdim=True)) - 1) * 1.8 - (o * d).sum(1, keepdim=True)
aligned = o + depth * d
xyz = torch.cat([xyz[:, :free_count], patches(aligned).reshape(1, -1, 3)], dim=1)
parts = {"xyz": xyz, "features": features.unsqueeze(2), "scaling": scaling, "rotation": rotation, "opacity": opacity}
total = 0
for i, (name, value) in enumerate(parts.items()):
    weight = wave(*value.shape, phase=float(i))
    out.update({f"decode.{name}": value.detach(), f"decode.d{name}": weight})
    total = total + (value * weight).sum()
total.backward()
out.update({"decode.free": free.detach(), "decode.pixel": pixel.detach(), "decode.dfree": free.grad, "decode.dpixel": pixel.grad})

# The two losses, on points off their rays.
points = (0.5 * wave(1, V * H * H, 3, phase=1.3)).requires_grad_()
e = image_of(points[0]) - o
residual = e - (e.detach() * d).sum(1, keepdim=True) * d
pixel_align = residual.norm(dim=1).mean()
delta = e.norm(dim=1, keepdim=True)
held = delta.detach()
mean, deviation = held.mean(dim=(2, 3), keepdim=True), held.std(dim=(2, 3), keepdim=True)
points_dist = ((delta - ((held - mean) / (deviation + 1e-8) * 0.5 + o.norm(dim=1, keepdim=True))) ** 2).mean()
out["align.xyz"] = points.detach()
out["align.pixel_align"], out["align.points_dist"] = pixel_align.detach()[None], points_dist.detach()[None]
out["align.pixel_align_dxyz"], = torch.autograd.grad(pixel_align, points)
out["align.points_dist_dxyz"], = torch.autograd.grad(points_dist, points)

save_file({name: t.contiguous() for name, t in out.items()}, "tests/golden/dense.safetensors")
