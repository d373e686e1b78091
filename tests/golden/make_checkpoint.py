"""checkpoint/: a training run of a very small network as accelerate 0.33 and diffusers 0.30.3 save it, in the structure of the
published trainer of MVDiffusion (train_diffusion.py): names and order of the UNet's parameters, two optimizer groups, a learning
rate by step rules, a moving average, the hooks that write unet/ and unet_ema/.

  python make_checkpoint.py               write checkpoint-3, its unet as half (f16 in a .bin), and after.safetensors: step 4
  python make_checkpoint.py --check DIR   load DIR/checkpoint-4, which the test wrote after resuming checkpoint-3 and one step
                                          (MFL_WRITE_CHECKPOINT=DIR tests/test_train --gtest_filter='*GoesBothWays*'), with accelerate
                                          and diffusers, and compare with this trainer's own fourth step

Gradients are a formula, so that no data is needed.
Needs: torch 2.4, diffusers 0.30.3, accelerate 0.33.
"""
import argparse
import json
import os
import shutil

import torch
from accelerate import Accelerator
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.embeddings import TimestepEmbedding
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.resnet import ResnetBlock2D
from diffusers.optimization import get_scheduler
from diffusers.training_utils import EMAModel
from safetensors.torch import load_file, save_file

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "checkpoint")


class Block(torch.nn.Module):
    def __init__(self, inputs, width, emb):
        super().__init__()
        self.resnets = torch.nn.ModuleList(
            [ResnetBlock2D(in_channels=inputs, out_channels=width, temb_channels=emb, groups=2)])


class UNetMV2DConditionModel(ModelMixin, ConfigMixin):
    """The stem, one residual block a part, and the head; up before mid, as the published class registers them."""

    @register_to_config
    def __init__(self, in_channels=8, out_channels=4, block_out_channels=(4,), num_views=6, sample_size=8):
        super().__init__()
        w = block_out_channels[0]
        self.conv_in = torch.nn.Conv2d(in_channels, w, 3, padding=1)
        self.time_embedding = TimestepEmbedding(w, 4 * w)
        self.class_embedding = TimestepEmbedding(6, 4 * w)
        self.down_blocks = torch.nn.ModuleList([Block(w, w, 4 * w)])
        self.up_blocks = torch.nn.ModuleList([Block(2 * w, w, 4 * w)])
        self.mid_block = Block(w, w, 4 * w)
        self.conv_norm_out = torch.nn.GroupNorm(2, w)
        self.conv_out = torch.nn.Conv2d(w, out_channels, 3, padding=1)


class Run:
    def __init__(self, resumed_from=None):
        self.accelerator = Accelerator(cpu=True)
        torch.manual_seed(0)
        unet = UNetMV2DConditionModel()
        self.ema = EMAModel(unet.parameters(), model_cls=UNetMV2DConditionModel, model_config=unet.config)

        def save_hook(models, weights, output_dir):
            self.ema.save_pretrained(os.path.join(output_dir, "unet_ema"))
            for model in models:
                model.save_pretrained(os.path.join(output_dir, "unet"))
                weights.pop()

        def load_hook(models, input_dir):
            loaded = EMAModel.from_pretrained(os.path.join(input_dir, "unet_ema"), UNetMV2DConditionModel)
            self.ema.load_state_dict(loaded.state_dict())
            for _ in range(len(models)):
                model = models.pop()
                load = UNetMV2DConditionModel.from_pretrained(input_dir, subfolder="unet")
                model.register_to_config(**load.config)
                model.load_state_dict(load.state_dict())

        self.accelerator.register_save_state_pre_hook(save_hook)
        self.accelerator.register_load_state_pre_hook(load_hook)
        apart = [p for n, p in unet.named_parameters() if "class_embedding" in n or "camera_embedding" in n]
        rest = [p for n, p in unet.named_parameters() if "class_embedding" not in n and "camera_embedding" not in n]
        optimizer = torch.optim.AdamW(
            [{"params": rest, "lr": 1e-2}, {"params": apart, "lr": 2e-2}],
            lr=1e-2, betas=(0.9, 0.999), weight_decay=1e-2, eps=1e-8)
        scheduler = get_scheduler("piecewise_constant", step_rules="1:3,0.5", optimizer=optimizer)
        self.unet, self.optimizer, self.scheduler = self.accelerator.prepare(unet, optimizer, scheduler)
        if resumed_from:
            self.accelerator.load_state(resumed_from)

    def step(self):
        for p in self.unet.parameters():
            p.grad = 0.05 * p.detach() + 0.01
        self.optimizer.step()
        self.scheduler.step()
        self.optimizer.zero_grad()
        self.ema.step(self.unet.parameters())

    def state(self):
        names = [n for n, _ in self.unet.named_parameters()]
        out = {"value." + n: p.detach().clone() for n, p in self.unet.named_parameters()}
        out |= {"average." + n: p.detach().clone() for n, p in zip(names, self.ema.shadow_params)}
        return out


