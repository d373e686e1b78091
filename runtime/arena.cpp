#include "runtime/arena.h"

#include <algorithm>
#include <cstdlib>
#include <string_view>

namespace mfl {
namespace {
std::uint64_t mix(std::uint64_t h, std::uint64_t x) {
  h ^= x + 0x9e3779b97f4a7c15ull + (h << 6) + (h >> 2);
  return h * 0xff51afd7ed558ccdull;
}
bool guard_asked_for() {
  const char* value = std::getenv("MFL_GUARD");
  return value && std::string_view(value) != "0";
}
}  // namespace

Arena::Arena(Device device, std::size_t reserve_bytes, std::string name)
    : range_(backend::reserve(device, reserve_bytes)), name_(std::move(name)), track_uses_(device.is_meta()),
      guarded_(!device.is_meta() && guard_asked_for()) {}

Arena::~Arena() {
  // A tensor that outlives its arena is a bug of the caller; its memory goes, its handle must not.
  for (auto& [offset, block] : blocks_) {
    if (guarded_) backend::deallocate(range_.device, block->data);
    block->owner = nullptr;
    block->data = nullptr;
  }
  backend::release(range_);
}

Tensor Arena::empty(Shape shape, DType dtype, Purpose purpose) {
  const std::size_t asked = static_cast<std::size_t>(shape.numel()) * size_of(dtype);
  const std::size_t bytes = std::max((asked + kAlignment - 1) / kAlignment * kAlignment, kAlignment);
  void* const own = guarded_ ? backend::allocate(range_.device, asked) : nullptr;
  std::size_t offset;
  if (auto fit = free_by_size_.lower_bound({bytes, 0}); fit != free_by_size_.end()) {
    const auto [size, at] = *fit;
    free_by_size_.erase(fit);
    free_.erase(at);
    offset = at;
    if (size > bytes) {
      free_[at + bytes] = size - bytes;
      free_by_size_.insert({size - bytes, at + bytes});
    }
  } else {
    // Nothing fits below the end: extend it, starting in the free block that touches it if there is one.
    offset = end_;
    if (!free_.empty()) {
      auto last = std::prev(free_.end());
      if (last->first + last->second == end_) {
        offset = last->first;
        free_by_size_.erase({last->second, last->first});
        free_.erase(last);
      }
    }
    if (!guarded_ && offset + bytes > range_.committed) {
      try {
        backend::commit(range_, offset + bytes);
        ++growths_;
      } catch (const OutOfMemory& e) {
        std::string message = text("out of memory in arena \"", name_, "\": ", bytes, " bytes more were needed for ", shape,
                                   " ", dtype, " (", purpose.what, "); ", live_, " bytes are live, the largest:");
        auto now = uses();
        for (std::size_t i = 0; i < now.size() && i < 5; ++i)
          message += text("\n  ", now[i].bytes, "  ", now[i].purpose.empty() ? "unnamed" : now[i].purpose);
        message += text("\n", e.what(), "\nRun with --plan to see what fits.");
        if (end_ > offset) {  // give the borrowed tail back
          free_[offset] = end_ - offset;
          free_by_size_.insert({end_ - offset, offset});
        }
        throw OutOfMemory(message);
      }
    }
    end_ = offset + bytes;
  }
  auto* block = new detail::Block;
  block->data = guarded_ ? own : range_.base ? range_.base + offset : nullptr;
  block->bytes = bytes;
  block->offset = offset;
  block->device = range_.device;
  block->purpose = purpose;
  block->owner = this;
  block->release = [](detail::Block* b) noexcept {
    if (b->owner) static_cast<Arena*>(b->owner)->release(b);
    delete b;
  };
  blocks_[offset] = block;
  live_ += bytes;
  peak_ = std::max(peak_, end_);
  step_peak_ = std::max(step_peak_, end_);
  if (live_ > live_peak_) {
    live_peak_ = live_;
    if (track_uses_) peak_uses_ = uses();
  }
  trace_ = mix(mix(trace_, offset), bytes);
  return Tensor(block, shape, dtype);
}

void Arena::release(detail::Block* block) noexcept {
  std::size_t offset = block->offset, bytes = block->bytes;
  trace_ = mix(trace_, ~offset);
  if (guarded_) backend::deallocate(range_.device, block->data);
  blocks_.erase(offset);
  live_ -= bytes;
  auto next = free_.lower_bound(offset);
  if (next != free_.begin()) {
    auto before = std::prev(next);
    if (before->first + before->second == offset) {
      offset = before->first;
      bytes += before->second;
      free_by_size_.erase({before->second, before->first});
      free_.erase(before);
    }
  }
  if (next != free_.end() && next->first == block->offset + block->bytes) {
    bytes += next->second;
    free_by_size_.erase({next->second, next->first});
    free_.erase(next);
  }
  if (offset + bytes == end_) {
    end_ = offset;
  } else {
    free_[offset] = bytes;
    free_by_size_.insert({bytes, offset});
  }
}

void Arena::begin_step() {
  trace_ = 0;
  step_peak_ = end_;
}

std::vector<Arena::Use> Arena::uses() const {
  std::unordered_map<std::string_view, std::size_t> sums;
  for (const auto& [offset, block] : blocks_) sums[block->purpose.what] += block->bytes;
  std::vector<Use> out;
  for (const auto& [what, bytes] : sums) out.push_back({what, bytes});
  std::sort(out.begin(), out.end(), [](const Use& a, const Use& b) {
    return a.bytes != b.bytes ? a.bytes > b.bytes : a.purpose < b.purpose;
  });
  return out;
}

std::vector<Arena::Use> Arena::peak_uses() const { return track_uses_ ? peak_uses_ : uses(); }

}  // namespace mfl
