#include "models/mvdiffusion/schedulers.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "kernels/common/dispatch.h"
#include "kernels/elementwise/mix.h"

namespace mfl::mvdiffusion {

NoiseSchedule::NoiseSchedule(std::vector<double> betas) : alpha_bar_(std::move(betas)) {
  double product = 1;
  for (double& b : alpha_bar_) b = product *= 1 - b;
}

NoiseSchedule NoiseSchedule::scaled_linear(double first, double last, int steps) {
  MFL_CHECK(steps >= 2 && first > 0 && last < 1, "a noise schedule of ", steps, " steps with betas ", first, " to ", last);
  std::vector<double> betas(static_cast<std::size_t>(steps));
  for (int i = 0; i < steps; ++i) {
    const double root = std::sqrt(first) + (std::sqrt(last) - std::sqrt(first)) * i / (steps - 1);
    betas[static_cast<std::size_t>(i)] = root * root;
  }
  return NoiseSchedule(std::move(betas));
}

NoiseSchedule NoiseSchedule::squared_cosine(int steps) {
  MFL_CHECK(steps >= 1, "a noise schedule of ", steps, " steps");
  auto curve = [steps](int i) {
    const double c = std::cos((double(i) / steps + 0.008) / 1.008 * std::numbers::pi / 2);
    return c * c;
  };
  std::vector<double> betas(static_cast<std::size_t>(steps));
  for (int i = 0; i < steps; ++i) betas[static_cast<std::size_t>(i)] = std::min(1 - curve(i + 1) / curve(i), 0.999);
  return NoiseSchedule(std::move(betas));
}

double NoiseSchedule::alpha_bar(std::int64_t t) const {
  MFL_CHECK(t >= 0 && t < steps(), "timestep ", t, " of a schedule of ", steps());
  return alpha_bar_[static_cast<std::size_t>(t)];
}
std::array<double, 2> NoiseSchedule::noisy(std::int64_t t) const {
  return {std::sqrt(alpha_bar(t)), std::sqrt(1 - alpha_bar(t))};
}
std::array<double, 2> NoiseSchedule::velocity(std::int64_t t) const {
  return {-std::sqrt(1 - alpha_bar(t)), std::sqrt(alpha_bar(t))};
}
double NoiseSchedule::loss_weight(std::int64_t t, double gamma) const {
  return gamma == 0 ? 1.0 : std::min(snr(t), gamma) / snr(t);
}

namespace {

// x0 = sqrt(a) x - sqrt(1 - a) v with v = v_u + g (v_c - v_u).
std::array<double, 3> predict_x0(double a, double guidance) {
  const double spread = std::sqrt(1 - a);
  return {std::sqrt(a), -spread * guidance, -spread * (1 - guidance)};
}

std::vector<SamplerStep> ddim(const NoiseSchedule& schedule, const SamplerConfig& config) {
  const int ratio = schedule.steps() / config.steps;
  std::vector<SamplerStep> steps;
  for (int k = config.steps - 1; k >= 0; --k) {
    const std::int64_t t = std::int64_t{k} * ratio + config.steps_offset, before = t - ratio;
    const double a = schedule.alpha_bar(t), to = schedule.alpha_bar(std::max<std::int64_t>(before, 0));
    const double sigma = config.eta * std::sqrt((1 - to) / (1 - a) * (1 - a / to));
    // x' = sqrt(a') x0 + direction e + sigma z with e = (x - sqrt(a) x0) / sqrt(1 - a), which is sqrt(a) v + sqrt(1-a) x.
    const double direction = std::sqrt(std::max(1 - to - sigma * sigma, 0.0));
    const double along = direction / std::sqrt(1 - a);
    steps.push_back({t, predict_x0(a, config.guidance), {along, std::sqrt(to) - along * std::sqrt(a), 0, sigma}});
  }
  return steps;
}

std::vector<SamplerStep> dpm_solver(const NoiseSchedule& schedule, const SamplerConfig& config) {
  const double spacing = double(schedule.steps() - 1) / config.steps;
  auto timestep = [&](int k) { return std::llrint(k * spacing); };
  // log(alpha / sigma), half the log of the SNR.
  auto lambda = [&](std::int64_t t) { return 0.5 * std::log(schedule.snr(t)); };
  std::vector<SamplerStep> steps;
  for (int k = config.steps; k >= 1; --k) {
    const std::int64_t t = timestep(k);
    const double a = schedule.alpha_bar(t);
    SamplerStep step{t, predict_x0(a, config.guidance), {0, 1, 0, 0}};  // the last step: x0 itself
    if (k > 1) {
      const std::int64_t next = timestep(k - 1);
      const double to = schedule.alpha_bar(next), h = lambda(next) - lambda(t);
      // x' = sigma'/sigma x + alpha' (1 - exp(-h)) D,  D = (1 + 1/2r) x0 - 1/2r x0_before,  r = h_before / h.
      const double gain = -std::sqrt(to) * std::expm1(-h);
      const double bend = steps.empty() ? 0.0 : 0.5 * h / (lambda(t) - lambda(timestep(k + 1)));
      step.next = {std::sqrt((1 - to) / (1 - a)), gain * (1 + bend), -gain * bend, 0};
    }
    steps.push_back(step);
  }
  return steps;
}

}  // namespace

std::vector<SamplerStep> sampler_steps(const NoiseSchedule& schedule, const SamplerConfig& config) {
  const bool is_ddim = config.kind == SamplerKind::ddim;
  // DDIM begins at (steps - 1) (T / steps) + offset, which must be a timestep.
  const int most = schedule.steps() - (is_ddim ? std::max(config.steps_offset, 0) : 1);
  if (config.steps < 1 || config.steps > most ||
      (is_ddim && (config.steps - 1) * (schedule.steps() / config.steps) + config.steps_offset >= schedule.steps()))
    throw_error<ConfigError>("Sampling in ", config.steps, " steps does not work with a schedule of ", schedule.steps(),
                             " timesteps", is_ddim ? text(" and an offset of ", config.steps_offset) : "", ". Take 1 to ",
                             most, " steps.");
  if (!(config.eta >= 0 && config.eta <= 1))
    throw_error<ConfigError>("The sampler's eta is ", config.eta, ", expected 0 to 1.");
  return is_ddim ? ddim(schedule, config) : dpm_solver(schedule, config);
}

SamplerTable::SamplerTable(const Stream& s, Arena& arena, DType accum, std::vector<SamplerStep> steps)
    : steps_(std::move(steps)) {
  const auto n = static_cast<std::int64_t>(steps_.size());
  auto upload = [&](std::int64_t columns, auto row_of) {
    Tensor device = arena.empty({n, columns}, accum, {"sampler's weights"});
    if (s.device().is_meta()) return device;
    Tensor host = Tensor::on_heap({n, columns}, accum);
    dispatch_float(accum, [&](auto t) {
      using T = decltype(t);
      for (std::int64_t i = 0; i < n; ++i)
        for (std::int64_t c = 0; c < columns; ++c)
          host.data<T>()[i * columns + c] = T(row_of(steps_[static_cast<std::size_t>(i)])[static_cast<std::size_t>(c)]);
    });
    copy(s, host, device);
    s.synchronize();
    return device;
  };
  x0_ = upload(3, [](const SamplerStep& step) { return step.x0; });
  next_ = upload(4, [](const SamplerStep& step) { return step.next; });
}

void SamplerTable::advance(const Stream& s, std::size_t step, View x, ConstView v, ConstView x0_before, ConstView noise,
                           View x0) const {
  MFL_CHECK(step < steps_.size(), "sampler: step ", step, " of ", steps_.size());
  const SamplerStep& now = steps_[step];
  const auto k = static_cast<std::int64_t>(step);
  const std::int64_t n = x.shape[0];
  const bool guided = now.x0[2] != 0;
  MFL_CHECK(v && v.shape[0] == (guided ? 2 * n : n), "sampler: v ", v.shape, " for ", n, " samples",
            guided ? " under guidance, expected both halves" : "");
  // A term of weight 0 is not read: any tensor of the shape will do.
  const ConstView conditional = guided ? slice(v, 0, n, n) : v, unconditional = guided ? slice(v, 0, 0, n) : v;
  MFL_CHECK(now.next[2] == 0 || x0_before, "sampler: step ", step, " needs the prediction of the step before");
  MFL_CHECK(now.next[3] == 0 || noise, "sampler: step ", step, " needs noise");
  mix(s, {.x = {x, conditional, unconditional}, .weights = x0_.rows(k, 1), .y = x0});
  mix(s, {.x = {x, x0, x0_before ? x0_before : ConstView(x0), noise ? noise : ConstView(x)}, .weights = next_.rows(k, 1),
          .y = x});
}

double ema_decay(std::int64_t update, double limit) {
  MFL_CHECK(update >= 1, "ema_decay: update ", update, ", counted from 1");
  const double s = double(update - 1);
  return s <= 0 ? 0.0 : std::min((1 + s) / (10 + s), limit);
}

}  // namespace mfl::mvdiffusion
