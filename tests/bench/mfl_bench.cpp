// mfl_bench: measurements as records, and tables from records. The cases are those of the tests: a kernel that is timed
// is a kernel that is verified.
//
//   mfl_bench kernels --device cuda --output tests/bench/results/h100/kernels.jsonl
//   mfl_bench encoders --device cuda --images 8 --output tests/bench/results/h100/encoders.jsonl
//   mfl_bench loader --output tests/bench/results/epyc/loader.jsonl
//   mfl_bench unet --device cuda --objects 8 --output tests/bench/results/h100/unet.jsonl
//   mfl_bench reconstruct --device cuda --checkpoint ckpt.pt --output tests/bench/results/h100/reconstruct.jsonl
//   mfl_bench record --what "GS-LRM, a scene all in" --value 1.21 --unit s --command "mfl_train ..." --output FILE
//   mfl_bench scaling --one one/log.jsonl --many many/log.jsonl --output FILE       cluster/weak_scaling.sh calls it
//   mfl_bench table FILE...
#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <regex>
#include <thread>

#include "runtime/error.h"
#include "tests/bench/collectives.h"
#include "tests/bench/encoders.h"
#include "tests/bench/loader.h"
#include "tests/bench/machine.h"
#include "tests/bench/reconstruction.h"
#include "tests/bench/scaling.h"
#include "tests/bench/table.h"
#include "tests/bench/unet.h"
#include "tests/support/op_case.h"

namespace {

using namespace mfl;
using Json = nlohmann::ordered_json;

// Appends lines, also when the program ends early; an empty path writes nothing.
class Output {
 public:
  explicit Output(const std::string& path) {
    if (path.empty()) return;
    const auto folder = std::filesystem::path(path).parent_path();
    if (!folder.empty()) std::filesystem::create_directories(folder);
    file_.open(path, std::ios::app);
    if (!file_) throw_error<DataError>(path, ": cannot be written");
  }
  void put(const Json& j) {
    if (file_.is_open()) file_ << j.dump() << std::endl;
  }

