#include "tests/support/op_case.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/common/dispatch.h"
#include "tests/support/compare.h"

namespace mfl::test {
namespace {

constexpr std::size_t kGuard = 512;
constexpr unsigned char kCanary = 0xA5;
constexpr std::uint64_t kSeed = 20261122;

DType type_of(const Slot& s, DType work) {
  return s.role == Role::work ? work : s.role == Role::accum ? accum_of(work) : s.fixed;
}

double read(const void* p, DType t, std::int64_t i) {
  switch (t) {
    case DType::f64: return static_cast<const double*>(p)[i];
    case DType::f32: return static_cast<const float*>(p)[i];
    case DType::bf16: return static_cast<const bf16*>(p)[i];
    case DType::i64: return double(static_cast<const std::int64_t*>(p)[i]);
    case DType::i32: return static_cast<const std::int32_t*>(p)[i];
    case DType::u8: return static_cast<const std::uint8_t*>(p)[i];
    default: return std::numeric_limits<double>::quiet_NaN();
  }
}
void write(void* p, DType t, std::int64_t i, double x) {
  switch (t) {
    case DType::f64: static_cast<double*>(p)[i] = x; break;
    case DType::f32: static_cast<float*>(p)[i] = float(x); break;
    case DType::bf16: static_cast<bf16*>(p)[i] = bf16(x); break;
    case DType::i64: static_cast<std::int64_t*>(p)[i] = std::int64_t(x); break;
    case DType::i32: static_cast<std::int32_t*>(p)[i] = std::int32_t(x); break;
    case DType::u8: static_cast<std::uint8_t*>(p)[i] = std::uint8_t(x); break;
    default: break;
  }
}
bool floating(DType t) { return t == DType::f64 || t == DType::f32 || t == DType::bf16; }

// Device memory with canaries on both sides.
class Guarded {
 public:
  Guarded() = default;
  Guarded(const Stream& s, Shape shape, DType t) : shape_(shape), dtype_(t) {
    bytes_ = static_cast<std::size_t>(shape.numel()) * size_of(t);
    raw_ = Tensor::on_heap({std::int64_t(bytes_ + 2 * kGuard)}, DType::u8, s.device(), {"guarded"});
    set(s, std::vector<double>(std::size_t(shape.numel()), std::numeric_limits<double>::quiet_NaN()));
  }
  View view() const {
    View v = raw_;
    return make_view(static_cast<char*>(v.data) + kGuard, shape_, dtype_, raw_.device());
  }
  void set(const Stream& s, const std::vector<double>& values) {
    std::vector<unsigned char> host(bytes_ + 2 * kGuard, kCanary);
    for (std::size_t i = 0; i < values.size(); ++i) write(host.data() + kGuard, dtype_, std::int64_t(i), values[i]);
    copy(s, make_view(static_cast<const void*>(host.data()), {std::int64_t(host.size())}, DType::u8), raw_);
    s.synchronize();
  }
  std::vector<double> get(const Stream& s, const std::string& name) const {
    std::vector<unsigned char> host(bytes_ + 2 * kGuard);
    copy(s, raw_, make_view(host.data(), {std::int64_t(host.size())}, DType::u8));
    s.synchronize();
    for (std::size_t i = 0; i < kGuard; ++i)
      if (host[i] != kCanary || host[kGuard + bytes_ + i] != kCanary) {
        ADD_FAILURE() << name << ": a write outside the tensor, at byte "
                      << (host[i] != kCanary ? std::int64_t(i) - std::int64_t(kGuard) : std::int64_t(bytes_ + i));
        break;
      }
    std::vector<double> v(std::size_t(shape_.numel()));
    for (std::size_t i = 0; i < v.size(); ++i) v[i] = read(host.data() + kGuard, dtype_, std::int64_t(i));
    return v;
  }

