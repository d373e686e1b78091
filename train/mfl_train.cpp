// mfl_train CONFIG.yaml: trains the model that the configuration describes; alone, under mpirun, or under srun.
#include <CLI/CLI.hpp>
#include <iostream>

#include "runtime/log.h"
#include "train/config_override.h"
#include "train/gslrm_trainer.h"
#include "train/mvdiffusion/plan.h"
#include "train/mvdiffusion/trainer.h"
#include "train/plan.h"
#include "train/signals.h"

namespace {

using namespace mfl;

// What both stages start with, beside their configurations.
struct Start {
  std::string device;
  std::vector<std::string> notes;
  bool plan, dry, verify;
  std::size_t memory;                // 0: not given
};

template <class Plan, class Describe, class Train>
int go(const Start& start, Plan plan, Describe describe, Train train) {
  if (start.plan) {
    for (const auto& note : start.notes) log_info(note);
    const MemoryPlan p = plan();
    std::cout << describe(p);
    return start.memory && p.total() > start.memory ? int(kExitMemory) : int(kExitOk);
  }
  Device wanted = kCpu;
  if (start.device == "auto") wanted = cuda_device_count() > 0 ? Device{DeviceKind::cuda, 0} : kCpu;
  else wanted = parse_device(start.device);
  auto comm = make_communicator(wanted);
  set_log_rank(comm->rank(), comm->size());
  if (comm->rank() == 0)
    for (const auto& note : start.notes) log_info(note);
  const StopSignals signals;
  const LaunchOptions launch{.signals = &signals, .memory_bytes = start.memory, .dry_run = start.dry, .verify_checkpoints = start.verify};
  return run_rank(*comm, [&] { return train(*comm, launch); });
}

int run(int argc, char** argv) {
  CLI::App app{"Trains MVDiffusion or GS-LRM, whichever the FaceLift configuration describes."};
  app.footer(
      "Exit codes: 0 done, 2 configuration, 3 data or checkpoint, 4 memory, 5 device, 6 communication, 7 diverged,\n"
      "75 stopped by a signal after a checkpoint: start again to continue.");
  std::string path, device, output, memory, load, resume, init;
  std::vector<std::string> sets;
  std::vector<std::vector<std::string>> pairs;
  int overfit = -1;
  bool plan = false, dry = false, verify = false;
  int ranks = 1;
  // A script's variable that was never set must not turn into fresh weights.
  const CLI::Validator named([](std::string& s) { return s.empty() ? std::string("the value is empty") : std::string(); }, "");
  app.add_option("config,-c,--config", path, "YAML file in FaceLift's schema, with our section mfl")->required();
  app.add_option("--set", sets, "KEY=VALUE, dotted key; may be repeated")->allow_extra_args(false);
  app.add_option("-s", pairs, "KEY VALUE, as the reference takes it; may be repeated")->expected(2)->allow_extra_args(false);
  app.add_option("--device", device, "cpu, cuda, cuda:N or auto")->check(named);
  app.add_option("--output", output, "checkpoints and logs of this run; replaces checkpoint_dir or output_dir")->check(named);
  app.add_option("--load", load, "like resume_ckpt or resume_from_checkpoint")->check(named);
  app.add_option("--resume", resume, "auto, never, or a checkpoint to continue from, with its optimizer and counters")->check(named);
  app.add_option("--init", init, "checkpoint, or UNet folder, whose weights start a new run at step 0")->check(named);
  app.add_option("--overfit", overfit, "train and validate on the first N samples, without augmentation")->check(CLI::NonNegativeNumber);
  auto* plans = app.add_flag("--plan", plan, "print parameters, memory and whether it fits; needs no GPU and no data");
  app.add_option("--gpu-memory", memory, "for --plan: the device's memory, such as 12G");
  app.add_option("--ranks", ranks, "for --plan: the run's ranks")->needs(plans)->check(CLI::Range(1, 1 << 20));
  app.add_flag("--verify-checkpoints", verify, "read every checkpoint from the disk again, before an older one is deleted");
  app.add_flag("--dry-run", dry, "check configuration, memory, data and weights, then stop");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    const int code = app.exit(e);
    return code == 0 ? int(kExitOk) : int(kExitConfig);
  }

  std::vector<ConfigOverride> overrides;
  for (const auto& s : sets) overrides.push_back(parse_override(s));
  for (const auto& p : pairs) {
    if (p.size() != 2) throw_error<ConfigError>("-s ", p.empty() ? std::string("without a key") : p[0], ": expected KEY VALUE, such as -s training.optimizer.lr 0.0001.");
    overrides.push_back({p[0], p[1]});
  }
  if (!init.empty() && !resume.empty() && resume != "auto" && resume != "never")
    throw_error<ConfigError>("--resume ", resume, " continues a run and --init ", init, " starts a new one from weights. Give one of them.");
  auto set = [&](const char* key, const std::string& value) {
    if (!value.empty()) overrides.push_back({key, value});
  };
  const std::string yaml = config_text(path);
  const bool stage_one = mvdiffusion::is_train_config(yaml, path);
  set("mfl.device", device);
  if (overfit >= 0) set("mfl.overfit", std::to_string(overfit));
  const std::size_t bytes = memory.empty() ? 0 : parse_bytes(memory);
  Start start{.device = "auto", .notes = {}, .plan = plan, .dry = dry, .verify = verify, .memory = bytes};
  if (stage_one) {
    if (!load.empty() && !resume.empty())
      throw_error<ConfigError>("--load ", load, " and --resume ", resume, " both say where to continue. Give one of them.");
    if (!output.empty()) set("checkpoint_prefix", "."), set("output_dir", output);
    set("resume_from_checkpoint", !load.empty() ? load : resume == "auto" ? "latest" : resume == "never" ? "null" : resume);
    set("pretrained_unet_path", init);
    const mvdiffusion::LoadedTrainConfig c = mvdiffusion::parse_train_config(yaml, path, overrides);
    start.device = c.config.mfl.device, start.notes = c.notes;
    return go(start, [&] { return mvdiffusion::plan_training(c.config, ranks); },
              [&](const MemoryPlan& p) { return mvdiffusion::describe(c.config, p, bytes); },
              [&](Communicator& comm, const LaunchOptions& launch) { return mvdiffusion::train(c.config, comm, launch); });
  }
  set("training.checkpointing.checkpoint_dir", output);
  set("training.checkpointing.resume_ckpt", load);
  set("mfl.resume", resume);
  set("mfl.init", init);
  const LoadedConfig c = parse_gslrm_config(yaml, path, overrides);
  start.device = c.config.mfl.device, start.notes = c.notes;
  return go(start, [&] { return plan_gslrm(c.config, bytes, -1, ranks); }, [&](const MemoryPlan& p) { return describe(c.config, p, bytes); },
            [&](Communicator& comm, const LaunchOptions& launch) { return train_gslrm(c.config, comm, launch); });
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& e) {
    mfl::log_error(e.what());
    return mfl::exit_code(e);
  }
}
