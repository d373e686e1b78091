#include "tests/support/comm_checks.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "runtime/rng.h"
#include "runtime/tensor.h"

namespace mfl::test {
namespace {

template <class T>
struct accumulator {
  using type = std::int64_t;
};
template <>
struct accumulator<double> {
  using type = double;
};
template <>
struct accumulator<float> {
  using type = double;
};
template <>
struct accumulator<bf16> {
  using type = float;
};
template <class T>
constexpr bool kFloating =
    dtype_of<T>::value == DType::f64 || dtype_of<T>::value == DType::f32 || dtype_of<T>::value == DType::bf16;

// What rank r holds in check number `id`.
template <class T>
std::vector<T> values_of(int rank, std::uint64_t id, std::int64_t n) {
  const Rng rng(7, Draw::test, id, static_cast<std::uint32_t>(rank));
  std::vector<T> v(static_cast<std::size_t>(n));
  for (std::size_t i = 0; i < v.size(); ++i) {
    if constexpr (kFloating<T>)
      v[i] = T(static_cast<double>(rng.uniform_at(i)) * 2 - 1);
    else
      v[i] = static_cast<T>(rng.bits_at(i) % 40);  // small: u8 must not overflow with six ranks
  }
  return v;
}

template <class T>
class Checker {
 public:
  Checker(Communicator& c, std::int64_t n, std::uint64_t id)
      : comm_(c),
        stream_(Stream::create(c.device(), "test")),
        n_(n),
        id_(id),
        ranks_(static_cast<std::size_t>(c.size())) {
    for (int r = 0; r < c.size(); ++r) all_.push_back(values_of<T>(r, id, n));
  }

  void all_reduce(ReduceOp op) {
    Tensor t = upload(mine());
    comm_.all_reduce(stream_, t, op);
    compare(
        "all_reduce", op, download(t), [&](std::size_t i) { return reduced(op, i); }, true);
  }
  void reduce_scatter(ReduceOp op) {
    const std::int64_t part = n_ / comm_.size();
    if (part == 0) return;
    Tensor in = upload(mine()), out = Tensor::on_heap({part}, dtype_of<T>::value, comm_.device());
    comm_.reduce_scatter(stream_, in.rows(0, part * comm_.size()), out, op);
    const auto first = static_cast<std::size_t>(part * comm_.rank());
    compare(
        "reduce_scatter", op, download(out), [&](std::size_t i) { return reduced(op, first + i); }, false);
  }
  void all_gather(bool in_place) {
    Tensor out = Tensor::on_heap({n_ * comm_.size()}, dtype_of<T>::value, comm_.device());
    Tensor in = in_place ? out.rows(comm_.rank() * n_, n_) : Tensor::on_heap({n_}, dtype_of<T>::value, comm_.device());
    upload(mine(), in);
    comm_.all_gather(stream_, in, out);
    const auto n = static_cast<std::size_t>(n_);
    exact("all_gather", download(out), [&](std::size_t i) { return all_[i / n][i % n]; });
  }
  void broadcast(int root) {
    Tensor t = upload(mine());
    comm_.broadcast(stream_, t, root);
    exact("broadcast", download(t), [&](std::size_t i) { return all_[static_cast<std::size_t>(root)][i]; });
  }

