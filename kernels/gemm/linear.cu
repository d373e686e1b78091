// Linear: cuBLASLt behind the contract.
//   Map        row-major [R, C] is column-major [C, R]; with that, and ' for the column-major reading:
//                y'       [N, R] = weight'^T x'        dx'      [K, R] = weight' dy'        dweight' [K, N] = x' dy'^T
//   Plans      one per (device, shape, types, alignment of the pointers), chosen by the library's heuristic at the
//              first call and kept: the same call runs the same algorithm. Split-K only with partial sums in the workspace.
//   dbias      per-block partial sums of dy in the workspace, added in their order.
//   Bound by   tensor cores.
//   Numerics   f32 accumulation.    Deterministic: yes, on one device type and library version.
#include <cublasLt.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>

#include "kernels/common/launch.cuh"
#include "kernels/gemm/linear.h"

#define MFL_CUBLAS(call)                                                                                             \
  do {                                                                                                               \
    const cublasStatus_t mfl_status = (call);                                                                        \
    if (mfl_status != CUBLAS_STATUS_SUCCESS) [[unlikely]]                                                            \
      ::mfl::fail<::mfl::DeviceError>(__FILE__, __LINE__, "cuBLASLt: ", cublasLtGetStatusString(mfl_status), " in ", \
                                      #call);                                                                        \
  } while (0)

namespace mfl::cuda {
namespace {

// ---- small kernels ----

__global__ void bias_to_bf16_kernel(const float* __restrict__ gBias, __nv_bfloat16* __restrict__ gOut, int n) {
  const int j = blockIdx.x * blockDim.x + threadIdx.x;
  if (j < n) gOut[j] = __float2bfloat16_rn(gBias[j]);
}

// Block b of gridDim.y sums its share of the rows, one thread a column.
template <class T>
__global__ void dbias_partial_kernel(const T* __restrict__ gDy, float* __restrict__ gPartial, std::int64_t rows,
                                     int n) {
  const int j = blockIdx.x * blockDim.x + threadIdx.x;
  if (j >= n) return;
  const std::int64_t share = ceil_div(rows, std::int64_t(gridDim.y));
  const std::int64_t from = blockIdx.y * share, to = from + share < rows ? from + share : rows;
  float sum = 0;
  for (std::int64_t r = from; r < to; ++r) sum += to_float(gDy[r * n + j]);
  gPartial[blockIdx.y * std::int64_t(n) + j] = sum;
}

__global__ void dbias_sum_kernel(const float* __restrict__ gPartial, float* __restrict__ gDbias, int n, int parts,
                                 bool accumulate) {
  const int j = blockIdx.x * blockDim.x + threadIdx.x;
  if (j >= n) return;
  float sum = accumulate ? gDbias[j] : 0.0f;
  for (int p = 0; p < parts; ++p) sum += gPartial[p * std::int64_t(n) + j];
  gDbias[j] = sum;
}

// ---- plans ----

// One product D = op(A) op(B) (+ D) (+ bias) in column-major terms. Plain data: compared and ordered bytewise.
struct Product {
  std::int64_t m, n, k;
  std::int64_t rows_a, rows_b;  // leading dimensions, as stored
  std::int32_t transpose_a, transpose_b;
  std::int32_t type_ab, type_d;  // cudaDataType_t
  std::int32_t bias;             // cudaDataType_t of the bias of D's rows, or -1
  std::int32_t add;
  std::int32_t tf32;
  std::int32_t align_a, align_b, align_d;
  bool operator<(const Product& o) const { return std::memcmp(this, &o, sizeof *this) < 0; }
};
static_assert(std::has_unique_object_representations_v<Product>);

struct Plan {
  cublasLtMatmulDesc_t desc = nullptr;
  cublasLtMatrixLayout_t a = nullptr, b = nullptr, d = nullptr;
  cublasLtMatmulAlgo_t algo{};
};

// What one device needs. Lives as long as the process: the driver is gone before static destructors could tidy up.
struct DeviceState {
  std::mutex mutex;
  cublasLtHandle_t handle = nullptr;
  std::map<Product, Plan> plans;
  std::map<cudaStream_t, char*> workspaces;
};

constexpr std::int64_t kBiasBytes = 1 << 20;  // tail of the workspace: the bias in D's type

DeviceState& state_of(int device) {
  static std::mutex mutex;
  static auto* states = new std::map<int, std::unique_ptr<DeviceState>>;
  const std::lock_guard lock(mutex);
  auto& slot = (*states)[device];
  if (!slot) {
    slot = std::make_unique<DeviceState>();
    MFL_CUDA(cudaSetDevice(device));
    MFL_CUBLAS(cublasLtCreate(&slot->handle));
  }
  return *slot;
}

char* workspace_of(DeviceState& state, const Stream& s) {
  char*& w = state.workspaces[native(s)];
  if (!w) {
    void* p = nullptr;
    MFL_CUDA(cudaSetDevice(s.device().index));
    MFL_CUDA(cudaMalloc(&p, static_cast<std::size_t>(gemm_workspace_bytes(s.device()))));
    w = static_cast<char*>(p);
  }
  return w;
}

std::int64_t matmul_workspace(const Stream& s) { return gemm_workspace_bytes(s.device()) - kBiasBytes; }

std::int32_t alignment_of(const void* p) {
  const auto address = reinterpret_cast<std::uintptr_t>(p);
  return static_cast<std::int32_t>(std::min<std::uintptr_t>(address & (~address + 1), 256));
}

cudaDataType_t cuda_type(DType t) { return t == DType::bf16 ? CUDA_R_16BF : CUDA_R_32F; }

Plan make_plan(const DeviceState& state, const Product& p, std::int64_t workspace) {
  Plan plan;
  const auto type_ab = static_cast<cudaDataType_t>(p.type_ab), type_d = static_cast<cudaDataType_t>(p.type_d);
  const auto compute = p.tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
  MFL_CUBLAS(cublasLtMatmulDescCreate(&plan.desc, compute, CUDA_R_32F));
  const cublasOperation_t ta = p.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N,
                          tb = p.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N;
  auto set = [&](cublasLtMatmulDescAttributes_t what, const auto& value) {
    MFL_CUBLAS(cublasLtMatmulDescSetAttribute(plan.desc, what, &value, sizeof value));
  };
  set(CUBLASLT_MATMUL_DESC_TRANSA, ta);
  set(CUBLASLT_MATMUL_DESC_TRANSB, tb);
  if (p.bias >= 0) {
    const cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
    set(CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue);
    set(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, p.bias);
  }
  const auto u = [](std::int64_t x) { return static_cast<std::uint64_t>(x); };
  MFL_CUBLAS(cublasLtMatrixLayoutCreate(&plan.a, type_ab, u(p.transpose_a ? p.k : p.m), u(p.transpose_a ? p.m : p.k),
                                        p.rows_a));
  MFL_CUBLAS(cublasLtMatrixLayoutCreate(&plan.b, type_ab, u(p.transpose_b ? p.n : p.k), u(p.transpose_b ? p.k : p.n),
                                        p.rows_b));
  MFL_CUBLAS(cublasLtMatrixLayoutCreate(&plan.d, type_d, u(p.m), u(p.n), p.m));

  cublasLtMatmulPreference_t preference = nullptr;
  MFL_CUBLAS(cublasLtMatmulPreferenceCreate(&preference));
  auto prefer = [&](cublasLtMatmulPreferenceAttributes_t what, const auto& value) {
    MFL_CUBLAS(cublasLtMatmulPreferenceSetAttribute(preference, what, &value, sizeof value));
  };
  prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, static_cast<std::uint64_t>(workspace));
  prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
         static_cast<std::uint32_t>(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, static_cast<std::uint32_t>(p.align_a));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, static_cast<std::uint32_t>(p.align_b));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, static_cast<std::uint32_t>(p.align_d));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, static_cast<std::uint32_t>(p.align_d));
  cublasLtMatmulHeuristicResult_t found{};
  int count = 0;
  const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(state.handle, plan.desc, plan.a, plan.b, plan.d, plan.d,
                                                               preference, 1, &found, &count);
  cublasLtMatmulPreferenceDestroy(preference);
  if (status != CUBLAS_STATUS_SUCCESS || count == 0)
    throw_error<DeviceError>("cuBLASLt has no algorithm for a product of [", p.m, ", ", p.k, "] and [", p.k, ", ", p.n,
                             "] (", cublasLtGetStatusString(status), ")");
  plan.algo = found.algo;
  return plan;
}

