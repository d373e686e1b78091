// Loss terms of one update on the host, one slot: read before the next update is queued.
#pragma once

#include <vector>

#include "runtime/tensor.h"
#include "runtime/stream.h"

namespace mfl {

class LossReadback {
 public:
  // Of `micro` micro-batches with `terms` numbers each.
  LossReadback(Device d, std::int64_t micro, std::int64_t terms)
      : host_(Tensor::pinned({micro, terms}, DType::f32, {"loss terms"})), copied_(d) {}
  ~LossReadback() { copied_.synchronize(); }
  LossReadback(const LossReadback&) = delete;
  LossReadback& operator=(const LossReadback&) = delete;

  void request(const Stream& s, const Tensor& terms) {   // [micro, terms] f32
    copy(s, terms, host_);
    s.record(copied_);
  }
  // Means over the micro-batches. Waits for the copy.
  std::vector<double> take() const {
    copied_.synchronize();
    const std::int64_t micro = host_.shape()[0], terms = host_.shape()[1];
    std::vector<double> mean(static_cast<std::size_t>(terms));
    for (std::int64_t i = 0; i < micro * terms; ++i) mean[static_cast<std::size_t>(i % terms)] += double(host_.data<float>()[i]) / double(micro);
    return mean;
  }

 private:
  Tensor host_;
  Event copied_;
};

}  // namespace mfl
