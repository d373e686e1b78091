#include "tests/bench/scaling.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <string>
#include <vector>

#include "runtime/error.h"

namespace mfl::bench {
namespace {

using Json = nlohmann::ordered_json;

struct Run {
  Json start;
  std::vector<Json> timed;      // updates behind the first start
  std::vector<double> losses;   // of all updates, those of later starts too
};

Run read(const std::filesystem::path& log) {
  std::ifstream in(log);
  if (!in) throw_error<DataError>(log.string(), ": cannot be read; expected the log.jsonl of a run");
  Run r;
  int starts = 0;
  for (std::string line; std::getline(in, line);) {
    Json j = Json::parse(line, nullptr, false);
    if (!j.is_object()) continue;
    const std::string event = j.value("event", "");
    if (event == "start" && starts++ == 0) r.start = j;
    if (event != "step") continue;
    r.losses.push_back(j["loss"].is_number() ? j["loss"].get<double>() : std::nan(""));
    if (starts == 1) r.timed.push_back(std::move(j));
  }
  if (r.timed.empty()) throw_error<DataError>(log.string(), ": holds no run with an update");
  return r;
}

double at(std::vector<double> v, double share) {
  std::sort(v.begin(), v.end());
  return v[static_cast<std::size_t>(share * double(v.size() - 1) + 0.5)];
}

struct Timed {
  std::vector<double> seconds;   // an update
  double rate = 0;               // samples a second
};

Timed timed(const Run& r, int warmup, const std::filesystem::path& log) {
  Timed t;
  std::int64_t pass = r.start.at("pass");
  for (std::size_t i = 0; i < r.timed.size(); ++i) {
    const std::int64_t now = r.timed[i].at("pass");
    if (i >= static_cast<std::size_t>(warmup)) t.seconds.push_back(r.timed[i].at("seconds_per_pass").get<double>() * double(now - pass));
    pass = now;
  }
  if (t.seconds.empty()) throw_error<DataError>(log.string(), ": ", r.timed.size(), " updates, and the first ", warmup, " are not timed (--warmup)");
  t.rate = r.start.at("samples_an_update").get<double>() / at(t.seconds, 0.5);
  return t;
}

double median(const Run& r, int warmup, const char* key, double or_else) {
  std::vector<double> v;
  for (std::size_t i = static_cast<std::size_t>(warmup); i < r.timed.size(); ++i)
    if (r.timed[i].contains(key)) v.push_back(r.timed[i][key]);
  return v.empty() ? or_else : at(v, 0.5);
}

}  // namespace

Json weak_scaling(const ScalingRuns& runs) {
  const Run one = read(runs.one), many = read(runs.many);
  const auto ranks = many.start.at("ranks").get<std::int64_t>();
  if (one.start.at("ranks") != 1) throw_error<DataError>(runs.one.string(), ": a run of ", one.start["ranks"].dump(), " ranks; expected the run of one");
  for (const char* key : {"commit", "data_hash", "parameters", "device"})
    if (one.start.at(key) != many.start.at(key))
      throw_error<DataError>("the runs do not compare: ", key, " is ", one.start[key].dump(), " on one rank and ", many.start[key].dump(), " on ", ranks);
  if (one.start.at("samples_an_update").get<std::int64_t>() * ranks != many.start.at("samples_an_update").get<std::int64_t>())
    throw_error<DataError>("the runs do not compare: an update of one rank has ", one.start["samples_an_update"].dump(), " samples, one of ", ranks, " ranks ",
                           many.start["samples_an_update"].dump());
  const Timed a = timed(one, runs.warmup, runs.one), b = timed(many, runs.warmup, runs.many);
  Json j = {{"ranks", ranks},
            {"samples_per_second", b.rate},
            {"one_rank_samples_per_second", a.rate},
            {"efficiency_percent", 100 * b.rate / (double(ranks) * a.rate)},
            {"update_ms", 1e3 * at(b.seconds, 0.5)},
            {"update_ms_p10", 1e3 * at(b.seconds, 0.1)},
            {"update_ms_p90", 1e3 * at(b.seconds, 0.9)},
            {"one_rank_update_ms", 1e3 * at(a.seconds, 0.5)},
            {"reduction_ms", 1e3 * median(many, runs.warmup, "reduction_seconds", 0)},
            {"exposed_ms", 1e3 * median(many, runs.warmup, "exposed_seconds", 0)},
            {"updates", b.seconds.size()},
            {"warmup", runs.warmup},
            {"arena_gib", median(many, runs.warmup, "memory_bytes", 0) / double(1 << 30)}};
  if (runs.same.empty()) return j;

  const Run same = read(runs.same);
  if (same.start.at("samples_an_update") != many.start.at("samples_an_update") || same.losses.size() != many.losses.size())
    throw_error<DataError>("losses do not compare: ", runs.same.string(), " has ", same.losses.size(), " updates of ", same.start["samples_an_update"].dump(),
                           " samples, ", runs.many.string(), ' ', many.losses.size(), " of ", many.start["samples_an_update"].dump());
  double largest = 0;
  for (std::size_t i = 0; i < same.losses.size(); ++i) {
    const double difference = std::abs(same.losses[i] - many.losses[i]) / std::abs(same.losses[i]);
    if (!(difference <= runs.loss_bound))
      throw_error<DataError>("the loss of update ", i + 1, " is ", many.losses[i], " on ", ranks, " ranks and ", same.losses[i], " on one with the same samples: ",
                             100 * difference, " % apart, more than ", 100 * runs.loss_bound, " %, which rounding does not explain. Are the samples the same? A set whose "
                             "size is no multiple of an update's samples drops others at the end of an epoch.");
    largest = std::max(largest, difference);
  }
  j["losses_compared"] = same.losses.size();
  j["largest_relative_loss_difference"] = largest;
  return j;
}

}  // namespace mfl::bench
