#include "tests/support/reduce_checks.h"

#include <cmath>

#include "train/grad_reducer.h"

namespace mfl::test {
namespace {

double gradient(int rank, int step, std::int64_t i) { return std::sin(double(i) + 10.0 * rank) + step; }

}  // namespace

void check_grad_reducer(Communicator& comm) {
  const Device device = comm.device();
  const Stream stream = Stream::create(device, "compute");
  Arena arena(device, std::size_t{256} << 20, "test");
  ParamStore params(arena, Precision::of(DType::f32));
  for (int i = 0; i < 9; ++i) params.add(text("layer.", i), {100 + 37 * i, 1 + i % 3});
  params.seal(stream);
  params.all()[3].trainable = params.all()[4].trainable = params.all()[8].trainable = false;
  GradReducer reducer(params, comm, 4096);
  Ctx cx{stream, arena, Precision::of(DType::f32)};

  std::vector<float> host(static_cast<std::size_t>(params.flat_numel()));
  const View host_view = make_view(static_cast<void*>(host.data()), {params.flat_numel()}, DType::f32);
  for (int step = 0; step < 3; ++step) {
    for (int micro = 0; micro < 2; ++micro) {
      std::fill(host.begin(), host.end(), 0.0f);
      for (const Param& p : params.all())
        for (std::int64_t i = 0; p.trainable && i < p.numel(); ++i)
          host[std::size_t(p.first + i)] = float(gradient(comm.rank(), step, p.first + i));
      copy(stream, ConstView(host_view), params.grads());
      stream.synchronize();
      reducer.begin(micro == 1);
      // Mostly in reverse; 6 before 7, and 0 is never declared: join sends it.
      const std::size_t order[] = {6, 7, 5, 4, 3, 1, 2};
      for (std::size_t i : order) reducer.ready(cx, params.range(i, i + 1));
      reducer.join(cx);
      if (micro == 0) {  // not reduced yet: as it was
        copy(stream, params.grads(), host_view);
        stream.synchronize();
        const std::int64_t at = params.all()[5].first;
        if (host[std::size_t(at)] != float(gradient(comm.rank(), step, at)))
          throw_error<Error>("an early micro-batch was reduced");
      }
    }
    copy(stream, params.grads(), host_view);
    stream.synchronize();
    for (const Param& p : params.all())
      for (std::int64_t i = 0; i < p.numel(); ++i) {
        double want = 0;
        for (int r = 0; p.trainable && r < comm.size(); ++r) want += double(float(gradient(r, step, p.first + i)));
        want /= comm.size();
        const float got = host[std::size_t(p.first + i)];
        if (device.is_cpu() ? got != float(want) : std::abs(got - want) > 1e-5)
          throw_error<Error>("gradient reducer, ", comm.size(), " ranks, step ", step, ", ", p.name, '[', i, "]: ", got,
                             ", expected ", want);
      }
  }
  if (comm.size() > 1 && !reducer.timing()) throw_error<Error>("gradient reducer: no timing after three steps");
  if (!reducer.in_flight().what.empty())
    throw_error<Error>("gradient reducer: ", reducer.in_flight().what, " is still in flight");
}

}  // namespace mfl::test
