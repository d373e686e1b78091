"""Golden vectors of the image losses, the loss networks and the metrics: loss.safetensors, loss_networks.safetensors.

Made with torch 2.4.0, pytorch-msssim 1.0.0, lpips 0.1.4, scikit-image 0.26.0; f64 throughout. Run in this folder.
"""
import math

import lpips
import numpy as np
import torch
import torch.nn.functional as F
from pytorch_msssim import ssim
from safetensors.torch import save_file
from skimage.metrics import structural_similarity

torch.set_default_dtype(torch.float64)
torch.manual_seed(20261122)
H, W = 18, 17

# Smooth images with noise, the render partly outside [0, 1]; alpha a disc with a soft edge.
y, x = torch.meshgrid(torch.linspace(0, 1, H), torch.linspace(0, 1, W), indexing="ij")
alpha = torch.sigmoid(12 * (0.4 - ((x - 0.5) ** 2 + (y - 0.5) ** 2).sqrt()) * 4)
target = torch.stack([0.5 + 0.4 * torch.sin(5 * x + k) * torch.cos(4 * y - k) for k in range(3)] + [alpha], -1)[None].float()
render = (target[..., :3].double() + 0.2 * torch.randn(1, H, W, 3)).float().double()
out = {"render": render.clone(), "target": target.clone()}
nchw = lambda t: t.permute(0, 3, 1, 2)


def record(name, loss, r):
    (g,) = torch.autograd.grad(loss, r)
    out[name] = loss.detach().reshape(1)
    out[name + ".grad"] = g.contiguous()


def leaf():
    return render.clone().requires_grad_(True)


T = target.double()
rgb, a = T[..., :3], T[..., 3]
r = leaf()
record("mse", F.mse_loss(r, rgb), r)
for name, m in (("mse_foreground", a > 0.5), ("mse_background", a < 0.5)):
    r = leaf()
    record(name, (m[..., None] * (r - rgb) ** 2).sum() / (3 * m.sum().clamp(min=1)), r)
r = leaf()
record("ssim", 1 - ssim(nchw(r), nchw(rgb), data_range=1, size_average=True), r)
r = leaf()
hidden = (a <= 0.5)[..., None]
record("ssim_masked", 1 - ssim(nchw(torch.where(hidden, 0.5, r)), nchw(torch.where(hidden, 0.5, rgb)), data_range=1), r)

# Metrics.
clip = lambda t: t.clamp(0, 1)
se = (clip(render) - clip(rgb)) ** 2
out["psnr"] = -10 * torch.log10(se.mean()).reshape(1)
out["foreground_psnr"] = -10 * torch.log10(se[a > 0.5].mean()).reshape(1)
out["metric_ssim"] = torch.tensor([structural_similarity(
    render[0].numpy(), rgb[0].numpy(), win_size=11, gaussian_weights=True, sigma=1.5, channel_axis=-1, data_range=1.0)])
painted, real = (render - 1).abs().mean(-1) > 0.1, a > 0.5
out["mask_iou"] = ((painted & real).sum() / (painted | real).sum().clamp(min=1)).reshape(1)
out["coverage"] = painted.double().mean().reshape(1)
save_file({k: v.contiguous() for k, v in out.items()}, "loss.safetensors", {"made_by": "make_loss.py"})


# ---- loss networks, with formula weights (models/perceptual/vgg.h) ----
def formula(convs, seed):
    k = 0
    for conv in convs:
        for p, scale in ((conv.weight, math.sqrt(6 / (conv.in_channels * 9))), (conv.bias, 0.05)):
            i = np.arange(p.numel(), dtype=np.uint64) + np.uint64(1)
            v = (i * 0x9E3779B1 + (k + 1) * 0x85EBCA77 + seed * 0xC2B2AE3D) & 0xFFFFFFFF
            v ^= v >> 16
            v = v * 0x7FEB352D & 0xFFFFFFFF
            v ^= v >> 15
            v = v * 0x846CA68B & 0xFFFFFFFF
            v ^= v >> 16
            p.data = torch.from_numpy((2 * (v / 2.0**32) - 1) * scale).reshape(p.shape)
            k += 1


out = {}
net = lpips.LPIPS(net="vgg", pretrained=False, pnet_rand=True, verbose=False).double().eval()
formula([m for m in net.net.modules() if isinstance(m, torch.nn.Conv2d)], 16)
for k, lin in enumerate(net.lins):
    lin.model[-1].weight.data = torch.rand_like(lin.model[-1].weight)
    out[f"lin{k}.model.1.weight"] = lin.model[-1].weight.detach()
net.scaling_layer.shift = torch.tensor([-0.030, -0.088, -0.188])[None, :, None, None]
net.scaling_layer.scale = torch.tensor([0.458, 0.448, 0.450])[None, :, None, None]
r = leaf()
record("lpips", net(nchw(r), nchw(rgb), normalize=True).mean(), r)

channels = [64, 64, 128, 128, 256, 256, 256, 256, 512, 512, 512, 512, 512, 512, 512, 512]
convs = [torch.nn.Conv2d(i, o, 3, padding=1) for i, o in zip([3] + channels, channels)]
formula(convs, 19)


def features(x):
    taps, pool = [], {2, 4, 8, 12}
    for k, conv in enumerate(convs[:14], 1):
        x = F.relu(conv(x))
        if k in (2, 4, 6, 10, 14):
            taps.append(x)
        if k in pool:
            x = F.avg_pool2d(x, 2)
    return taps


mean = torch.tensor([123.68, 116.779, 103.939])[None, :, None, None]
r = leaf()
xa, xb = 255 * nchw(r) - mean, 255 * nchw(rgb) - mean
loss = F.l1_loss(xa, xb)
for fa, fb, w in zip(features(xa), features(xb), (1 / 2.6, 1 / 4.8, 1 / 3.7, 1 / 5.6, 10 / 1.5)):
    loss = loss + w * F.l1_loss(fa, fb)
record("perceptual", loss / 255, r)
save_file({k: v.contiguous() for k, v in out.items()}, "loss_networks.safetensors", {"made_by": "make_loss.py"})
