#include "train/memory_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "kernels/gemm/linear.h"

namespace mfl {

void KeptByModule::leave(const char* name) {
  const Open o = open_.back();
  open_.pop_back();
  const auto kept = static_cast<std::int64_t>(arena_.live_bytes()) - static_cast<std::int64_t>(o.before);
  if (!open_.empty()) open_.back().inner += kept;
  const std::int64_t own = kept - o.inner;
  if (std::string(name).find("backward") != std::string::npos || own <= 0) return;
  auto it = std::find_if(lines_.begin(), lines_.end(), [&](const auto& l) { return l.what == name; });
  if (it == lines_.end()) lines_.push_back({name, static_cast<std::size_t>(own), 1});
  else it->bytes += static_cast<std::size_t>(own), ++it->times;
}

std::size_t committed_bytes(std::size_t bytes) {
  constexpr std::size_t kStep = std::size_t{64} << 20;   // the backend maps device memory in steps of this size
  return (bytes + kStep - 1) / kStep * kStep;
}

std::size_t library_bytes() {
  constexpr std::size_t kContext = std::size_t{600} << 20;
  return kContext + static_cast<std::size_t>(gemm_workspace_bytes({DeviceKind::cuda, 0}));
}

std::vector<MemoryPlan::Line> lines_of(const std::vector<Arena::Use>& uses) {
  std::vector<MemoryPlan::Line> lines;
  for (const Arena::Use& u : uses) lines.push_back({std::string(u.purpose), u.bytes});
  return lines;
}

std::string tables(const MemoryPlan& p) {
  std::string out;
  auto line = [&](const std::string& s) { out += s + "\n"; };
  auto row = [&](const std::string& what, std::size_t bytes, const std::string& note = "") {
    line(fmt::format("  {:<34}{:>12}  {}", what, human_bytes(bytes), note));
  };
  line("state");
  for (const auto& l : p.state) row(l.what, l.bytes);
  line("kept for backward, by module");
  for (const auto& l : p.modules) row(l.what, l.bytes, l.times > 1 ? fmt::format("{} x {}", l.times, human_bytes(l.bytes / std::size_t(l.times))) : "");
  line("at the peak of the step, by purpose");
  for (std::size_t i = 0; i < p.peak.size() && i < 14; ++i) row(p.peak[i].what, p.peak[i].bytes);
  line("device memory");
  row("state", p.state_bytes);
  row("activations, peak", p.step_bytes, p.validation_bytes ? fmt::format("validating: {}", human_bytes(p.validation_bytes)) : "");
  if (p.splat_bytes) row("rasterizer", p.splat_bytes, "grows with the scene: this is one full depth chunk");
  if (p.showcase_bytes) row("pictures of validation", p.showcase_bytes, "turntables, beside training");
  row("CUDA and libraries", p.library_bytes);
  row("total", p.total());
  line("pinned host memory");
  for (const auto& l : p.host) row(l.what, l.bytes);
  if (p.ranks == 1) return out;
  line(fmt::format("by rank, optimizer state {}", p.divided ? fmt::format("divided among {}", p.ranks) : "whole on each"));
  std::size_t leader = 0, other = 0;
  for (const auto& l : p.host) leader += l.bytes, other += l.leader ? 0 : l.bytes;
  row("rank 0", p.total(), fmt::format("and {} of host memory: it writes checkpoints{}", human_bytes(leader), p.showcase_bytes ? " and pictures" : ""));
  row(p.ranks == 2 ? std::string("rank 1") : fmt::format("ranks 1 to {}, each", p.ranks - 1), p.total() - p.showcase_bytes,
      fmt::format("and {} of host memory", human_bytes(other)));
  return out;
}

std::string disk_line(const MemoryPlan& p, const std::string& every, std::optional<std::int64_t> limit) {
  std::size_t one = 0;
  for (const MemoryPlan::Line& l : p.host)
    if (l.what == kCheckpointStaging) one = l.bytes;
  std::string out = fmt::format("disk: a checkpoint of {} every {}, ", human_bytes(one), every);
  if (!limit) return out + fmt::format("all kept ({} bytes each)\n", one);
  const std::size_t all = one * static_cast<std::size_t>(*limit + 2);
  return out + fmt::format("at most {} at a time: {} ({} bytes)\n", *limit + 2, human_bytes(all), all);
}

std::string verdict(const MemoryPlan& p, std::size_t memory, const std::vector<std::string>& remedies) {
  const bool fits = p.total() <= memory;
  std::string out = fmt::format("{} in {}: {} {}\n", fits ? "fits" : "DOES NOT FIT", human_bytes(memory),
                                human_bytes(fits ? memory - p.total() : p.total() - memory), fits ? "to spare" : "too much");
  if (!fits)
    for (const std::string& r : remedies) out += "  " + r + "\n";
  return out;
}

std::string human_bytes(std::size_t bytes) {
  if (bytes >= std::size_t{1} << 30) return fmt::format("{:.2f} GiB", double(bytes) / double(1 << 30));
  if (bytes >= std::size_t{1} << 20) return fmt::format("{:.1f} MiB", double(bytes) / double(1 << 20));
  return fmt::format("{:.1f} KiB", double(bytes) / 1024);
}

std::size_t parse_bytes(const std::string& s) {
  std::size_t used = 0;
  double n = 0;
  try {
    n = std::stod(s, &used);
  } catch (const std::exception&) {
    used = 0;
  }
  std::string unit = s.substr(used);
  unit.erase(std::remove_if(unit.begin(), unit.end(), [](char c) { return c == ' ' || c == 'i' || c == 'B' || c == 'b'; }),
             unit.end());
  const std::map<std::string, int> shift = {{"", 0}, {"K", 10}, {"M", 20}, {"G", 30}, {"T", 40}, {"k", 10}, {"g", 30}, {"m", 20}};
  if (used == 0 || n <= 0 || !shift.contains(unit))
    throw_error<ConfigError>("\"", s, "\" is not an amount of memory; write 24G, 80GiB or a number of bytes");
  return static_cast<std::size_t>(n * double(std::size_t{1} << shift.at(unit)));
}

}  // namespace mfl
