#include "train/test_hooks.h"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <limits>
#include <thread>

namespace mfl::test_hooks {

void poison(const Stream& stream, const std::vector<std::string>& names, const Tensor& rows) {
  const char* set = std::getenv("MFL_TEST_POISON");
  if (!set || !rows) return;
  const std::string given = set;
  const std::size_t equals = given.find('=');
  const float value = equals == std::string::npos ? std::numeric_limits<float>::quiet_NaN() : std::strtof(given.c_str() + equals + 1, nullptr);
  const std::int64_t each = rows.shape()[0] / std::int64_t(names.size());
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (names[i] != given.substr(0, equals)) continue;
    const Tensor to = rows.rows(std::int64_t(i) * each, each), from = Tensor::on_heap(to.shape(), DType::f32);
    std::fill_n(from.data<float>(), from.numel(), value);
    copy(stream, from, to);
    stream.synchronize();
  }
}

void delay(int rank) {
  const char* set = std::getenv("MFL_TEST_SLOW_RANK");
  if (!set) return;
  char* colon = nullptr;
  if (std::strtol(set, &colon, 10) != rank || *colon != ':') return;
  std::this_thread::sleep_for(std::chrono::milliseconds(std::strtol(colon + 1, nullptr, 10)));
}

void hang(int rank, std::size_t step, std::size_t bucket) {
  const char* set = std::getenv("MFL_TEST_HANG");
  if (!set) return;
  const std::string given = set, here = text(rank, ':', step, ':', bucket);
  if (given == here + ":stop") std::raise(SIGSTOP);
  if (given == here) std::this_thread::sleep_for(std::chrono::hours(1));
}

}  // namespace mfl::test_hooks