 private:
  Shape shape_;
  DType dtype_ = DType::f32;
  std::size_t bytes_ = 0;
  Tensor raw_;
};

using Values = std::map<std::string, std::vector<double>>;

// Inputs and incoming gradients, drawn in f64.
// Every tensor's first `distinct` values are drawn; the rest repeats them.
Values draw(const OpCase& c, std::size_t distinct = std::size_t(-1)) {
  Values v;
  std::uint32_t stream = 0;
  auto fill = [&](const std::string& name, const Shape& shape, auto&& value) {
    auto& x = v[name];
    x.resize(std::size_t(shape.numel()));
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = i < distinct ? value() : x[i - distinct];
  };
  for (const Slot& s : c.inputs) {
    Rng rng(kSeed, Draw::test, 0, stream++);
    fill(s.name, s.shape, [&] { return s.value(rng); });
  }
  for (const Slot& s : c.outputs)
    if (s.differentiable) {
      Rng rng(kSeed, Draw::test, 1, stream++);
      fill("d" + s.name, s.shape, [&] { return rng.normal(); });
    }
  return v;
}

// The same values, as they are after storing them in the types of a run.
Values rounded(const OpCase& c, Values v, DType work) {
  auto round = [&](std::vector<double>& x, DType t) {
    for (double& e : x) {
      alignas(8) unsigned char slot[8];
      write(slot, t, 0, e);
      e = read(slot, t, 0);
    }
  };
  for (const Slot& s : c.inputs) round(v[s.name], type_of(s, work));
  for (const Slot& s : c.outputs)
    if (s.differentiable) round(v["d" + s.name], type_of(s, work));
  return v;
}

}  // namespace

View Run::operator[](const std::string& name) const {
  auto it = views_.find(name);
  MFL_CHECK(it != views_.end(), "op case: no slot ", name);
  return it->second;
}
View Run::scratch(Shape shape, DType t) { return scratch_.emplace_back(Tensor::on_heap(shape, t, stream.device())); }

// Buffers of one run of one case.
class Execution {
 public:
  Execution(const OpCase& c, Device device, DType work)
      : case_(c), stream_(Stream::create(device, "test")), run_(stream_, work, accum_of(work)) {
    for (const Slot& s : c.inputs) {
      add(s.name, s.shape, type_of(s, work));
      if (s.differentiable && c.backward) add("d" + s.name, s.shape, type_of(s, work));
    }
    for (const Slot& s : c.outputs) {
      add(s.name, s.shape, type_of(s, work));
      if (s.differentiable && c.backward) add("d" + s.name, s.shape, type_of(s, work));
    }
  }
  void set(const Values& v) {
    for (const auto& [name, values] : v)
      if (buffers_.count(name)) buffers_[name].set(stream_, values);
  }
  void set(const std::string& name, const std::vector<double>& v) { buffers_[name].set(stream_, v); }
  std::vector<double> get(const std::string& name) { return buffers_[name].get(stream_, case_.name + " " + name); }
  void forward() { case_.forward(run_); }
  void backward(GradMode mode = GradMode::overwrite) {
    run_.mode = mode;
    case_.backward(run_);
  }
  const Stream& stream() const { return stream_; }

