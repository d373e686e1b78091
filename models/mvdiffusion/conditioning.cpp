#include "models/mvdiffusion/conditioning.h"

#include <algorithm>

#include "kernels/common/dispatch.h"
#include "kernels/elementwise/cast.h"
#include "kernels/elementwise/mix.h"
#include "kernels/elementwise/move_rows.h"
#include "kernels/elementwise/normal.h"
#include "kernels/embed/noise_embedding.h"
#include "models/mvdiffusion/pipeline_files.h"

namespace mfl::mvdiffusion {

Normalizer Normalizer::identity(const Stream& s, Arena& arena, DType accum, std::int64_t width) {
  Normalizer n{arena.empty({width}, accum, {"embedding statistics"}), arena.empty({width}, accum, {"embedding statistics"})};
  fill_(s, {.x = n.mean, .value = 0});
  fill_(s, {.x = n.std, .value = 1});
  return n;
}

Normalizer Normalizer::load(const Stream& s, Arena& arena, DType accum, const std::filesystem::path& folder, std::int64_t width) {
  const io::WeightFile file = io::open_model_weights(component_weights(folder));
  Normalizer n = identity(s, arena, accum, width);
  for (const auto& [name, into] : {std::pair{"mean", n.mean}, std::pair{"std", n.std}}) {
    const io::StoredTensor* t = file.find(name);
    if (!t) throw_error<DataError>(file.path, " has no tensor \"", name, "\", expected an image normalizer's mean and std.");
    if (t->numel() != width)
      throw_error<DataError>(file.path, ": \"", name, "\" is ", t->shape, ", but the image encoder's embeddings have ", width,
                             " values. Are the two of one pipeline?");
    const Tensor host = io::load(*t, accum, text(file.path, ": ", name)).reshape({width});
    dispatch_float(accum, [&](auto type) {
      for (std::int64_t i = 0; i < width; ++i)
        if (std::string_view(name) == "std" && !(host.data<decltype(type)>()[i] > decltype(type)(0.0)))
          throw_error<DataError>(file.path, ": std[", i, "] is not positive.");
    });
    if (s.device().is_meta()) continue;
    copy(s, host, into);
    s.synchronize();
  }
  return n;
}

Tensor class_vectors(Ctx& cx, const Normalizer& normalizer, const NoiseSchedule& levels, ConstView embeddings, ConstView streams,
                     std::uint64_t seed, std::uint64_t step, ConstView keep, std::int64_t level) {
  const std::int64_t n = streams.shape[0], c = embeddings.shape[1];
  Tensor noise = cx.accum({n, c}, {"embedding noise"});
  fill_normal(cx.stream, {.x = noise, .streams = streams, .seed = seed, .purpose = Draw::embedding, .step = step});
  Tensor y = cx.compute({n, 2 * c}, {"class vectors"});
  noise_embedding(cx.stream, {.embedding = embeddings, .mean = normalizer.mean, .std = normalizer.std, .noise = noise, .keep = keep,
                              .alpha_bar = levels.alpha_bar(level), .level = level, .y = y});
  return y;
}

Tensor join_condition(Ctx& cx, ConstView latents, ConstView condition) {
  MFL_CHECK(latents && latents.shape.rank() == 4 && condition && condition.shape.rank() == 4 && condition.shape[0] > 0 &&
                latents.shape[0] % condition.shape[0] == 0,
            "join_condition: latents ", latents.shape, " and condition ", condition.shape,
            ", expected [N, h, w, C] and as many, or a divisor of them");
  const Shape& s = latents.shape;
  check_shape("join_condition", "condition", condition, {condition.shape[0], s[1], s[2], s[3]});
  const std::int64_t n = s[0], objects = condition.shape[0], views = n / objects, size = s[1] * s[2] * s[3];
  auto compute = [&](ConstView x) {
    Tensor y = cx.compute(x.shape, {"unet input"});
    cast(cx.stream, {.x = x, .y = y});
    return y;
  };
  Tensor all = cx.compute({s[0], s[1], s[2], 2 * s[3]}, {"unet input"});
  move_rows(cx.stream, {.x = reshape(ConstView(compute(latents)), {n * s[1] * s[2], s[3]}), .y = columns(View(all), 0, s[3])});
  Tensor once = compute(condition), each = once;
  if (views > 1) {
    each = cx.compute(s, {"unet input"});
    for (std::int64_t o = 0; o < objects; ++o) {
      ConstView same = reshape(ConstView(once.rows(o, 1)), {1, size});
      same.shape = {views, size}, same.stride = {0, 1};   // the one row, for every view
      move_rows(cx.stream, {.x = same, .y = reshape(View(each.rows(o * views, views)), {views, size})});
    }
  }
  move_rows(cx.stream, {.x = reshape(ConstView(each), {n * s[1] * s[2], s[3]}), .y = columns(View(all), s[3], s[3])});
  return all;
}

ObjectDraw draw_object(std::uint64_t seed, std::uint64_t step, std::uint32_t object, int timesteps, double drop_rate) {
  ObjectDraw d;
  d.timestep = Rng(seed, Draw::timestep, step, object).below(static_cast<std::uint32_t>(timesteps));
  const double r = static_cast<double>(Rng(seed, Draw::drop, step, object).uniform());
  d.keep_embedding = r >= 2 * drop_rate;
  d.keep_condition = r < drop_rate || r >= 3 * drop_rate;
  return d;
}

TrainingTables::TrainingTables(const Stream& s, Arena& arena, DType accum, std::int64_t objects, std::int64_t views) : accum_(accum) {
  MFL_CHECK(objects > 0 && views > 0, "training tables for ", objects, " objects of ", views, " views");
  const std::int64_t n = objects * views;
  const Purpose purpose{"step's per-sample numbers"};
  flat_ = arena.empty({6 * n + objects}, accum, purpose);
  whole_ = arena.empty({2 * n}, DType::i32, purpose);
  noisy = flat_.rows(0, 2 * n).reshape({n, 2});
  velocity = flat_.rows(2 * n, 2 * n).reshape({n, 2});
  loss_weights = flat_.rows(4 * n, n);
  keep_embedding = flat_.rows(5 * n, n);
  keep_condition = flat_.rows(6 * n, objects).reshape({objects, 1});
  timesteps = whole_.rows(0, n);
  streams = whole_.rows(n, n);
  if (s.device().is_meta()) return;
  host_flat_ = Tensor::pinned(flat_.shape(), accum, purpose);
  host_whole_ = Tensor::pinned(whole_.shape(), DType::i32, purpose);
  copied_.emplace(s.device());
}

void TrainingTables::set(const Stream& s, const NoiseSchedule& schedule, double snr_gamma, double drop_rate, std::uint64_t seed,
                         std::uint64_t step, std::uint32_t first_object) {
  if (s.device().is_meta()) return;
  const std::int64_t o_count = objects(), v_count = views(), n = o_count * v_count;
  copied_->synchronize();   // of the last step's upload, long done
  std::int32_t* whole = host_whole_.data<std::int32_t>();
  dispatch_float(accum_, [&](auto type) {
    using T = decltype(type);
    T* flat = host_flat_.data<T>();
    for (std::int64_t o = 0; o < o_count; ++o) {
      const std::uint32_t object = first_object + static_cast<std::uint32_t>(o);
      const ObjectDraw d = draw_object(seed, step, object, schedule.steps(), drop_rate);
      const auto noisy_row = schedule.noisy(d.timestep), velocity_row = schedule.velocity(d.timestep);
      flat[6 * n + o] = T(d.keep_condition ? 1.0 : 0.0);
      for (std::int64_t i = o * v_count; i < (o + 1) * v_count; ++i) {
        for (std::int64_t k = 0; k < 2; ++k) {
          flat[2 * i + k] = T(noisy_row[static_cast<std::size_t>(k)]);
          flat[2 * n + 2 * i + k] = T(velocity_row[static_cast<std::size_t>(k)]);
        }
        flat[4 * n + i] = T(schedule.loss_weight(d.timestep, snr_gamma));
        flat[5 * n + i] = T(d.keep_embedding ? 1.0 : 0.0);
        whole[i] = static_cast<std::int32_t>(d.timestep);
        whole[n + i] = static_cast<std::int32_t>(object * static_cast<std::uint32_t>(v_count) +
                                                 static_cast<std::uint32_t>(i - o * v_count));
      }
    }
  });
  copy(s, host_flat_, flat_);
  copy(s, host_whole_, whole_);
  s.record(*copied_);
}

TrainingInput training_input(Ctx& cx, const TrainingTables& tables, const Normalizer& normalizer, const NoiseSchedule& levels,
                             ConstView x0, ConstView condition, ConstView embeddings, std::uint64_t seed, std::uint64_t step) {
  TrainingInput in;
  {
    Tensor noise = cx.accum(x0.shape, {"diffusion noise"}), noisy = cx.accum(x0.shape, {"noisy latents"});
    in.velocity = cx.accum(x0.shape, {"velocity target"});
    fill_normal(cx.stream, {.x = noise, .streams = tables.streams, .seed = seed, .purpose = Draw::diffusion, .step = step});
    mix(cx.stream, {.x = {x0, noise}, .weights = tables.noisy, .y = noisy});
    mix(cx.stream, {.x = {x0, noise}, .weights = tables.velocity, .y = in.velocity});
    Tensor kept = cx.accum(condition.shape, {"kept condition"});
    mix(cx.stream, {.x = {condition}, .weights = tables.keep_condition, .y = kept});
    in.sample = join_condition(cx, noisy, kept);
  }
  in.class_labels = class_vectors(cx, normalizer, levels, embeddings, tables.streams, seed, step, tables.keep_embedding);
  return in;
}

}  // namespace mfl::mvdiffusion
