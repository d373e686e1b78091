// mfl_infer: an image in, a 3D animal out.
#include <CLI/CLI.hpp>

#include "runtime/log.h"
#include "train/infer/run.h"

namespace mfl::infer {
namespace {

int main_(int argc, char** argv) {
  CLI::App app("An image in, a 3D animal out: MVDiffusion makes six views of it, GS-LRM makes Gaussians of them. Either stage runs alone too; alone, "
               "under mpirun, or under srun.");
  app.footer("Exit codes: 0 done, 2 command line, 3 image, data set or weights, 4 memory, 5 device, 6 communication.\n"
             "What is finished is left alone: the same command again goes on where it stopped.");
  Arguments a;
  // What goes in.
  app.add_option("--image", a.images, "photo of an animal (PNG or JPEG). May be repeated")->allow_extra_args(false);
  add_input_options(app, a.input);
  app.add_option("--views", a.views, "six views that are there: a folder of PNG files in slot order, or opencv_cameras.json with cameras of its own");
  app.add_option("--dataset", a.dataset, "packed file or list of packed files (data/FORMAT.md). Without --mvdiffusion its views are the input");
  app.add_option("--split", a.split, "of the data set")->check(CLI::IsMember({"train", "val", "test"}));
  app.add_option("--limit", a.limit, "the first samples of the data set only")->check(CLI::Range(1, 1 << 30));
  app.add_option("--part", a.part, "2/8: every eighth object of the data set or the sequence, from the second on; a job array gives each task its own");
  app.add_option("--sequence", a.sequence, "video: every frame is an image, called after its number in the video");
  app.add_option("--mask_video,--mask-video", a.mask_video, "of the sequence: a video of the same frames, bright where the animal is");
  app.add_option("--start", a.start, "first frame of the sequence")->check(CLI::NonNegativeNumber)->capture_default_str();
  app.add_option("--end", a.end, "frame after the last one; default: to the end")->check(CLI::NonNegativeNumber);
  app.add_option("--interval", a.interval, "every so many frames")->check(CLI::Range(1, 1 << 30))->capture_default_str();
  // The models.
  app.add_option("--mvdiffusion", a.pipeline, "first stage: pipeline folder in the diffusers layout, or a run's folder with pipeckpts/");
  app.add_option("--unet", a.unet, "another UNet, such as checkpoint-N/unet_ema");
  app.add_option("--prompts", a.prompts, "prompt embeddings; default: prompt_embeds/clr_embeds.pt of the pipeline");
  app.add_option("--gslrm", a.gslrm, "second stage: ckpt_*.pt, or a folder of them (the newest)");
  app.add_option("--config", a.config, "of the second stage: its configuration; default: the one in the checkpoint, or config.yaml beside it");
  app.add_option("--input-views", a.input_views, "how many views the second stage is given; default: as the configuration says")->check(CLI::Range(1, 64));
  // What comes out.
  app.add_option("-o,--out", a.out, "folder for views/, gaussians.ply, turntable, metrics.json, provenance.json (train/README.md)");
  app.add_option("--ply", a.ply, "gaussians.ply as FaceLift writes it (published), or as most viewers know it (3dgs)")->check(CLI::IsMember({"published", "3dgs"}))->capture_default_str();
  app.add_flag("--splat", a.splat, "also gaussians.splat");
  app.add_flag("--spz", a.spz, "also gaussians.spz");
  app.add_option("--filters", a.filters, "which Gaussians are left out: the published sets of inference, evaluation or visuals, or none")
      ->check(CLI::IsMember({"inference", "evaluation", "visuals", "none"}))->capture_default_str();
  app.add_flag("--crop-animal", a.crop_animal, "leave out what lies outside the animal's outline in the input views");
  app.add_flag("--prune-visibility", a.prune_visibility, "leave out what no view shows, and say what that changes");
  app.add_option("--turntable", a.turntable, "orbit, or through the model's input cameras (reference), or through all of the data set's (dataset)")
      ->check(CLI::IsMember({"orbit", "reference", "dataset"}))->capture_default_str();
  app.add_option("--turntable-views", a.turntable_views, "pictures of the strip; default: mfl.render of the configuration")->check(CLI::Range(1, 1000));
  app.add_option("--turntable-size", a.turntable_size, "pixels, of strip and video; default: likewise")->check(CLI::Range(16, 4080));
  app.add_flag("!--no-video", a.video, "no turntable.mp4");
  app.add_flag("!--no-viewer", a.viewer, "no viewer.html");
  app.add_flag("--rank-references", a.rank_references, "give every view of each sample to the first stage once, and print which one is best");
  // How.
  app.add_option("--steps", a.steps, "of the sampler")->check(CLI::Range(1, 1000))->capture_default_str();
  app.add_option("--guidance", a.guidance, "1: none")->check(CLI::Range(0.0, 100.0))->capture_default_str();
  app.add_option("--sampler", a.sampler, "ddim, or dpm (DPM-Solver++ 2M, good from about 20 steps)")->check(CLI::IsMember({"ddim", "dpm"}))->capture_default_str();
  app.add_option("--eta", a.eta, "of ddim: share of ancestral noise")->check(CLI::Range(0.0, 1.0))->capture_default_str();
  app.add_option("--seed", a.seed, "of the noise; an image's noise depends on it and the image only")->capture_default_str();
  app.add_option("--reference", a.reference, "of a data set: the view that is given to the first stage, or random")->capture_default_str();
  app.add_option("--view-order", a.order,
                 "of a data set: fixed (views keep their slots), random (views rotate by index so that the reference is in slot 0, and keep\n"
                 "their prompts) or ring (they rotate along the ring, slots keep their prompts)")
      ->check(CLI::IsMember({"fixed", "random", "ring"}))->capture_default_str();
  app.add_option("--background", a.background, "white, black, gray or a number from 0 to 1; default: what the second stage was trained on, else white");
  app.add_option("--batch", a.batch, "objects of the first stage in flight; changes no result")->check(CLI::Range(1, 256))->capture_default_str();
  app.add_option("--compute", a.compute, "of the UNet and of GS-LRM")->check(CLI::IsMember({"bf16", "f32"}))->capture_default_str();
  app.add_option("--encoders", a.encoders, "compute type of VAE and CLIP")->check(CLI::IsMember({"bf16", "f32"}))->capture_default_str();
  app.add_option("--device", a.device, "auto, cpu, cuda or cuda:N")->capture_default_str();
  app.add_option("--vgg16", a.vgg16, "for LPIPS: vgg16-397923af.pth, or formula");
  app.add_option("--lpips", a.lpips, "for LPIPS: vgg.pth of lpips v0.1, or formula");
  app.add_flag("--plan", a.plan, "print the memory that both stages need; needs no GPU and no images, and of GS-LRM only --config");
  app.add_option("--gpu-memory", a.memory, "for --plan: the device's memory, such as 12G");
  try {
    app.parse(argc, argv);
    return run(a);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? kExitOk : kExitConfig;
  } catch (const std::exception& e) {
    log_error(e.what());
    return exit_code(e);
  }
}

}  // namespace
}  // namespace mfl::infer

int main(int argc, char** argv) { return mfl::infer::main_(argc, argv); }
