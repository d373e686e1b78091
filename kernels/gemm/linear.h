// y = x weight^T + bias: the matrix product with a weight, and its two gradients.                  nn.Linear of PyTorch
//
//   R rows (every axis but the last of x), K inputs, N outputs. "compute" is the dtype of x: f64 | f32 | bf16; "accum"
//   its companion (f64 for f64, else f32). Sums are f32 (f64 for f64) whatever is stored; a result is rounded once,
//   when stored. f32 means f32: TF32 is used only where gemm_options().allow_tf32 says so.
//   An activation is not fused: cuBLASLt's GELU epilogue is the tanh form, the models use the exact one (gelu.h).
//   CUDA: cuBLASLt, one plan per (device, shape, types) for the life of the process, no split-K reduction through
//   atomics: the same call gives the same bits. Each stream owns a workspace of gemm_workspace_bytes(), taken at its
//   first product.
#pragma once

#include "runtime/context.h"

namespace mfl {

struct GemmOptions {
  bool allow_tf32 = false;  // f32 products on tensor cores with 10-bit mantissas; off: true f32
};
// Process-wide; set once before the first product.
GemmOptions& gemm_options();
// Device memory that the first product on a stream takes outside the arena. 0 on the CPU.
std::int64_t gemm_workspace_bytes(Device);

struct LinearFwd {
  ConstView x;          // [R.., K]  compute
  ConstView weight;     // [N, K]    compute
  ConstView bias = {};  // [N]       accum; not given: no bias. Read as bf16 on CUDA when y is bf16
  View y;               // [R.., N]  compute | accum; out
  bool add = false;     // y += x weight^T + bias: the residual stream
};
void linear_fwd(const Stream&, const LinearFwd&);

// dx = dy weight
struct LinearBwdInput {
  ConstView dy;      // [R.., N]  compute (the gradient of an accum-type y is cast first: cast.h)
  ConstView weight;  // [N, K]    compute
  View dx;           // [R.., K]  compute | accum; out
  GradMode dx_mode = GradMode::overwrite;
};
void linear_bwd_input(const Stream&, const LinearBwdInput&);

// dweight = dy^T x,  dbias = sum_R dy
struct LinearBwdWeight {
  ConstView x;                             // [R.., K]  compute
  ConstView dy;                            // [R.., N]  compute
  View dweight;                            // [N, K]    accum; out
  View dbias = {};                         // [N]       accum; out; not given: no bias
  GradMode dw_mode = GradMode::overwrite;  // of both; ignore: frozen
};
void linear_bwd_weight(const Stream&, const LinearBwdWeight&);

namespace cpu {
void linear_fwd(const LinearFwd&);
void linear_bwd_input(const LinearBwdInput&);
void linear_bwd_weight(const LinearBwdWeight&);
}  // namespace cpu
namespace cuda {
void linear_fwd(const Stream&, const LinearFwd&);
void linear_bwd_input(const Stream&, const LinearBwdInput&);
void linear_bwd_weight(const Stream&, const LinearBwdWeight&);
}  // namespace cuda

}  // namespace mfl
