#include "train/run_log.h"

#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "build_info.h"
#include "runtime/log.h"

namespace mfl {
namespace {

// In insertion order, so that a line reads from the important to the less so.
using Json = nlohmann::ordered_json;

Json event_json(const char* name) {
  const double now = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  return {{"event", name}, {"time", now}};
}
template <class Pairs>
void add(Json& to, const Pairs& pairs) {
  for (const auto& [name, value] : pairs) to[name] = value;
}
// Foreign bytes in a path must not throw here.
std::string dumped(const Json& j) { return j.dump(-1, ' ', false, Json::error_handler_t::replace); }

// Whether a file ends within a line.
bool is_unfinished(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary | std::ios::ate);
  if (!in || in.tellg() <= 0) return false;
  in.seekg(-1, std::ios::end);
  return in.get() != '\n';
}

Json json_of(const LedgerCounts& c) {
  return {{"applied", c.applied}, {"clipped", c.clipped}, {"norm_skip", c.norm_skip}, {"non_finite", c.non_finite}};
}

}  // namespace

RunLog::RunLog(const std::filesystem::path& folder) : path_(folder / "log.jsonl") {
  std::error_code failed;
  std::filesystem::create_directories(folder, failed);
}

bool RunLog::put(const std::string& json) {
  if (!file_.is_open()) {
    errno = 0;
    const bool unfinished = is_unfinished(path_);
    file_.clear();
    file_.open(path_, std::ios::app);
    if (unfinished) file_ << '\n';
  }
  file_ << json << '\n' << std::flush;
  if (file_) return true;
  const int error = errno;
  file_.close();
  errno = error;
  return false;
}

void RunLog::line(const std::string& json) {
  if (path_.empty()) return;
  if (missing_ > 0) {   // one attempt a line, not more
    Json gap = event_json("log_gap");
    gap["lines"] = missing_;
    if (put(dumped(gap))) missing_ = 0;
  }
  if (missing_ == 0 && put(json)) return;
  ++missing_;
  if (std::exchange(told_, true)) return;
  log_warning("cannot write the run log ", path_.string(), " (", std::strerror(errno), "); training goes on, and lines are missing there.");
}

void RunLog::start(const RunHeader& h) {
  Json j = event_json("start");
  const BuildInfo b = build_info();
  j["start"] = h.start;
  j["pass"] = h.start_pass;
  j["total_passes"] = h.total_passes;
  j["version"] = b.version;
  j["commit"] = b.commit;
  j["compiler"] = b.compiler;
  j["config"] = h.config_path;
  j["config_hash"] = h.config_hash;
  j["data"] = h.data_path;
  j["data_hash"] = h.data_hash;
  j["device"] = h.device;
  j["driver"] = h.driver;
  j["samples"] = h.samples;
  j["samples_an_update"] = h.samples_an_update;
  j["ranks"] = h.ranks;
  j["seed"] = h.seed;
  j["parameters"] = h.parameters;
  j["trainable"] = h.trainable;
  char host[256] = {};
  if (::gethostname(host, sizeof host - 1) == 0) j["host"] = host;
  add(j, h.more);
  line(dumped(j));
}

void RunLog::step(const StepRecord& r) {
  Json j = event_json("step");
  j["pass"] = r.pass;
  j["update"] = r.update;
  j["epoch"] = r.epoch;
  add(j, r.losses);
  j["lr"] = r.learning_rate;
  j["grad_norm"] = r.grad_norm;
  j["seconds_per_pass"] = r.seconds_per_pass;
  j["samples_per_second"] = r.samples_per_second;
  j["data_wait"] = r.data_wait;
  if (r.flops_per_second > 0) j["tflops"] = r.flops_per_second / 1e12;
  if (r.mfu() > 0) j["mfu"] = r.mfu();
  j["memory_bytes"] = r.memory_bytes;
  if (r.reduction_seconds > 0) j["reduction_seconds"] = r.reduction_seconds, j["exposed_seconds"] = r.exposed_seconds;
  if (!r.ranks.own.empty()) j["rank_seconds"] = r.ranks.own, j["rank_data_wait"] = r.ranks.data_wait;
  j["ledger"] = json_of(r.ledger);
  line(dumped(j));
}

void RunLog::validation(std::int64_t pass, const Metrics& metrics, const Facts& facts) {
  event("validation", pass, facts, metrics);
}

void RunLog::non_finite(std::int64_t pass, const std::string& what, const Suspects& suspects) {
  Json j = event_json("non_finite");
  j["pass"] = pass;
  j["what"] = what;
  j["certain"] = suspects.certain;
  Json list = Json::array();
  for (const Suspect& s : suspects.list) list.push_back({{"rank", s.rank}, {"micro_batch", s.micro_batch}, {"terms", s.terms}, {"samples", s.samples}});
  j["suspects"] = list;
  line(dumped(j));
}

void RunLog::event(const std::string& name, std::int64_t pass, const Facts& facts, const Metrics& metrics) {
  Json j = event_json(name.c_str());
  j["pass"] = pass;
  add(j, metrics);
  add(j, facts);
  line(dumped(j));
}

std::string content_hash(std::string_view bytes) {
  std::uint64_t h = 0xcbf29ce484222325u;
  for (const char c : bytes) h = (h ^ static_cast<std::uint8_t>(c)) * 0x100000001b3u;
  char hex[17];
  std::snprintf(hex, sizeof hex, "%016llx", static_cast<unsigned long long>(h));
  return hex;
}

BuildInfo build_info() { return {MFL_BUILD_VERSION, MFL_BUILD_COMMIT, MFL_BUILD_COMPILER}; }

}  // namespace mfl
