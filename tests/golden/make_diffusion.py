"""Writes tests/golden/diffusion.safetensors: schedules, samplers, the moving average of parameters, noise on image embeddings
and the two ways that CLIP's input is resized, as diffusers, transformers, torch and Pillow compute them.

Run from the repository's root:  python3 tests/golden/make_diffusion.py
Made with Python 3.11, torch 2.4.0, diffusers 0.30.3, transformers 4.44.2, Pillow 10.4.0, numpy 1.26.4, safetensors 0.8.0.
Values are fixed by formula; nothing is random.
"""
import numpy
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, StableUnCLIPImg2ImgPipeline
from diffusers.pipelines.stable_diffusion import StableUnCLIPImageNormalizer
from diffusers.training_utils import EMAModel, compute_snr
from PIL import Image
from safetensors.torch import save_file
from transformers import CLIPImageProcessor

torch.set_grad_enabled(False)
out = {}
double = torch.float64


def wave(*shape, phase=0.0, scale=1.0):
    n = int(torch.tensor(shape).prod())
    i = torch.arange(n, dtype=double)
    return (scale * torch.sin(i * 1.7 + phase) + 0.3 * scale * torch.cos(i * 0.37)).reshape(shape)


# Training: the schedule, noise, velocity, SNR.
training = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", num_train_timesteps=1000,
                prediction_type="v_prediction", steps_offset=1, clip_sample=False)
ddpm = DDPMScheduler(**training)
t = torch.tensor([0, 1, 100, 146, 147, 500, 999])
x0, noise = wave(7, 2, 3), wave(7, 2, 3, phase=1.0)
snr = compute_snr(ddpm, t)
out.update({"alpha_bar": ddpm.alphas_cumprod.double(), "t": t, "x0": x0, "noise": noise,
            "noisy": ddpm.add_noise(x0, noise, t), "velocity": ddpm.get_velocity(x0, noise, t),
            "weight": (torch.minimum(snr, torch.full_like(snr, 5.0)) / snr).double()})


# Sampling: a made-up network, v = sin(3 x) / 2 + x / 4 + t / 5000, unconditional half without the last term.
def network(x, t, conditional):
    return torch.sin(3 * x) / 2 + x / 4 + (float(t) / 5000 if conditional else 0.0)


def guided(x, t, scale):
    uncond, cond = network(x, t, False), network(x, t, True)
    return uncond + scale * (cond - uncond)


start = wave(2, 4, phase=0.5, scale=1.3)
out["sample.start"] = start
for name, steps, eta, scale in (("ddim50", 50, 1.0, 3.0), ("ddim20", 20, 1.0, 1.0), ("ddim7", 7, 0.0, 3.0)):
    scheduler = DDIMScheduler(set_alpha_to_one=False, **training)
    scheduler.set_timesteps(steps)
    x, trace = start.clone(), []
    for k, step in enumerate(scheduler.timesteps):
        z = wave(2, 4, phase=2.0 + k)
        x = scheduler.step(guided(x, step, scale), step, x, eta=eta, variance_noise=z if eta > 0 else None).prev_sample
        trace.append(x)
    out[f"{name}.timesteps"], out[f"{name}.trace"] = scheduler.timesteps.clone(), torch.stack(trace)
for name, steps in (("dpm20", 20), ("dpm8", 8), ("dpm1", 1)):
    scheduler = DPMSolverMultistepScheduler.from_config(DDIMScheduler(set_alpha_to_one=False, **training).config,
                                                        algorithm_type="dpmsolver++", solver_order=2)
    scheduler.set_timesteps(steps)
    x, trace = start.clone(), []
    for step in scheduler.timesteps:
        x = scheduler.step(guided(x, step, 3.0), step, x).prev_sample
        trace.append(x)
    out[f"{name}.timesteps"], out[f"{name}.trace"] = scheduler.timesteps.clone(), torch.stack(trace)

# The moving average: decays by update, and four updates of one parameter.
parameter = torch.nn.Parameter(wave(9))
average = EMAModel([parameter], decay=0.9999)
out["ema.decays"] = torch.tensor([average.get_decay(k) for k in (1, 2, 10, 100, 1000, 10000, 90000, 200000)], dtype=double)
shadows = []
for k in range(4):
    parameter.data = wave(9, phase=float(k + 1))
    average.step([parameter])
    shadows.append(average.shadow_params[0].clone())
out["ema.shadows"] = torch.stack(shadows)

# Noise on embeddings, with a normaliser that is not the identity.
levels = DDPMScheduler(num_train_timesteps=1000, beta_schedule="squaredcos_cap_v2")
out["levels.alpha_bar"] = levels.alphas_cumprod.double()
normalizer = StableUnCLIPImageNormalizer(16).double()
normalizer.mean.data, normalizer.std.data = wave(1, 16, scale=0.2), 1 + wave(1, 16, phase=3.0, scale=0.3)


class Pipe:
    image_normalizer, image_noising_scheduler = normalizer, levels


embedding, extra = wave(3, 16, phase=4.0), wave(3, 16, phase=5.0)
out.update({"embedding": embedding, "embedding.noise": extra, "embedding.mean": normalizer.mean.data[0],
            "embedding.std": normalizer.std.data[0]})
for level in (0, 437):
    out[f"embedding.level{level}"] = StableUnCLIPImg2ImgPipeline.noise_image_embeddings(Pipe, embedding, level, noise=extra)

# Resizing for CLIP: floats as in training, bytes as at inference.
picture = (torch.arange(2 * 31 * 17 * 3) * 7919 % 256).to(torch.uint8).reshape(2, 31, 17, 3)
out["resize.bytes"] = picture
floats = torch.nn.functional.interpolate(picture.double().permute(0, 3, 1, 2) / 255, size=(14, 20), mode="bicubic",
                                         antialias=True)
out["resize.floats_14x20"] = floats.permute(0, 2, 3, 1).contiguous()
out["resize.bytes_14x20"] = torch.stack([torch.from_numpy(numpy.array(
    Image.fromarray(p.numpy()).resize((20, 14), Image.BICUBIC))) for p in picture])
processor = CLIPImageProcessor(size={"shortest_edge": 14}, crop_size={"height": 14, "width": 14})
square = picture[:, :17].contiguous()
out["resize.clip_14"] = processor([Image.fromarray(p.numpy()) for p in square], return_tensors="pt").pixel_values.permute(
    0, 2, 3, 1).contiguous()

save_file({k: v.contiguous() for k, v in out.items()}, "tests/golden/diffusion.safetensors")
