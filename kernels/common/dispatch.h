// From an op's checks to its device file. The only place that knows whether CUDA was compiled in.
//
//   MFL_DISPATCH(stream, layer_norm_fwd, args)  calls  cpu::layer_norm_fwd(args)  or  cuda::layer_norm_fwd(stream, args);
//   on the meta device it returns: a dry run launches nothing.
#pragma once

#include "kernels/common/op_observer.h"

#if MFL_WITH_CUDA
#define MFL_DISPATCH(stream, op, args)                                        \
  do {                                                                        \
    const ::mfl::ObservedOp observed_op((stream), #op, (args));               \
    if ((stream).device().is_cpu()) cpu::op(args);                            \
    else if ((stream).device().is_cuda()) cuda::op((stream), args);           \
  } while (0)
#else
#define MFL_DISPATCH(stream, op, args)                                        \
  do {                                                                        \
    const ::mfl::ObservedOp observed_op((stream), #op, (args));               \
    if ((stream).device().is_cpu()) cpu::op(args);                            \
    else if ((stream).device().is_cuda())                                     \
      ::mfl::throw_error<::mfl::DeviceError>(#op ": this build has no CUDA"); \
  } while (0)
#endif

namespace mfl {

// Calls f with a value of the C++ type of a floating dtype: dispatch_float(x.dtype, [&](auto t) { using T = decltype(t); }).
template <class F>
void dispatch_float(DType t, F&& f) {
  switch (t) {
    case DType::f64: return f(double{});
    case DType::f32: return f(float{});
    case DType::bf16: return f(bf16{});
    default: fail<ShapeError>(__FILE__, __LINE__, "expected f64, f32 or bf16, got ", t);
  }
}

// ---- checks shared by the ops' .cpp files ----
inline void check_shape(const char* op, const char* name, const ConstView& v, const Shape& expected) {
  MFL_CHECK(v, op, ": ", name, " is missing");
  MFL_CHECK(v.shape == expected, op, ": ", name, ' ', v.shape, ", expected ", expected);
}
inline void check_contiguous(const char* op, const char* name, const ConstView& v) {
  MFL_CHECK(v.contiguous(), op, ": ", name, ' ', v.shape, " must be contiguous");
}
inline void check_dtype(const char* op, const char* name, const ConstView& v, DType expected) {
  MFL_CHECK(v.dtype == expected, op, ": ", name, " is ", v.dtype, ", expected ", expected);
}
// Given, contiguous, of this shape and dtype, on the stream's device.
inline void check(const Stream& s, const char* op, const char* name, const ConstView& v, const Shape& shape, DType dtype) {
  check_shape(op, name, v, shape);
  check_contiguous(op, name, v);
  check_dtype(op, name, v, dtype);
  MFL_CHECK(v.device == s.device(), op, ": ", name, " is on ", v.device, ", the stream on ", s.device());
}
// The type of masters, statistics and gradients beside values of type t.
constexpr DType accum_of(DType t) { return t == DType::f64 ? DType::f64 : DType::f32; }

}  // namespace mfl
