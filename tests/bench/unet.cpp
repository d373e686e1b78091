#include "tests/bench/unet.h"

#include <algorithm>
#include <cmath>
#include <iostream>
#include <optional>

#include "kernels/elementwise/cast.h"
#include "kernels/elementwise/normal.h"
#include "kernels/loss/weighted_mse.h"
#include "models/mvdiffusion/conditioning.h"
#include "models/mvdiffusion/sampling.h"
#include "models/mvdiffusion/tiny_pipeline.h"
#include "models/mvdiffusion/unet.h"
#include "models/mvdiffusion/vae.h"
#include "models/weights/coverage.h"
#include "tests/bench/breakdown.h"
#include "train/ema_weights.h"
#include "train/optimizer.h"

namespace mfl::bench {
namespace {

using namespace mvdiffusion;

constexpr std::int64_t kText = 77;
constexpr double kGib = 1 << 30;

// Standard normal numbers on the device.
void fill_normal_numbers(const Stream& s, const Tensor& t, std::uint64_t seed) {
  Tensor zero = Tensor::on_heap({1}, DType::i32, s.device());
  fill_zero(s, zero);
  fill_normal(s, {.x = t.reshape({1, t.numel()}), .streams = zero, .seed = seed, .purpose = Draw::init});
  s.synchronize();   // of `zero`
}

// Weights of deviation (fan in)^-1/2, so that activations stay of order one; norms 1, biases 0.
void fill_weights(const Stream& s, ParamStore& store) {
  std::uint64_t seed = 1;
  for (const Param& p : store.all()) {
    const Tensor wide = p.value ? p.value : Tensor::on_heap(p.memory_shape(), store.precision().accum, s.device());
    if (p.shape.rank() >= 2) {
      fill_normal_numbers(s, wide, seed++);
      scale_(s, {.x = wide, .factor = 1 / std::sqrt(double(p.numel() / p.shape[0]))});
    } else {
      fill_(s, {.x = wide, .value = p.name.ends_with("weight") ? 1.0 : 0.0});
    }
    if (!p.value) cast(s, {.x = wide, .y = p.compute});
    s.synchronize();   // of `wide`
  }
  weights::refresh_compute(s, store);
}

double sum_of(const Stream& s, const Tensor& t) {
  Tensor host = Tensor::on_heap(t.shape(), t.dtype());
  copy(s, t, host);
  s.synchronize();
  double sum = 0;
  for (std::int64_t i = 0; i < host.numel(); ++i) sum += double(host.data<float>()[i]);
  return sum;
}

// Median of `repeats` runs in a row, after two that are not timed. The host does not wait between them.
double median_ms(const Stream& s, Arena& arena, int repeats, const std::function<void()>& run) {
  for (int i = 0; i < 2; ++i) run();
  arena.begin_step();
  std::vector<Event> marks;
  marks.push_back(s.record());
  for (int i = 0; i < repeats; ++i) {
    run();
    marks.push_back(s.record());
  }
  s.synchronize();
  std::vector<double> times;
  for (int i = 0; i < repeats; ++i) times.push_back(marks[std::size_t(i) + 1].milliseconds_since(marks[std::size_t(i)]));
  std::nth_element(times.begin(), times.begin() + repeats / 2, times.end());
  return times[static_cast<std::size_t>(repeats / 2)];
}

struct Bench {
  const UnetBench& o;
  const std::function<void(const UnetTime&)>& done;
  Stream s;
  Precision precision;
  Arena weights, arena;
  TinyPipeline tiny{.image = 16};
  UnetSpec spec;
  ParamStore store;
  Unet unet;
  VaeConfig vae_config;
  std::int64_t side, embedding;
  NoiseSchedule schedule = NoiseSchedule::scaled_linear(), levels = NoiseSchedule::squared_cosine();
  Normalizer normalizer;
  Ctx cx;

  Bench(const UnetBench& options, const std::function<void(const UnetTime&)>& f)
      : o(options), done(f), s(Stream::create(o.device, "bench")), precision(Precision::of(o.compute)),
        weights(o.device, std::size_t{40} << 30, "weights"), arena(o.device, std::size_t{140} << 30, "activations"),
        spec([&] {
          UnetSpec u = o.tiny ? tiny.unet() : UnetSpec{};
          u.recompute = o.recompute;
          return u;
        }()),
        store(weights, precision, o.train), unet(Scope{store}, spec), vae_config(o.tiny ? identity_vae() : VaeConfig{}),
        side(o.tiny ? tiny.image : 64), embedding(spec.class_width / 2), normalizer(Normalizer::identity(s, weights, precision.accum, embedding)),
        cx{.stream = s, .arena = arena, .precision = precision} {
    store.seal(s);
    fill_weights(s, store);
  }

  Tensor random(Shape shape, DType type, std::uint64_t seed) {
    Tensor t = weights.empty(shape, type, {"inputs"});
    fill_normal_numbers(s, t, seed);
    return t;
  }
  void report(UnetTime t, double flops, std::int64_t count) {
    t.tflops = flops / t.milliseconds / 1e9;
    t.samples = 1e3 * double(count) / t.milliseconds;
    t.weight_gib = double(weights.live_bytes()) / kGib;
    t.peak_gib = double(arena.step_peak_bytes()) / kGib;
    done(t);
  }
  void explain(const char* what, const std::function<void()>& run) {
    if (!o.breakdown) return;
    Breakdown b(s);
    run();
    std::cout << "\n== " << what << '\n';
    b.print(std::cout);
  }

