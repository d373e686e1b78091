#include "train/update_samples.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

namespace mfl {
namespace {

using nlohmann::json;

std::string joined(const std::vector<std::string>& parts) {
  std::string s;
  for (const std::string& p : parts) s += (s.empty() ? "" : ", ") + p;
  return s;
}
// Names are foreign bytes.
std::string dumped(const std::vector<Suspect>& list) {
  json j = json::array();
  for (const Suspect& s : list) j.push_back({s.rank, s.micro_batch, s.terms, s.samples});
  return list.empty() ? std::string() : j.dump(-1, ' ', false, json::error_handler_t::replace);
}
// Of all ranks, in rank order.
std::vector<Suspect> exchanged(Communicator& comm, const std::vector<Suspect>& mine) {
  std::vector<Suspect> all;
  for (const std::string& one : comm.gather_text(dumped(mine))) {
    if (one.empty()) continue;
    for (const json& s : json::parse(one)) all.push_back({s[0].get<int>(), s[1].get<int>(), s[2].get<std::vector<std::string>>(), s[3].get<std::vector<std::string>>()});
  }
  return all;
}

}  // namespace

std::string Suspects::text() const {
  std::string s;
  for (const Suspect& x : list) {
    s += mfl::text(s.empty() ? "" : "; ", "rank ", x.rank, ": ", joined(x.samples));
    if (!x.terms.empty()) s += " (" + joined(x.terms) + ")";
  }
  return s;
}

UpdateSamples::UpdateSamples(Device d, std::int64_t micro_batches, std::int64_t columns, std::vector<std::string> terms)
    : terms_(std::move(terms)), slots_{Slot(d, {micro_batches, columns}), Slot(d, {micro_batches, columns})} {
  MFL_CHECK(terms_.empty() || std::int64_t(terms_.size()) == columns, "a loss of a micro-batch has a name, or belongs to a sample");
}
UpdateSamples::~UpdateSamples() {
  for (Slot& s : slots_) s.copied.synchronize();
}

void UpdateSamples::begin() { slots_[writing_].names.clear(); }

void UpdateSamples::micro_batch(const Stream& stream, const std::vector<std::string>& names, ConstView losses) {
  Slot& slot = slots_[writing_];
  copy(stream, losses, slot.losses.rows(std::int64_t(slot.names.size()), 1).reshape({slot.losses.shape()[1]}));
  stream.record(slot.copied);
  slot.names.push_back(names);
}

void UpdateSamples::queued() { writing_ ^= 1; }

std::vector<Suspect> UpdateSamples::seen(const Slot& slot, int rank, bool all) const {
  std::vector<Suspect> found;
  const std::int64_t columns = slot.losses.shape()[1];
  for (std::size_t m = 0; m < slot.names.size(); ++m) {
    Suspect s{rank, int(m), {}, {}};
    const float* losses = slot.losses.data<float>() + std::int64_t(m) * columns;
    const std::vector<std::string>& names = slot.names[m];
    for (std::int64_t c = 0; c < columns && !all; ++c) {
      if (std::isfinite(losses[c])) continue;
      if (!terms_.empty()) {
        s.terms.push_back(terms_[std::size_t(c)]);
        s.samples = names;
      } else {
        const std::string& name = names[std::size_t(c) * names.size() / std::size_t(columns)];
        s.terms = {"loss"};
        if (std::find(s.samples.begin(), s.samples.end(), name) == s.samples.end()) s.samples.push_back(name);
      }
    }
    if (all) s.samples = names;
    if (!s.samples.empty()) found.push_back(std::move(s));
  }
  return found;
}

Suspects UpdateSamples::take(Communicator& comm) {
  const Slot& slot = slots_[writing_ ^ 1];
  slot.copied.synchronize();
  Suspects found{exchanged(comm, seen(slot, comm.rank(), false)), true};
  if (found.list.empty()) found = {exchanged(comm, seen(slot, comm.rank(), true)), false};
  return found;
}

}  // namespace mfl
