// What the tests of the diffusion encoders share: a frozen network with its store and arenas, and formula weights.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "kernels/elementwise/cast.h"
#include "models/weights/coverage.h"
#include "runtime/io/safetensors.h"
#include "runtime/module.h"

namespace mfl::mvdiffusion::test {

// The weights of tests/golden/make_encoders.py.
inline void fill_formula(const Stream& s, ParamStore& store) {
  std::vector<Param*> params;
  for (Param& p : store.all()) params.push_back(&p);
  std::sort(params.begin(), params.end(), [](const Param* a, const Param* b) { return a->name < b->name; });
  for (std::size_t k = 0; k < params.size(); ++k) {
    const Param& p = *params[k];
    Tensor host = Tensor::on_heap(p.shape, DType::f64);
    for (std::int64_t i = 0; i < p.numel(); ++i) {
      std::uint32_t x = (static_cast<std::uint32_t>(i) + 1) * 0x9E3779B1u + (static_cast<std::uint32_t>(k) + 1) * 0x85EBCA77u;
      x ^= x >> 16, x *= 0x7feb352du, x ^= x >> 15, x *= 0x846ca68bu, x ^= x >> 16;
      const double u = 2 * (double(x) / 4294967296.0) - 1;
      double value = u / 10;
      if (p.shape.rank() >= 2) value = u * std::sqrt(3 / double(p.numel() / p.shape[0]));
      else if (p.name.ends_with("weight")) value = 1 + u / 10;
      host.data<double>()[i] = value;
    }
    weights::load_parameter(s, p, io::stored(host), p.name);
  }
  weights::refresh_compute(s, store);
  s.synchronize();
}

// A network M(Scope, Config) on a device, with formula weights unless `weights` says otherwise.
template <class M>
struct Frozen {
  Stream s;
  Arena weights, arena;
  ParamStore store;
  M net;
  Ctx cx;
  template <class Config>
  Frozen(Device device, DType compute, const Config& config, std::size_t bytes = std::size_t{1} << 30)
      : s(Stream::create(device, "test")), weights(device, bytes, "weights"), arena(device, bytes, "activations"),
        store(weights, Precision::of(compute), false), net(Scope{store}, config),
        cx{.stream = s, .arena = arena, .precision = Precision::of(compute), .saving = false} {
    store.seal(s);
  }
  Frozen& formula() {
    fill_formula(s, store);
    return *this;
  }
  // A host tensor of any floating type (or bytes) on the device; floats in the type `t`.
  Tensor up(const Tensor& host, DType t) {
    Tensor same = host;
    if (host.dtype() != t) {
      same = Tensor::on_heap(host.shape(), t);
      cpu::cast({.x = host, .y = same});
    }
    Tensor device = Tensor::on_heap(host.shape(), t, s.device());
    copy(s, same, device);
    s.synchronize();
    return device;
  }
  std::vector<double> down(const Tensor& t) {
    Tensor host = Tensor::on_heap(t.shape(), t.dtype()), wide = Tensor::on_heap(t.shape(), DType::f64);
    copy(s, t, host);
    s.synchronize();
    cpu::cast({.x = host, .y = wide});
    return {wide.data<double>(), wide.data<double>() + wide.numel()};
  }
};

inline std::vector<double> values(const Tensor& host) {
  Tensor wide = Tensor::on_heap(host.shape(), DType::f64);
  cpu::cast({.x = host, .y = wide});
  return {wide.data<double>(), wide.data<double>() + wide.numel()};
}

// FNV-1a of the alphabetical lines "name [axis, axis]\n": names_hash of make_encoders.py.
inline std::string names_hash(const ParamStore& store) {
  std::vector<const Param*> params;
  for (const Param& p : store.all()) params.push_back(&p);
  std::sort(params.begin(), params.end(), [](const Param* a, const Param* b) { return a->name < b->name; });
  std::uint64_t h = 0xcbf29ce484222325ull;
  for (const Param* p : params)
    for (unsigned char c : text(p->name, ' ', p->shape, '\n')) h = (h ^ c) * 0x100000001b3ull;
  char hex[17];
  std::snprintf(hex, sizeof hex, "%016llx", static_cast<unsigned long long>(h));
  return hex;
}

}  // namespace mfl::mvdiffusion::test