  void train() {
    const std::int64_t O = o.objects, N = O * spec.views, C = spec.out_channels;
    Optimizer optimizer(s, weights, store, {.beta2 = 0.999, .groups = ParamGroups::embeddings_apart(1e-2, 1), .allowed_factor = 0});
    EmaWeights average(s, weights, store);
    TrainingTables tables(s, weights, precision.accum, O, spec.views);
    const Tensor x0 = random({N, side, side, C}, precision.accum, 2), condition = random({O, side, side, C}, precision.accum, 3),
                 embeddings = random({O, embedding}, precision.accum, 4), text = random({N, kText, spec.text_width}, precision.compute, 5),
                 loss = weights.empty({1}, precision.accum), per_sample = weights.empty({N}, precision.accum);
    std::uint64_t step = 0;
    StepScalars last{};
    auto run = [&] {
      tables.set(s, schedule, 5, 0.05, 42, ++step, 0);
      Tensor velocity, out;
      Unet::Saved saved;
      {
        TrainingInput in = training_input(cx, tables, normalizer, levels, x0, condition, embeddings, 42, step);
        velocity = in.velocity;
        out = unet.forward(cx, {in.sample, tables.timesteps, in.class_labels, text}, saved);
      }
      weighted_mse_fwd(s, {.x = out, .target = velocity, .weights = tables.loss_weights, .loss = loss, .per_sample = per_sample});
      Tensor dy = cx.compute(out.shape(), {"loss gradient"});
      weighted_mse_bwd(s, {.x = out, .target = velocity, .weights = tables.loss_weights, .dx = dy});
      out.reset(), velocity.reset();
      unet.backward(cx, std::move(saved), std::move(dy));
      {
        Range range("optimizer");
        if (optimizer.pending()) last = optimizer.take();
        optimizer.step(s, 1e-4, 1, loss);
        optimizer.request(s);
      }
      {
        Range range("moving average");
        average.update(s);
      }
    };
    const double ms = median_ms(s, arena, o.repeats, run);
    last = optimizer.take();
    if (!std::isfinite(last.norm) || !std::isfinite(sum_of(s, loss)) || !last.apply)
      throw_error<DeviceError>("The UNet's loss or gradient is not finite: norm ", last.norm, ".");
    const std::string tail = o.recompute ? ", recomputed" : "";
    report({.what = mfl::text("UNet training step, ", O, " objects of 6 views", tail), .milliseconds = ms}, 3 * unet.forward_flops(side, kText) * double(N), O);
    explain("training step", run);
    if (optimizer.pending()) optimizer.take();
  }

  void sample() {
    Saving off(cx, false);
    const std::int64_t O = o.batch, N = O * spec.views, C = spec.out_channels;
    ParamStore vae_store(weights, precision, false);
    const Vae vae(Scope{vae_store}, vae_config);
    vae_store.seal(s);
    fill_weights(s, vae_store);
    const SamplerConfig config{.steps = o.steps, .guidance = o.guidance};
    const SamplerTable table(s, weights, precision.accum, sampler_steps(schedule, config));
    const Tensor streams = weights.empty({N}, DType::i32);
    fill_zero(s, streams);
    const SamplingInput in{random({O, side, side, C}, precision.accum, 6), random({N, spec.class_width}, precision.compute, 7),
                           random({N, kText, spec.text_width}, precision.compute, 8), streams, 42};
    const Network network = [&](Ctx& inner, const NetworkInput& call) {
      Unet::Saved nothing;
      return unet.forward(inner, {call.sample, call.timesteps, call.class_labels, call.text}, nothing);
    };
    Tensor images;
    auto run = [&] {
      images.reset();
      images = vae.decode(cx, sample_latents(cx, table, in, network));
    };
    const double ms = median_ms(s, arena, std::max(1, o.repeats / 5), run);
    if (!std::isfinite(sum_of(s, images))) throw_error<DeviceError>("A sampled image is not finite.");
    const double calls = double(o.steps) * (config.guided() ? 2 : 1);
    report({.what = mfl::text("sampling ", O, O == 1 ? " object" : " objects", " of 6 views, ", o.steps, " steps, guidance ", o.guidance, ", decoded"), .milliseconds = ms},
           calls * unet.forward_flops(side, kText) * double(N), O);
    images.reset();
    const SamplerTable once(s, weights, precision.accum, {table.steps().front(), table.steps().back()});
    explain("two sampling steps and decoding", [&] { vae.decode(cx, sample_latents(cx, once, in, network)); });
  }
};

}  // namespace

void time_unet(const UnetBench& options, const std::function<void(const UnetTime&)>& done) {
  Bench bench(options, done);
  if (options.train) bench.train();
  if (options.sample) bench.sample();
}

}  // namespace mfl::bench
