"""Writes tests/golden/encoders.safetensors and tests/golden/pipeline/: the image encoder and the autoencoder of SD-2.1-unCLIP as
transformers and diffusers compute them, narrow, in f64, with formula weights; names and shapes of the full-size ones; and a
small pipeline folder in the diffusers layout.

Run from the repository's root:  python3 tests/golden/make_encoders.py
Made with Python 3.11, torch 2.4.0, diffusers 0.30.3, transformers 4.44.2, Pillow 10.4.0, numpy 1.26.4, safetensors 0.8.0.

Weights by formula, so that no file holds them: parameters in the alphabetical order of their names are k = 0, 1, 2, ...; element i in
row-major order is hashed with k to u in [-1, 1) (see `fill`); a tensor of two or more axes is u sqrt(3 / fan_in), a norm's weight
1 + u / 10, anything else u / 10.
"""
import json
import os
import shutil

import numpy
import torch
from diffusers import AutoencoderKL, DDIMScheduler, DDPMScheduler
from diffusers.pipelines.stable_diffusion import StableUnCLIPImageNormalizer
from PIL import Image
from safetensors.torch import save_file
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

torch.set_grad_enabled(False)
out = {}


def fill(model):
    for k, (name, p) in enumerate(sorted(model.named_parameters())):
        with numpy.errstate(over="ignore"):
            x = (numpy.arange(1, p.numel() + 1, dtype=numpy.uint32) * numpy.uint32(0x9E3779B1)
                 + numpy.uint32((k + 1) * 0x85EBCA77 % 2**32))
            x ^= x >> 16
            x *= numpy.uint32(0x7FEB352D)
            x ^= x >> 15
            x *= numpy.uint32(0x846CA68B)
            x ^= x >> 16
        u = torch.from_numpy(2 * (x.astype(numpy.float64) / 2**32) - 1)
        if p.dim() >= 2:
            u = u * (3 / (p.numel() // p.shape[0])) ** 0.5
        else:
            u = 1 + u / 10 if name.endswith("weight") else u / 10
        p.data = u.reshape(p.shape)


def names_hash(model):
    """FNV-1a of the alphabetical lines "name [axis, axis]\\n"."""
    h = 0xCBF29CE484222325
    for name, p in sorted(model.state_dict().items()):
        if name.endswith("position_ids"):
            continue
        for byte in f"{name} {list(p.shape)}\n".encode():
            h = (h ^ byte) * 0x100000001B3 % 2**64
    return f"{h:016x}"


def picture(size):
    return (torch.arange(2 * size * size * 3) * 7919 % 251).to(torch.uint8).reshape(2, size, size, 3)


# CLIP: two heads of 80, as wide as ViT-H's; and one of 32.
image = picture(40)
out["clip.image"] = image
for name, hidden, heads in (("clip", 160, 2), ("clip32", 64, 2)):
    config = CLIPVisionConfig(hidden_size=hidden, intermediate_size=2 * hidden, num_hidden_layers=2, num_attention_heads=heads,
                              image_size=56, patch_size=14, projection_dim=64, hidden_act="gelu")
    clip = CLIPVisionModelWithProjection(config).double().eval()
    fill(clip)
    processor = CLIPImageProcessor(size={"shortest_edge": 56}, crop_size={"height": 56, "width": 56})
    pixels = processor([Image.fromarray(p.numpy()) for p in image], return_tensors="pt").pixel_values
    out[f"{name}.embeds"] = clip(pixels.double()).image_embeds
# The training script's preprocessing of the same images as floats.
floats = torch.nn.functional.interpolate(image.double().permute(0, 3, 1, 2) / 255, size=(56, 56), mode="bicubic", antialias=True)
mean, std = (torch.tensor(v, dtype=torch.float64).view(1, 3, 1, 1) for v in (processor.image_mean, processor.image_std))
out["clip32.embeds_training"] = clip((floats - mean) / std).image_embeds

# The autoencoder at SD's layout, narrow.
layout = dict(in_channels=3, out_channels=3, down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4,
              layers_per_block=2, latent_channels=4, norm_num_groups=32, sample_size=768)
vae = AutoencoderKL(block_out_channels=[32, 64, 96, 96], **layout).double().eval()
fill(vae)
x = 2 * picture(24)[:1].double().permute(0, 3, 1, 2) / 255 - 1
posterior = vae.encode(x).latent_dist
latents = torch.sin(torch.arange(4 * 3 * 3, dtype=torch.float64) * 0.7).reshape(1, 4, 3, 3)
channels_last = lambda t: t.permute(0, 2, 3, 1).contiguous()
out.update({"vae.image": channels_last(x), "vae.mean": channels_last(posterior.mean), "vae.logvar": channels_last(posterior.logvar),
            "vae.latents": channels_last(latents), "vae.decoded": channels_last(vae.decode(latents).sample)})

with torch.device("meta"):
    full_clip = CLIPVisionModelWithProjection(CLIPVisionConfig(
        hidden_size=1280, intermediate_size=5120, num_hidden_layers=32, num_attention_heads=16, image_size=224, patch_size=14,
        projection_dim=1024, hidden_act="gelu"))
    full_vae = AutoencoderKL(block_out_channels=[128, 256, 512, 512], **layout)
metadata = {"clip.names": names_hash(full_clip), "vae.names": names_hash(full_vae)}
print(metadata)
save_file(out, "tests/golden/encoders.safetensors", metadata)

# A pipeline folder: components as the libraries save them; the UNet is a configuration and one tensor.
folder = "tests/golden/pipeline"
shutil.rmtree(folder, ignore_errors=True)
tiny = AutoencoderKL(block_out_channels=[4, 4], norm_num_groups=2, in_channels=3, out_channels=3, layers_per_block=1, latent_channels=4,
                     down_block_types=["DownEncoderBlock2D"] * 2, up_block_types=["UpDecoderBlock2D"] * 2).double().eval()
fill(tiny)
tiny.half().save_pretrained(f"{folder}/vae")
encoder = CLIPVisionModelWithProjection(CLIPVisionConfig(
    hidden_size=8, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14, projection_dim=8,
    hidden_act="gelu")).double().eval()
fill(encoder)
encoder.to(torch.bfloat16).save_pretrained(f"{folder}/image_encoder", safe_serialization=False)   # pytorch_model.bin
normalizer = StableUnCLIPImageNormalizer(8)
normalizer.mean.data += 0.25
normalizer.save_pretrained(f"{folder}/image_normalizer")
# An old file: torch.save before the zip form.
os.remove(f"{folder}/image_normalizer/diffusion_pytorch_model.safetensors")
torch.save(normalizer.state_dict(), f"{folder}/image_normalizer/diffusion_pytorch_model.bin", _use_new_zipfile_serialization=False)
DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type="v_prediction", steps_offset=1,
              clip_sample=False, set_alpha_to_one=False).save_pretrained(f"{folder}/scheduler")
DDPMScheduler(beta_schedule="squaredcos_cap_v2").save_pretrained(f"{folder}/image_noising_scheduler")
CLIPImageProcessor().save_pretrained(f"{folder}/feature_extractor")
os.makedirs(f"{folder}/unet")
json.dump({"_class_name": "UNetMV2DConditionModel"}, open(f"{folder}/unet/config.json", "w"))
pair = lambda library, name: [library, name]
json.dump({"_class_name": "StableUnCLIPImg2ImgPipeline", "_diffusers_version": "0.30.3",
           "feature_extractor": pair("transformers", "CLIPImageProcessor"),
           "image_encoder": pair("transformers", "CLIPVisionModelWithProjection"),
           "image_noising_scheduler": pair("diffusers", "DDPMScheduler"),
           "image_normalizer": pair("stable_diffusion", "StableUnCLIPImageNormalizer"),
           "scheduler": pair("diffusers", "DDIMScheduler"), "text_encoder": [None, None], "tokenizer": [None, None],
           "unet": pair("mvdiffusion.models.unet_mv2d_condition", "UNetMV2DConditionModel"), "vae": pair("diffusers", "AutoencoderKL")},
          open(f"{folder}/model_index.json", "w"), indent=2)
