#include "tests/bench/breakdown.h"

#include <fmt/format.h>

#include <algorithm>
#include <ostream>

namespace mfl::bench {

Breakdown::Breakdown(const Stream& s) : stream_(s), first_(0) {
  first_ = mark();
  op_observer = this;
  range_observer = this;
}
Breakdown::~Breakdown() {
  op_observer = nullptr;
  range_observer = nullptr;
}

std::size_t Breakdown::mark() {
  events_.push_back(stream_.record());
  return events_.size() - 1;
}
void Breakdown::begin(const Stream&, const char* op, const Shape& shape) {
  ops_.push_back(pieces_.size());
  pieces_.push_back({modules_.empty() ? "" : pieces_[modules_.back()].module, op, shape.rank() ? text(shape) : "", mark(), 0});
}
void Breakdown::end(const Stream&) {
  pieces_[ops_.back()].to = mark();
  ops_.pop_back();
}
void Breakdown::enter(const char* name) {
  modules_.push_back(pieces_.size());
  pieces_.push_back({name, "", "", mark(), 0});
}
void Breakdown::leave(const char*) {
  pieces_[modules_.back()].to = mark();
  modules_.pop_back();
}

void Breakdown::print(std::ostream& out, std::size_t shapes) {
  const std::size_t last = mark();
  stream_.synchronize();
  const double all = events_[last].milliseconds_since(events_[first_]);
  struct Line {
    std::size_t calls = 0;
    double ms = 0;
  };
  std::map<std::string, Line> modules, ops, by_shape;
  double in_ops = 0;
  for (const Piece& p : pieces_) {
    const double ms = events_[p.to].milliseconds_since(events_[p.from]);
    auto add = [&](std::map<std::string, Line>& table, const std::string& name) {
      Line& line = table[name];
      ++line.calls, line.ms += ms;
    };
    if (p.op.empty()) {
      add(modules, p.module);
      continue;
    }
    in_ops += ms;
    add(ops, p.op);
    add(by_shape, fmt::format("{:<22} {:<26} {}", p.op, p.shape, p.module));
  }
  auto table = [&](const char* title, const std::map<std::string, Line>& lines, std::size_t most) {
    std::vector<std::pair<std::string, Line>> sorted(lines.begin(), lines.end());
    std::sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) { return a.second.ms > b.second.ms; });
    out << fmt::format("\n{:<76} {:>6} {:>10} {:>7}\n", title, "calls", "ms", "share");
    for (std::size_t i = 0; i < std::min(most, sorted.size()); ++i)
      out << fmt::format("{:<76} {:>6} {:>10.3f} {:>6.1f}%\n", sorted[i].first, sorted[i].second.calls, sorted[i].second.ms,
                         100 * sorted[i].second.ms / all);
  };
  table("module (with what it calls)", modules, 40);
  table("op", ops, 60);
  table("op, its first input, its module", by_shape, shapes);
  out << fmt::format("\nops {:.3f} ms of {:.3f} ms; the rest is copies, and waiting for the host\n", in_ops, all);
}

}  // namespace mfl::bench
