// Hopper's asynchronous machinery, as little of it as attention needs: tensor maps, bulk copies, mbarriers, wgmma,
// register reallocation. Code for sm_90a only; every other architecture compiles an empty body (MFL_SM90A is 0) and the
// host takes the portable kernels.
//
// A shared tile is [rows][64] bf16, 128 bytes a row, at a multiple of 1024 bytes, in the 128-byte swizzle: 16-byte
// chunk c of row r lies at c ^ (r mod 8), which is also what mma::swizzled<64> computes.
#pragma once

#include <cuda.h>

#include <cstdint>

#include "kernels/attention/rows.cuh"

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define MFL_SM90A 1
#define MFL_SM90_BOUNDS(threads) __launch_bounds__(threads, 1)
#else
#define MFL_SM90A 0
#define MFL_SM90_BOUNDS(threads) __launch_bounds__(32)  // by which the host sees that the body is empty
#endif

namespace mfl::cuda::sm90 {

constexpr int kD = 64;       // head size; one swizzle atom wide
constexpr int kGroup = 128;  // threads of a warpgroup
constexpr int kRowBytes = kD * 2;

// ---- host ----

// Tiles of `tile` rows of one head of [B, T, A, 64]; rows beyond T arrive as zeros, so that no tile reaches into the
// next batch element. Axes from the innermost: D, A, T, B.
inline CUtensorMap tensor_map(const ConstView& v, int tile) {
  static const auto encode = [] {
    void* entry = nullptr;
    cudaDriverEntryPointQueryResult found{};
#if CUDART_VERSION >= 12050
    MFL_CUDA(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &entry, 12000, cudaEnableDefault, &found));
#else
    MFL_CUDA(cudaGetDriverEntryPoint("cuTensorMapEncodeTiled", &entry, cudaEnableDefault, &found));
#endif
    if (found != cudaDriverEntryPointSuccess)
      throw_error<DeviceError>("attention: this driver has no cuTensorMapEncodeTiled");
    return reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(entry);
  }();
  CUtensorMap map;
  const cuuint64_t size[4] = {kD, cuuint64_t(v.shape[2]), cuuint64_t(v.shape[1]), cuuint64_t(v.shape[0])};
  const cuuint64_t stride[3] = {cuuint64_t(v.stride[2] * 2), cuuint64_t(v.stride[1] * 2), cuuint64_t(v.stride[0] * 2)};
  const cuuint32_t box[4] = {kD, 1, cuuint32_t(tile), 1}, step[4] = {1, 1, 1, 1};
  const CUresult status = encode(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 4, const_cast<void*>(v.data), size, stride,
                                 box, step, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                                 CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (status != CUDA_SUCCESS)
    throw_error<DeviceError>("attention: cuTensorMapEncodeTiled refused ", v.shape, " with strides ", v.stride,
                             ", status ", int(status));
  return map;
}

#if MFL_SM90A
// ---- mbarriers and bulk copies ----

__device__ inline std::uint32_t shared_address(const void* p) {
  return static_cast<std::uint32_t>(__cvta_generic_to_shared(p));
}

__device__ inline void barrier_init(std::uint64_t& barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(&barrier)), "r"(arrivals));
}
__device__ inline void barrier_init_visible() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
__device__ inline void barrier_expect(std::uint64_t& barrier, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(&barrier)), "r"(bytes)
               : "memory");
}
__device__ inline void barrier_arrive(std::uint64_t& barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(&barrier)) : "memory");
}
// Returns when the phase of this parity is complete.
__device__ inline void barrier_wait(std::uint64_t& barrier, int parity) {
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "again:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@done bra finished;\n"
      "bra again;\n"
      "finished:\n"
      "}" ::"r"(shared_address(&barrier)),
      "r"(parity)
      : "memory");
}
// One tile, rows [row, row + tile) of head a of batch element b.
__device__ inline void load_tile(void* s, const CUtensorMap& map, int row, int a, int b, std::uint64_t& barrier) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, %4, %5}], "
      "[%6];" ::"r"(shared_address(s)),
      "l"(reinterpret_cast<std::uint64_t>(&map)), "r"(0), "r"(a), "r"(row), "r"(b), "r"(shared_address(&barrier))
      : "memory");
}
__device__ inline void load_bytes(void* s, const void* g, int bytes, std::uint64_t& barrier) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
                   shared_address(s)),
               "l"(g), "r"(bytes), "r"(shared_address(&barrier))
               : "memory");
}
__device__ inline void prefetch(const CUtensorMap& map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(reinterpret_cast<std::uint64_t>(&map)) : "memory");
}

