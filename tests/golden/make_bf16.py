"""How far bf16 autocast moves the published GS-LRM from its f32 self: tests/golden/gslrm_bf16.json.

    python tests/golden/make_bf16.py GOLDEN_FOLDER > tests/golden/gslrm_bf16.json

For every case gslrm_* the network is rebuilt in PyTorch from the layers' definition, with the case's initial weights. In
f32 it must reproduce the stored outputs (checked here, 1e-4). Then the same under torch.autocast(bfloat16), the published
training mode; rays stay f32, which is kinder than the published code, so that the bound is the stricter one. Figures are
relative L2 errors: of outputs against the stored ones; of gradients, those of sum(stored output * output) over all outputs
but the tokens, against the same in f32; "grad" is that of all parameters together.
"""
import json
import pathlib
import sys

import torch
import torch.nn.functional as F
import yaml
from safetensors.torch import load_file


def rays(c2w, k, side):
    y, x = torch.meshgrid(torch.arange(side) + 0.5, torch.arange(side) + 0.5, indexing="ij")
    fx, fy, cx, cy = (k[..., i, None, None] for i in range(4))
    d = torch.stack([(x - cx) / fx, (y - cy) / fy, torch.ones_like((x - cx) / fx)], -1)
    d = F.normalize(torch.einsum("bvij,bvhwj->bvhwi", c2w[..., :3, :3], F.normalize(d, dim=-1)), dim=-1)
    o = c2w[..., None, None, :3, 3].expand_as(d)
    return o, d


def forward(w, image, c2w, k, model):
    p, heads = model["image_tokenizer"]["patch_size"], model["transformer"]["d"] // model["transformer"]["d_head"]
    assert model["use_custom_plucker"] and model["hard_pixelalign"]
    norm = lambda x, name: F.layer_norm(x, x.shape[-1:], w[name + ".weight"])
    with torch.autocast("cpu", enabled=False):
        o, d = rays(c2w, k, image.shape[-1])
        along = -(o * d).sum(-1, keepdim=True)
        posed = torch.cat([image[:, :, :3].movedim(2, -1) * 2 - 1, d, o + along * d], -1)
    B, V, H, W, C = posed.shape
    patches = posed.reshape(B, V, H // p, p, W // p, p, C).permute(0, 1, 2, 4, 3, 5, 6).reshape(B, -1, p * p * C)
    x = F.linear(patches, w["patch_embedder.1.weight"])
    if model.get("add_refsrc_marker"):
        kind = (torch.arange(x.shape[1]) >= x.shape[1] // V).long()
        x = x + w["view_type_embeddings"][kind]
    free = w["gaussian_position_embeddings"].expand(B, -1, -1)
    n = free.shape[1]
    x = norm(torch.cat([free, x], 1), "input_layer_norm")
    for i in range(model["transformer"]["n_layer"]):
        b = f"transformer_layers.{i}."
        q, kk, v = F.linear(norm(x, b + "norm1"), w[b + "attn.to_qkv.weight"]).chunk(3, -1)
        split = lambda t: t.reshape(B, t.shape[1], heads, -1).transpose(1, 2)
        y = F.scaled_dot_product_attention(split(q), split(kk), split(v)).transpose(1, 2).flatten(2)
        x = x + F.linear(y, w[b + "attn.fc.weight"])
        h = F.gelu(F.linear(norm(x, b + "norm2"), w[b + "mlp.mlp.0.weight"]))
        x = x + F.linear(h, w[b + "mlp.mlp.2.weight"])
    a = F.linear(norm(x[:, :n], "gaussian_upsampler.layernorm"), w["gaussian_upsampler.linear.weight"])
    z = F.linear(norm(x[:, n:], "pixel_gaussian_decoder.0"), w["pixel_gaussian_decoder.1.weight"])
    g = torch.cat([a, z.reshape(B, -1, a.shape[-1])], 1)
    sh = 3 * (model["gaussians"]["sh_degree"] + 1) ** 2
    xyz, features, scaling, rotation, opacity = g.split([3, sh, 3, 4, 1], -1)
    scaling = (scaling - 2.3).clamp(max=-1.20)
    t = (2 * torch.sigmoid(xyz[:, n:].mean(-1, keepdim=True) + model.get("depth_preact_bias", 0.0)) - 1) * 1.8
    order = lambda m: m.reshape(B, V, H // p, p, W // p, p, 3).permute(0, 1, 2, 4, 3, 5, 6).reshape(B, -1, 3)
    o, d, along = order(o), order(d), order(along.expand_as(d))[..., :1]
    xyz = torch.cat([xyz[:, :n].float(), o + (t + along) * d], 1)
    return {"xyz": xyz, "features": features.unflatten(-1, (-1, 3)), "scaling": scaling, "rotation": rotation,
            "opacity": opacity - 2.0, "img_tokens": x[:, n:]}


def main(folder):
    figures = {}
    for case in sorted(pathlib.Path(folder).glob("gslrm_*")):
        config = yaml.safe_load((case / "config.yaml").read_text())
        w = torch.load(case / "ckpt_0000000000000000.pt", weights_only=True)["model"]
        ref = load_file(case / "expected.safetensors")
        views = config["training"]["dataset"]["num_input_views"]
        batch = [ref[k][:, :views] for k in ("image", "c2w", "fxfycxcy")]

        def run():
            for t in w.values():
                t.requires_grad_(True).grad = None
            out = forward(w, *batch, config["model"])
            return out, sum((v.float() * ref[k]).sum() for k, v in out.items() if k != "img_tokens")

        def with_gradients(out, loss):
            loss.backward()
            out = {k: v.detach().float() for k, v in out.items()}
            out.update({"grad." + k: t.grad for k, t in w.items()})
            return {**out, "grad": torch.cat([t.grad.flatten() for t in w.values()])}

        error = lambda out, ref: {k: ((v - ref[k]).norm() / ref[k].norm()).item() for k, v in out.items()}
        plain = with_gradients(*run())
        reproduced = error({k: plain[k] for k in ("xyz", "features", "scaling", "rotation", "opacity", "img_tokens")}, ref)
        assert max(reproduced.values()) < 1e-4, (case.name, reproduced)
        with torch.autocast("cpu", torch.bfloat16):
            moved = run()
        figures[case.name] = {k: float(f"{v:.4g}") for k, v in error(with_gradients(*moved), plain).items()}
    print(json.dumps({"torch": torch.__version__, "relative_l2": figures}, indent=1))


main(sys.argv[1])