 private:
  std::ofstream file_;
};

DType parse_dtype(const std::string& s) {
  for (DType t : {DType::f64, DType::f32, DType::bf16})
    if (s == name_of(t)) return t;
  throw_error<ConfigError>("--dtype ", s, ": expected bf16, f32 or f64");
}

struct Options {
  std::string filter = ".*", dtype = "bf16", device = cuda_device_count() > 0 ? "cuda" : "cpu", output;
  int repeats = 100, pause_ms = 50;
  bool all = false;
};

// The cases worth timing: those of real size; of an op that has none, the one with the most work.
std::vector<test::OpCase> worth_timing(const std::vector<test::OpCase>& cases, bool all, bool cpu) {
  std::vector<test::OpCase> chosen;
  const test::OpCase* largest = nullptr;
  auto work = [](const test::OpCase& c) { return c.bytes_fwd + c.flops_fwd; };
  for (const auto& c : cases) {
    // The oracle would take minutes on a shape that is real for a GPU.
    if (all ? !(cpu && c.bench_only) : c.bench_only && !cpu) chosen.push_back(c);
    if (!c.bench_only && (!largest || work(c) > work(*largest))) largest = &c;
  }
  if (chosen.empty() && largest) chosen.push_back(*largest);
  return chosen;
}

int kernels(const Options& o) {
  const Device device = parse_device(o.device);
  const DType dtype = parse_dtype(o.dtype);
  const std::regex wanted(o.filter);
  Output output(o.output);
  const Json machine = bench::describe_machine(device);
  const bench::Peaks peaks = bench::measure_peaks(device, dtype);
  Json roof = {{"kind", "peaks"},
               {"dtype", o.dtype},
               {"gbps", peaks.bytes_per_second / 1e9},
               {"tflops", peaks.flops_per_second / 1e12}};
  roof.update(machine);
  output.put(roof);
  std::printf("%s: copy %.0f GB/s, linear %s %.2f TFLOP/s\n", roof["device"].get<std::string>().c_str(),
              peaks.bytes_per_second / 1e9, o.dtype.c_str(), peaks.flops_per_second / 1e12);
  std::printf("%-44s %4s %9s %9s %9s %8s %8s %6s\n", "case", "pass", "p10 ms", "median", "p90", "GB/s", "TFLOP/s",
              "roof");

  for (const auto& [suite, list] : test::registered_cases())
    for (const test::OpCase& c : worth_timing(list(), o.all, device.is_cpu())) {
      const std::string name = suite + "/" + c.name;
      if (!std::regex_search(name, wanted) || (device.is_cuda() && !c.cuda) || (dtype == DType::bf16 && !c.bf16))
        continue;
      for (bool backward : {false, true}) {
        if (backward && !c.backward) continue;
        std::this_thread::sleep_for(std::chrono::milliseconds(o.pause_ms));  // heat must not carry over
        test::BenchResult r{};
        try {
          r = test::bench(c, dtype, device, backward, o.repeats);
        } catch (const Error& e) {
          std::printf("%-44s %4s failed: %s\n", name.c_str(), backward ? "bwd" : "fwd", e.what());
          continue;
        }
        // Cases state their bytes for bf16.
        const double bytes = dtype == DType::bf16 ? (backward ? c.bytes_bwd : c.bytes_fwd) : 0;
        const double flops = backward ? c.flops_bwd : c.flops_fwd, seconds = r.median_ms / 1e3;
        // The roof: neither the copy nor the product could have been faster than this.
        const double floor = std::max(bytes / peaks.bytes_per_second, flops / peaks.flops_per_second);
        Json j = {
            {"kind", "kernel"},    {"op", suite},       {"case", c.name},     {"direction", backward ? "bwd" : "fwd"},
            {"dtype", o.dtype},    {"ms", r.median_ms}, {"ms_p10", r.p10_ms}, {"ms_p90", r.p90_ms},
            {"repeats", o.repeats}};
        if (bytes > 0) j["gbps"] = bytes / seconds / 1e9;
        if (flops > 0) j["tflops"] = flops / seconds / 1e12;
        if (dtype == DType::bf16 && floor > 0) j["of_roof"] = floor / seconds;
        j.update(machine);
        output.put(j);
        std::printf("%-44s %4s %9.4f %9.4f %9.4f %8.0f %8.2f %5.0f%%\n", name.c_str(), backward ? "bwd" : "fwd",
                    r.p10_ms, r.median_ms, r.p90_ms, bytes / seconds / 1e9, flops / seconds / 1e12,
                    100 * floor / seconds);
        std::fflush(stdout);
      }
    }
  return 0;
}

int encoders(const Options& o, int images) {
  const Device device = parse_device(o.device);
  Output output(o.output);
  const Json machine = bench::describe_machine(device);
  for (const bench::EncoderTime& t : bench::time_encoders(device, parse_dtype(o.dtype), images, o.repeats)) {
    std::printf("%-44s %9.3f ms   %6.2f GiB for %d\n", t.what.c_str(), t.milliseconds, t.peak_gib, images);
    Json j = {{"kind", "figure"}, {"what", text(t.what, ", ", o.dtype, ", batch ", images)}, {"value", t.milliseconds}, {"unit", "ms"},
              {"command", text("mfl_bench encoders --dtype ", o.dtype, " --images ", images)}};
    j.update(machine);
    output.put(j);
  }
  return 0;
}

int reconstruct(const Options& o, bench::ReconstructionBench b) {
  b.device = parse_device(o.device);
  b.compute = parse_dtype(o.dtype);
  Output output(o.output);
  const Json machine = bench::describe_machine(b.device);
  bench::time_reconstruction(b, [&](const bench::ReconstructionTime& t) {
    std::printf("%-80s %9.2f %s\n", t.what.c_str(), t.value, t.unit.c_str());
    std::fflush(stdout);
    Json j = {{"kind", "figure"}, {"what", text(t.what, ", ", o.dtype)}, {"value", t.value}, {"unit", t.unit},
              {"command", text("mfl_bench reconstruct --config ", b.config.string(), " --dtype ", o.dtype)}};
    j.update(machine);
    output.put(j);
  });
  return 0;
}

int unet(const Options& o, bench::UnetBench b) {
  b.device = parse_device(o.device);
  b.compute = parse_dtype(o.dtype);
  Output output(o.output);
  const Json machine = bench::describe_machine(b.device);
  const bench::Peaks peaks = bench::measure_peaks(b.device, b.compute);
  std::printf("linear %s %.1f TFLOP/s\n", o.dtype.c_str(), peaks.flops_per_second / 1e12);
  bench::time_unet(b, [&](const bench::UnetTime& t) {
    std::printf("%-64s %9.2f ms %8.2f samples/s %8.1f TFLOP/s (%2.0f%% of the linear's)  weights %6.2f GiB, activations %6.2f GiB\n",
                t.what.c_str(), t.milliseconds, t.samples, t.tflops, 100 * t.tflops * 1e12 / peaks.flops_per_second, t.weight_gib, t.peak_gib);
    std::fflush(stdout);
    const std::string command = text("mfl_bench unet --dtype ", o.dtype, " --objects ", b.objects, " --batch ", b.batch, " --steps ", b.steps,
                                     b.recompute ? " --recompute" : "");
    auto put = [&](const char* of, double value, const char* unit) {
      Json j = {{"kind", "figure"}, {"what", text(t.what, ", ", o.dtype, of)}, {"value", value}, {"unit", unit}, {"command", command}};
      j.update(machine);
      output.put(j);
    };
    put("", t.milliseconds, "ms");
    put(", objects a second", t.samples, "1/s");
    put(", memory with weights", t.weight_gib + t.peak_gib, "GiB");
  });
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("mfl_bench: times kernels, keeps records, prints tables");
  app.require_subcommand(1);

  Options o;
  auto* run = app.add_subcommand("kernels", "time the kernels of the op cases");
  run->add_option("--filter", o.filter, "regular expression on SUITE/CASE");
  run->add_option("--dtype", o.dtype, "bf16, f32 or f64")->capture_default_str();
  run->add_option("--device", o.device, "cuda, cuda:N or cpu")->capture_default_str();
  run->add_option("--repeats", o.repeats, "timed runs of a case")->check(CLI::Range(1, 100000))->capture_default_str();
  run->add_option("--pause", o.pause_ms, "milliseconds between cases")->capture_default_str();
  run->add_flag("--all", o.all, "the small cases of the tests too");
  run->add_option("--output", o.output, "append JSON lines to this file");

  int images = 8;
  auto* frozen = app.add_subcommand("encoders", "time the diffusion stage's frozen encoders at full size");
  frozen->add_option("--dtype", o.dtype, "bf16 or f32")->capture_default_str();
  frozen->add_option("--device", o.device, "cuda, cuda:N or cpu")->capture_default_str();
  frozen->add_option("--images", images, "batch")->check(CLI::Range(1, 1024))->capture_default_str();
  frozen->add_option("--repeats", o.repeats, "timed runs")->check(CLI::Range(1, 100000))->capture_default_str();
  frozen->add_option("--output", o.output, "append JSON lines to this file");
  bench::LoaderOptions l;
  auto* loader = app.add_subcommand("loader", "batches from a packed file: images a second and a core");
  loader->add_option("--data", l.data, "packed file or list; default: procedural scenes");
  loader->add_option("--image_size", l.image_size)->check(CLI::Range(8, 4096))->capture_default_str();
  loader->add_option("--views", l.views, "a sample")->check(CLI::Range(1, 64))->capture_default_str();
  loader->add_option("--batch", l.batch, "samples")->check(CLI::Range(1, 64))->capture_default_str();
  loader->add_option("--workers", l.workers, "numbers to measure; default: 0 to the number of cores")->check(CLI::Range(0, 1024));
  loader->add_option("--seconds", l.seconds, "of each measurement")->check(CLI::Range(0.01, 3600.0))->capture_default_str();
  loader->add_option("--memory-limit", l.memory_limit, "MiB: in a control group of so much memory, from a larger file")->check(CLI::Range(32, 1 << 20));
  loader->add_option("--output", o.output, "append JSON lines to this file");

  bench::UnetBench u;
  std::string mode = "all", size = "full";
  auto* network = app.add_subcommand("unet", "time the multi-view UNet: whole training steps on cached latents, and sampling with decoding");
  network->add_option("--dtype", o.dtype, "bf16 or f32")->capture_default_str();
  network->add_option("--device", o.device, "cuda, cuda:N or cpu")->capture_default_str();
  network->add_option("--mode", mode, "what to time")->check(CLI::IsMember({"train", "sample", "all"}))->capture_default_str();
  network->add_option("--size", size, "full, or tiny: a narrow network")->check(CLI::IsMember({"full", "tiny"}))->capture_default_str();
  network->add_option("--objects", u.objects, "of six views, in a training step")->check(CLI::Range(1, 1024))->capture_default_str();
  network->add_option("--batch", u.batch, "objects sampled at once")->check(CLI::Range(1, 64))->capture_default_str();
  network->add_option("--steps", u.steps, "of the sampler")->check(CLI::Range(1, 1000))->capture_default_str();
  network->add_option("--guidance", u.guidance)->capture_default_str();
  network->add_flag("--recompute", u.recompute, "rebuild blocks in backward");
  network->add_flag("--breakdown", u.breakdown, "print where the device's time goes: by module, op, and op by shape");
  network->add_option("--repeats", u.repeats, "timed steps; a fifth as many samplings")->check(CLI::Range(1, 100000))->capture_default_str();
  network->add_option("--output", o.output, "append JSON lines to this file");

  bench::ReconstructionBench g;
  auto* gaussians = app.add_subcommand("reconstruct", "time GS-LRM from six views to Gaussians, a file and a picture");
  gaussians->add_option("--config", g.config, "of the model")->capture_default_str();
  gaussians->add_option("--checkpoint", g.checkpoint, "its weights; default: zeros, which a GPU multiplies faster than numbers");
  gaussians->add_option("--dtype", o.dtype, "bf16 or f32")->capture_default_str();
  gaussians->add_option("--device", o.device, "cuda, cuda:N or cpu")->capture_default_str();
  gaussians->add_option("--repeats", g.repeats, "timed runs")->check(CLI::Range(1, 100000))->capture_default_str();
  gaussians->add_option("--output", o.output, "append JSON lines to this file");

  int mib = 64;
  auto* collectives = app.add_subcommand("all_reduce", "time an all-reduce over all ranks: mpirun -np N mfl_bench all_reduce");
  collectives->add_option("--device", o.device, "cuda or cpu")->capture_default_str();
  collectives->add_option("--mib", mib, "f32 buffer; a gradient bucket is mfl.bucket_mb")->check(CLI::Range(1, 8192))->capture_default_str();
  collectives->add_option("--repeats", o.repeats, "timed runs")->check(CLI::Range(1, 100000))->capture_default_str();

  bench::ScalingRuns scaling_runs;
  std::string scaling_command, scaling_name = "a run";
  int peak_mib = 0;
  auto* scaling = app.add_subcommand("scaling", "weak scaling from the logs of one rank and of N");
  scaling->add_option("--one", scaling_runs.one, "log.jsonl of one rank")->required();
  scaling->add_option("--many", scaling_runs.many, "log.jsonl of N ranks, a later start's updates behind theirs")->required();
  scaling->add_option("--same", scaling_runs.same, "log.jsonl of one rank with N ranks' samples an update, to compare losses with");
  scaling->add_option("--warmup", scaling_runs.warmup, "updates that are not timed")->check(CLI::Range(0, 100000))->capture_default_str();
  scaling->add_option("--loss_bound", scaling_runs.loss_bound, "largest relative difference of two losses")->capture_default_str();
  scaling->add_option("--peak_mib", peak_mib, "most memory that a GPU held, as nvidia-smi says");
  scaling->add_option("--device", o.device, "cuda or cpu")->capture_default_str();
  scaling->add_option("--name", scaling_name, "what is trained");
  scaling->add_option("--command", scaling_command, "how to measure it again");
  scaling->add_option("--output", o.output, "append the record to this file");

  std::string what, unit, command, record_device = o.device;
  double value = 0;
  auto* record =
      app.add_subcommand("record", "keep a figure that another program printed, with this machine's description");
  record->add_option("--what", what)->required();
  record->add_option("--value", value)->required();
  record->add_option("--unit", unit)->required();
  record->add_option("--command", command, "how to measure it again")->required();
  record->add_option("--device", record_device)->capture_default_str();
  record->add_option("--output", o.output)->required();

  std::vector<std::string> files;
  auto* table = app.add_subcommand("table", "print Markdown tables from records");
  table->add_option("files", files)->required();
  CLI11_PARSE(app, argc, argv);

  try {
    if (*run) return kernels(o);
    if (*network) {
      u.train = mode != "sample", u.sample = mode != "train", u.tiny = size == "tiny";
      return unet(o, u);
    }
    if (*gaussians) return reconstruct(o, g);
    if (*frozen) return encoders(o, images);
    if (*collectives) {
      const auto comm = make_communicator(parse_device(o.device));
      return run_rank(*comm, [&] {
        const bench::AllReduceRate r = bench::time_all_reduce(*comm, mib, o.repeats);
        if (comm->rank() == 0)
          std::printf("all-reduce of %d MiB over %d ranks (%s): %.3f ms, %.2f GB/s\n", mib, comm->size(), comm->name(), 1e3 * r.seconds, r.bus_bytes / 1e9);
        return int(kExitOk);
      });
    }
    if (*loader) {
      const std::vector<Json> records = bench::bench_loader(l);
      Output output(o.output);
      for (Json j : records) {
        j.update(bench::describe_machine(kCpu));
        output.put(j);
      }
      return 0;
    }
    if (*scaling) {
      const bool cpu = parse_device(o.device).is_cpu();
      const Json found = bench::weak_scaling(scaling_runs);
      auto number = [&](const char* key) { return found.at(key).get<double>(); };
      const auto n = found.at("ranks").get<std::int64_t>();
      std::printf("%-8s %14s %12s %26s %14s %14s\n", "ranks", "samples/s", "update ms", "(10 % to 90 %)", "reduction ms", "exposed ms");
      std::printf("%-8d %14.4g %12.1f\n", 1, number("one_rank_samples_per_second"), number("one_rank_update_ms"));
      std::printf("%-8lld %14.4g %12.1f %12.1f to %10.1f %14.2f %14.2f\n", static_cast<long long>(n), number("samples_per_second"), number("update_ms"),
                  number("update_ms_p10"), number("update_ms_p90"), number("reduction_ms"), number("exposed_ms"));
      std::printf("efficiency %.1f %%%s\n", number("efficiency_percent"), cpu ? ": nothing, on the CPU ranks share the cores" : "");
      if (found.contains("losses_compared"))
        std::printf("losses of %lld updates are those of one rank with the same samples, to %.2g %% at most\n",
                    static_cast<long long>(found["losses_compared"].get<std::int64_t>()), 100 * number("largest_relative_loss_difference"));
      Json j = cpu ? Json{{"kind", "figure"}, {"what", text("weak scaling of ", scaling_name, " on the CPU, ", n, " ranks: largest relative difference of a loss from one rank's")},
                          {"value", found.value("largest_relative_loss_difference", 0.0)}, {"unit", ""}, {"command", scaling_command}}
                   : Json{{"kind", "figure"}, {"what", text("weak scaling of ", scaling_name, ", ", n, " GPUs of one machine")}, {"value", number("efficiency_percent")}, {"unit", "%"},
                          {"command", scaling_command}};
      if (peak_mib > 0) j["peak_mib"] = peak_mib;
      j.update(found);
      j.update(bench::describe_machine(parse_device(o.device)));
      Output(o.output).put(j);
      return 0;
    }
    if (*record) {
      Json j = {{"kind", "figure"}, {"what", what}, {"value", value}, {"unit", unit}, {"command", command}};
      j.update(bench::describe_machine(parse_device(record_device)));
      Output(o.output).put(j);
      return 0;
    }
    bench::print_tables(files, std::cout);
    return 0;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "mfl_bench: %s\n", e.what());
    return exit_code(e);
  }
}