// ---- roles ----

template <int kRegisters>
__device__ inline void give_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ inline void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

// ---- wgmma ----

// Descriptor of a swizzled tile. K-major: 8 rows of 128 bytes to the next core matrix, 32 bytes to the next 16 values
// of k. N-major (the operand's k runs over rows): the same numbers describe 8 rows of k; the next 16 values of k are 16
// rows on.
__device__ inline std::uint64_t descriptor(const void* s) {
  return (std::uint64_t(1) << 62) | (std::uint64_t(1024 >> 4) << 32) | (std::uint64_t(1) << 16) |
         ((shared_address(s) & 0x3ffff) >> 4);
}
constexpr std::uint64_t kNextColumns = 32 >> 4;           // K-major: to the next 16 of k
constexpr std::uint64_t kNextRows = 16 * kRowBytes >> 4;  // N-major: to the next 16 of k

__device__ inline void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ inline void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int kPending>
__device__ inline void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}
// The compiler must not move accesses of asynchronous accumulators across this point.
template <int kCount>
__device__ inline void hold(float (&c)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) asm volatile("" : "+f"(c[i])::"memory");
}

#define MFL_8(how, c, i) \
  how(c[i]), how(c[i + 1]), how(c[i + 2]), how(c[i + 3]), how(c[i + 4]), how(c[i + 5]), how(c[i + 6]), how(c[i + 7])
#define MFL_32(how, c, i) MFL_8(how, c, i), MFL_8(how, c, i + 8), MFL_8(how, c, i + 16), MFL_8(how, c, i + 24)
#define MFL_SET "=f"
#define MFL_ADD "+f"
#define MFL_TEN(t) "%" #t "0,%" #t "1,%" #t "2,%" #t "3,%" #t "4,%" #t "5,%" #t "6,%" #t "7,%" #t "8,%" #t "9,"
#define MFL_LIST32 "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9," MFL_TEN(1) MFL_TEN(2) "%30,%31}"
#define MFL_LIST64 \
  "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9," MFL_TEN(1) MFL_TEN(2) MFL_TEN(3) MFL_TEN(4) MFL_TEN(5) "%60,%61,%62,%63}"
// p: 0 sets the accumulators, 1 adds to them. Where they are set they are pure outputs: the compiler must not see a
// value from before, or it keeps products from overlapping. A: a descriptor, or four registers.
#define MFL_WGMMA(n, list, a, b, p, transpositions) \
  "{.reg .pred add; setp.ne.b32 add, " #p           \
  ", 0;\n"                                          \
  "wgmma.mma_async.sync.aligned.m64n" #n "k16.f32.bf16.bf16 " list ", " a ", " b ", add, 1, 1, " transpositions ";}"