 private:
  void add(const std::string& name, Shape shape, DType t) {
    buffers_.emplace(name, Guarded(stream_, shape, t));
    run_.views_[name] = buffers_[name].view();
  }
  const OpCase& case_;
  Stream stream_;
  Run run_;
  std::map<std::string, Guarded> buffers_;
};

std::vector<std::pair<std::string, CaseList>>& registered_cases() {
  static std::vector<std::pair<std::string, CaseList>> list;
  return list;
}

bool have_cuda() { return cuda_device_count() > 0; }

void check_gradient(const OpCase& c) {
  if (!c.backward) return;
  const Values at = draw(c);
  Execution run(c, kCpu, DType::f64);
  auto objective = [&](const Values& v) {
    run.set(v);
    run.forward();
    double sum = 0;
    for (const Slot& s : c.outputs)
      if (s.differentiable) {
        const auto y = run.get(s.name);
        const auto& w = at.at("d" + s.name);
        for (std::size_t i = 0; i < y.size(); ++i) sum += y[i] * w[i];
      }
    return sum;
  };
  objective(at);
  run.backward();
  Values gradient;
  for (const Slot& s : c.inputs)
    if (s.differentiable) gradient[s.name] = run.get("d" + s.name);
  for (std::uint32_t direction = 0; direction < 4; ++direction) {
    Values plus = at, minus = at;
    double predicted = 0, scale = 0;
    std::uint32_t stream = 0;
    for (auto& [name, g] : gradient) {
      Rng rng(kSeed, Draw::test, 2 + direction, stream++);
      for (std::size_t i = 0; i < g.size(); ++i) {
        const double u = rng.normal();
        predicted += g[i] * u;
        scale += g[i] * g[i];
        plus[name][i] += c.step * u;
        minus[name][i] -= c.step * u;
      }
    }
    const double measured = (objective(plus) - objective(minus)) / (2 * c.step);
    // The scale of <g, u> is |g|; a direction nearly orthogonal to g must not turn rounding into a failure.
    EXPECT_NEAR(predicted, measured, c.gradient_tolerance * std::max(std::sqrt(scale), std::abs(measured)))
        << c.name << ", direction " << direction;
  }
}

void check_modes(const OpCase& c) {
  if (!c.backward || !c.modes) return;
  Execution run(c, kCpu, DType::f64);
  run.set(draw(c));
  run.forward();
  run.backward(GradMode::overwrite);
  Values once;
  for (const Slot& s : c.inputs)
    if (s.differentiable) once[s.name] = run.get("d" + s.name);
  run.backward(GradMode::accumulate);
  for (auto& [name, g] : once) {
    const auto twice = run.get("d" + name);
    for (std::size_t i = 0; i < g.size(); ++i)
      ASSERT_EQ(twice[i], 2 * g[i]) << c.name << " d" << name << '[' << i << "]: overwrite, then accumulate";
  }
  for (auto& [name, g] : once) run.set("d" + name, std::vector<double>(g.size(), 12345.0));
  run.backward(GradMode::ignore);
  for (auto& [name, g] : once)
    for (double x : run.get("d" + name)) ASSERT_EQ(x, 12345.0) << c.name << " d" << name << " was written under ignore";
}

void check_guards(const OpCase& c, DType work) {
  Execution run(c, kCpu, work);
  run.set(rounded(c, draw(c), work));
  run.forward();
  if (c.backward) run.backward();
  auto written = [&](const std::string& name, DType t) {
    const auto v = run.get(name);
    if (!floating(t)) return;
    for (std::size_t i = 0; i < v.size(); ++i)
      ASSERT_TRUE(std::isfinite(v[i])) << c.name << ' ' << name << '[' << i << "] was not written";
  };
  for (const Slot& s : c.outputs) written(s.name, type_of(s, work));
  for (const Slot& s : c.inputs)
    if (s.differentiable && c.backward) written("d" + s.name, type_of(s, work));
}

void check_parity(const OpCase& c, DType work) {
  const Values values = rounded(c, draw(c), work);
  Execution ref(c, kCpu, DType::f64), plain(c, kCpu, work), out(c, Device{DeviceKind::cuda, 0}, work);
  for (Execution* e : {&ref, &plain, &out}) {
    e->set(values);
    e->forward();
    if (c.backward) e->backward();
  }
  auto compare = [&](const std::string& name, DType t, bool gradient) {
    if (!floating(t)) return;
    const auto r = ref.get(name), p = plain.get(name), o = out.get(name);
    EXPECT_TRUE(within_parity(c.name + " " + name, o, p, r, {t, c.terms, c.flips}));
    if (gradient) {
      const double relative = c.gradient_relative * (work == DType::bf16 ? 1 : 0.01);
      EXPECT_TRUE(same_direction(c.name + " " + name, o, r, relative, work == DType::bf16 ? 0.999 : 0.9999));
    }
  };
  for (const Slot& s : c.outputs) compare(s.name, type_of(s, work), false);
  for (const Slot& s : c.inputs)
    if (s.differentiable && c.backward) compare("d" + s.name, type_of(s, work), true);
}

void check_repeatable(const OpCase& c, DType work) {
  const Values values = rounded(c, draw(c), work);
  Values first;
  for (int round = 0; round < 3; ++round) {
    Execution run(c, Device{DeviceKind::cuda, 0}, work);
    run.set(values);
    run.forward();
    if (c.backward) run.backward();
    auto same = [&](const std::string& name) {
      auto v = run.get(name);
      if (round == 0) first[name] = v;
      else
        ASSERT_EQ(std::memcmp(v.data(), first[name].data(), v.size() * sizeof(double)), 0)
            << c.name << ' ' << name << " differs between two runs on the same inputs";
    };
    for (const Slot& s : c.outputs) same(s.name);
    for (const Slot& s : c.inputs)
      if (s.differentiable && c.backward) same("d" + s.name);
  }
}

BenchResult bench(const OpCase& c, DType work, Device device, bool backward, int repeats) {
  Execution run(c, device, work);
  // Drawing every value of a real shape takes the host longer than its GPU takes for all repeats; times do not depend on it.
  run.set(rounded(c, draw(c, std::size_t{1} << 18), work));
  run.forward();
  // Larger than any L2 here; written between runs so that no run finds its inputs in the cache.
  Tensor flush = Tensor::on_heap({device.is_cuda() ? std::int64_t{256} << 20 : 1}, DType::u8, device);
  std::vector<double> ms;
  for (int i = 0; i < repeats + 3; ++i) {
    fill_zero(run.stream(), flush);
    Event from = run.stream().record();
    if (backward) run.backward();
    else run.forward();
    Event to = run.stream().record();
    to.synchronize();
    if (i >= 3) ms.push_back(to.milliseconds_since(from));
  }
  std::sort(ms.begin(), ms.end());
  return {ms[ms.size() / 2], ms[ms.size() / 10], ms[ms.size() * 9 / 10]};
}

}  // namespace mfl::test