def make():
    shutil.rmtree(HERE, ignore_errors=True)
    run = Run()
    for step in range(1, 5):
        run.step()
        if step == 3:
            run.accelerator.save_state(os.path.join(HERE, "checkpoint-3"))
            half = UNetMV2DConditionModel()
            half.load_state_dict(run.unet.state_dict())
            half.half().save_pretrained(os.path.join(HERE, "half"), safe_serialization=False)
    save_file(run.state(), os.path.join(HERE, "after.safetensors"))


def check(folder):
    path = os.path.join(folder, "checkpoint-4")
    expected = load_file(os.path.join(HERE, "after.safetensors"))
    # By name, strictly, as any program of diffusers would.
    _, info = UNetMV2DConditionModel.from_pretrained(path, subfolder="unet", output_loading_info=True)
    assert not any(info.values()), info
    run = Run(resumed_from=path)
    worst = max((run.state()[n] - t).abs().max().item() for n, t in expected.items())
    print(f"weights and average after step 4: {len(expected)} tensors, largest difference {worst:.2e}")
    assert worst < 1e-6
    own = Run()
    for _ in range(4):
        own.step()
    a, b = run.optimizer.state_dict(), own.optimizer.state_dict()
    assert len(a["param_groups"]) == len(b["param_groups"]) == 2
    for x, y in zip(a["param_groups"], b["param_groups"]):
        assert set(x) == set(y), set(x) ^ set(y)
        for k in x:
            assert x[k] == y[k] or abs(x[k] - y[k]) < 1e-12, (k, x[k], y[k])
    worst = 0
    for i, y in b["state"].items():
        assert a["state"][i]["step"] == y["step"] == 4
        worst = max([worst] + [(a["state"][i][k] - y[k]).abs().max().item() / y[k].abs().max().item() for k in ("exp_avg", "exp_avg_sq")])
    print(f"moments: {len(b['state'])} parameters, largest relative difference {worst:.2e}")
    assert worst < 1e-5
    a, b = run.scheduler.state_dict(), own.scheduler.state_dict()
    assert a == b, (a, b)
    print("scheduler:", a)
    fields = json.load(open(os.path.join(path, "unet_ema", "config.json")))
    for k, v in own.ema.state_dict().items():
        if k != "shadow_params":
            assert fields[k] == v, (k, fields[k], v)
    print("fields of the average: equal, counter", fields["optimization_step"])
    torch.load(os.path.join(path, "optimizer.bin"), weights_only=True)
    torch.load(os.path.join(path, "scheduler.bin"), weights_only=True)
    for _ in range(2):  # and on, from each
        run.step(), own.step()
    live = {n: p for n, p in own.unet.named_parameters()}
    worst = max((p - live[n]).abs().max().item() for n, p in run.unet.named_parameters())
    print(f"two steps further: largest difference {worst:.2e}")
    assert worst < 1e-6


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--check")
    args = parser.parse_args()
    check(args.check) if args.check else make()
