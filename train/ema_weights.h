// The moving average of a network's parameters, and the counter that its decay follows (models/mvdiffusion/schedulers.h).
//
// The published trainer loses the counter on a resume and overwrites the average with the live weights; here it is saved
// (optimization_step of unet_ema/config.json) and set again.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "runtime/module.h"
#include "train/sharding.h"

namespace mfl {

class EmaWeights {
 public:
  // A copy of the present values; no update yet. The store must be sealed and outlive this.
  // `on_host`: it lives in host memory (host_memory.h). `sharding`: this rank's part of it only (null: all of it).
  EmaWeights(const Stream&, Arena&, ParamStore&, double limit = 0.9999, bool on_host = false,
             std::shared_ptr<const Sharding> sharding = nullptr);
  // Begins anew at the present values.
  void restart(const Stream&);

  // After every update of the parameters (also after one that was left out).
  void update(const Stream&);
  std::int64_t updates() const { return updates_; }
  // A resume: after shadow() was filled from a file.
  void set_updates(std::int64_t n) { updates_ = n; }
  const Tensor& shadow() const { return shadow_; }   // [sharding().held()] accum type, laid out as the store's values
  const Sharding& sharding() const { return *sharding_; }

  // The keys that diffusers adds to unet_ema/config.json, as JSON text.
  std::string config_fields() const;

  // While it lives, the store holds the average and shadow() the live weights: for validation and for writing the final
  // pipeline. Exchanges piece by piece through `scratch`: costs no second copy. Collective where the average is divided.
  class Shown {
   public:
    Shown(const Stream&, Arena& scratch, EmaWeights&);
    ~Shown();
    Shown(const Shown&) = delete;
    Shown& operator=(const Shown&) = delete;

   private:
    const Stream& stream_;
    Arena& scratch_;
    EmaWeights& ema_;
  };

 private:
  void exchange(const Stream&, Arena& scratch);
  ParamStore& store_;
  std::shared_ptr<const Sharding> sharding_;
  Tensor shadow_;
  double limit_;
  std::int64_t updates_ = 0;
};

}  // namespace mfl
