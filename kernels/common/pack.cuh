// Several elements that move with one access of up to 16 bytes.
#pragma once

#include <cstdint>

namespace mfl::cuda {

template <class T, int kCount>
struct alignas(sizeof(T) * kCount < 16 ? sizeof(T) * kCount : 16) Pack {
  T v[kCount];
};

template <int kCount, class T>
__device__ inline Pack<T, kCount> load_pack(const T* p) {
  return *reinterpret_cast<const Pack<T, kCount>*>(p);
}
template <int kCount, class T>
__device__ inline void store_pack(T* p, const Pack<T, kCount>& x) {
  *reinterpret_cast<Pack<T, kCount>*>(p) = x;
}

inline bool aligned16(const void* p) { return reinterpret_cast<std::uintptr_t>(p) % 16 == 0; }

}  // namespace mfl::cuda