// c[64][N] (+)= A[64][16] B[N][16]^T, both K-major in shared memory; N = 2 kCount.
template <bool kAdd, int kCount>
__device__ inline void wgmma(float (&c)[kCount], std::uint64_t a, std::uint64_t b) {
  static_assert(kCount == 32 || kCount == 64, "tiles of 64 or 128 rows");
#define MFL_INPUTS "l"(a), "l"(b)
  if constexpr (kCount == 32 && kAdd)
    asm volatile(MFL_WGMMA(64, MFL_LIST32, "%32", "%33", 1, "0, 0") : MFL_32(MFL_ADD, c, 0) : MFL_INPUTS);
  else if constexpr (kCount == 32)
    asm volatile(MFL_WGMMA(64, MFL_LIST32, "%32", "%33", 0, "0, 0") : MFL_32(MFL_SET, c, 0) : MFL_INPUTS);
  else if constexpr (kCount == 64 && kAdd)
    asm volatile(MFL_WGMMA(128, MFL_LIST64, "%64", "%65", 1, "0, 0")
                 : MFL_32(MFL_ADD, c, 0), MFL_32(MFL_ADD, c, 32)
                 : MFL_INPUTS);
  else
    asm volatile(MFL_WGMMA(128, MFL_LIST64, "%64", "%65", 0, "0, 0")
                 : MFL_32(MFL_SET, c, 0), MFL_32(MFL_SET, c, 32)
                 : MFL_INPUTS);
#undef MFL_INPUTS
}
// The same with A in registers.
#define MFL_INPUTS "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b)
template <bool kAdd, int kCount>
__device__ inline void wgmma(float (&c)[kCount], const std::uint32_t (&a)[4], std::uint64_t b) {
  static_assert(kCount == 32 || kCount == 64);
  if constexpr (kCount == 32 && kAdd)
    asm volatile(MFL_WGMMA(64, MFL_LIST32, "{%32,%33,%34,%35}", "%36", 1, "0") : MFL_32(MFL_ADD, c, 0) : MFL_INPUTS);
  else if constexpr (kCount == 32)
    asm volatile(MFL_WGMMA(64, MFL_LIST32, "{%32,%33,%34,%35}", "%36", 0, "0") : MFL_32(MFL_SET, c, 0) : MFL_INPUTS);
  else if constexpr (kAdd)
    asm volatile(MFL_WGMMA(128, MFL_LIST64, "{%64,%65,%66,%67}", "%68", 1, "0")
                 : MFL_32(MFL_ADD, c, 0), MFL_32(MFL_ADD, c, 32)
                 : MFL_INPUTS);
  else
    asm volatile(MFL_WGMMA(128, MFL_LIST64, "{%64,%65,%66,%67}", "%68", 0, "0")
                 : MFL_32(MFL_SET, c, 0), MFL_32(MFL_SET, c, 32)
                 : MFL_INPUTS);
}
// c[64][64] += A[64][16] B[16][64]: A in registers, B in rows of k.
__device__ inline void wgmma_rows(float (&c)[32], const std::uint32_t (&a)[4], std::uint64_t b) {
  asm volatile(MFL_WGMMA(64, MFL_LIST32, "{%32,%33,%34,%35}", "%36", 1, "1") : MFL_32(MFL_ADD, c, 0) : MFL_INPUTS);
}
#undef MFL_INPUTS
#undef MFL_8
#undef MFL_32
#undef MFL_SET
#undef MFL_ADD
#undef MFL_TEN
#undef MFL_LIST32
#undef MFL_LIST64
#undef MFL_WGMMA

// c[64][N] = A B^T over all 64 values of k, in flight until waited for.
template <int kCount>
__device__ inline void dot_rows(float (&c)[kCount], std::uint64_t a, std::uint64_t b) {
  wgmma<false>(c, a, b);
#pragma unroll
  for (int k = 1; k < kD / 16; ++k) wgmma<true>(c, a + k * kNextColumns, b + k * kNextColumns);
}
// The same with all of A in registers.
template <int kCount>
__device__ inline void dot_rows(float (&c)[kCount], const std::uint32_t (&a)[kD / 16][4], std::uint64_t b) {
  wgmma<false>(c, a[0], b);
#pragma unroll
  for (int k = 1; k < kD / 16; ++k) wgmma<true>(c, a[k], b + k * kNextColumns);
}
// c[64][64] += W B, W [64][16 kSteps] in registers, B [16 kSteps][64] in shared memory.
template <int kSteps>
__device__ inline void weigh_rows(float (&c)[32], const std::uint32_t (&w)[kSteps][4], std::uint64_t b) {
#pragma unroll
  for (int k = 0; k < kSteps; ++k) wgmma_rows(c, w[k], b + k * kNextRows);
}

// Accumulator of 64 x N, per lane: c[4 j + e] is row g + 8 (e / 2), column 8 j + 2 t + e % 2 of its warp's 16 rows
// (g = lane / 4, t = lane % 4). Rounded to bf16 it is the A operand of the next product.
template <int kCount>
__device__ inline void round_to(std::uint32_t (&w)[kCount / 8][4], const float (&c)[kCount]) {
#pragma unroll
  for (int k = 0; k < kCount / 8; ++k)
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const __nv_bfloat162 v = __floats2bfloat162_rn(c[8 * k + 2 * i], c[8 * k + 2 * i + 1]);
      w[k][i] = *reinterpret_cast<const std::uint32_t*>(&v);
    }
}

// Rows of an output tile, rounded; row: this lane's first.
__device__ inline void store_rows(const float (&c)[32], float factor0, float factor1, __nv_bfloat16* g,
                                  std::int64_t stride, int row, int length) {
  const int d = threadIdx.x % 4 * 2;
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    if (row < length)
      *reinterpret_cast<__nv_bfloat162*>(g + row * stride + 8 * j + d) =
          __floats2bfloat162_rn(c[4 * j] * factor0, c[4 * j + 1] * factor0);
    if (row + 8 < length)
      *reinterpret_cast<__nv_bfloat162*>(g + (row + 8) * stride + 8 * j + d) =
          __floats2bfloat162_rn(c[4 * j + 2] * factor1, c[4 * j + 3] * factor1);
  }
}
#endif  // MFL_SM90A

}  // namespace mfl::cuda::sm90
