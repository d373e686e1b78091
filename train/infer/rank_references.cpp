#include "train/infer/rank_references.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "runtime/io/atomic_file.h"
#include "runtime/log.h"

namespace mfl::infer {

using nlohmann::ordered_json;

namespace {

// The 97.5 % quantile of Student's t: exact to three decimals for few degrees of freedom, else the Cornish-Fisher expansion.
double student(std::size_t freedom) {
  constexpr double few[] = {12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228};
  if (freedom <= 10) return few[freedom - 1];
  const double z = 1.959964, n = double(freedom);
  return z + (std::pow(z, 3) + z) / (4 * n) + (5 * std::pow(z, 5) + 16 * std::pow(z, 3) + 3 * z) / (96 * n * n) +
         (3 * std::pow(z, 7) + 19 * std::pow(z, 5) + 17 * std::pow(z, 3) - 15 * z) / (384 * n * n * n);
}

ordered_json json_of(const Estimate& e) {
  return {{"mean", e.mean}, {"low", std::isfinite(e.half) ? ordered_json(e.mean - e.half) : ordered_json()}, {"high", std::isfinite(e.half) ? ordered_json(e.mean + e.half) : ordered_json()}};
}

std::string text_of(const Estimate& e) { return std::isfinite(e.half) ? fmt::format("{:6.2f} +- {:.2f}", e.mean, e.half) : fmt::format("{:6.2f} +- unknown", e.mean); }

}  // namespace

Estimate estimate(const std::vector<double>& x) {
  MFL_CHECK(!x.empty(), "estimate of nothing");
  const double n = double(x.size());
  double mean = 0, squares = 0;
  for (double v : x) mean += v / n;
  for (double v : x) squares += (v - mean) * (v - mean);
  if (x.size() == 1) return {mean, std::numeric_limits<double>::infinity()};
  return {mean, student(x.size() - 1) * std::sqrt(squares / (n - 1) / n)};
}

std::vector<ReferenceScore> rank(const std::vector<std::vector<double>>& psnr, const std::vector<std::string>& names) {
  std::vector<ReferenceScore> scores;
  for (std::size_t v = 0; v < psnr.size(); ++v) scores.push_back({static_cast<int>(v), names[v], estimate(psnr[v]), {}});
  std::stable_sort(scores.begin(), scores.end(), [](const auto& a, const auto& b) { return a.psnr.mean > b.psnr.mean; });
  const std::vector<double>& best = psnr[static_cast<std::size_t>(scores.front().view)];
  for (std::size_t k = 1; k < scores.size(); ++k) {
    std::vector<double> ahead = best;
    for (std::size_t i = 0; i < ahead.size(); ++i) ahead[i] -= psnr[static_cast<std::size_t>(scores[k].view)][i];
    scores[k].behind = estimate(ahead);
  }
  return scores;
}

std::string describe(const std::vector<ReferenceScore>& scores, std::int64_t objects) {
  std::string out = fmt::format("{:<6}{:<16}{:>20}{:>26}   (95 %, Student's t over {} objects)\n", "view", "name", "PSNR, dB", "behind the best, paired", objects);
  for (const ReferenceScore& s : scores)
    out += fmt::format("{:<6}{:<16}{:>20}{:>26}\n", s.view, s.name, text_of(s.psnr), &s == &scores.front() ? std::string("best") : text_of(s.behind));
  std::string equals;
  for (std::size_t k = 1; k < scores.size(); ++k)
    if (!(scores[k].behind.mean - scores[k].behind.half > 0)) equals += (equals.empty() ? "" : ", ") + fmt::format("{} ({})", scores[k].view, scores[k].name);
  const ReferenceScore& best = scores.front();
  out += equals.empty() ? fmt::format("view {} ({}) is the best one to give.\n", best.view, best.name)
                        : fmt::format("view {} ({}) comes out best, but these objects do not tell it from view {}.\n", best.view, best.name, equals);
  return out;
}

std::vector<ReferenceScore> rank_references(mvdiffusion::ViewPipeline& pipeline, std::shared_ptr<const data::ViewReader> reader, ViewSetOptions o,
                                            Communicator& comm, GenerateOptions g) {
  std::vector<std::vector<double>> psnr;
  std::vector<std::string> names;
  const std::filesystem::path root = g.folder;
  std::vector<std::string> objects;
  for (int v = 0; v < o.views; ++v) {
    o.reference = v;
    g.folder = root / fmt::format("reference_{}", v);
    if (comm.rank() == 0) log_info("view ", v, " of ", o.views, " as the reference");
    ordered_json settings = ordered_json::parse(g.settings);
    settings["reference"] = std::to_string(v);
    g.settings = settings.dump();
    const ViewSet set = packed_view_set(reader, o);
    const Generated made = generate_views(pipeline, set, comm, g);
    if (made.left_out.total() > 0)
      throw_error<DataError>("The views are ranked over the same objects, but ", made.left_out.total(), " could not be read, ", made.left_out.names().front(), " first. "
                             "`mfl_data verify` says what is damaged; `mfl_data pack --skip-broken` packs the rest.");
    std::vector<double>& of = psnr.emplace_back();
    names.push_back(reader->view_name(0, choose_views(*reader, 0, o).reference));
    for (std::int64_t i = 0; i < set.size; ++i) {
      if (v == 0) objects.push_back(set.name(i));
      const ChosenViews chosen = choose_views(*reader, i, o);
      std::ifstream in(g.folder / set.name(i) / "views.json", std::ios::binary);
      const ordered_json j = ordered_json::parse(in);
      double sum = 0;
      for (std::size_t k = 0; k < chosen.views.size(); ++k)
        if (chosen.views[k] != chosen.reference) sum += j.at("views")[k].at("psnr").is_number() ? j.at("views")[k].at("psnr").get<double>() : 100.0;   // equal pictures
      of.push_back(sum / double(chosen.views.size() - 1));
    }
  }
  const std::vector<ReferenceScore> scores = rank(psnr, names);
  if (comm.rank() == 0) {
    ordered_json views = ordered_json::array(), by_object = ordered_json::object();
    for (const ReferenceScore& s : scores)
      views.push_back({{"view", s.view}, {"name", s.name}, {"psnr", json_of(s.psnr)}, {"behind_best", json_of(s.behind)}});
    for (std::size_t i = 0; i < objects.size(); ++i)
      for (const auto& of : psnr) by_object[objects[i]].push_back(of[i]);
    ordered_json settings = ordered_json::parse(g.settings);
    settings.erase("reference");
    io::write_text_file(root / "reference_ranking.json",
                        ordered_json{{"best", scores.front().view},
                                     {"objects", objects.size()},
                                     {"interval", "95 %, Student's t over objects; behind_best: of the paired differences"},
                                     {"metric", "PSNR in dB of the generated views against the truth, the reference's own left out"},
                                     {"settings", settings}, {"views", views}, {"psnr_by_object", by_object}}.dump(2) + "\n");
  }
  comm.barrier();
  return scores;
}

}  // namespace mfl::infer
