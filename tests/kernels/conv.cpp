// Convolution and pooling.
#include <cmath>

#include "kernels/conv/conv2d.h"
#include "kernels/conv/pool.h"
#include "kernels/elementwise/cast.h"
#include "tests/support/op_case.h"

namespace mfl::test {
namespace {

struct Conv {
  std::int64_t n, h, w, in, out, kernel = 3;
  int stride = 1, pad = 1;
  bool relu = true, bias = true;
};

OpCase conv_case(Conv v) {
  OpCase c;
  c.name = text('N', v.n, "_H", v.h, "_W", v.w, "_I", v.in, "_O", v.out, "_k", v.kernel, "_s", v.stride, "_p", v.pad,
                v.relu ? "_relu" : "", v.bias ? "" : "_nobias");
  const std::int64_t p = conv2d_out_size(v.h, v.kernel, v.stride, v.pad), q = conv2d_out_size(v.w, v.kernel, v.stride, v.pad);
  const double fan = double(v.in * v.kernel * v.kernel);
  c.inputs = {{"x", {v.n, v.h, v.w, v.in}},
              {"weight", {v.out, v.kernel, v.kernel, v.in}, Role::work, false,
               [fan](Rng& r) { return r.normal() / std::sqrt(fan); }}};
  if (v.bias) c.inputs.push_back({"bias", {v.out}, Role::work, false});
  const Shape out{v.n, p, q, v.out};
  c.outputs = {{"y", out}};
  c.forward = [v](Run& r) {
    conv2d_fwd(r.stream, {.x = r["x"], .weight = r["weight"], .bias = v.bias ? ConstView(r["bias"]) : ConstView{},
                          .stride = v.stride, .pad = v.pad, .relu = v.relu, .y = r["y"]});
  };
  c.backward = [v, out](Run& r) {
    conv2d_bwd_input(r.stream, {.dy = r["dy"], .y = v.relu ? ConstView(r["y"]) : ConstView{}, .weight = r["weight"],
                                .stride = v.stride, .pad = v.pad, .dx = r["dx"], .dx_mode = r.mode,
                                .scratch = r.scratch(out, r.work)});
  };
  c.terms = double(std::max(v.in, v.out) * v.kernel * v.kernel);
  const double macs = double(v.n * p * q * v.out) * fan;
  c.flops_fwd = 2 * macs, c.flops_bwd = 2 * macs;
  c.bytes_fwd = 2 * double(v.n) * (double(v.h * v.w * v.in) + double(p * q * v.out));
  c.bytes_bwd = c.bytes_fwd + 4 * double(v.n * p * q * v.out);
  return c;
}

std::vector<OpCase> conv_cases() {
  std::vector<OpCase> cases;
  for (Conv v : {
           Conv{1, 1, 1, 1, 1}, Conv{2, 7, 5, 3, 64}, Conv{1, 9, 33, 5, 7}, Conv{2, 5, 6, 64, 3},   // direct on CUDA
           Conv{3, 7, 9, 3, 17, 3, 2, 1, false}, Conv{1, 6, 7, 4, 6, 1, 1, 0, false, false}, Conv{1, 8, 8, 3, 8, 4, 4, 0},
           Conv{2, 8, 6, 16, 24}, Conv{1, 17, 13, 64, 64}, Conv{3, 5, 7, 128, 72},   // cuDNN
           Conv{1, 9, 8, 32, 16, 3, 2, 1, false}, Conv{2, 4, 4, 64, 128, 1, 1, 0, true, false}, Conv{1, 2, 2, 512, 512}})
    cases.push_back(conv_case(v));
  for (Conv v : {Conv{1, 512, 512, 3, 64}, Conv{1, 512, 512, 64, 64}, Conv{2, 256, 256, 128, 128}, Conv{4, 128, 128, 256, 256},
                 Conv{4, 64, 64, 512, 512}, Conv{4, 32, 32, 512, 512}}) {
    OpCase real = conv_case(v);
    real.bench_only = true;
    cases.push_back(real);
  }
  return cases;
}

// Gradients of weights and bias: masters of the accum type, cast before the product.
OpCase conv_weight_case(Conv v) {
  OpCase c = conv_case(v);
  const Shape weight{v.out, v.kernel, v.kernel, v.in}, x{v.n, v.h, v.w, v.in}, y = c.outputs[0].shape;
  for (Slot& s : c.inputs) s.role = s.name == "x" ? Role::work : Role::accum, s.differentiable = s.name != "x";
  c.forward = [=](Run& r) {
    const View w = r.scratch(weight, r.work), b = r.scratch({v.out}, r.work);
    cast(r.stream, {.x = r["weight"], .y = w});
    if (v.bias) cast(r.stream, {.x = r["bias"], .y = b});
    conv2d_fwd(r.stream, {.x = r["x"], .weight = w, .bias = v.bias ? ConstView(b) : ConstView{}, .stride = v.stride,
                          .pad = v.pad, .y = r["y"]});
  };
  c.backward = [=](Run& r) {
    conv2d_bwd_weight(r.stream, {.x = r["x"], .dy = r["dy"], .stride = v.stride, .pad = v.pad, .dweight = r["dweight"],
                                 .dbias = v.bias ? r["dbias"] : View{}, .dw_mode = r.mode,
                                 .scratch = r.scratch({conv2d_bwd_weight_scratch(y, weight)}, DType::f32)});
  };
  c.terms = std::max(c.terms, double(y.rows()));
  return c;
}

std::vector<OpCase> conv_weight_cases() {
  std::vector<OpCase> cases;
  for (Conv v : {
           Conv{1, 1, 1, 1, 1, 3, 1, 1, false}, Conv{2, 7, 5, 3, 64, 3, 1, 1, false}, Conv{1, 9, 33, 5, 7, 3, 1, 1, false},
           Conv{2, 5, 6, 70, 3, 3, 1, 1, false}, Conv{1, 17, 33, 320, 4, 3, 1, 1, false},
           Conv{3, 7, 9, 3, 17, 3, 2, 1, false}, Conv{1, 6, 7, 4, 6, 1, 1, 0, false, false},   // direct on CUDA
           Conv{2, 8, 6, 16, 24, 3, 1, 1, false}, Conv{1, 17, 13, 64, 64, 3, 1, 1, false}, Conv{2, 8, 8, 8, 320, 3, 1, 1, false},
           Conv{1, 9, 8, 32, 16, 3, 2, 1, false}, Conv{2, 4, 4, 64, 128, 1, 1, 0, false}, Conv{2, 16, 16, 64, 64, 3, 2, 1, false}})
    cases.push_back(conv_weight_case(v));
  for (Conv v : {Conv{48, 64, 64, 320, 320, 3, 1, 1, false}, Conv{48, 32, 32, 640, 640, 3, 1, 1, false},
                 Conv{48, 16, 16, 2560, 1280, 3, 1, 1, false}, Conv{48, 64, 64, 320, 4, 3, 1, 1, false},
                 Conv{48, 64, 64, 320, 320, 3, 2, 1, false}}) {
    OpCase real = conv_weight_case(v);
    real.bench_only = true;
    cases.push_back(real);
  }
  return cases;
}

OpCase pool_case(Pool kind, std::int64_t n, std::int64_t h, std::int64_t w, std::int64_t channels) {
  OpCase c;
  c.name = text(kind == Pool::max ? "max" : "average", "_N", n, "_H", h, "_W", w, "_C", channels);
  c.inputs = {{"x", {n, h, w, channels}}};
  c.outputs = {{"y", {n, h / 2, w / 2, channels}}};
  c.forward = [kind](Run& r) { pool2x2_fwd(r.stream, {.x = r["x"], .kind = kind, .y = r["y"]}); };
  c.backward = [kind](Run& r) {
    pool2x2_bwd(r.stream, {.x = kind == Pool::max ? ConstView(r["x"]) : ConstView{}, .dy = r["dy"], .kind = kind,
                           .dx = r["dx"], .dx_mode = r.mode});
  };
  const double elements = double(n * h * w * channels);
  c.bytes_fwd = 2.5 * elements, c.bytes_bwd = 4.5 * elements;
  return c;
}

std::vector<OpCase> pool_cases() {
  std::vector<OpCase> cases;
  for (Pool kind : {Pool::max, Pool::average}) {
    for (std::int64_t channels : {1, 5, 64}) {
      cases.push_back(pool_case(kind, 2, 2, 2, channels));
      cases.push_back(pool_case(kind, 1, 7, 9, channels));
      cases.push_back(pool_case(kind, 3, 8, 6, channels));
    }
    OpCase real = pool_case(kind, 1, 512, 512, 64);
    real.bench_only = true;
    cases.push_back(real);
  }
  return cases;
}

}  // namespace
MFL_OP_TESTS(Conv2d, conv_cases)
MFL_OP_TESTS(Conv2dWeights, conv_weight_cases)
MFL_OP_TESTS(Pool2x2, pool_cases)

namespace {

TEST(Conv2d, IsLinear) {
  const Stream s = Stream::create(kCpu, "test");
  Rng rng(3, Draw::test);
  const Shape x{1, 5, 6, 3}, w{4, 3, 3, 3}, y{1, 5, 6, 4};
  auto random = [&](Shape shape) {
    Tensor t = Tensor::on_heap(shape, DType::f64);
    for (std::int64_t i = 0; i < t.numel(); ++i) t.data<double>()[i] = rng.normal();
    return t;
  };
  const Tensor a = random(x), b = random(x), weight = random(w), sum = Tensor::on_heap(x, DType::f64);
  for (std::int64_t i = 0; i < a.numel(); ++i) sum.data<double>()[i] = a.data<double>()[i] + 3 * b.data<double>()[i];
  Tensor ya = Tensor::on_heap(y, DType::f64), yb = Tensor::on_heap(y, DType::f64), ys = Tensor::on_heap(y, DType::f64);
  conv2d_fwd(s, {.x = a, .weight = weight, .y = ya});
  conv2d_fwd(s, {.x = b, .weight = weight, .y = yb});
  conv2d_fwd(s, {.x = sum, .weight = weight, .y = ys});
  for (std::int64_t i = 0; i < ys.numel(); ++i)
    EXPECT_NEAR(ys.data<double>()[i], ya.data<double>()[i] + 3 * yb.data<double>()[i], 1e-12);
}
TEST(Conv2d, PackMovesTheInputChannelsLast) {
  const Stream s = Stream::create(kCpu, "test");
  double weight[2 * 3 * 1 * 2], packed[12];
  for (int i = 0; i < 12; ++i) weight[i] = i;
  conv2d_pack(s, {.weight = make_view(weight, {2, 3, 1, 2}, DType::f64), .packed = make_view(packed, {2, 1, 2, 3}, DType::f64)});
  const double expected[12] = {0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11};
  for (int i = 0; i < 12; ++i) EXPECT_EQ(packed[i], expected[i]);
}
TEST(Conv2d, PackIsTheSameOnCuda) {
  MFL_SKIP_WITHOUT_CUDA();
  const Device cuda{DeviceKind::cuda, 0};
  const Stream s = Stream::create(cuda, "test"), host = Stream::create(kCpu, "test");
  Rng rng(5, Draw::test);
  const Shape from{37, 19, 3, 3}, to{37, 3, 3, 19};
  Tensor weight = Tensor::on_heap(from, DType::f32), expected = Tensor::on_heap(to, DType::bf16), got = expected;
  got = Tensor::on_heap(to, DType::bf16);
  for (std::int64_t i = 0; i < weight.numel(); ++i) weight.data<float>()[i] = float(rng.normal());
  conv2d_pack(host, {.weight = weight, .packed = expected});
  Tensor on_device = Tensor::on_heap(from, DType::f32, cuda), out = Tensor::on_heap(to, DType::bf16, cuda);
  copy(s, weight, on_device);
  conv2d_pack(s, {.weight = on_device, .packed = out});
  copy(s, out, got);
  s.synchronize();
  for (std::int64_t i = 0; i < got.numel(); ++i) ASSERT_EQ(got.data<bf16>()[i].bits, expected.data<bf16>()[i].bits) << i;
}
TEST(Pool2x2, TiesGoToTheFirstInScanOrder) {
  const Stream s = Stream::create(kCpu, "test");
  double x[4] = {1, 2, 2, 2}, dy[1] = {5}, dx[4];
  pool2x2_bwd(s, {.x = make_view(x, {1, 2, 2, 1}, DType::f64), .dy = make_view(dy, {1, 1, 1, 1}, DType::f64),
                  .dx = make_view(dx, {1, 2, 2, 1}, DType::f64)});
  const double expected[4] = {0, 5, 0, 0};
  for (int i = 0; i < 4; ++i) EXPECT_EQ(dx[i], expected[i]);
}

}  // namespace
}  // namespace mfl::test