void run(const Stream& s, Product p, const void* a, const void* b, void* d, const ConstView& bias) {
  p.align_a = alignment_of(a), p.align_b = alignment_of(b), p.align_d = alignment_of(d);
  p.tf32 = p.type_ab == CUDA_R_32F && gemm_options().allow_tf32;
  p.bias = bias ? p.type_d : -1;
  DeviceState& state = state_of(s.device().index);
  // Held over the launch: a plan's descriptor carries the bias pointer.
  const std::lock_guard lock(state.mutex);
  char* workspace = workspace_of(state, s);
  auto it = state.plans.find(p);
  if (it == state.plans.end()) it = state.plans.emplace(p, make_plan(state, p, matmul_workspace(s))).first;
  const Plan& plan = it->second;
  if (bias) {
    const void* pointer = bias.data;
    if (p.bias == CUDA_R_16BF) {
      MFL_CHECK(p.m * 2 <= kBiasBytes, "linear_fwd: a bias of ", p.m, " elements, at most ", kBiasBytes / 2);
      auto* copy = reinterpret_cast<__nv_bfloat16*>(workspace + matmul_workspace(s));
      bias_to_bf16_kernel<<<unsigned(ceil_div(p.m, 256)), 256, 0, native(s)>>>(static_cast<const float*>(bias.data),
                                                                               copy, int(p.m));
      check_launch("bias_to_bf16_kernel", s);
      pointer = copy;
    }
    MFL_CUBLAS(cublasLtMatmulDescSetAttribute(plan.desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &pointer, sizeof pointer));
  }
  const float one = 1, beta = p.add ? 1 : 0;
  MFL_CUBLAS(cublasLtMatmul(state.handle, plan.desc, &one, a, plan.a, b, plan.b, &beta, d, plan.d, d, plan.d,
                            &plan.algo, workspace, static_cast<std::size_t>(matmul_workspace(s)), native(s)));
}

