// Warp-level bf16 matrix products on shared tiles, sm_80 and later: cp.async, ldmatrix, mma.m16n8k16.
//
// A shared tile is [rows][kD] bf16 in 16-byte chunks; chunk c of row r lies at c ^ (r mod 8) (for kD = 32, with four
// chunks a row: c ^ (r / 2 mod 4)), so that eight rows of one column, which ldmatrix reads at once, lie on different
// banks.
//
// Accumulator tile, m16n8: lane holds (g, 2t), (g, 2t+1), (g+8, 2t), (g+8, 2t+1) with g = lane / 4, t = lane % 4. Two
// of them side by side, rounded to bf16, are the A operand m16k16 of the next product: P never passes through shared
// memory.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

namespace mfl::cuda::mma {

using Acc = float[4];

template <int kD>
__device__ inline int swizzled(int row, int chunk) {  // in elements
  if constexpr (kD == 32)
    return row * kD + ((chunk ^ ((row / 2) % 4)) * 8);
  else
    return row * kD + ((chunk ^ (row % 8)) * 8);
}

__device__ inline std::uint32_t shared_address(const void* p) {
  return static_cast<std::uint32_t>(__cvta_generic_to_shared(p));
}

// Starts copying rows [first, first + kRows) of one head; rows from `length` on become zero.
template <int kRows, int kD, int kThreads>
__device__ inline void load_async(__nv_bfloat16* s, const __nv_bfloat16* g, std::int64_t stride, int first,
                                  int length) {
  constexpr int kChunks = kD / 8;
  static_assert(kRows * kChunks % kThreads == 0);
#pragma unroll
  for (int i = 0; i < kRows * kChunks / kThreads; ++i) {
    const int index = i * kThreads + threadIdx.x, r = index / kChunks, c = index % kChunks;
    const bool valid = first + r < length;
    const __nv_bfloat16* from = g + (valid ? first + r : 0) * stride + c * 8;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(s + swizzled<kD>(r, c))),
                 "l"(from), "r"(valid ? 16 : 0));
  }
}
__device__ inline void commit_async() { asm volatile("cp.async.commit_group;"); }
__device__ inline void wait_async() { asm volatile("cp.async.wait_group 0;" ::: "memory"); }

__device__ inline void load_matrices(std::uint32_t (&r)[4], const __nv_bfloat16* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}
__device__ inline void load_matrices_transposed(std::uint32_t (&r)[4], const __nv_bfloat16* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}
__device__ inline void multiply(Acc& c, const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
__device__ inline std::uint32_t pack(float low, float high) {
  const __nv_bfloat162 v = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const std::uint32_t*>(&v);
}

// c[16][kN] = A B^T: rows [row, row + 16) of sA against rows [0, kN) of sB.
template <int kD, int kN>
__device__ inline void dot_rows(Acc (&c)[kN / 8], const __nv_bfloat16* sA, int row, const __nv_bfloat16* sB) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int n = 0; n < kN / 8; ++n)
#pragma unroll
    for (int e = 0; e < 4; ++e) c[n][e] = 0;
#pragma unroll
  for (int k = 0; k < kD / 16; ++k) {
    std::uint32_t a[4];
    load_matrices(a, sA + swizzled<kD>(row + lane % 16, 2 * k + lane / 16));
#pragma unroll
    for (int n = 0; n < kN / 16; ++n) {
      std::uint32_t b[4];
      load_matrices(b, sB + swizzled<kD>(16 * n + lane % 8 + lane / 16 * 8, 2 * k + lane / 8 % 2));
      multiply(c[2 * n], a, b[0], b[1]);
      multiply(c[2 * n + 1], a, b[2], b[3]);
    }
  }
}

// c[16][kD] += W B: W [16][kK] in accumulator tiles, rounded to bf16; sB [kK][kD].
template <int kD, int kK>
__device__ inline void weigh_rows(Acc (&c)[kD / 8], const Acc (&w)[kK / 8], const __nv_bfloat16* sB) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int k = 0; k < kK / 16; ++k) {
    const Acc &left = w[2 * k], &right = w[2 * k + 1];
    const std::uint32_t a[4] = {pack(left[0], left[1]), pack(left[2], left[3]), pack(right[0], right[1]),
                                pack(right[2], right[3])};
#pragma unroll
    for (int n = 0; n < kD / 16; ++n) {
      std::uint32_t b[4];
      load_matrices_transposed(b, sB + swizzled<kD>(16 * k + lane % 16, 2 * n + lane / 16));
      multiply(c[2 * n], a, b[0], b[1]);
      multiply(c[2 * n + 1], a, b[2], b[3]);
    }
  }
}

// Rows row + g and row + g + 8 of an output, rounded to bf16.
template <int kD>
__device__ inline void store_rows(const Acc (&c)[kD / 8], float factor0, float factor1, __nv_bfloat16* g,
                                  std::int64_t stride, int row, int length) {
  const int lane = threadIdx.x % 32, r = row + lane / 4, d = lane % 4 * 2;
#pragma unroll
  for (int n = 0; n < kD / 8; ++n) {
    if (r < length)
      *reinterpret_cast<std::uint32_t*>(g + r * stride + 8 * n + d) = pack(c[n][0] * factor0, c[n][1] * factor0);
    if (r + 8 < length)
      *reinterpret_cast<std::uint32_t*>(g + (r + 8) * stride + 8 * n + d) = pack(c[n][2] * factor1, c[n][3] * factor1);
  }
}

}  // namespace mfl::cuda::mma