 private:
  const std::vector<T>& mine() const { return all_[static_cast<std::size_t>(comm_.rank())]; }
  void upload(const std::vector<T>& v, const Tensor& t) {
    copy(stream_, make_view(static_cast<const void*>(v.data()), {n_}, dtype_of<T>::value), t);
    stream_.synchronize();
  }
  Tensor upload(const std::vector<T>& v) {
    Tensor t = Tensor::on_heap({n_}, dtype_of<T>::value, comm_.device());
    upload(v, t);
    return t;
  }
  std::vector<T> download(const Tensor& t) {
    std::vector<T> v(static_cast<std::size_t>(t.numel()));
    copy(stream_, t, make_view(static_cast<void*>(v.data()), {t.numel()}, dtype_of<T>::value));
    stream_.synchronize();
    return v;
  }
  // The definition: element i of all ranks, in rank order.
  T reduced(ReduceOp op, std::size_t i) const {
    using A = typename accumulator<T>::type;
    A a = A(all_[0][i]);
    for (std::size_t r = 1; r < ranks_; ++r) {
      const A x = A(all_[r][i]);
      a = op == ReduceOp::min ? std::min(a, x) : op == ReduceOp::max ? std::max(a, x) : a + x;
    }
    return T(op == ReduceOp::avg ? a / A(ranks_) : a);
  }
  template <class F>
  void compare(const char* call, ReduceOp op, const std::vector<T>& got, F&& expected, bool same_on_all) {
    const bool host = comm_.device().is_cpu();
    // CUDA may add in any order and round every partial sum to the type.
    const double unit = dtype_of<T>::value == DType::bf16  ? 1.0 / 256
                        : dtype_of<T>::value == DType::f32 ? 1.2e-7
                                                           : 2.3e-16;
    const double bound = host || !kFloating<T> ? 0 : unit * static_cast<double>(ranks_ * ranks_);
    for (std::size_t i = 0; i < got.size(); ++i) {
      const T want = expected(i);
      const bool right =
          bound > 0 ? std::abs(double(got[i]) - double(want)) <= bound : !std::memcmp(&got[i], &want, sizeof(T));
      if (!right)
        throw_error<Error>(call, ' ', name_of(op), " of ", n_, ' ', dtype_of<T>::value, ", rank ", comm_.rank(),
                           ", element ", i, ": ", double(got[i]), ", expected ", double(want));
    }
    if (!same_on_all) return;
    std::uint64_t hash = 14695981039346656037u;
    for (std::size_t i = 0; i < got.size() * sizeof(T); ++i)
      hash = (hash ^ reinterpret_cast<const unsigned char*>(got.data())[i]) * 1099511628211u;
    for (std::uint64_t h : comm_.gather(hash))
      if (h != hash)
        throw_error<Error>(call, ' ', name_of(op), " of ", n_, ' ', dtype_of<T>::value,
                           ": the ranks hold different bits");
  }
  template <class F>
  void exact(const char* call, const std::vector<T>& got, F&& expected) {
    for (std::size_t i = 0; i < got.size(); ++i) {
      const T want = expected(i);
      if (std::memcmp(&got[i], &want, sizeof(T)))
        throw_error<Error>(call, " of ", n_, ' ', dtype_of<T>::value, ", rank ", comm_.rank(), ", element ", i, ": ",
                           double(got[i]), ", expected ", double(want));
    }
  }

  Communicator& comm_;
  Stream stream_;
  std::int64_t n_;
  std::uint64_t id_;
  std::size_t ranks_;
  std::vector<std::vector<T>> all_;  // every rank's values: each rank can compute the answer alone
};

template <class T>
int check_type(Communicator& c, std::int64_t n, std::uint64_t id,
               std::initializer_list<ReduceOp> ops = {ReduceOp::sum, ReduceOp::avg, ReduceOp::min, ReduceOp::max}) {
  Checker<T> check(c, n, id);
  int done = 0;
  for (ReduceOp op : ops) {
    if (op == ReduceOp::avg && !kFloating<T>) continue;
    check.all_reduce(op);
    check.reduce_scatter(op);
    done += 2;
  }
  check.all_gather(false);
  check.all_gather(true);
  for (int root = 0; root < c.size(); ++root) check.broadcast(root);
  return done + 2 + c.size();
}

void expect(bool condition, const char* what) {
  if (!condition) throw_error<Error>("control plane: ", what);
}

}  // namespace

int check_collectives(Communicator& c, bool large) {
  int done = 0;
  std::uint64_t id = 0;
  for (std::int64_t n : {1, 3, 257, 4099}) {
    done += check_type<double>(c, n, id++);
    done += check_type<float>(c, n, id++);
    done += check_type<bf16>(c, n, id++);
    done += check_type<std::int64_t>(c, n, id++);
    done += check_type<std::int32_t>(c, n, id++);
    done += check_type<std::uint8_t>(c, n, id++);
  }
  if (large) done += check_type<float>(c, 4'200'011, id++, {ReduceOp::avg});  // just above 16 MiB
  return done;
}

void check_control_plane(Communicator& c) {
  const auto ranks = c.gather(c.rank());
  for (int r = 0; r < c.size(); ++r) expect(ranks[static_cast<std::size_t>(r)] == r, "gather is not in rank order");
  const auto texts = c.gather_text(std::string(static_cast<std::size_t>(c.rank()) * 3, 'x'));
  for (std::size_t r = 0; r < texts.size(); ++r)
    expect(texts[r] == std::string(r * 3, 'x'), "gather_text changed a text");
  const int last = c.size() - 1;
  expect(c.broadcast_text(c.rank() == last ? std::string("a\0b", 3) : "other", last) == std::string("a\0b", 3),
         "broadcast_text");
  expect(c.broadcast_text("", 0).empty(), "broadcast_text of an empty text");
  expect(c.any(c.rank() == last) && !c.any(false), "any");
  expect(c.all(true) && !c.all(c.rank() != last), "all");
  c.barrier();
  c.check();
}

}  // namespace mfl::test