Product product_of(DType compute, DType result, bool add) {
  Product p;
  std::memset(&p, 0, sizeof p);
  p.type_ab = cuda_type(compute), p.type_d = cuda_type(result), p.add = add;
  return p;
}

void check_types(const char* op, DType compute) {
  if (compute != DType::f32 && compute != DType::bf16)
    throw_error<DeviceError>(op, ": ", compute, " is not supported on CUDA (f32 and bf16 are)");
}

}  // namespace

void linear_fwd(const Stream& s, const LinearFwd& a) {
  check_types("linear_fwd", a.x.dtype);
  const std::int64_t rows = a.x.shape.rows(), k = a.x.shape[-1], n = a.weight.shape[0];
  if (rows == 0 || n == 0) return;
  Product p = product_of(a.x.dtype, a.y.dtype, a.add);
  p.m = n, p.n = rows, p.k = k, p.transpose_a = 1, p.rows_a = k, p.rows_b = k;
  run(s, p, a.weight.data, a.x.data, a.y.data, a.bias);
}

void linear_bwd_input(const Stream& s, const LinearBwdInput& a) {
  check_types("linear_bwd_input", a.dy.dtype);
  const std::int64_t rows = a.dy.shape.rows(), n = a.dy.shape[-1], k = a.weight.shape[1];
  if (rows == 0 || k == 0) return;
  Product p = product_of(a.dy.dtype, a.dx.dtype, a.dx_mode == GradMode::accumulate);
  p.m = k, p.n = rows, p.k = n, p.rows_a = k, p.rows_b = n;
  run(s, p, a.weight.data, a.dy.data, a.dx.data, {});
}

void linear_bwd_weight(const Stream& s, const LinearBwdWeight& a) {
  check_types("linear_bwd_weight", a.x.dtype);
  const std::int64_t rows = a.x.shape.rows(), k = a.x.shape[-1], n = a.dy.shape[-1];
  const bool accumulate = a.dw_mode == GradMode::accumulate;
  Product p = product_of(a.x.dtype, a.dweight.dtype, accumulate);
  p.m = k, p.n = n, p.k = rows, p.transpose_b = 1, p.rows_a = k, p.rows_b = n;
  run(s, p, a.x.data, a.dy.data, a.dweight.data, {});
  if (!a.dbias) return;
  DeviceState& state = state_of(s.device().index);
  const std::lock_guard lock(state.mutex);
  auto* partial = reinterpret_cast<float*>(workspace_of(state, s));
  const std::int64_t room = matmul_workspace(s) / (4 * n);
  MFL_CHECK(room >= 1, "linear_bwd_weight: a bias of ", n, " elements does not fit the workspace");
  const int parts = int(std::min<std::int64_t>({std::max<std::int64_t>(ceil_div(rows, 64), 1), 512, room}));
  const dim3 grid(unsigned(ceil_div(n, 128)), unsigned(parts));
  dispatch_gpu("linear_bwd_weight", a.dy.dtype, [&](auto t) {
    dbias_partial_kernel<<<grid, 128, 0, native(s)>>>(pointer<decltype(t)>(a.dy), partial, rows, int(n));
    check_launch("dbias_partial_kernel", s);
  });
  dbias_sum_kernel<<<unsigned(ceil_div(n, 128)), 128, 0, native(s)>>>(partial, pointer<float>(a.dbias), int(n), parts,
                                                                      accumulate);
  check_launch("dbias_sum_kernel", s);
}

}  // namespace mfl::cuda
